"""Verdicts on each task of a mixture, on the trained tasks together and on the held-out ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Unpack

from tunesmith.evaluate.compare import Resampling
from tunesmith.evaluate.headline import task_question
from tunesmith.evaluate.metrics import OVER_TASKS, find_metric
from tunesmith.evaluate.statistics import holm
from tunesmith.evaluate.system_table import SYSTEMS, TUNED
from tunesmith.evaluate.tasks import complete, counted
from tunesmith.evaluate.trainings import (
    against_seeds,
    compare_pairs,
    mean_of_seeds,
    pairs_as_a_sample,
)
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


@dataclass(frozen=True)
class Group:
    """The trained or the held-out tasks: every system on them, those included that have not
    answered all of them, and the tuned model in each of its trainings, of which the first is among
    the systems.
    """

    held_out: bool
    systems: Sequence[Evaluation]
    tuned: Sequence[Evaluation]

    @property
    def tasks(self) -> Mapping[str, TaskEvaluation]:
        """Those that the tuned model has answered, by name."""
        return self.tuned[0].tasks if self.tuned else {}

    def of_task(self, name: str) -> list[Evaluation]:
        """Every system that has answered the task, on it."""
        return [e.tasks[name].evaluation for e in self.systems if name in e.tasks]


def task_report(
    trained: Sequence[Evaluation],
    held_out: Sequence[Evaluation],
    opponents: Opponents | None = None,
    margin: float | None = None,
    later: tuple[Sequence[Evaluation], Sequence[Evaluation]] = ((), ()),
    **options: Unpack[Resampling],
) -> TaskReport:
    """Verdicts of each task and over all, from every system's evaluation over the trained and over
    the held-out tasks (evaluate.tasks.over_tasks), those included that have not answered all of
    them.

    `opponents` are the scores on validation by which the trained tasks' references are chosen;
    `margin` is the gain that counts, where the metric is a share; `later` are the tuned model's
    second and later trainings, on the trained and on the held-out tasks.
    """
    groups = (_group(False, trained, later[0], options), _group(True, held_out, later[1], options))
    judged = [
        (group, name, _comparisons(group, name, opponents, options))
        for group in groups
        for name in group.tasks
    ]
    adjusted = holm([comparisons[0].p for _, _, comparisons in judged])
    verdicts = tuple(
        _verdict(group, name, comparisons, p, margin, options["confidence"])
        for (group, name, comparisons), p in zip(judged, adjusted, strict=True)
    )
    of_trained, of_held_out = groups
    return TaskReport(
        verdicts, _over(of_trained, opponents, options), _over(of_held_out, None, options)
    )


def _group(
    held_out: bool, systems: Sequence[Evaluation], later: Sequence[Evaluation], how: Resampling
) -> Group:
    """With the tuned model's numbers means over its trainings."""
    tuned = [e for e in systems if e.system == TUNED] + list(later)
    found = [mean_of_seeds(tuned, how) if e.system == TUNED else e for e in systems]
    return Group(held_out, found, tuned)


def _comparisons(
    group: Group, name: str, opponents: Opponents | None, how: Resampling
) -> list[Comparison]:
    """The tuned model against the systems that a verdict compares with, first the reference."""
    metric = group.tasks[name].metric
    tuned = [training.tasks[name].evaluation for training in group.tuned]
    found = [e for e in group.of_task(name) if SYSTEMS[e.system].reference]
    reference = strongest(found, metric, opponents.tasks.get(name) if opponents else None)
    others = [evaluation for evaluation in found if evaluation is not reference]
    return [against_seeds(other, tuned, metric, how)[0] for other in (reference, *others)]


def _verdict(
    group: Group,
    name: str,
    comparisons: Sequence[Comparison],
    p_holm: float,
    margin: float | None,
    confidence: float,
) -> TaskVerdict:
    """As the headline answers its first question."""
    first, *others = comparisons
    metric = first.metric
    estimates = {e.system: e.estimates[metric] for e in group.of_task(name)}
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
        held_out=group.held_out,
        metric=metric,
        n=first.n,
        estimates=estimates,
        comparison=first,
        p_holm=p_holm,
        kind=KINDS[said.answer],
    )


def _over(group: Group, opponents: Opponents | None, how: Resampling) -> OverTasks | None:
    """None where no task has a place in the mean, or there is none at all."""
    in_mean = counted(group.tasks)
    if not in_mean:
        return None
    found = complete(group.systems, how["confidence"])
    pairs = [(strongest(found, OVER_TASKS, opponents), training) for training in group.tuned]
    these, _ = compare_pairs(pairs, OVER_TASKS, how)
    return OverTasks(
        held_out=group.held_out,
        tasks=tuple(in_mean),
        left_out=tuple(name for name in group.tasks if name not in in_mean),
        means={e.system: e.estimates[OVER_TASKS] for e in found},
        these=these,
        others=pairs_as_a_sample(pairs, these, how),
    )
