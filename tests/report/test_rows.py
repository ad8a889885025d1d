"""All test rows as data: outcomes, classes, what is cut, what a mixture holds."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from browser_pages import classified, summarised

from tunesmith.evaluate.tasks import over_tasks
from tunesmith.records import Estimate, Evaluation, Example, Prediction, TaskEvaluation
from tunesmith.report.browser import common_ends, counts, pack, rows_note, sample_table
from tunesmith.report.content import Report
from tunesmith.report.rows import AnsweredRows, answered_rows


def rows_of(report: Report) -> AnsweredRows:
    found = answered_rows(report)
    assert found is not None
    return found


def unpacked(data: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(zlib.decompress(base64.b64decode(data)))
    return found


def test_outcomes_are_counted_against_the_verdicts_reference() -> None:
    rows = rows_of(classified())
    assert counts(rows) == {"fixed": 3, "broken": 1, "right": 2, "wrong": 1}
    assert rows_note(rows) == (
        "7 rows by accuracy, base model against tuned model: 3 fixed, 1 broken, 2 both right, "
        "1 both wrong."
    )
    assert [rows.outcome(i, "tfidf_linear") for i in (2, 6)] == ["fixed", "fixed"]


def test_classes_are_those_of_the_confusion_matrix() -> None:
    report = classified()
    rows = rows_of(report)
    tuned = report.evaluations[-1]
    confusion = tuned.details["confusion"]
    assert list(rows.classes) == confusion["labels"]
    answered = rows.column("tuned").classes
    found = np.zeros((2, 3), int)
    for true, answer in zip(rows.true_classes, answered, strict=True):
        found[true, answer] += 1  # -1, unreadable, is the last column
    assert found.tolist() == confusion["counts"] == [[2, 1, 1], [0, 3, 0]]


def test_graded_rows_get_better_or_worse() -> None:
    rows = rows_of(summarised())
    assert counts(rows) == {"improved": 1}
    assert rows.judges[0].graded


def test_a_metric_of_all_rows_together_still_tells_the_rows_apart() -> None:
    report = classified()
    without = [replace(e, scores={"valid": e.scores["valid"]}) for e in report.evaluations]
    rows = rows_of(replace(report, evaluations=without, primary_metric="macro_f1"))
    assert counts(rows) == {"fixed": 3, "broken": 1, "right": 2, "wrong": 1}


def test_an_error_of_which_less_is_better_improves_when_it_falls() -> None:
    def of(system: str, error: float) -> Evaluation:
        answer = Prediction("e", str(error), True, 1)
        level = {"mae": Estimate(error, 1, 0, (error, error))}
        return Evaluation(system, "test", ["e"], ["e"], [answer], {"mae": [error]}, level)

    example = Example("e", "e", "t", "How much?", "0")
    evaluations = [of("base", 3.0), of("tuned", 0.5)]
    report = Report("r", "k", "v", "mae", evaluations, (), {"e": example})
    assert counts(rows_of(report)) == {"improved": 1}


def test_a_mixture_shows_trained_and_held_out_tasks_each_by_its_own_metric() -> None:
    def of(system: str, task: str, metric: str, score: float) -> Evaluation:
        id = f"{task}0"
        names = (metric, "valid", "stopped", "empty", "text_after_answer", "length_ratio")
        rows = {name: np.array([[score if name == metric else 1.0]]) for name in names}
        scores = {name: values[:, 0].tolist() for name, values in rows.items()}
        return Evaluation(
            system, "test", [id], [id], [Prediction(id, system, True, 1)], scores,
            {metric: Estimate(score, 1, 0, (0, 1))}, {}, rows,
        )  # fmt: skip

    def whole(system: str, task: str, metric: str, score: float) -> Evaluation:
        tasks = {task: TaskEvaluation(metric, of(system, task, metric, score))}
        return over_tasks(system, tasks, 0.95)

    report = Report(
        "r", "k", "v", "task_mean",
        [whole("base", "label", "accuracy", 0.0), whole("tuned", "label", "accuracy", 1.0)],
        (),
        {f"{task}0": Example(f"{task}0", f"{task}0", "t", "?", "!") for task in ("label", "sum")},
        held_out=[whole("base", "sum", "rougeL", 0.4), whole("tuned", "sum", "rougeL", 0.3)],
    )  # fmt: skip
    rows = rows_of(report)
    assert [(judge.name, judge.metric, judge.graded) for judge in rows.judges] == [
        ("label", "accuracy", False),
        ("sum", "rougeL", True),
    ]
    assert counts(rows) == {"fixed": 1, "worse": 1}


def test_one_system_alone_has_no_rows_to_compare() -> None:
    report = classified()
    assert answered_rows(replace(report, evaluations=report.evaluations[-1:])) is None
    assert answered_rows(replace(report, evaluations=report.evaluations[:-1])) is None


def test_what_all_prompts_share_is_packed_once() -> None:
    data = unpacked(pack(rows_of(classified())).data)
    assert data["start"] == "Say good or bad.\nText: the "[:-4]
    assert data["end"] == "\nAnswer:"
    assert data["prompt"][0] == "the soup was warm"
    assert data["systems"] == ["Base model", "Linear model (TF-IDF)", "Tuned model"]
    assert data["answers"][2]["text"][5] == "no idea"


@pytest.mark.parametrize(
    "prompts, ends",
    [
        (["a b c", "a d c"], ("a ", " c")),
        (["same", "same"], ("", "")),
        (["alone"], ("", "")),
        ([], ("", "")),
        (["x y", "x"], ("", "")),
        (["do x x", "do x"], ("do ", "")),  # of each there is something left
        (["bluebird", "blueberry"], ("", "")),  # whole words only
    ],
)
def test_shared_beginnings_and_ends_are_whole_words(
    prompts: list[str], ends: tuple[str, str]
) -> None:
    assert common_ends(prompts) == ends


def test_texts_are_cut_only_as_far_as_they_must_be() -> None:
    rows = rows_of(classified(words=400))
    whole = pack(rows)
    assert (whole.cut, whole.shortened, whole.note) == (4000, False, "")
    tight = pack(rows, limit=len(whole.data) // 2)
    assert tight.shortened
    assert len(tight.data) <= len(whole.data) // 2
    assert tight.note.startswith(f"Texts are cut after {tight.cut:,} characters, so that this page")
    assert len(unpacked(tight.data)["prompt"][0]) == tight.cut + 1  # and an ellipsis


def test_rows_are_left_out_where_no_cut_is_enough() -> None:
    rows = rows_of(classified(copies=50))
    packed = pack(rows, limit=1500)
    assert packed.rows < packed.total == 350
    assert len(unpacked(packed.data)["id"]) == packed.rows
    assert f"the first {packed.rows} of 350 rows" in packed.note.lower()


def test_a_score_that_is_no_number_is_none() -> None:
    report = summarised()
    broken = replace(report.evaluations[0], scores={"rougeL": [float("nan")]})
    data = unpacked(
        pack(rows_of(replace(report, evaluations=[broken, report.evaluations[1]]))).data
    )
    assert data["answers"][0]["quality"] == [None]


def test_the_sample_has_rows_of_every_outcome_whatever_their_order() -> None:
    report = classified(copies=20)
    table = sample_table(rows_of(report))
    outcomes = [row.label for row in table.rows]
    assert outcomes == ["Fixed"] * 5 + ["Broken"] * 5 + ["Both right"] * 5 + ["Both wrong"] * 5
    turned = [
        replace(
            e,
            example_ids=e.example_ids[::-1],
            predictions=e.predictions[::-1],
            scores={name: values[::-1] for name, values in e.scores.items()},
            rows={name: values[::-1] for name, values in e.rows.items()},
        )
        for e in report.evaluations
    ]
    assert sample_table(rows_of(replace(report, evaluations=turned))) == table
