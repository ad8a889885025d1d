"""Verdicts on the tasks of a mixture, and what their opponents scored on validation: by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mixture_rows import (
    ALL,
    BASE,
    JSON,
    LABELS,
    MIXTURE,
    MOOD,
    OPTIONS,
    TUNED,
    evaluation,
    examples,
)

from tunesmith.evaluate.compare import compare
from tunesmith.evaluate.metrics import OVER_TASKS
from tunesmith.evaluate.statistics import holm
from tunesmith.evaluate.tasks import evaluate_task
from tunesmith.records import Evaluation, Example, Prediction
from tunesmith.run_files import Opponents, Task
from tunesmith.stages.opponents import likeliest_by_task, opponents_by_task, trial_rows
from tunesmith.stages.task_verdicts import task_report


def test_a_task_without_a_place_in_the_mean_is_named_and_judged() -> None:
    ages = Task("regress", "number", ("mae",))
    mixture = replace(MIXTURE, tasks={"mood": LABELS, "age": ages})
    rows = [*MOOD, *examples("age", ["10", "20"])]
    evaluations = [
        evaluate_task(
            system,
            "test",
            rows,
            [Prediction(e.id, text, True, 1) for e, text in zip(rows, texts, strict=True)],
            mixture,
        )
        for system, texts in (
            ("base", [*BASE[:4], "10", "10"]),
            ("tuned", [*TUNED[:4], "10", "20"]),
        )
    ]
    found = task_report(evaluations, [], **OPTIONS)
    assert [v.task for v in found.verdicts] == ["mood", "age"]
    assert found.verdicts[1].comparison.difference == -5  # the mean absolute error falls
    assert found.trained is not None
    assert (found.trained.tasks, found.trained.left_out) == (("mood",), ("age",))
    assert found.trained.these.difference == pytest.approx(1 / 2)
    assert OVER_TASKS not in evaluations[0].scores


def test_every_task_has_its_own_reference_and_p_is_adjusted_for_all() -> None:
    few_shot = ["bad", "bad", "bad", "bad", '{"a": 1, "b": 3}', '{"a": 1, "b": 3}']
    evaluations = [
        evaluation("base", BASE),
        evaluation("base_few_shot", few_shot),
        evaluation("tuned", TUNED),
    ]
    scores = {"mood": {"base": 0.2, "base_few_shot": 0.4}, "fields": {"base": 0.9}}
    opponents = Opponents(
        8,
        {OVER_TASKS: {"base": 0.5, "base_few_shot": 0.4}},
        tasks={
            name: Opponents(4, {metric: scores[name]})
            for name, metric in (("mood", "accuracy"), ("fields", "json_f1"))
        },
    )
    found = task_report(evaluations, [], opponents, **OPTIONS)
    mood, fields = found.verdicts
    assert (mood.comparison.a, fields.comparison.a) == ("base_few_shot", "base")
    alone = [
        compare(a.tasks[name].evaluation, evaluations[2].tasks[name].evaluation, metric, **OPTIONS)
        for a, name, metric in (
            (evaluations[1], "mood", "accuracy"),
            (evaluations[0], "fields", "json_f1"),
        )
    ]
    assert [mood.comparison, fields.comparison] == alone
    assert [mood.p_holm, fields.p_holm] == holm([c.p for c in alone])
    assert {name: e.mean for name, e in mood.estimates.items()} == {
        "base": 1 / 4,
        "base_few_shot": 1 / 2,
        "tuned": 3 / 4,
    }
    assert (mood.kind, mood.n, mood.metric, mood.held_out) == ("cannot tell", 4, "accuracy", False)
    assert found.trained is not None
    assert found.held_out is None
    assert found.trained.these.a == "base"  # on validation, though not on these rows
    assert found.trained.comparison == found.trained.these


def test_held_out_tasks_are_a_sample_of_tasks() -> None:
    """Gains 1/2 and 3/4: mean 0.625, standard error 0.125, t(1) at 97.5 % is 12.706; a share gains
    1 at most.
    """
    better = [*TUNED[:5], '{"a": 1, "b": 3}']
    found = task_report([], [evaluation("base", BASE), evaluation("tuned", better)], **OPTIONS)
    assert found.trained is None
    assert found.held_out is not None
    others = found.held_out.others
    assert found.held_out.comparison == others
    assert others.difference == pytest.approx(0.625)
    assert others.se_clustered == pytest.approx(0.125)
    assert others.clusters == 2
    assert others.ci == pytest.approx((0.625 - 12.7062 * 0.125, 1.0), abs=1e-3)
    assert all(v.held_out for v in found.verdicts)


def test_what_does_as_well_on_the_test_rows_forbids_a_yes() -> None:
    """Chosen on validation was the weaker base; the few-shot one is as good as the tuned one."""
    rows = examples("mood", ["good", "bad"] * 10, ("good", "bad"))
    task = replace(MIXTURE, tasks={"mood": LABELS})

    def answered(system: str, text: str | None) -> Evaluation:
        predictions = [Prediction(e.id, text or e.completion, True, 1) for e in rows]
        return evaluate_task(system, "test", rows, predictions, task)

    base, tuned = answered("base", "what?"), answered("tuned", None)
    chosen = Opponents(8, {}, tasks={"mood": Opponents(8, {"accuracy": {"base": 1.0}})})
    assert task_report([base, tuned], [], chosen, **OPTIONS).verdicts[0].kind == "better"
    few_shot = answered("base_few_shot", None)
    (verdict,) = task_report([base, few_shot, tuned], [], chosen, **OPTIONS).verdicts
    assert (verdict.comparison.a, verdict.kind) == ("base", "cannot tell")


def test_opponents_are_tried_task_by_task_and_their_means_over_the_tasks() -> None:
    """Moods 1/4 and 3/4, fields 1/4 and none: what is not there is the base's."""
    answers = {
        "base": dict(zip([e.id for e in ALL], predictions(BASE), strict=True)),
        "base_few_shot": dict(zip([e.id for e in MOOD], predictions(TUNED[:4]), strict=True)),
        "tfidf_linear": dict(zip([e.id for e in MOOD], predictions(TUNED[:4]), strict=True)),
    }
    found = opponents_by_task(MIXTURE, ALL, answers)
    assert found.rows == 6
    assert found.tasks["mood"].scores["accuracy"] == {"base": 1 / 4, "base_few_shot": 3 / 4}
    assert found.tasks["fields"].scores["json_f1"] == {"base": 1 / 4}
    assert found.scores == {OVER_TASKS: {"base": 1 / 4, "base_few_shot": 1 / 2}}
    assert opponents_by_task(LABELS, untasked(MOOD), answers).scores["accuracy"] == {
        "base": 1 / 4,
        "base_few_shot": 3 / 4,
    }


def test_the_likeliest_choice_is_taken_where_a_task_has_choices() -> None:
    """The trial row is right per byte only; a held-out task has none and is taken whole."""
    long = ("no", "yes, in every way")
    trial = [Example("v", "v", "t", "Q", long[1], (long[1],), long, task="mood")]
    test = [replace(e, choices=long) for e in MOOD[:1]]
    unseen = [replace(e, task="unseen", id="u", choices=long) for e in MOOD[:1]]
    task = replace(MIXTURE, tasks={**MIXTURE.tasks, "unseen": replace(LABELS, held_out=True)})
    rows = [*test, *unseen, *trial, *JSON]
    logprobs = {e.id: (-1.0, -2.0) if e.choices else () for e in rows}
    answers = {
        name: Prediction(name, "", True, 1, found, choice_logprobs_without_stop=found)
        for name, found in logprobs.items()
    }
    found = likeliest_by_task(task, [*test, *unseen, *JSON], trial, {"base": answers})
    texts = {name: {p.example_id: p.text for p in own.values()} for name, own in found.items()}
    assert texts == {"base_likeliest": {"mood0": long[1], "v": long[1], "u": "no"}}


def test_as_many_validation_rows_of_each_trained_task_are_tried() -> None:
    task = replace(MIXTURE, tasks={**MIXTURE.tasks, "unseen": replace(LABELS, held_out=True)})
    validation = [*examples("mood", ["good"] * 60), *examples("fields", ["{}"] * 10)]
    found = trial_rows(task, validation)
    assert [sum(e.task == name for e in found) for name in task.tasks] == [24, 10, 0]
    assert len(trial_rows(LABELS, untasked(validation))) == 48


def predictions(texts: list[str]) -> list[Prediction]:
    """In the order of ALL."""
    return [Prediction(e.id, text, True, 1) for e, text in zip(ALL, texts, strict=False)]


def untasked(rows: list[Example]) -> list[Example]:
    return [replace(example, task="") for example in rows]
