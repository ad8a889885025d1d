"""Plots as SVG for the page and SVG and PNG for the run folder. The same report gives the same
bytes.

Every colour is one of PALETTE: the page replaces them by its own, light or dark.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tunesmith.records import Estimate
from tunesmith.report.content import TUNED, CurvePoint, ForgettingRow, Report
from tunesmith.report.format import in_sentence, lower_is_better, metric_name, system_name

PALETTE = {
    "ink": "#1b2128",
    "muted": "#5b6570",
    "line": "#d5dade",
    "paper": "#ffffff",
    "accent": "#0b6b62",
}
WIDTH = 5.0
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "tunesmith",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": PALETTE["line"],
    "axes.labelcolor": PALETTE["muted"],
    "axes.facecolor": "none",
    "axes.unicode_minus": True,
    "text.color": PALETTE["ink"],
    "xtick.color": PALETTE["muted"],
    "ytick.color": PALETTE["muted"],
    "grid.color": PALETTE["line"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A finished plot: `title` heads it, `alt` tells its message to someone who cannot see it."""

    name: str
    title: str
    alt: str
    svg: str
    png: bytes


@dataclass(frozen=True, slots=True)
class ForestRow:
    """A point with its interval; `marked` ones are drawn in the accent colour."""

    label: str
    value: float
    ci: tuple[float, float]
    marked: bool = False


def plots_of(report: Report) -> list[Plot]:
    """Every plot that the report has the numbers for, in the order of the page."""
    metric = metric_name(report.primary_metric)
    systems = [
        ForestRow(system_name(e.system), found.mean, found.ci, e.system == TUNED)
        for e in report.evaluations
        if (found := e.estimates.get(report.primary_metric)) and _drawable(found.mean, found.ci)
    ]
    differences = [
        ForestRow(system_name(c.a), c.difference, c.ci, i == 0)
        for i, c in enumerate(report.comparisons)
        if c.metric == report.primary_metric and c.b == TUNED and _drawable(c.difference, c.ci)
    ]
    plots = [
        forest_plot("systems", f"{metric} by system", systems, ""),
        forest_plot(
            "differences",
            f"Gain in {in_sentence(metric)} over each system",
            differences,
            "difference",
            zero=True,
        ),
        *_panel_plots(report.forgetting),
        loss_plot(report.history, report.best_step),
        metric_plot(report.history, report.primary_metric, report.best_step),
        learning_curve_plot(report.learning_curve, metric),
    ]
    return [plot for plot in plots if plot]


def forest_plot(
    name: str, title: str, rows: Sequence[ForestRow], axis: str, zero: bool = False
) -> Plot | None:
    """One point and interval a row, the first on top; a line at zero where differences are shown."""
    if not rows:
        return None
    with _figure(0.62 + 0.3 * len(rows)) as (figure, axes):
        for i, row in enumerate(rows):
            colour = PALETTE["accent" if row.marked else "muted"]
            axes.plot(row.ci, (i, i), color=colour, linewidth=2, solid_capstyle="butt")
            axes.plot(row.value, i, "o", color=colour, markersize=6.5 if row.marked else 5)
        axes.set_yticks(range(len(rows)), [_short(row.label) for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0, labelcolor=PALETTE["ink"])
        axes.spines["left"].set_visible(False)
        if axis:
            axes.set_xlabel(axis)
        axes.grid(axis="x")
        axes.locator_params(axis="x", nbins=6)
        if zero:
            axes.axvline(0, color=PALETTE["ink"], linewidth=1)
        alt = f"{title}: " + "; ".join(
            f"{row.label} {row.value:.3f} from {row.ci[0]:.3f} to {row.ci[1]:.3f}" for row in rows
        )
        return _finish(figure, name, title, alt)


def _panel_plots(panel: Sequence[ForgettingRow]) -> list[Plot | None]:
    """Changes on the panel, one plot a metric, for an axis has one unit."""
    plots = []
    for i, metric in enumerate(dict.fromkeys(row.metric for row in panel)):
        shown = [r for r in panel if r.metric == metric and _drawable(r.difference, r.ci)]
        rows = [ForestRow(r.name, r.difference, r.ci) for r in shown]
        title = f"Change in {in_sentence(metric_name(metric))} on the panel"
        side = "above zero is worse" if lower_is_better(metric) else "below zero is worse"
        plots.append(forest_plot(f"forgetting{i or ''}", title, rows, f"change, {side}", zero=True))
    return plots


def loss_plot(history: Sequence[Mapping[str, Any]], best_step: int | None) -> Plot | None:
    """Training loss by step, smoothed where there are many, with the validation loss and the best
    step.
    """
    train, validation = _series(history, "loss"), _series(history, "validation_loss")
    if not train and not validation:
        return None
    with _figure(2.7) as (figure, axes):
        window = len(train) // 30
        smooth = window > 1
        _line(axes, train, "" if smooth else "training", "muted", alpha=0.35 if smooth else 1.0)
        if smooth:
            _line(axes, _smoothed(train, window), "training (running mean)", "muted")
        _line(axes, validation, "validation", "accent", marker="o")
        _mark_best(axes, best_step)
        axes.set_ylabel("loss per trained token")
        _step_axis(axes, legend=True)
        last = f"; validation loss ends at {validation[-1][1]:.3f}" if validation else ""
        alt = f"Loss over {(train or validation)[-1][0]:.0f} steps{last}; best step {best_step}"
        return _finish(figure, "loss", "Loss", alt)


def metric_plot(
    history: Sequence[Mapping[str, Any]], metric: str, best_step: int | None
) -> Plot | None:
    """The primary metric on validation by step."""
    points = _series(history, f"validation_{metric}")
    if not points:
        return None
    title = f"{metric_name(metric)} on validation"
    with _figure(2.7) as (figure, axes):
        _line(axes, points, metric_name(metric), "accent", marker="o")
        _mark_best(axes, best_step)
        _step_axis(axes, legend=False)
        alt = f"{title}: from {points[0][1]:.3f} to {points[-1][1]:.3f}; best step {best_step}"
        return _finish(figure, "metric", title, alt)


def learning_curve_plot(points: Sequence[CurvePoint], metric: str) -> Plot | None:
    """The metric by number of training rows, with intervals, on a logarithmic axis."""
    if not points:
        return None
    with _figure(2.7) as (figure, axes):
        rows = [point.rows for point in points]
        estimates: list[Estimate] = [point.estimate for point in points]
        axes.plot(rows, [e.mean for e in estimates], "-o", color=PALETTE["accent"], markersize=5)
        axes.vlines(
            rows,
            [e.ci[0] for e in estimates],
            [e.ci[1] for e in estimates],
            color=PALETTE["accent"],
        )
        axes.set_xscale("log")
        axes.set_xticks(rows, [f"{n:,}" for n in rows])
        axes.minorticks_off()
        axes.set_xlabel("training rows")
        axes.grid(axis="y")
        alt = f"{metric} by training rows: " + "; ".join(
            f"{n:,} rows {e.mean:.3f}" for n, e in zip(rows, estimates, strict=True)
        )
        return _finish(figure, "learning_curve", f"{metric} by training rows", alt)


@contextmanager
def _figure(height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure of the page's width in our style; without pyplot, so no state is shared and no
    window is needed.
    """
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing"
        )  # the page draws text in the reader's fonts
        matplotlib.rcdefaults()  # a user's matplotlibrc changes nothing
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="none")
        yield figure, figure.subplots()


def _finish(figure: Figure, name: str, title: str, alt: str) -> Plot:
    svg, png = io.StringIO(), io.BytesIO()
    figure.savefig(
        svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    figure.savefig(
        png, format="png", dpi=160, facecolor=PALETTE["paper"], metadata={"Software": None}
    )
    return Plot(name, title, alt, svg.getvalue(), png.getvalue())


def _series(history: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    return [
        (float(row["step"]), float(row[key]))
        for row in history
        if isinstance(row.get(key), (int, float)) and math.isfinite(row[key]) and "step" in row
    ]


def _smoothed(points: Sequence[tuple[float, float]], window: int) -> list[tuple[float, float]]:
    """The mean over `window` steps before and as many after."""
    out = []
    for i, (step, _) in enumerate(points):
        near = points[max(0, i - window) : i + window + 1]
        out.append((step, sum(value for _, value in near) / len(near)))
    return out


def _line(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    label: str,
    colour: str,
    marker: str = "",
    alpha: float = 1.0,
) -> None:
    if points:
        steps, values = zip(*points, strict=True)
        axes.plot(
            steps,
            values,
            marker=marker,
            markersize=5,
            linewidth=1.6,
            color=PALETTE[colour],
            label=label or None,
            alpha=alpha,
        )


def _mark_best(axes: Axes, best_step: int | None) -> None:
    if best_step is not None:
        axes.axvline(
            best_step,
            color=PALETTE["accent"],
            linewidth=1,
            linestyle=(0, (2, 2)),
            label="best step",
        )


def _step_axis(axes: Axes, legend: bool) -> None:
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.grid(axis="y")
    if legend:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2, columnspacing=1.2
        )


def _short(label: str, limit: int = 30) -> str:
    return label if len(label) <= limit else label[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _drawable(value: float, ci: tuple[float, float]) -> bool:
    return all(math.isfinite(x) for x in (value, *ci))
