"""Every test row with the answers of all systems: what the page's table of rows is made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tunesmith.evaluate.metrics import find_metric, is_metric
from tunesmith.evaluate.system_table import BASE, TUNED
from tunesmith.records import Evaluation, Example, TaskEvaluation
from tunesmith.report.cases import prompt_of
from tunesmith.report.content import Report
from tunesmith.report.format import is_auxiliary, lower_is_better, metric_name

Parts: TypeAlias = Mapping[str, TaskEvaluation]
"""One system's evaluations by task, under an empty name where there is one task."""

Outcome = Literal["fixed", "broken", "right", "wrong", "improved", "worse", "same"]
OUTCOMES: dict[Outcome, str] = {
    "fixed": "Fixed",
    "broken": "Broken",
    "right": "Both right",
    "wrong": "Both wrong",
    "improved": "Improved",
    "worse": "Got worse",
    "same": "Same",
}
"""What became of a row between two systems; the last three where an answer can be partly right."""


@dataclass(frozen=True, slots=True)
class Judge:
    """How the rows of one task are judged: by which metric, and whether an answer can be partly
    right. `name` is the task's, empty where there is one task; `shown`: a row has its own score.
    """

    name: str
    metric: str
    title: str
    graded: bool
    shown: bool


@dataclass(frozen=True, slots=True)
class AnswerColumn:
    """One system's answers, in the order of the rows; None where it has not answered a row.

    `quality` is higher where better. `classes` are numbers of `AnsweredRows.classes`, -1 where none
    could be read.
    """

    system: str
    texts: tuple[str | None, ...]
    quality: tuple[float | None, ...]
    valid: tuple[bool, ...]
    classes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AnsweredRows:
    """The test rows that the tuned model answered.

    `judges[judge_of[i]]` judges row i. `true_classes` are numbers of `classes`, -1 for a row
    without one. `slices` is the part of each row by the name of the way of dividing. `before` is
    the system that the tuned one is compared with at first.
    """

    examples: tuple[Example, ...]
    prompts: tuple[str, ...]
    references: tuple[str, ...]
    judges: tuple[Judge, ...]
    judge_of: tuple[int, ...]
    classes: tuple[str, ...]
    true_classes: tuple[int, ...]
    slices: Mapping[str, tuple[str, ...]]
    answers: tuple[AnswerColumn, ...]
    before: str

    def column(self, system: str) -> AnswerColumn:
        """One system's answers."""
        return next(column for column in self.answers if column.system == system)

    def outcome(self, i: int, before: str) -> Outcome | None:
        """What became of row i between a system and the tuned model; None where one of them has no
        answer.
        """
        old, new = self.column(before).quality[i], self.column(TUNED).quality[i]
        if old is None or new is None:
            return None
        if self.judges[self.judge_of[i]].graded:
            return "improved" if new > old else "worse" if new < old else "same"
        if old == new:
            return "right" if new else "wrong"
        return "fixed" if new else "broken"


def answered_rows(report: Report) -> AnsweredRows | None:
    """All rows that the tuned model answered; None without an answer of another system to them."""
    systems = _by_system(report)
    tuned = systems.get(TUNED, {})
    found = {
        id: report.examples[id]
        for part in tuned.values()
        for id in part.evaluation.example_ids
        if id in report.examples
    }
    if len(systems) < 2 or not found:
        return None
    examples = tuple(found.values())
    judges = {name: _judge(name, systems) for name in tuned}
    numbers = {name: i for i, name in enumerate(judges)}
    place = {
        id: numbers[name] for name, part in tuned.items() for id in part.evaluation.example_ids
    }
    true, classes = _class_numbers(tuned, true=True), tuple(_class_names(tuned))
    return AnsweredRows(
        examples=examples,
        prompts=tuple(map(prompt_of, examples)),
        references=tuple(" | ".join(e.references or (e.completion,)) for e in examples),
        judges=tuple(judges.values()),
        judge_of=tuple(place[id] for id in found),
        classes=classes,
        true_classes=tuple(true.get(id, -1) for id in found),
        slices={
            name: tuple(parts.get(id, "") for id in found)
            for name, parts in report.slice_of.items()
            if name != "label" or not classes  # which says the same
        },
        answers=tuple(_answers(name, parts, judges, found) for name, parts in systems.items()),
        before=_before(report, list(systems)),
    )


def _by_system(report: Report) -> dict[str, dict[str, TaskEvaluation]]:
    """The tasks that were trained and those that were not, together."""
    found: dict[str, dict[str, TaskEvaluation]] = {}
    for evaluation in (*report.evaluations, *report.held_out):
        whole = {"": TaskEvaluation(report.primary_metric, evaluation)}
        found.setdefault(evaluation.system, {}).update(evaluation.tasks or whole)
    return found


def _before(report: Report, systems: Sequence[str]) -> str:
    """The verdict's reference system, so that the counts are those of its sentence."""
    wanted = (report.comparison.a if report.comparison else BASE, BASE)
    others = [name for name in systems if name != TUNED]
    return next((name for name in wanted if name in others), others[0])


# ---- how good an answer is


def _judge(name: str, systems: Mapping[str, Parts]) -> Judge:
    parts = [tasks[name] for tasks in systems.values() if name in tasks]
    metric = _metric_of_rows(parts)
    quality = [value for part in parts for value in _quality(part.evaluation, metric)]
    return Judge(
        name,
        metric,
        metric_name(metric),
        graded=any(value not in (0, 1) for value in quality),
        shown=all(metric in part.evaluation.scores for part in parts),
    )


def _metric_of_rows(parts: Sequence[TaskEvaluation]) -> str:
    """The task's metric, where it says of two answers to a row which is better; else the first one
    that gives each row a score, and an empty name where there is none.
    """
    metric = parts[0].metric
    if all(metric in e.scores or metric in e.rows for _, e in parts):
        return metric
    shared = [m for m in parts[0].evaluation.scores if all(m in e.scores for _, e in parts)]
    return next((name for name in shared if not is_auxiliary(name)), "")


def _quality(evaluation: Evaluation, metric: str) -> list[float]:
    """Higher is better, one number a row: its score, or for a metric of all rows together what it
    counts as the better of two answers (accuracy for macro F1).
    """
    if metric in evaluation.scores:
        sign = -1 if lower_is_better(metric) else 1
        return [sign * score for score in evaluation.scores[metric]]
    if metric in evaluation.rows and is_metric(metric):
        return [float(q) for q in find_metric(metric).row_quality(evaluation.rows[metric])]
    return []


# ---- columns


def _answers(
    system: str, parts: Parts, judges: Mapping[str, Judge], ids: Iterable[str]
) -> AnswerColumn:
    texts, quality, valid = dict[str, str](), dict[str, float](), dict[str, bool]()
    for name, (_, evaluation) in parts.items():
        if name not in judges:
            continue
        known = evaluation.example_ids
        texts.update({p.example_id: p.text for p in evaluation.predictions})
        quality.update(zip(known, _quality(evaluation, judges[name].metric), strict=False))
        valid.update(zip(known, map(bool, evaluation.scores.get("valid", ())), strict=False))
    answered = _class_numbers(parts, true=False)
    return AnswerColumn(
        system,
        tuple(texts.get(id) for id in ids),
        tuple(quality.get(id) for id in ids),
        tuple(valid.get(id, True) for id in ids),
        tuple(answered.get(id, -1) for id in ids),
    )


def _class_names(parts: Parts) -> list[str]:
    """The classes of the confusion matrix; none for a mixture, whose tasks have each their own."""
    whole = parts.get("")
    confusion = whole.evaluation.details.get("confusion") if whole else None
    return list(confusion["labels"]) if confusion else []


def _class_numbers(parts: Parts, true: bool) -> dict[str, int]:
    """The class of each example, or the one that was answered, by the counts from which the matrix
    is made: right, predicted and true class, one-hot each. Those that are none are left out.
    """
    count = len(_class_names(parts))
    if not count:
        return {}
    evaluation = parts[""].evaluation
    rows = next(
        (
            rows_ND
            for name, rows_ND in evaluation.rows.items()
            if is_metric(name) and find_metric(name).by_class and rows_ND.shape[1] == 3 * count
        ),
        None,
    )
    if rows is None:
        return {}
    hot_NK = rows[:, 2 * count :] if true else rows[:, count : 2 * count]
    return {
        id: int(hot_K.argmax())
        for id, hot_K in zip(evaluation.example_ids, hot_NK, strict=True)
        if hot_K.any()
    }
