from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tunesmith.report.content import Report, RetentionRow
from tunesmith.report.plots import plots_of
from tunesmith.report.retention import panel_verdict, retention_table


@pytest.mark.parametrize(
    ("metric", "ci", "finding"),
    [
        ("bits_per_byte", (0.01, 0.03), "worse"),
        ("bits_per_byte", (-0.03, -0.01), "better"),
        ("accuracy", (-0.03, -0.01), "worse"),
        ("accuracy", (0.01, 0.03), "better"),
        ("accuracy", (-0.01, 0.02), "no change shown"),
        ("accuracy", (math.nan, math.nan), "cannot tell"),
    ],
)
def test_the_panel_finding_follows_the_side_of_zero(
    metric: str, ci: tuple[float, float], finding: str
) -> None:
    assert panel_verdict(metric, ci) == finding


def test_retention_shows_before_after_change_and_what_was_detectable() -> None:
    row = RetentionRow("wiki", "bits_per_byte", 1.912, 1.934, 0.022, (0.015, 0.029), 0.01)
    cells = retention_table([row]).rows[0].cells
    assert cells == ("Bits per byte", "1.912", "1.934", "+0.022 [+0.015, +0.029]", "0.010", "worse")


def test_a_change_without_an_interval_says_why_and_is_still_drawn(report: Report) -> None:
    row = RetentionRow(
        "wiki", "bits_per_byte", 1.9, 2.0, 0.1, (math.nan, math.nan), 0.01, 4, "only 4 rows"
    )
    cells = retention_table([row]).rows[0].cells
    assert cells[3:] == ("+0.100 (no interval: only 4 rows)", "0.010", "cannot tell")
    (plot,) = (
        plot
        for plot in plots_of(replace(report, retention=[row]))
        if plot.name.startswith("forgetting")
    )
    assert "wiki 0.100 without an interval" in plot.alt
    assert "wiki" in plot.svg


def test_changes_in_different_units_share_no_axis(report: Report) -> None:
    other = RetentionRow("trec", "accuracy", 0.5, 0.4, -0.1, (-0.2, 0.0), 0.1)
    mixed = plots_of(replace(report, retention=[*report.retention, other]))
    plots = {plot.name: plot.svg for plot in mixed if plot.name.startswith("forgetting")}
    assert set(plots) == {"forgetting", "forgetting1"}
    assert "General text" in plots["forgetting"]
    assert "trec" not in plots["forgetting"]
    assert "trec" in plots["forgetting1"]
