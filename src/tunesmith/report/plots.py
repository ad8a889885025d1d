"""Draws the report's charts: SVG for the page, SVG and PNG for the run folder.

The same chart gives the same bytes. Every colour is one of PALETTE: the page replaces them by its
own, light or dark.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith.report.charts import (
    Chart,
    Forest,
    Gains,
    LearningCurve,
    Line,
    Lines,
)
from tunesmith.report.content import Report
from tunesmith.report.sections import Section, sections_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = {
    "ink": "#1b2128",
    "muted": "#5b6570",
    "line": "#d5dade",
    "paper": "#ffffff",
    "accent": "#0b6b62",
}
WIDTH = 5.0
"""Width of every plot in inches."""

STYLE: dict[Any, str | float] = {  # matplotlib types its keys as one long Literal
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
    """A drawn plot; `alt` says in words what it shows, for readers who cannot see it."""

    name: str
    title: str
    alt: str
    svg: str
    png: bytes


def plots_of(report: Report, sections: Sequence[Section] | None = None) -> list[Plot]:
    """Every plot that the report has the numbers for, in the order of its sections, which are given
    where they are known already.
    """
    sections = sections or sections_of(report)
    return [draw(chart) for section in sections for chart in section.charts]


def draw(chart: Chart) -> Plot:
    """The chart as SVG and PNG."""
    if isinstance(chart, Forest):
        return _forest_plot(chart)
    if isinstance(chart, Gains):
        return _gains_plot(chart)
    if isinstance(chart, Lines):
        return _lines_plot(chart)
    return _learning_curve_plot(chart)


def _forest_plot(chart: Forest) -> Plot:
    rows = chart.rows
    with _figure(0.62 + 0.3 * len(rows)) as (figure, [axes]):
        for i, row in enumerate(rows):
            colour = PALETTE["accent" if row.marked else "muted"]
            axes.plot(row.ci, (i, i), color=colour, linewidth=2, solid_capstyle="butt")
            axes.plot(row.value, i, "o", color=colour, markersize=6.5 if row.marked else 5)
        axes.set_yticks(range(len(rows)), [_short(row.label) for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0, labelcolor=PALETTE["ink"])
        axes.spines["left"].set_visible(False)
        if chart.axis:
            axes.set_xlabel(chart.axis)
        axes.grid(axis="x")
        axes.locator_params(axis="x", nbins=6)
        if chart.zero:
            axes.axvline(0, color=PALETTE["ink"], linewidth=1)
        return _finish(figure, chart)


def _gains_plot(chart: Gains) -> Plot:
    with _figure(0.95 * len(chart.rows), len(chart.rows)) as (figure, panels):
        for axes, row in zip(panels, chart.rows, strict=True):
            axes.plot(row.ci, (0, 0), color=PALETTE["accent"], linewidth=2.5, solid_capstyle="butt")
            axes.plot(row.value, 0, "o", color=PALETTE["accent"], markersize=6.5)
            axes.axvline(0, color=PALETTE["ink"], linewidth=1)
            axes.axvline(row.limit, color=PALETTE["muted"], linewidth=1, linestyle=(0, (3, 2)))
            axes.set_yticks([])
            axes.set_ylim(-1, 1)
            axes.spines["left"].set_visible(False)
            axes.set_title(row.label, loc="left", fontsize=9, color=PALETTE["ink"], pad=3)
            axes.set_xlabel(row.axis, fontsize=8)
            axes.locator_params(axis="x", nbins=6)
        return _finish(figure, chart)


def _lines_plot(chart: Lines) -> Plot:
    with _figure(2.7) as (figure, [axes]):
        for line in chart.lines:
            _draw_line(axes, line)
        _mark_best(axes, chart.best_step)
        if chart.axis:
            axes.set_ylabel(chart.axis)
        _x_axis(axes, chart)
        return _finish(figure, chart)


def _learning_curve_plot(chart: LearningCurve) -> Plot:
    rows = [point.rows for point in chart.points]
    estimates = [point.estimate for point in chart.points]
    lows, highs = [e.ci[0] for e in estimates], [e.ci[1] for e in estimates]
    with _figure(2.7) as (figure, [axes]):
        axes.plot(rows, [e.mean for e in estimates], "-o", color=PALETTE["accent"], markersize=5)
        axes.vlines(rows, lows, highs, color=PALETTE["accent"])
        axes.set_xscale("log")
        axes.set_xticks(rows, [f"{n:,}" for n in rows])
        axes.minorticks_off()
        axes.set_xlabel("training rows")
        axes.grid(axis="y")
        return _finish(figure, chart)


@contextmanager
def _figure(height: float, panels: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of the page's width in our style, `height` in inches, with its panels from the top.

    It is made without pyplot, so no state is shared and no window is needed.
    """
    import matplotlib  # noqa: PLC0415 - slow to load, needed only where a plot is drawn
    from matplotlib.figure import Figure  # noqa: PLC0415 - the same

    with matplotlib.rc_context(), warnings.catch_warnings():
        # the page draws text in the reader's fonts, so a glyph that ours lack is no loss
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        matplotlib.rcdefaults()  # a user's matplotlibrc changes nothing
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="none")
        yield figure, list(figure.subplots(panels, squeeze=False).flat)


def _finish(figure: Figure, chart: Chart) -> Plot:
    svg, png = io.StringIO(), io.BytesIO()
    figure.savefig(
        svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    figure.savefig(
        png, format="png", dpi=160, facecolor=PALETTE["paper"], metadata={"Software": None}
    )
    return Plot(chart.name, chart.title, chart.alt, svg.getvalue(), png.getvalue())


def _draw_line(axes: Axes, line: Line) -> None:
    if line.points:
        steps, values = zip(*line.points, strict=True)
        axes.plot(
            steps,
            values,
            marker=line.marker,
            markersize=5,
            linewidth=1.6,
            color=PALETTE[line.colour],
            label=line.label or None,
            alpha=line.alpha,
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


def _x_axis(axes: Axes, chart: Lines) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - slow to load, as above

    axes.set_xlabel(chart.x_axis)
    is_step = chart.x_axis == "step"
    axes.xaxis.set_major_locator(
        MaxNLocator(nbins="auto", steps=[1, 2, 2.5, 5, 10], integer=is_step)
    )
    axes.grid(axis="y")
    if chart.legend:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2, columnspacing=1.2
        )


def _short(label: str, limit: int = 30) -> str:
    return label if len(label) <= limit else label[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
