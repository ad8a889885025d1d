"""The tuned model's opponents on validation rows: the strongest of them is chosen there.

Chosen on the test rows, the best of several equal systems would be the luckiest one, and a tuned
model that is truly better would lose to luck: with three equal opponents the power falls from 0.61
to 0.35.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tunesmith.errors import DataError
from tunesmith.evaluate.likeliest import RANKINGS, can_rank, likeliest_predictions
from tunesmith.evaluate.metrics import OVER_TASKS, find_metric, score_predictions
from tunesmith.evaluate.system_table import LIKELIEST, SYSTEMS
from tunesmith.evaluate.tasks import share_of, stand_ins
from tunesmith.records import Evaluation, Example, Prediction
from tunesmith.run_files import Opponents, Task
from tunesmith.stages.common import sample
from tunesmith.stages.tasks import of_task

OPPONENT_ROWS = 48  # of validation
TASK_ROWS = 8  # of each task of a mixture, at least
ByExample = Mapping[str, Mapping[str, Prediction]]
"""Answers by system and example id."""


def trial_rows(task: Task, validation: Sequence[Example]) -> list[Example]:
    """The validation rows that the opponents are tried on: as many of each trained task."""
    trained = [name for name, own in task.judged.items() if not own.held_out]
    each = max(TASK_ROWS, OPPONENT_ROWS // len(trained))
    return [example for name in trained for example in sample(of_task(validation, name), each)]


def likeliest_by_task(
    task: Task, test: Sequence[Example], trial: Sequence[Example], answers: ByExample
) -> dict[str, dict[str, Prediction]]:
    """By system and example id the likeliest choice, of test and trial rows, in each task whose
    choices were ranked.

    By which likelihoods is chosen on the task's trial rows; a held-out task has none, and those of
    whole answers are taken.
    """
    found: dict[str, dict[str, Prediction]] = {}
    for name in task.judged:
        rows, tried = of_task(test, name), of_task(trial, name)
        for system, ranked in LIKELIEST.items():
            known = _answered([*rows, *tried], answers.get(system, {}))
            if known and can_rank(known):
                ranking = _ranking(tried, known[len(rows) :])
                picked = likeliest_predictions([*rows, *tried], known, ranking)
                found.setdefault(ranked, {}).update({p.example_id: p for p in picked})
    return found


def _answered(examples: Sequence[Example], answers: Mapping[str, Prediction]) -> list[Prediction]:
    """The answers to all the examples; none where one is missing."""
    found = [answers[example.id] for example in examples if example.id in answers]
    return found if len(found) == len(examples) else []


def _ranking(trial: Sequence[Example], answers: Sequence[Prediction]) -> str:
    """By which likelihoods the choices are best ranked, of equals the first of RANKINGS."""
    return max(RANKINGS, key=lambda ranking: _right(trial, answers, ranking))


def _right(trial: Sequence[Example], answers: Sequence[Prediction], ranking: str) -> int:
    picked = likeliest_predictions(trial, answers, ranking)
    return sum(p.text == example.completion for p, example in zip(picked, trial, strict=True))


def opponents_by_task(task: Task, trial: Sequence[Example], answers: ByExample) -> Opponents:
    """What each opponent scores on the trial rows; of a mixture in each task and in the mean."""
    found = {
        name: _scores(own, rows, answers)
        for name, own in task.judged.items()
        if (rows := of_task(trial, name))
    }
    return _mean(task, found) if task.tasks else found[""]


def _scores(task: Task, trial: Sequence[Example], answers: ByExample) -> Opponents:
    """Of one task, in each of its metrics."""
    known = {name: _answered(trial, by_id) for name, by_id in answers.items()}
    found = {
        name: score_predictions(trial, predictions, task.metrics, task.parser, task.options)
        for name, predictions in known.items()
        if predictions and SYSTEMS[name].reference
    }
    scores = {
        metric: {name: result.value(metric) for name, result in found.items()}
        for metric in task.metrics
    }
    likeliest = {
        name: _ranking(trial, known[name]) for name, other in LIKELIEST.items() if other in found
    }
    return Opponents(len(trial), scores, likeliest)


def _mean(task: Task, found: Mapping[str, Opponents]) -> Opponents:
    """Over the tasks that have a place in the mean, of the systems that have answered all of them
    (evaluate.tasks.complete).
    """
    by_task = [
        (share, found[name].scores[own.primary])
        for name, own in task.tasks.items()
        if name in found and (share := share_of(own.primary)) is not None
    ]
    means = {}
    for system in {name: None for _, scores in by_task for name in scores}:
        values = [_value(system, scores) for _, scores in by_task]
        known = [
            s * value for (s, _), value in zip(by_task, values, strict=True) if value is not None
        ]
        if len(known) == len(by_task):
            means[system] = sum(known) / len(known)
    rows = sum(opponents.rows for opponents in found.values())
    return Opponents(rows, {OVER_TASKS: means}, tasks=found)


def _value(system: str, scores: Mapping[str, float]) -> float | None:
    """Of the system, or of what stands in for it."""
    return next((scores[name] for name in stand_ins(system) if name in scores), None)


def strongest(
    evaluations: Sequence[Evaluation], metric: str, opponents: Opponents | None
) -> Evaluation:
    """The opponent that the verdict on a metric is against: the best on the validation rows.

    Of equals there the better one on the test rows, which can only make the verdict stricter. All
    of them count as equal in a run folder that has no such scores, and one that has none of its own
    comes last. DataError where there is none.
    """
    candidates = [e for e in evaluations if SYSTEMS[e.system].reference]
    if not candidates:
        raise DataError("there is no baseline to compare with")
    sign = find_metric(metric).sign
    on_validation = opponents.scores.get(metric, {}) if opponents else {}

    def rank(evaluation: Evaluation) -> tuple[float, float]:
        score = on_validation.get(evaluation.system)
        known = -math.inf if score is None else sign * score
        return known, sign * evaluation.estimates[metric].mean

    return max(candidates, key=rank)


def how_chosen(opponents: Opponents | None) -> str:
    """One sentence for the report."""
    if opponents is None:
        return (
            "The verdict is against the best of the other systems on these test rows, which is a "
            "little hard on the tuned model."
        )
    return (
        f"The verdict is against the one that did best on {opponents.rows} validation rows, so "
        "that the test rows did not choose."
    )
