from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

from tunesmith.report.charts import (
    Forest,
    ForestRow,
    loss_chart,
    metric_chart,
    validation_loss_chart,
)
from tunesmith.report.content import Report
from tunesmith.report.plots import PALETTE, draw, plots_of

HISTORY: list[dict[str, float | None]] = [
    {"step": 1, "loss": 2.0},
    {"step": 2, "loss": 1.0},
    {"step": 2, "validation_loss": 1.5, "validation_accuracy": 0.5},
]


def test_the_same_report_gives_the_same_bytes(report: Report) -> None:
    assert plots_of(report) == plots_of(report)


def test_a_run_with_everything_has_every_plot(report: Report) -> None:
    names = [plot.name for plot in plots_of(report)]
    assert names == [
        "systems",
        "questions",
        "differences",
        "forgetting",
        "slices",
        "risk_coverage",
        "loss",
        "validation_loss",
        "metric",
        "learning_curve",
    ]


def test_what_was_not_measured_has_no_plot(graded_report: Report) -> None:
    bare = replace(graded_report, history=(), comparisons=())
    assert [plot.name for plot in plots_of(bare)] == ["systems"]


def test_every_plot_is_well_formed_and_undated(report: Report) -> None:
    for plot in plots_of(report):
        ET.fromstring(plot.svg)
        assert "<metadata>" not in plot.svg
        assert plot.png.startswith(b"\x89PNG")


def test_every_colour_can_be_replaced_by_the_page(report: Report) -> None:
    for plot in plots_of(report):
        assert set(re.findall(r"#[0-9a-f]{6}\b", plot.svg)) <= set(PALETTE.values())


def test_validation_points_and_the_best_step_are_in_the_loss_plot() -> None:
    chart = loss_chart(HISTORY, best_step=2)
    assert chart is not None
    plot = draw(chart)
    assert all(
        word in plot.svg
        for word in ("training", "validation", "best step", "loss per trained token")
    )
    assert plot.alt == "Loss over 2 steps; validation loss ends at 1.500; best step 2"


def test_the_turn_of_the_validation_loss_fills_its_own_scale() -> None:
    values = (0.61, 0.52, 0.55)
    history = [
        {"step": 1, "loss": 9.0},
        *({"step": i, "validation_loss": v} for i, v in enumerate(values, 1)),
    ]
    chart = validation_loss_chart(history, best_step=2)
    assert chart is not None
    assert [line.label for line in chart.lines] == ["validation"]
    assert chart.alt.endswith("lowest 0.520 at step 2, 0.550 at the end; best step 2")
    heights = [
        float(y) for y in re.findall(r'<use [^>]*y="([\d.]+)"[^>]*fill: #0b6b62', draw(chart).svg)
    ]
    top, bottom, last = heights[-3:]
    assert bottom - last > 0.25 * (bottom - top)  # a third of the scale, not a hair


def test_one_validation_has_no_turn() -> None:
    assert validation_loss_chart([{"step": 1, "validation_loss": 0.5}], 1) is None


def test_a_loss_that_is_not_a_number_is_left_out() -> None:
    assert loss_chart([{"step": 1, "loss": float("nan")}, {"step": 2, "loss": None}], None) is None


def test_the_metric_plot_reads_the_primary_metric() -> None:
    chart = metric_chart(HISTORY, "accuracy", None)
    assert chart is not None
    assert chart.title == "Accuracy on validation"
    assert metric_chart(HISTORY, "rougeL", None) is None


def test_dollar_signs_in_a_name_are_no_formula() -> None:
    plot = draw(Forest("p", "t", (ForestRow("cost $x_1$ \\frac", 0.5, (0.4, 0.6)),)))
    assert "cost $x_1$ \\frac" in plot.svg


def test_the_first_system_is_on_top() -> None:
    rows = (ForestRow("upper", 0.1, (0.0, 0.2)), ForestRow("lower", 0.3, (0.2, 0.4)))
    plot = draw(Forest("p", "t", rows))
    heights = [
        float(re.findall(rf'y="([\d.]+)"[^>]*>{label}<', plot.svg)[0])
        for label in ("upper", "lower")
    ]
    assert heights[0] < heights[1]


def test_a_system_without_an_interval_is_not_drawn(report: Report) -> None:
    tuned = report.evaluations[-1]
    broken = replace(
        tuned, estimates={"accuracy": replace(tuned.estimates["accuracy"], mean=float("nan"))}
    )
    plot = plots_of(replace(report, evaluations=[report.evaluations[0], broken]))[0]
    assert "Tuned model" not in plot.svg
