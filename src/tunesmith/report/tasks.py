"""The report's section on a mixture of several tasks: each task, the mean over those that were
trained, and the mean over those that training never saw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tunesmith.evaluate.system_table import SYSTEMS, TUNED
from tunesmith.records import Comparison, Estimate, OverTasks, TaskReport, TaskVerdict
from tunesmith.report.charts import Forest, ForestRow, forest
from tunesmith.report.format import (
    in_sentence,
    interval,
    metric_name,
    number,
    p_value,
    percent,
    signed,
    system_name,
)
from tunesmith.report.tables import Table, TableRow

TRAINED, HELD_OUT = "Trained tasks", "Held-out tasks"
NOT_KNOWN = "What to expect of other tasks is not known: it takes two tasks whose gains differ."


def task_tables(report: TaskReport) -> list[Table]:
    """Trained tasks and held-out tasks apart, each with the mean over them."""
    groups = ((TRAINED, False, report.trained), (HELD_OUT, True, report.held_out))
    return [
        _table(title, verdicts, over)
        for title, held_out, over in groups
        if (verdicts := [v for v in report.verdicts if v.held_out == held_out])
    ]


def _table(title: str, verdicts: Sequence[TaskVerdict], over: OverTasks | None) -> Table:
    answered = {system for verdict in verdicts for system in verdict.estimates}
    answered |= set(over.means) if over else set()
    systems = [name for name in SYSTEMS if name in answered]
    rows = [_row(verdict, systems) for verdict in verdicts]
    if over:
        rows.append(_mean_row(over, systems))
    return Table(
        (
            "Task",
            "Metric",
            "n",
            *map(system_name, systems),
            "Gain",
            "against",
            "Holm's p",
            "Verdict",
        ),
        tuple(rows),
        _table_note(over),
        text_columns=(1, 4 + len(systems), 6 + len(systems)),
        title=title,
    )


def _row(verdict: TaskVerdict, systems: Sequence[str]) -> TableRow:
    return TableRow(
        verdict.task,
        (
            metric_name(verdict.metric),
            f"{verdict.n:,}",
            *(_level(verdict.estimates.get(system)) for system in systems),
            _gain(verdict.comparison),
            in_sentence(system_name(verdict.comparison.a)),
            p_value(verdict.p_holm),
            verdict.kind,
        ),
    )


def _mean_row(over: OverTasks, systems: Sequence[str]) -> TableRow:
    found = over.comparison
    return TableRow(
        f"Mean over {len(over.tasks)}",
        (
            "",
            f"{found.n:,}",
            *(_level(over.means.get(system)) for system in systems),
            _gain(found),
            in_sentence(system_name(found.a)),
            f"p {p_value(found.p)}",
            "",
        ),
        marked=True,
    )


def _level(found: Estimate | None) -> str:
    return number(found.mean) if found else ""


def _gain(found: Comparison) -> str:
    return f"{signed(found.difference)} {interval(found.ci, plus=True)}"


def _table_note(over: OverTasks | None) -> str:
    note = "Each task in its own metric, paired by example."
    if over and over.left_out:
        return f"{note} Not in the mean: {', '.join(over.left_out)}."
    return note


def task_notes(report: TaskReport, confidence: float) -> list[str]:
    """What the means over the tasks say, and of which question their intervals are."""
    notes = []
    if report.trained:
        notes.append(_trained_note(report.trained, confidence))
    if report.held_out:
        notes.append(_held_out_note(report.held_out, confidence))
    notes.append(
        "p of each task is adjusted for all tasks of this report (Holm's method). In a mean each "
        "task counts the same, whatever its number of rows; metrics of 0 to 100 points count as "
        "shares."
    )
    return notes


def _trained_note(over: OverTasks, confidence: float) -> str:
    return (
        f"On the trained tasks ({len(over.tasks)}) the tuned model gains "
        f"{_gain_text(over.these, confidence)}: the interval is for new rows of the same tasks. "
        f"{_other_tasks(over.others)}"
    )


def _held_out_note(over: OverTasks, confidence: float) -> str:
    asked = (
        f"On the tasks that training never saw ({len(over.tasks)}), where every model is asked "
        "without exemplars, the tuned model gains"
    )
    if math.isnan(over.others.ci[0]):
        these = _gain_text(over.these, confidence)
        return f"{asked} {these}: the interval is for new rows of the same tasks. {NOT_KNOWN}"
    return (
        f"{asked} {_gain_text(over.others, confidence)}: the interval takes them as a sample of "
        f"the tasks that could have been asked. For new rows of the same tasks it is "
        f"{interval(over.these.ci, plus=True)}."
    )


def _gain_text(found: Comparison, confidence: float) -> str:
    return (
        f"{signed(found.difference)} over {in_sentence(system_name(found.a))} "
        f"({percent(confidence)} interval {interval(found.ci, plus=True)}, p {p_value(found.p)})"
    )


def _other_tasks(found: Comparison) -> str:
    if math.isnan(found.ci[0]):
        return NOT_KNOWN
    return f"For other tasks like these it is {interval(found.ci, plus=True)}."


def tasks_chart(report: TaskReport) -> Forest | None:
    """The gain on each task, and the means."""
    rows = [ForestRow(v.task, v.comparison.difference, v.comparison.ci) for v in report.verdicts]
    means = ((TRAINED, report.trained), (HELD_OUT, report.held_out))
    rows += [
        ForestRow(
            f"mean, {in_sentence(title)}", over.comparison.difference, over.comparison.ci, True
        )
        for title, over in means
        if over
    ]
    against = in_sentence(system_name(TUNED))
    return forest("tasks", f"Gain of the {against} by task", rows, "difference", zero=True)
