"""The two scores, with and without near-twins, stand beside each other."""

from __future__ import annotations

from dataclasses import replace

from tunesmith.records import TwinScores
from tunesmith.report.content import Report, to_json
from tunesmith.report.sections import sections_of
from tunesmith.report.twins import twin_table


def test_both_scores_are_shown_with_their_rows(report: Report) -> None:
    table = twin_table(report)
    assert [row.cells[0] for row in table.rows] == ["78", "70"]
    assert table.rows[1].cells[1:4] == ("0.600", "0.800", "+0.200 [+0.10, +0.30]")
    assert table.note == "Accuracy. 8 of the 78 test rows have a near-twin in training."
    assert "twins" in [section.id for section in sections_of(report)]
    assert to_json(report)["twins"]["rows_with_twin"] == 8


def test_no_twin_is_said_in_a_sentence(report: Report) -> None:
    scores = TwinScores(78, 0, "None of the 78 test rows has a near-twin in training.")
    shown = sections_of(replace(report, twins=scores))
    assert "twins" not in [section.id for section in shown]
    assert scores.sentence in shown[0].notes[0]


def test_where_twins_were_not_searched_nothing_is_said_of_them(report: Report) -> None:
    shown = sections_of(replace(report, twins=None))
    assert "twins" not in [section.id for section in shown]
    assert "near-twin" not in shown[0].notes[0]
