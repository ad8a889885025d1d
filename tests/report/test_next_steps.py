"""What a report's answers come down to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tunesmith.evaluate.decisions import Gate
from tunesmith.records import Answer, Comparison, Question, QuestionName, Unreadable
from tunesmith.report.content import Report
from tunesmith.report.next_steps import Step, next_steps

UP, DOWN, OPEN = (0.1, 0.3), (-0.3, -0.1), (-0.05, 0.15)
FAIR = Comparison(
    "base", "tuned", "accuracy", 0.05, 0.05, 0.05, (-0.05, 0.15), 0.3, 20, 65, 15, 100, 100, 0.14
)


def question(name: QuestionName, answer: Answer, ci: tuple[float, float] = OPEN) -> Question:
    against = {"task": "base", "cheaper": "tfidf_linear", "kept": "Plain text"}[name]
    metric = "bits_per_byte" if name == "kept" else "accuracy"
    return Question(name, name, answer, "s.", metric, against, sum(ci) / 2, ci, 0.01, 1.57, 2.73)


def report(
    task: Question,
    cheaper: Question | None = None,
    kept: Question | None = None,
    comparisons: Sequence[Comparison] = (FAIR,),
) -> Report:
    asked = (
        task,
        cheaper or question("cheaper", "not measured"),
        kept or question("kept", "yes"),
    )
    return Report("r", "k", "v", "accuracy", (), comparisons, {}, questions=asked)


def kinds(found: Report) -> list[str]:
    return [step.kind for step in next_steps(found)]


YES = question("task", "yes", UP)


def test_three_times_yes_is_to_be_used() -> None:
    found = report(YES, question("cheaper", "yes", UP))
    assert next_steps(found) == [Step("use", "Use it, for rows like these.")]


def test_what_was_not_measured_does_not_forbid_its_use() -> None:
    assert kinds(report(YES, kept=question("kept", "not measured"))) == ["use", "measure"]


@pytest.mark.parametrize("ci, how", [(DOWN, "it is better"), (OPEN, "it does as well")])
def test_a_linear_model_that_is_as_good_is_to_be_used(ci: tuple[float, float], how: str) -> None:
    [step] = next_steps(report(YES, question("cheaper", "no", ci)))
    assert step.kind == "use linear"
    assert how in step.sentence


def test_a_worse_model_is_not_to_be_used() -> None:
    [step] = next_steps(report(question("task", "no", DOWN)))
    assert step.kind == "keep base"
    assert step.sentence.startswith("Do not use it: the base model is better.")


def test_a_model_that_is_no_better_asks_for_more_labels_to_train_on() -> None:
    assert kinds(report(question("task", "no", OPEN))) == ["keep base", "more labels"]


def test_more_rows_are_asked_for_where_they_would_tell() -> None:
    [step] = next_steps(report(question("task", "cannot tell")))
    assert step == Step(
        "more rows",
        "Label about 1,100 more rows to test on, more if its gain is smaller than the one seen: "
        "100 cannot tell it from the base model.",
    )


def test_no_rows_are_promised_to_a_model_that_is_behind() -> None:
    behind = replace(FAIR, difference=-0.02, ci=(-0.1, 0.06))
    found = report(question("task", "cannot tell"), comparisons=[behind])
    assert kinds(found) == ["more labels"]


def test_four_groups_ask_for_two_more() -> None:
    few = replace(FAIR, clusters=4)
    [step] = next_steps(report(question("task", "cannot tell"), comparisons=[few]))
    assert step.sentence == (
        "Label at least 2 more groups of rows to test on: with 4 nothing can be shown."
    )


def test_the_linear_model_is_the_cheaper_choice_until_it_is_beaten() -> None:
    linear = replace(FAIR, a="tfidf_linear")
    found = report(YES, question("cheaper", "cannot tell"), comparisons=[FAIR, linear])
    [step] = next_steps(found)
    assert step.kind == "more rows"
    assert step.sentence.endswith("Until then the linear model is the cheaper choice.")


def test_lost_language_asks_for_plain_text_in_training() -> None:
    [step] = next_steps(report(YES, kept=question("kept", "no", DOWN)))
    assert step.kind == "plain text"
    assert "(1.570 before, 2.730 after)" in step.sentence
    assert "replay: true" in step.sentence


def test_a_gate_that_was_not_passed_comes_first_and_forbids_its_use() -> None:
    gate = Gate("least_gain", "gain in accuracy", 0.5, 0.2, UP, "failed", "it is 0.2")
    found = replace(report(YES), gates=[gate])
    assert kinds(found) == ["gates"]
    assert "1 of 1 (gain in accuracy)" in next_steps(found)[0].sentence


def test_answers_that_cannot_be_read_are_to_be_looked_at() -> None:
    found = replace(report(YES), unreadable=[Unreadable("tuned", 0.34), Unreadable("base", 0.9)])
    assert kinds(found) == ["use", "format"]
    assert next_steps(found)[1].sentence.startswith("34 % of its answers")


def test_a_report_without_questions_says_nothing() -> None:
    assert next_steps(Report("r", "k", "v", "accuracy", (), (), {})) == []


def test_trainings_that_differ_too_much_ask_for_seeds() -> None:
    scattered = replace(FAIR, runs=2, se_runs=0.2, se_clustered=0.21, ci=(-2.6, 2.7))
    [step] = next_steps(report(question("task", "cannot tell"), comparisons=[scattered]))
    assert step.kind == "more seeds"


def test_a_comparison_without_an_interval_is_not_taken_for_a_number_of_rows() -> None:
    blank = replace(FAIR, ci=(math.nan, math.nan))
    assert kinds(report(question("task", "cannot tell"), comparisons=[blank])) == ["more labels"]
