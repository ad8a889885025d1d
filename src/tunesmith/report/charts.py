"""What the report's plots show, as data; `plots.py` draws it.

Kept apart so that the terminal and the model card, which show no plots, never load matplotlib.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tunesmith.evaluate.metrics import find_metric
from tunesmith.evaluate.system_table import TUNED
from tunesmith.records import Question
from tunesmith.report.content import CurvePoint, Report
from tunesmith.report.format import in_sentence, metric_name, system_name

Points: TypeAlias = Sequence[tuple[float, float]]
History: TypeAlias = Sequence[Mapping[str, float | None]]

SMOOTHED_POINTS = 30
"""A running mean is drawn over a training loss with at least twice as many steps."""


@dataclass(frozen=True, slots=True)
class ForestRow:
    """A point with its interval; `marked` ones are drawn in the accent colour."""

    label: str
    value: float
    ci: tuple[float, float]
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Forest:
    """One point and interval a row, the first on top.

    `axis` labels the x axis; `zero` draws a line at zero, for differences.
    """

    name: str
    title: str
    rows: tuple[ForestRow, ...]
    axis: str = ""
    zero: bool = False

    @property
    def alt(self) -> str:
        """The values in words, for readers who cannot see the plot."""
        return f"{self.title}: " + "; ".join(
            f"{row.label} {row.value:.3f} {_ends(row.ci)}" for row in self.rows
        )


def _ends(ci: tuple[float, float]) -> str:
    if any(map(math.isnan, ci)):
        return "without an interval"
    return f"from {ci[0]:.3f} to {ci[1]:.3f}"


@dataclass(frozen=True, slots=True)
class Gain:
    """A gain and its interval on an axis for itself; `limit` is the gain that counts, or minus the
    loss that would be too much. `axis` labels the x axis.
    """

    label: str
    value: float
    ci: tuple[float, float]
    limit: float
    axis: str


@dataclass(frozen=True, slots=True)
class Gains:
    """Gains in different units below each other, with the same side for good news."""

    name: str
    title: str
    rows: tuple[Gain, ...]

    @property
    def alt(self) -> str:
        """The values in words, for readers who cannot see the plot."""
        return f"{self.title}: " + "; ".join(
            f"{row.label} {row.value:+.3g} from {row.ci[0]:+.3g} to {row.ci[1]:+.3g} ({row.axis})"
            for row in self.rows
        )


@dataclass(frozen=True, slots=True)
class Line:
    """(step, value) points; `colour` is a key of plots.PALETTE."""

    points: Points
    label: str
    colour: str
    marker: str = ""
    alpha: float = 1.0


@dataclass(frozen=True, slots=True)
class Lines:
    """Values by optimizer step, or by what `x_axis` says; a `best_step` is marked. `axis` labels
    the y axis.
    """

    name: str
    title: str
    alt: str
    lines: tuple[Line, ...]
    best_step: int | None
    axis: str = ""
    legend: bool = False
    x_axis: str = "step"


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """A metric by number of training rows, with intervals, on a logarithmic axis."""

    name: str
    title: str
    points: tuple[CurvePoint, ...]

    @property
    def alt(self) -> str:
        """The values in words, for readers who cannot see the plot."""
        return f"{self.title}: " + "; ".join(
            f"{point.rows:,} rows {point.estimate.mean:.3f}" for point in self.points
        )


Chart: TypeAlias = Forest | Gains | Lines | LearningCurve


def forest(
    name: str, title: str, rows: Sequence[ForestRow], axis: str = "", zero: bool = False
) -> Forest | None:
    """The rows whose value is finite, a dot alone where there is no interval; None if there are
    none.
    """
    finite = tuple(row for row in rows if math.isfinite(row.value))
    return Forest(name, title, finite, axis, zero) if finite else None


def questions_chart(report: Report) -> Gains | None:
    """The three questions of the headline, those that have an interval."""
    rows = tuple(_gain(question) for question in report.questions if math.isfinite(question.ci[0]))
    return Gains("questions", "The three answers, with their intervals", rows) if rows else None


def _gain(question: Question) -> Gain:
    metric = find_metric(question.metric)
    points = 100 if metric.unit == "fraction" else 1
    low, high = question.ci
    limit = -question.margin if question.name == "kept" else question.margin
    unit = "" if metric.unit == "plain" else ", points"
    better = "" if metric.higher_is_better else ", less of it is a gain"
    return Gain(
        question.title,
        points * question.gain,
        (points * low, points * high),
        points * limit,
        f"gain in {in_sentence(metric.title)} over {_opponent(question)}{unit}{better}",
    )


def _opponent(question: Question) -> str:
    if question.name == "kept":
        return f"the base, {question.against}"
    return in_sentence(system_name(question.against))


def systems_chart(report: Report) -> Forest | None:
    """The primary metric by system."""
    estimates = [(e.system, e.estimates.get(report.primary_metric)) for e in report.evaluations]
    rows = [
        ForestRow(system_name(system), found.mean, found.ci, system == TUNED)
        for system, found in estimates
        if found
    ]
    return forest("systems", f"{metric_name(report.primary_metric)} by system", rows)


def differences_chart(report: Report) -> Forest | None:
    """The tuned model's gain in the primary metric over each other system."""
    rows = [
        ForestRow(system_name(c.a), c.difference, c.ci, i == 0)
        for i, c in enumerate(report.comparisons)
        if c.metric == report.primary_metric and c.b == TUNED
    ]
    title = f"Gain in {in_sentence(metric_name(report.primary_metric))} over each system"
    return forest("differences", title, rows, "difference", zero=True)


def loss_chart(history: History, best_step: int | None) -> Lines | None:
    """Training loss by step, smoothed if there are many steps, and the validation loss."""
    train, validation = _series(history, "loss"), _series(history, "validation_loss")
    if not train and not validation:
        return None
    window = len(train) // SMOOTHED_POINTS
    smooth = window > 1
    raw = Line(train, "" if smooth else "training", "muted", alpha=0.35 if smooth else 1.0)
    mean = Line(_smoothed(train, window), "training (running mean)", "muted")
    lines = (raw, *([mean] if smooth else []), Line(validation, "validation", "accent", "o"))
    last = f"; validation loss ends at {validation[-1][1]:.3f}" if validation else ""
    alt = f"Loss over {(train or validation)[-1][0]:.0f} steps{last}; best step {best_step}"
    return Lines("loss", "Loss", alt, lines, best_step, "loss per trained token", legend=True)


def validation_loss_chart(history: History, best_step: int | None) -> Lines | None:
    """The validation loss on a scale of its own: beside the training loss, which falls much
    further, the turn from which on it rises would not be seen.
    """
    points = _series(history, "validation_loss")
    if len(points) < 2:
        return None
    step, lowest = min(points, key=lambda point: point[1])
    title = "Validation loss, on a scale of its own"
    alt = (
        f"{title}: lowest {lowest:.3f} at step {step:.0f}, {points[-1][1]:.3f} at the end; best "
        f"step {best_step}"
    )
    line = Line(points, "validation", "accent", "o")
    return Lines("validation_loss", title, alt, (line,), best_step, "loss per trained token")


def metric_chart(history: History, metric: str, best_step: int | None) -> Lines | None:
    """The primary metric on the validation split by step."""
    points = _series(history, f"validation_{metric}")
    if not points:
        return None
    title = f"{metric_name(metric)} on validation"
    alt = f"{title}: from {points[0][1]:.3f} to {points[-1][1]:.3f}; best step {best_step}"
    return Lines(
        "metric", title, alt, (Line(points, metric_name(metric), "accent", "o"),), best_step
    )


def learning_curve_chart(points: Sequence[CurvePoint], metric: str) -> LearningCurve | None:
    """The metric by number of training rows; None without points."""
    if not points:
        return None
    return LearningCurve("learning_curve", f"{metric} by training rows", tuple(points))


def _series(history: History, key: str) -> list[tuple[float, float]]:
    """(step, value) of every entry that has a finite number under `key`."""
    found = []
    for entry in history:
        step, value = entry.get("step"), entry.get(key)
        if step is not None and isinstance(value, (int, float)) and math.isfinite(value):
            found.append((float(step), float(value)))
    return found


def _smoothed(points: Points, window: int) -> list[tuple[float, float]]:
    """The mean over `window` steps before and as many after."""
    out = []
    for i, (step, _) in enumerate(points):
        near = points[max(0, i - window) : i + window + 1]
        out.append((step, sum(value for _, value in near) / len(near)))
    return out
