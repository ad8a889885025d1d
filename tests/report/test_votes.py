"""The section on which answer is preferred."""

from __future__ import annotations

from dataclasses import replace

from tunesmith.report.content import Report
from tunesmith.report.sections import sections_of
from tunesmith.report.votes import bias_table, preference_notes, preference_table


def test_a_row_has_the_counts_the_interval_and_the_agreement(report: Report) -> None:
    people, model = preference_table(report.preferences).rows
    assert people.label == "3 people, against Base model, few-shot"
    assert people.cells == ("24 / 6 / 10", "0.675 [0.52, 0.80]", "0.024", "0.58 (75 % of 118)")
    assert model.label == "Model some-judge-7b, against Base model, few-shot"
    assert model.cells[3] == "0.41 (65 % of 40)"


def test_place_and_length_stand_with_their_n(report: Report) -> None:
    people, model = bias_table(report.preferences).rows
    assert people.cells == ("0.490 [0.39, 0.59] (n=101)", "0.530 [0.37, 0.69] (n=34)")
    assert model.cells[0] == "0.610 [0.49, 0.72] (n=66)"


def test_the_notes_say_how_many_rows_and_what_to_doubt(report: Report) -> None:
    text = " ".join(preference_notes(report.preferences))
    assert "3 people judged 40 of the 47 test rows to which the tuned model" in text
    assert "to 31 of 78 they gave the same" in text
    assert "17.5 % of its verdicts changed with the order" in text
    assert "2 of 80 replies held no verdict" in text
    assert "Nothing in this section enters the verdict" in text


def test_a_lone_rater_has_no_agreement(report: Report) -> None:
    alone = replace(
        report.preferences[0], agreement=type(report.preferences[0].agreement)(), first=None
    )
    table = preference_table([alone])
    assert table.rows[0].cells[3] == "–"
    assert table.note == ""
    assert bias_table([alone]).rows[0].cells[0] == "–"


def test_there_is_no_section_without_votes(report: Report) -> None:
    assert "preferred" in [section.id for section in sections_of(report)]
    without = sections_of(replace(report, preferences=()))
    assert "preferred" not in [section.id for section in without]
