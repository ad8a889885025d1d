"""The score on all test rows beside that without the rows that have a near-twin in training."""

from __future__ import annotations

from tunesmith.records import Comparison
from tunesmith.report.content import Report
from tunesmith.report.format import (
    interval,
    metric_name,
    number,
    p_value,
    signed,
    system_name,
)
from tunesmith.report.tables import Table, TableRow


def twin_table(report: Report) -> Table:
    """The verdict's two systems on all test rows, and on those without a near-twin; no rows where
    no test row has one.
    """
    found, whole = report.twins, report.comparison
    if found is None or whole is None or found.without is None or found.levels is None:
        return Table(("Test rows",), ())
    columns = ("Test rows", "n", system_name(whole.a), system_name(whole.b), "Difference", "p")
    rows = (
        _row("all", whole, _levels(report, whole)),
        _row("without a near-twin in training", found.without, found.levels),
    )
    return Table(columns, rows, f"{metric_name(whole.metric)}. {found.sentence}")


def _levels(report: Report, c: Comparison) -> tuple[float, float]:
    systems = report.system(c.a), report.system(c.b)
    before, after = (s.estimates[c.metric].mean if s else float("nan") for s in systems)
    return before, after


def _row(label: str, c: Comparison, levels: tuple[float, float]) -> TableRow:
    difference = f"{signed(c.difference)} {interval(c.ci, plus=True)}"
    return TableRow(label, (f"{c.n:,}", *map(number, levels), difference, p_value(c.p)))
