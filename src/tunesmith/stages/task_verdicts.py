"""Verdicts on each task of a mixture, on the trained tasks together and on the held-out ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Unpack

from tunesmith.evaluate.compare import Resampling, compare
from tunesmith.evaluate.headline import task_question
from tunesmith.evaluate.metrics import OVER_TASKS, find_metric
from tunesmith.evaluate.statistics import holm
from tunesmith.evaluate.system_table import SYSTEMS, TUNED
from tunesmith.evaluate.tasks import as_a_sample, compare_over_tasks, complete, counted
from tunesmith.records import (
    Answer,
    Comparison,
    Evaluation,
    OverTasks,
    TaskEvaluation,
    TaskReport,
    TaskVerdict,
)
from tunesmith.run_files import Opponents
from tunesmith.stages.opponents import strongest

KINDS: Mapping[Answer, str] = {"yes": "better", "no": "not better", "cannot tell": "cannot tell"}


def task_report(
    trained: Sequence[Evaluation],
    held_out: Sequence[Evaluation],
    opponents: Opponents | None = None,
    margin: float | None = None,
    **options: Unpack[Resampling],
) -> TaskReport:
    """Verdicts of each task and over all, from every system's evaluation over the trained and over
    the held-out tasks (evaluate.tasks.over_tasks), those included that have not answered all of
    them.

    `opponents` are the scores on validation by which the trained tasks' references are chosen;
    `margin` is the gain that counts, where the metric is a share.
    """
    groups = ((False, trained), (True, held_out))
    judged = [
        (name, is_held_out, _comparisons(name, evaluations, opponents, **options), evaluations)
        for is_held_out, evaluations in groups
        for name in _tasks(evaluations)
    ]
    adjusted = holm([comparisons[0].p for _, _, comparisons, _ in judged])
    verdicts = tuple(
        _verdict(name, is_held_out, comparisons, evaluations, p, margin, options["confidence"])
        for (name, is_held_out, comparisons, evaluations), p in zip(judged, adjusted, strict=True)
    )
    return TaskReport(
        verdicts,
        _over(False, trained, opponents, **options),
        _over(True, held_out, None, **options),
    )


def _tasks(evaluations: Sequence[Evaluation]) -> Mapping[str, TaskEvaluation]:
    return next((e.tasks for e in evaluations if e.system == TUNED), {})


def _of_task(name: str, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    return [e.tasks[name].evaluation for e in evaluations if name in e.tasks]


def _comparisons(
    name: str,
    evaluations: Sequence[Evaluation],
    opponents: Opponents | None,
    **options: Unpack[Resampling],
) -> list[Comparison]:
    """The tuned model against the systems that a verdict compares with, first the reference."""
    metric, tuned = _tasks(evaluations)[name]
    found = [e for e in _of_task(name, evaluations) if SYSTEMS[e.system].reference]
    reference = strongest(found, metric, opponents.tasks.get(name) if opponents else None)
    others = [evaluation for evaluation in found if evaluation is not reference]
    return [compare(other, tuned, metric, **options) for other in (reference, *others)]


def _verdict(
    name: str,
    held_out: bool,
    comparisons: Sequence[Comparison],
    evaluations: Sequence[Evaluation],
    p_holm: float,
    margin: float | None,
    confidence: float,
) -> TaskVerdict:
    """As the headline answers its first question."""
    first, *others = comparisons
    metric = first.metric
    estimates = {e.system: e.estimates[metric] for e in _of_task(name, evaluations)}
    said = task_question(
        first,
        (estimates[first.a], estimates[first.b]),
        others,
        margin=margin if find_metric(metric).unit == "fraction" else None,
        confidence=confidence,
        p=p_holm,
    )
    return TaskVerdict(
        task=name,
        held_out=held_out,
        metric=metric,
        n=first.n,
        estimates=estimates,
        comparison=first,
        p_holm=p_holm,
        kind=KINDS[said.answer],
    )


def _over(
    held_out: bool,
    evaluations: Sequence[Evaluation],
    opponents: Opponents | None,
    **options: Unpack[Resampling],
) -> OverTasks | None:
    """None where no task has a place in the mean, or there is none at all."""
    tasks = _tasks(evaluations)
    in_mean = counted(tasks)
    if not in_mean:
        return None
    found = complete(evaluations, options["confidence"])
    tuned = next(e for e in found if e.system == TUNED)
    reference = strongest(found, OVER_TASKS, opponents)
    these = compare_over_tasks(reference, tuned, **options)
    return OverTasks(
        held_out=held_out,
        tasks=tuple(in_mean),
        left_out=tuple(name for name in tasks if name not in in_mean),
        means={e.system: e.estimates[OVER_TASKS] for e in found},
        these=these,
        others=as_a_sample(reference, tuned, these, options["confidence"]),
    )
