"""The three questions of the headline and what they come down to."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest

from tunesmith.evaluate.headline import (
    cheaper_question,
    headline,
    kept_question,
    task_question,
)
from tunesmith.evaluate.verdict import change
from tunesmith.records import Answer, Comparison, Estimate, Question, RetentionRow


def compared(
    difference: float, half: float, a: str = "base", metric: str = "accuracy"
) -> Comparison:
    return Comparison(
        a=a, b="tuned", metric=metric, difference=difference, se=half / 2, se_clustered=half / 2,
        ci=(difference - half, difference + half), p=0.001 if abs(difference) > half else 0.3,
        wins=30, ties=150, losses=20, n=200, clusters=200, smallest_detectable=1.4 * half,
    )  # fmt: skip


def levels(before: float, after: float) -> tuple[Estimate, Estimate]:
    return Estimate(before, 200, 0, (0, 0)), Estimate(after, 200, 0, (0, 0))


def text(before: float, after: float, half: float = 0.01) -> RetentionRow:
    change = after - before
    return RetentionRow(
        "held_out.txt", "bits_per_byte", before, after, change, (change - half, change + half), 0.01
    )


TASK = task_question(compared(0.2, 0.05), levels(0.6, 0.8))
CHEAPER = cheaper_question(compared(0.1, 0.05, "tfidf_linear"), levels(0.7, 0.8))
KEPT = kept_question([text(1.57, 1.58)], 0.05)


def test_three_times_yes_is_better() -> None:
    said = headline(TASK, CHEAPER, KEPT)
    assert said.kind == "better"
    assert said.heading == "Better than its base and a cheap linear model"
    assert said.sentence == (
        "Accuracy 80.0 % on rows it never saw; the base model 60.0 % and a cheap linear model "
        "70.0 %. Its general language was kept."
    )


def test_a_linear_model_that_wins_by_eleven_points_is_not_a_green_better() -> None:
    cheaper = cheaper_question(compared(-0.115, 0.07, "tfidf_linear"), levels(0.915, 0.8))
    said = headline(TASK, cheaper, KEPT)
    assert (cheaper.answer, said.kind) == ("no", "not better")
    assert said.heading == "Better than its base; a cheap model is better"


def test_language_that_nearly_doubled_its_bits_is_named_in_the_heading() -> None:
    kept = kept_question([text(1.57, 2.73)], 0.05)
    said = headline(TASK, CHEAPER, kept)
    assert (kept.answer, said.kind) == ("no", "not better")
    assert said.heading == "Better at the task, but worse at general language"
    assert "1.570 before, 2.730 after" in kept.sentence


def test_a_loss_within_the_margin_is_kept_and_a_wide_interval_cannot_tell() -> None:
    # 5 % of 1.57 is 0.0785 bits per byte
    assert kept_question([text(1.57, 1.60)], 0.05).answer == "yes"
    assert kept_question([text(1.57, 1.60)], 0.01).answer == "no"
    assert kept_question([text(1.57, 1.60, half=0.06)], 0.05).answer == "cannot tell"
    assert kept_question([text(1.57, 1.60, half=math.nan)], 0.05).answer == "cannot tell"
    assert kept_question([], 0.05).answer == "not measured"


def test_where_there_is_no_interval_the_sentence_says_why_and_shows_no_nan() -> None:
    row = RetentionRow(
        "a.txt", "accuracy", 0.5, 0.4, -0.1, (math.nan, math.nan), None, 3, "only 3 questions"
    )
    said = kept_question([row], 0.05).sentence
    assert said.endswith("-10.0 points (no interval: only 3 questions)).")
    found = change("bits_per_byte", 0.1, (math.nan, math.nan))
    assert found == "+0.100 (no interval)"
    assert change("accuracy", 0.1, (0.05, 0.15)) == "+10.0 points [+5.0, +15.0]"


def test_every_text_must_be_kept_and_the_worst_is_shown() -> None:
    questions = RetentionRow("general", "accuracy", 0.4, 0.2, -0.2, (-0.25, -0.15), 0.05)
    found = kept_question([text(1.57, 1.57), questions], 0.05)
    assert (found.answer, found.against) == ("no", "general")
    assert found.gain == -0.2  # accuracy fell
    assert kept_question([text(1.57, 1.7)], 0.05).gain == pytest.approx(-0.13)  # bits rose


def test_an_opponent_that_was_not_chosen_but_does_as_well_here_takes_the_yes_away() -> None:
    other = compared(0.0, 0.05, "base_few_shot")
    found = task_question(compared(0.2, 0.05), levels(0.6, 0.8), [other])
    assert found.answer == "cannot tell"
    assert found.sentence.endswith("But the base model, few-shot does as well on these rows.")
    beaten = task_question(
        compared(0.2, 0.05), levels(0.6, 0.8), [compared(0.1, 0.2, "base_few_shot")]
    )
    assert beaten.answer == "yes"


def test_without_a_linear_baseline_the_question_is_not_measured_and_does_not_count() -> None:
    cheaper = cheaper_question(None, None)
    assert cheaper.answer == "not measured"
    assert headline(TASK, cheaper, KEPT).kind == "better"
    assert headline(TASK, cheaper, KEPT).heading == "Better than its base"


def test_a_margin_of_the_recipe_replaces_the_default() -> None:
    nearly = compared(0.001, 0.012)
    assert task_question(nearly, levels(0.6, 0.601)).answer == "cannot tell"
    assert task_question(nearly, levels(0.6, 0.601), margin=0.02).answer == "no"


def test_errors_gain_where_they_fall() -> None:
    found = task_question(compared(-0.5, 0.2, metric="mae"), levels(1.5, 1.0))
    assert (found.answer, found.gain) == ("yes", 0.5)
    assert found.ci == pytest.approx((0.3, 0.7))


@pytest.mark.parametrize(
    "answers",
    list(
        itertools.product(
            ("yes", "no", "cannot tell"),
            ("yes", "no", "cannot tell", "not measured"),
            ("yes", "no", "cannot tell", "not measured"),
        )
    ),
)
def test_every_heading_has_at_most_ten_words_and_no_bad_news_is_left_out(
    answers: tuple[Answer, Answer, Answer],
) -> None:
    task, cheaper, kept = (
        replace(question, answer=answer)
        for question, answer in zip((TASK, CHEAPER, KEPT), answers, strict=True)
    )
    said = headline(task, cheaper, kept)
    assert len(said.heading.split()) <= 10
    assert (said.kind == "better") == (not {"no", "cannot tell"} & set(answers))
    if answers[0] == "yes" and "no" in answers:
        words = {"cheaper": "cheap", "kept": "language"}
        wrong: list[Question] = [q for q in (cheaper, kept) if q.answer == "no"]
        assert all(words[question.name] in said.heading for question in wrong)
