"""Slices of the test split, rows that broke and the recipe's gates: as tables and a chart."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.evaluate.decisions import Broken, Gate, SliceRow
from tunesmith.evaluate.metrics import find_metric
from tunesmith.report.charts import Forest, ForestRow, forest
from tunesmith.report.format import (
    in_sentence,
    interval,
    metric_name,
    number,
    p_value,
    share,
    signed,
    system_name,
)
from tunesmith.report.tables import Table, TableRow

MAX_SLICES = 12
MAX_LABEL = 60  # characters of a value


def slice_table(rows: Sequence[SliceRow]) -> Table:
    """The worst slices first; every slice is in report.json."""
    if not rows:
        return Table(("Slice",), ())
    shown = tuple(_slice_row(row) for row in rows[:MAX_SLICES])
    first = rows[0].comparison
    columns = (
        "Slice",
        "Rows",
        system_name(first.a),
        system_name(first.b),
        "Difference",
        "Holm's p",
        "Finding",
    )
    return Table(columns, shown, _slice_note(rows), text_columns=(6,))


def _slice_row(row: SliceRow) -> TableRow:
    c = row.comparison
    cells = (
        f"{c.n:,}",
        number(row.reference.mean),
        number(row.tuned.mean),
        f"{signed(c.difference)} {interval(c.ci, plus=True)}",
        p_value(row.p_holm),
        slice_finding(row),
    )
    return TableRow(slice_name(row), cells, marked=row.finding == "worse")


def slice_name(row: SliceRow) -> str:
    """What it was divided by, and the part."""
    value = row.value if len(row.value) <= MAX_LABEL else f"{row.value[: MAX_LABEL - 1]}…"
    return f"{row.slicing}: {value}"


def slice_finding(row: SliceRow) -> str:
    """The finding in words; of a slice that is too small with what it would take."""
    if row.finding != "too small to judge":
        return row.finding
    return f"{row.finding} (would need a difference of {_size(row)})"


def _size(row: SliceRow) -> str:
    """In points where the metric has a scale; more than the whole scale says nothing."""
    unit = find_metric(row.comparison.metric).unit
    if unit == "plain":
        return number(row.detectable)
    points = row.detectable * (100 if unit == "fraction" else 1)
    return "more than 100 points" if points > 100 else f"{number(points, 1)} points"


def _slice_note(rows: Sequence[SliceRow]) -> str:
    counts = [
        f"{sum(row.finding == finding for row in rows):,} {finding}"
        for finding in ("worse", "no difference shown", "better", "too small to judge")
    ]
    metric = in_sentence(metric_name(rows[0].comparison.metric))
    some = f"The first {MAX_SLICES} are shown, all are in report.json. " * (len(rows) > MAX_SLICES)
    return (
        f"Of {len(rows):,} slices by {metric}: {', '.join(counts)}. {some}The worst first. p is "
        f"adjusted for all {len(rows):,} (Holm); the intervals are of each slice alone. A slice is "
        "too small where it would not show a difference of ten points at 80 % power. Lengths are "
        "in characters."
    )


def slice_chart(rows: Sequence[SliceRow]) -> Forest | None:
    """The differences of the slices that the table shows."""
    if not rows:
        return None
    points = [
        ForestRow(slice_name(row), row.comparison.difference, row.comparison.ci, _is_worse(row))
        for row in rows[:MAX_SLICES]
    ]
    first = rows[0].comparison
    title = (
        f"Gain in {in_sentence(metric_name(first.metric))} over "
        f"{in_sentence(system_name(first.a))} by slice"
    )
    return forest("slices", title, points, "difference", zero=True)


def _is_worse(row: SliceRow) -> bool:
    return row.finding == "worse"


# ---- rows that broke, and gates


def broken_note(found: Broken) -> str:
    """How many rows were right before and are wrong now."""
    return (
        f"{found.broken:,} of {found.n:,} test rows that {in_sentence(system_name(found.before))} "
        f"had right are wrong now, {share(found.share)}; "
        f"{found.fixed:,} that were wrong are right."
    )


def gate_table(gates: Sequence[Gate]) -> Table:
    """Every gate with what was found."""
    rows = tuple(
        TableRow(
            gate.what,
            (
                ("at least " if gate.name == "least_gain" else "at most ") + number(gate.limit),
                f"{number(gate.value)} {interval(gate.ci)}",
                gate.result,
                gate.why,
            ),
            marked=gate.result != "passed",
        )
        for gate in gates
    )
    note = "A gate is passed only where the whole interval is on the right side of its limit."
    return Table(("Gate", "Limit", "Found", "Result", "Because"), rows, note, text_columns=(3, 4))
