"""What training cost elsewhere: the panel of held-out texts and tasks, as a table and as charts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tunesmith.records import RetentionRow
from tunesmith.report.charts import Forest, ForestRow, forest
from tunesmith.report.format import (
    in_sentence,
    interval,
    lower_is_better,
    metric_name,
    number,
    signed,
)
from tunesmith.report.tables import Table, TableRow

COLUMNS = (
    "Held-out text or task",
    "Metric",
    "Before",
    "After",
    "Change",
    "Detectable",
    "Finding",
)


def retention_table(panel: Sequence[RetentionRow]) -> Table:
    """Every text and task before and after training."""
    rows = tuple(
        TableRow(
            row.name,
            (
                metric_name(row.metric),
                number(row.before),
                number(row.after),
                f"{signed(row.difference)} {interval(row.ci, plus=True, note=row.note)}",
                number(row.detectable),
                panel_verdict(row.metric, row.ci),
            ),
        )
        for row in panel
    )
    return Table(COLUMNS, rows, text_columns=(1, 6))


def panel_verdict(metric: str, ci: tuple[float, float]) -> str:
    """`worse`, `better` or `no change shown`, by the side of zero on which the interval lies;
    `cannot tell` without one.
    """
    if any(map(math.isnan, ci)):
        return "cannot tell"
    low, high = (-ci[1], -ci[0]) if lower_is_better(metric) else ci
    return "worse" if high < 0 else "better" if low > 0 else "no change shown"


def retention_charts(panel: Sequence[RetentionRow]) -> list[Forest]:
    """Changes on the panel, one chart per metric because metrics differ in units."""
    charts = []
    for i, metric in enumerate(dict.fromkeys(row.metric for row in panel)):
        rows = [ForestRow(r.name, r.difference, r.ci) for r in panel if r.metric == metric]
        title = f"Change in {in_sentence(metric_name(metric))} on the panel"
        side = "above zero is worse" if lower_is_better(metric) else "below zero is worse"
        # the files keep the name that readers of run folders know
        name = f"forgetting{i or ''}"
        charts.append(forest(name, title, rows, f"change, {side}", zero=True))
    return [chart for chart in charts if chart]
