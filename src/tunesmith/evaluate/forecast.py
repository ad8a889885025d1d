"""What twice the labels would bring: a line through the metric over log2(rows), on a scale that
keeps forecasts inside what the metric can be, with an interval that holds the luck of training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import special, stats

from tunesmith.evaluate.metrics import Metric, find_metric
from tunesmith.evaluate.statistics import Floats
from tunesmith.records import Estimate


@dataclass(frozen=True)
class Forecast:
    """What twice the labels would bring, and a sentence.

    `per_doubling` is the metric's change from the fitted line at all the rows to twice as many,
    `level` the metric there; `ci` and `level_ci` are their intervals, 95 % unless said, None from
    two parts alone. `training_sd` is the standard deviation that the parts have around the line
    beyond what their test rows explain, on the line's scale (log odds for metrics from 0 to 1).
    """

    per_doubling: float
    ci: tuple[float, float] | None
    sentence: str
    level: float
    level_ci: tuple[float, float] | None = None
    training_sd: float | None = None


@dataclass(frozen=True)
class Scale:
    """A metric's values between `low` and `low + width`, as numbers that a line may go through.

    log odds: values with two ends; log: values above zero; plain: all others.
    """

    kind: Literal["log odds", "log", "plain"]
    low: float = 0.0
    width: float = 1.0

    def to_line(self, values: Floats, se: Floats, n: Floats) -> tuple[Floats, Floats, Floats]:
        """(y, variance of y, smallest variance that n rows can show), by the delta method.

        Log odds are Anscombe's (1956), half a row from either end, so that 0 of n is a number. No
        value is surer than half a row of n, so that no point has all the weight.
        """
        half_row = 0.5 / (n + 1)
        if self.kind == "plain":
            y, rate = values, np.ones_like(values)
            half_row = half_row * max(float(np.abs(values).max()), 1e-9)
        elif self.kind == "log":
            y, rate = np.log(values), 1 / values
            half_row = half_row * values
        else:
            share = ((values - self.low) / self.width * n + 0.5) / (n + 1)
            y, rate = special.logit(share), 1 / (share * (1 - share)) / self.width
            half_row = half_row * self.width
        return y, (rate * np.maximum(se, half_row)) ** 2, (rate * half_row) ** 2

    def to_metric(self, y: float) -> float:
        """Back to the metric."""
        if self.kind == "plain":
            return y
        share = float(special.expit(y)) if self.kind == "log odds" else math.exp(min(y, 700.0))
        return self.low + self.width * share


def scale_of(metric: Metric, values: Sequence[float]) -> Scale:
    """The scale on which a metric's line is drawn."""
    low, high = metric.kind.bounds
    if math.isfinite(low) and math.isfinite(high):
        return Scale("log odds", low, high - low)
    return Scale("log" if low == 0 and min(values) > 0 else "plain")


@dataclass(frozen=True)
class Line:
    """A straight line fitted by meta-regression: `at` and `slope` with their variances and the
    degrees of freedom that these rest on.
    """

    centre: float
    mean: float
    slope: float
    mean_variance: float
    slope_variance: float
    freedom: int
    luck: float

    def at(self, x: float) -> float:
        """The line at x."""
        return self.mean + self.slope * (x - self.centre)


def fit_line(x: Floats, y: Floats, variances: Floats, smallest: Floats) -> Line:
    """Random-effects meta-regression: each point scatters by its test rows and by the luck of its
    training.

    The variance between trainings is DerSimonian and Laird's moment estimate, the standard errors
    are Knapp and Hartung's (2003), for Student's t with points - 2 degrees of freedom: they follow
    the scatter that is seen, so that test rows which all points share do not widen the slope. A
    line that passes through all points by chance is not taken for a sure one: the scatter is at
    least that of the `smallest` variances.
    """
    design = np.stack([np.ones_like(x), x], axis=1)
    luck = _luck(design, y, 1 / variances)
    weights = 1 / (variances + luck)
    centre = float(np.average(x, weights=weights))
    mean = float(np.average(y, weights=weights))
    spread = float(weights @ (x - centre) ** 2)
    slope = float(weights @ ((x - centre) * y)) / spread
    residual = y - mean - slope * (x - centre)
    freedom = len(x) - 2
    scatter = (
        max(float(weights @ residual**2) / freedom, float(np.mean(weights * smallest)))
        if freedom
        else math.nan
    )
    return Line(
        centre, mean, slope, scatter / float(weights.sum()), scatter / spread, freedom, luck
    )


def _luck(design_N2: Floats, y: Floats, weights: Floats) -> float:
    """The variance between trainings beyond that of the test rows (DerSimonian and Laird 1986, for
    a regression as in Thompson and Sharp 1999); 0 at least, and for two points.
    """
    if len(y) <= 2:
        return 0.0
    gram = design_N2.T @ (weights[:, None] * design_N2)
    projected = np.linalg.solve(gram, design_N2.T * weights)
    residual = y - design_N2 @ (projected @ y)
    q = float(weights @ residual**2)
    trace = float(weights.sum() - np.trace(projected @ (weights[:, None] * design_N2)))
    return max(0.0, (q - (len(y) - 2)) / trace)


def forecast(
    rows: Sequence[int], estimates: Sequence[Estimate], metric: str, confidence: float = 0.95
) -> Forecast:
    """The metric at twice the largest number of rows, from its estimates after training on each of
    two or more numbers of rows, increasing.

    With two points there is no telling how far one training differs from the next, and no interval
    is given.
    """
    values = np.array([estimate.mean for estimate in estimates])
    scale = scale_of(find_metric(metric), values.tolist())
    y, variances, smallest = scale.to_line(
        values,
        np.nan_to_num(np.array([estimate.se for estimate in estimates])),
        np.array([float(estimate.n) for estimate in estimates]),
    )
    x = np.log2(np.asarray(rows, dtype=float))
    line = fit_line(x, y, variances, smallest)
    now, then = line.at(x[-1]), line.at(x[-1] + 1)
    level = scale.to_metric(then)
    found = Forecast(
        per_doubling=level - scale.to_metric(now),
        ci=None,
        sentence="",
        level=level,
        training_sd=math.sqrt(line.luck) if line.freedom else None,
    )
    if line.freedom:
        found = _with_intervals(found, line, scale, x[-1], float(variances[-1]), confidence)
    return _said(found, rows, metric, confidence)


def _with_intervals(
    found: Forecast, line: Line, scale: Scale, last: float, of_rows: float, confidence: float
) -> Forecast:
    """The change's interval is the slope's; the level's also holds the test rows', which all points
    share, so that their scatter does not show it.
    """
    t = float(stats.t.ppf((1 + confidence) / 2, line.freedom))
    now, then = line.at(last), line.at(last + 1)
    half = t * math.sqrt(line.slope_variance)
    ends = [scale.to_metric(now + line.slope + end) - scale.to_metric(now) for end in (-half, half)]
    of_line = line.mean_variance + (last + 1 - line.centre) ** 2 * line.slope_variance
    z = float(stats.norm.ppf((1 + confidence) / 2))
    half = math.sqrt(t**2 * of_line + z**2 * of_rows)
    levels = [scale.to_metric(then + end) for end in (-half, half)]
    return replace(found, ci=(ends[0], ends[1]), level_ci=(levels[0], levels[1]))


def _said(found: Forecast, rows: Sequence[int], metric: str, confidence: float) -> Forecast:
    goes_on = f"if it goes on as it did from {rows[0]:,} to {rows[-1]:,} examples"
    level, change = f"{found.level:.3f}", _signed(found.per_doubling)
    if found.ci is None or found.level_ci is None:
        sentence = (
            f"Twice the labels would bring {metric} to about {level} ({change}), {goes_on}. There "
            "is no interval: two parts cannot tell how far one training differs from the next; "
            "give three or more fractions."
        )
    else:
        sentence = (
            f"Twice the labels would bring {metric} to about {level} ({100 * confidence:g} % "
            f"interval {found.level_ci[0]:.3f} to {found.level_ci[1]:.3f}), a change of {change} "
            f"({_signed(found.ci[0])} to {_signed(found.ci[1])}), {goes_on}."
        )
    return replace(found, sentence=sentence)


def _signed(change: float) -> str:
    return f"{change:+.3f}".replace("-0.000", "+0.000")
