"""The report's tables as text, so that the page, the Markdown and the terminal show the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.records import Evaluation
from tunesmith.report.content import TUNED, Report
from tunesmith.report.format import (
    AUXILIARY,
    LOWER_IS_BETTER,
    estimate,
    interval,
    metric_name,
    number,
    p_value,
    percent,
    plain_value,
    signed,
    system_name,
)

MAX_CLASSES = 30
MAX_MATRIX = 12


@dataclass(frozen=True, slots=True)
class TableRow:
    """`marked` is the row the reader should find first; `depth` indents its label."""

    label: str
    cells: tuple[str, ...]
    marked: bool = False
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """`columns[0]` heads the labels. `note` says what holds for the whole table, such as its n."""

    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    note: str = ""


def comparison_table(report: Report) -> Table:
    """Systems by the task's metrics, the primary one first."""
    return _systems_table(report, report.evaluations, auxiliary=False)


def auxiliary_table(report: Report) -> Table:
    """Systems by what stands beside the metrics: answers that stopped, were empty, could be read."""
    return _systems_table(report, report.evaluations, auxiliary=True)


def wording_tables(report: Report) -> list[tuple[str, Table]]:
    """The comparison again for each group of wordings."""
    return [(name, _systems_table(report, found, auxiliary=False)) for name, found in report.wordings.items()]


def _systems_table(report: Report, evaluations: Sequence[Evaluation], auxiliary: bool) -> Table:
    metrics = [name for name in _metrics(evaluations, report.primary_metric) if (name in AUXILIARY) == auxiliary]
    sizes = {e.estimates[m].n for e in evaluations for m in metrics if m in e.estimates}
    one_size = len(sizes) == 1
    rows = tuple(
        TableRow(
            system_name(evaluation.system),
            tuple(_cell(evaluation, metric, show_n=not one_size) for metric in metrics),
            marked=evaluation.system == TUNED,
        )
        for evaluation in evaluations
        if any(metric in evaluation.estimates for metric in metrics)
    )
    size = f"n = {sizes.pop():,} test examples. " if one_size else ""
    note = f"{size}Mean with {percent(report.confidence)} interval."
    lower = [metric_name(metric) for metric in metrics if metric in LOWER_IS_BETTER]
    note += f" Lower is better for {', '.join(lower)}." if lower else ""
    return Table(("System", *map(metric_name, metrics)), rows if metrics else (), note)


def _metrics(evaluations: Sequence[Evaluation], primary: str) -> list[str]:
    names = dict.fromkeys(name for evaluation in evaluations for name in evaluation.estimates)
    return [primary] * (primary in names) + [name for name in names if name != primary]


def _cell(evaluation: Evaluation, metric: str, show_n: bool) -> str:
    found = evaluation.estimates.get(metric)
    if found is None:
        return ""
    return f"{estimate(found)} (n = {found.n:,})" if show_n else estimate(found)


def difference_table(report: Report) -> Table:
    """Every paired comparison, the verdict's first."""
    rows = tuple(
        TableRow(
            f"{system_name(c.b)} against {system_name(c.a)}",
            (
                metric_name(c.metric),
                f"{signed(c.difference)} {interval(c.ci, plus=True)}",
                p_value(c.p),
                f"{c.wins:,} / {c.ties:,} / {c.losses:,}",
                number(c.smallest_detectable),
            ),
            marked=i == 0,
        )
        for i, c in enumerate(report.comparisons)
    )
    sizes = {(c.n, c.clusters) for c in report.comparisons}
    tests = ", ".join(dict.fromkeys(c.test for c in report.comparisons if c.test))
    columns = ("Comparison", "Metric", "Difference", "p", "Won / tied / lost", "Smallest detectable")
    return Table(columns, rows, " ".join(filter(None, [_size_note(sizes), f"p: {tests}." if tests else ""])))


def _size_note(sizes: set[tuple[int, int]]) -> str:
    if len(sizes) != 1:
        return "Paired by example."
    n, clusters = next(iter(sizes))
    grouped = f" in {clusters:,} clusters" if 0 < clusters < n else ""
    return f"Paired by example, n = {n:,}{grouped}."


def forgetting_table(report: Report) -> Table:
    """The panel before and after training."""
    rows = tuple(
        TableRow(
            row.name,
            (
                metric_name(row.metric),
                number(row.before),
                number(row.after),
                f"{signed(row.difference)} {interval(row.ci, plus=True)}",
                number(row.detectable),
                panel_verdict(row.metric, row.ci),
            ),
        )
        for row in report.forgetting
    )
    columns = ("Held-out text or task", "Metric", "Before", "After", "Change", "Detectable", "")
    return Table(columns, rows)


def panel_verdict(metric: str, ci: tuple[float, float]) -> str:
    """`worse`, `better` or `no change shown`, by which side of zero the interval lies on."""
    low, high = (-ci[1], -ci[0]) if metric in LOWER_IS_BETTER else ci
    return "worse" if high < 0 else "better" if low > 0 else "no change shown"


def class_table(details: Mapping[str, Any]) -> Table | None:
    """Precision, recall and F1 by class from `details["per_class"]`; the worst MAX_CLASSES where there are more."""
    classes: Mapping[str, Mapping[str, float]] = details.get("per_class") or {}
    if not classes:
        return None
    shown = list(classes.items())
    note = ""
    if len(shown) > MAX_CLASSES:
        shown = sorted(shown, key=lambda item: (item[1].get("f1", 0.0), item[0]))[:MAX_CLASSES]
        note = f"The {MAX_CLASSES} classes with the lowest F1 of {len(classes)}; all are in report.json."
    rows = tuple(
        TableRow(
            label,
            (*(number(scores.get(name)) for name in ("precision", "recall", "f1")), f"{int(scores['support']):,}"),
        )
        for label, scores in shown
    )
    return Table(("Class", "Precision", "Recall", "F1", "Rows"), rows, note)


@dataclass(frozen=True, slots=True)
class Matrix:
    """Counts with the true class in rows; `shares` are by row, for shading."""

    labels: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    shares: tuple[tuple[float, ...], ...]


def confusion_matrix(details: Mapping[str, Any]) -> Matrix | None:
    """From `details["confusion"]` = {labels, matrix, columns?}; None where it is absent or too wide to read."""
    found = details.get("confusion") or {}
    labels = tuple(map(str, found.get("labels", ())))
    if not labels or len(labels) > MAX_MATRIX:
        return None
    columns = tuple(map(str, found.get("columns") or labels))
    counts = tuple(tuple(int(count) for count in row) for row in found["matrix"])
    shares = tuple(tuple(count / max(1, sum(row)) for count in row) for row in counts)
    return Matrix(labels, columns, counts, shares)


def confusions_table(details: Mapping[str, Any], limit: int = 15) -> Table | None:
    """The commonest mistakes, where the matrix is too wide to read."""
    found = details.get("confusion") or {}
    labels = list(map(str, found.get("labels", ())))
    if len(labels) <= MAX_MATRIX:
        return None
    columns = list(map(str, found.get("columns") or labels))
    mistakes = [
        (int(count), true, answer)
        for true, row in zip(labels, found["matrix"], strict=True)
        for answer, count in zip(columns, row, strict=True)
        if count and true != answer
    ]
    mistakes.sort(key=lambda mistake: (-mistake[0], mistake[1], mistake[2]))
    rows = tuple(TableRow(true, (answer, f"{count:,}")) for count, true, answer in mistakes[:limit])
    return Table(("True class", "Answered", "Rows"), rows) if rows else None


def facts_table(heading: str, facts: Mapping[str, Any]) -> Table:
    """Any nested mapping of plain values, such as the ledger, one value a row."""
    return Table((heading, ""), tuple(_facts(facts, 0)))


def _facts(facts: Mapping[str, Any], depth: int) -> list[TableRow]:
    rows: list[TableRow] = []
    for key, value in facts.items():
        label = str(key).replace("_", " ")
        label = label[:1].upper() + label[1:] if depth == 0 else label
        if isinstance(value, Mapping):
            inner = _facts(value, depth + 1)
            rows += [TableRow(label, ("" if inner else "none",), depth=depth), *inner]
        elif isinstance(value, (list, tuple)):
            rows += _listed(label, value, depth)
        else:
            rows.append(TableRow(label, (plain_value(value),), depth=depth))
    return rows


def _listed(label: str, values: Sequence[Any], depth: int) -> list[TableRow]:
    """A list of plain values on one line, a list of mappings as numbered rows."""
    if not any(isinstance(value, Mapping) for value in values):
        return [TableRow(label, (", ".join(map(plain_value, values)) or "none",), depth=depth)]
    numbered = {f"{i}": value for i, value in enumerate(values, 1)}
    return [TableRow(label, ("",), depth=depth), *_facts(numbered, depth + 1)]
