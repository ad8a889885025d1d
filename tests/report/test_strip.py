"""The strip, the chips and the plain words of a report's head."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tunesmith.records import Estimate, Question
from tunesmith.report.answers import chips, short
from tunesmith.report.content import Report
from tunesmith.report.format import share
from tunesmith.report.strip import strip_of
from tunesmith.report.usage import day, parameters
from tunesmith.report.words import TERMS, plain_name, terms_table


def with_levels(report: Report, **levels: Estimate) -> Report:
    evaluations = [
        replace(e, estimates={report.primary_metric: levels[e.system]})
        for e in report.evaluations
        if e.system in levels
    ]
    return replace(report, evaluations=evaluations)


def test_base_reference_linear_and_tuned_stand_on_one_scale(report: Report) -> None:
    found = strip_of(
        with_levels(
            report,
            base=Estimate(0.5, 78, 0.05, (0.4, 0.6)),
            majority=Estimate(0.2, 78, 0.05, (0.1, 0.3)),  # not the reference: not drawn
            tfidf_linear=Estimate(0.7, 78, 0.05, (0.6, 0.8)),
            tuned=Estimate(0.9, 78, 0.05, (0.8, 1.0)),
        )
    )
    assert found is not None
    assert found.title == "Right answers (accuracy) on 78 rows that training never saw"
    assert [(row.label, row.text, row.marked) for row in found.rows] == [
        ("Base model", "50.0 % [40.0, 60.0]", False),
        ("Linear model (TF-IDF)", "70.0 % [60.0, 80.0]", False),
        ("Tuned model", "90.0 % [80.0, 100.0]", True),
    ]
    assert [text for _, text in found.ticks] == [f"{n} %" for n in range(40, 101, 10)]
    assert found.rows[0].at == pytest.approx(1 / 6)
    assert found.rows[2].ends == pytest.approx((4 / 6, 1.0))


def test_a_system_without_an_interval_is_a_dot(report: Report) -> None:
    nothing = (math.nan, math.nan)
    found = strip_of(
        with_levels(
            report,
            base=Estimate(0.5, 78, 0.05, (0.4, 0.6)),
            tuned=Estimate(0.9, 78, 0.0, nothing, "one group"),
        )
    )
    assert found is not None
    assert (found.rows[1].ends, found.rows[1].text) == (None, "90.0 % (no interval)")


def test_a_scale_without_percent_and_a_score_of_which_less_is_better(report: Report) -> None:
    found = strip_of(
        replace(
            with_levels(
                replace(report, primary_metric="mae"),
                base=Estimate(12.5, 78, 1, (11.0, 14.0)),
                tuned=Estimate(8.0, 78, 1, (7.0, 9.0)),
            ),
            comparisons=(),
        )
    )
    assert found is not None
    assert found.title.endswith("training never saw; less is better")
    assert found.rows[1].text == "8.000 [7.000, 9.000]"
    assert "%" not in "".join(text for _, text in found.ticks)


def test_nothing_measured_has_no_strip() -> None:
    assert strip_of(Report("r", "k", "v", "accuracy", (), (), {})) is None


def test_an_answer_is_a_word_an_icon_and_a_line_of_numbers(report: Report) -> None:
    task, cheaper, kept = chips(report)
    assert (task.look, task.icon, task.word) == ("good", "✓", "Yes")
    assert task.why.startswith("92.3 % against 67.9 % for the base model: gain +24.4 points [+")
    assert cheaper.why.startswith("92.3 % against 67.9 % for the linear model (TF-IDF): gain")
    assert (kept.look, kept.icon, kept.word) == ("open", "?", "Cannot tell")
    assert kept.why == (
        "General text: bits per byte 1.912 before, 1.934 after; a loss of 1 % is allowed"
    )


def test_an_answer_that_was_not_measured_says_so() -> None:
    question = Question("kept", "Kept", "not measured", "It was not measured.")
    assert short(question) == "It was not measured"


def test_plain_words_come_with_their_term() -> None:
    assert plain_name("accuracy") == "Right answers (accuracy)"
    assert plain_name("rougeL") == "Words in order shared with the right text (ROUGE-L)"
    assert plain_name("perplexity") == "Perplexity of the right answer"


def test_every_term_is_explained_at_the_reports_confidence(report: Report) -> None:
    rows = terms_table(replace(report, confidence=0.9)).rows
    assert [row.label for row in rows] == list(TERMS)
    assert "90 % of such tests" in next(row.cells[0] for row in rows if row.label[0] == "[")


def test_facts_are_for_people(report: Report) -> None:
    assert parameters(report) == "4.81 million parameters"
    assert parameters(replace(report, training={"parameters": 1_240_000_000})) == (
        "1.24 billion parameters"
    )
    assert parameters(replace(report, training={})) == ""
    assert (day("2026-03-02T10:00:00+00:00"), day(""), day("soon")) == ("2026-03-02", "", "")
    assert share(Estimate(0.0342, 234, 0.01, (0.017, 0.066))) == "3.4 % [1.7, 6.6]"
