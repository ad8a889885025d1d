"""The sentence on when a model may answer, and what stands below it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tunesmith.evaluate.decisions import Calibration
from tunesmith.records import Estimate
from tunesmith.report.calibration import (
    confidence_table,
    risk_coverage_chart,
    threshold_note,
    threshold_sentence,
)
from tunesmith.report.card import render_card
from tunesmith.report.content import Report
from tunesmith.report.sections import sections_of


@pytest.fixture
def found(report: Report) -> Calibration:
    assert report.calibration is not None
    return report.calibration


@pytest.fixture
def none(found: Calibration) -> Calibration:
    """No threshold reaches the target."""
    fitted = replace(found.threshold, threshold=None, accuracy_at_least=None, answered=0, right=0)
    return replace(found, threshold=fitted, coverage=None, accuracy=None)


def test_the_sentence_gives_coverage_and_accuracy_with_their_intervals(
    found: Calibration,
) -> None:
    assert threshold_sentence(found) == (
        "It answers 81 % [77, 85] of the rows, of those 96 % [93, 98] are right; "
        "the rest goes to a person."
    )


def test_a_target_that_no_threshold_reaches_is_said_with_the_rows_that_it_takes(
    none: Calibration,
) -> None:
    few = replace(none, threshold=replace(none.threshold, rows=50))
    assert threshold_sentence(none) == (
        "No threshold reaches 95 % on validation (200 rows); every answer needs a person."
    )
    assert threshold_sentence(few) == (
        "No threshold reaches 95 % on validation (50 rows): at least 104 rows without a mistake "
        "are needed; every answer needs a person."
    )


def test_a_threshold_that_no_test_row_reaches_is_said(found: Calibration) -> None:
    nothing = Estimate(0.0, 78, 0.0, (0.0, 0.05))
    assert threshold_sentence(replace(found, coverage=nothing, accuracy=None)) == (
        "At the threshold for 95 % it answers none of the 78 test rows."
    )


def test_what_is_not_all_is_not_rounded_to_all(found: Calibration) -> None:
    nearly = replace(found, accuracy=Estimate(0.998, 500, 0.002, (0.987, 0.9996)))
    assert "99.8 % [98.7, 100.0]" in threshold_sentence(nearly)


def test_a_share_without_an_interval_says_so(found: Calibration) -> None:
    few = replace(found, accuracy=Estimate(0.96, 3, float("nan"), (float("nan"), float("nan"))))
    assert "of those 96 % (no interval) are right" in threshold_sentence(few)


def test_the_note_says_how_the_threshold_was_found(found: Calibration, none: Calibration) -> None:
    note = threshold_note(found)
    assert "over the temperature 1.150" in note
    assert "fitted on 200 validation rows before the test split was opened" in note
    assert "149 of 150 were right there, so at least 95.3 % are" in note
    assert "tunesmith_threshold.json" in note
    assert "saved" not in threshold_note(none)


def test_before_and_after_stand_in_one_table_and_one_chart(found: Calibration) -> None:
    table, chart = confidence_table(found), risk_coverage_chart(found)
    titles = ["Base model", "Tuned model", "Tuned model, with temperature"]
    assert [row.label for row in table.rows] == titles
    assert [line.label for line in chart.lines] == ["base", "tuned", "tuned, with temperature"]
    assert table.rows[0].cells[1:3] == ("0.040 [0.00, 0.06]", "0.030")
    assert "Tuned model 0.010 wrong at 50%, 0.080 of all rows" in chart.alt


def test_the_card_says_when_the_model_may_answer(report: Report) -> None:
    assert "## When may it answer by itself?" in render_card(report)
    assert "It answers 81 % [77, 85] of the rows" in render_card(report)


def test_tasks_without_choices_have_no_such_section(graded_report: Report) -> None:
    assert "calibration" not in [section.id for section in sections_of(graded_report)]
    assert "by itself" not in render_card(graded_report)
