"""Intervals of one number and of the difference of two, and the p that such an interval gives.

Three shapes suffice. A number that has a range (a share, an F1, BLEU) has Wilson's interval at its
effective number of rows; a difference of two such numbers, correlations among them, is a gain less
a loss, each of which has one. A correlation has Student's interval on Fisher's z. A number without
a range (an error, a length ratio) has Student's interval with its skewness taken out; of a
perplexity it is that of its logarithm.
docs/statistics.md says how often each holds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from scipy import optimize, special

from tunesmith.evaluate.influence import Influence
from tunesmith.evaluate.values import Floats

Interval: TypeAlias = tuple[float, float]

PRIOR = 0.02
"""Of one unit, the weight that is added at the end of the range when a variance is estimated: units
that are all alike say little about how unlike the next one may be."""

SEEN_SKEWNESS, UNSEEN_SKEWNESS = 1.25, 1.6
"""What a sample's skewness is multiplied by, because that of a few rows with a long tail is too
low: at the end of the interval where the short tail is, and at the end of the long one, where the
rows that were not seen would be."""


# ---- a number in a range


def wilson_interval(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion; n may be an effective number of rows.

    Wilson (1927); equal to scipy's binomtest(...).proportion_ci(method="wilson") for whole numbers.
    """
    return _wilson(successes / n, n, _z((1 - confidence) / 2))


def _wilson(share: float, n: float, z: float) -> Interval:
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(max(0.0, share * (1 - share)) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # exactly 0 and 1 at the ends, as scipy has it
    low = 0.0 if share <= 0 else max(0.0, centre - half)
    high = 1.0 if share >= 1 else min(1.0, centre + half)
    return low, high


def bounded_interval(
    influence: Influence,
    bounds: Interval,
    rows: float | None = None,
    binary: bool = False,
    confidence: float = 0.95,
) -> Interval:
    """The interval of a number that has a range.

    Wilson's at the number of rows whose binomial variance is the variance of the number (Korn and
    Graubard 1998 for clusters; here for any score between two ends). `rows` is how many units the
    number would rest on if all were alike, by default the effective number of units.
    """
    tail = (1 - confidence) / 2
    scaled = influence.scaled(bounds)
    if binary and not influence.clustered:
        low, high = _wilson(scaled.value, influence.n, _z(tail))
    else:
        low, high = _limits(scaled, scaled.value, scaled.variance, rows, tail)
    return _within(influence, low, high, bounds)


def correlation_interval(influence: Influence, confidence: float = 0.95) -> Interval:
    """The interval of a correlation: Student's on Fisher's (1921) z = atanh r, with the jackknife's
    standard error carried over by the derivative, 1 / (1 - r^2). Few rows with long tails show
    their skewness poorly, so it holds the interval with all of it taken out and the one with half
    of it put in, and Student's is between. That of bounded_interval where all rows are on a line,
    so that z has no end.
    """
    r = influence.value
    if abs(r) > 1 - 1e-12 or influence.variance == 0:
        return bounded_interval(influence, (-1.0, 1.0), confidence=confidence)
    on_z = influence.at(math.atanh(r), 1 / (1 - r**2))
    low, high = _widest(on_z, (-on_z.skewness / 2, on_z.skewness), confidence)
    return math.tanh(low), math.tanh(high)


def _within(influence: Influence, low: float, high: float, bounds: Interval) -> Interval:
    """Limits on 0 to 1 in the number's own range, its bias taken off, around the number itself."""
    start, width = bounds[0], bounds[1] - bounds[0]
    low, high = (start + width * end - influence.bias for end in (low, high))
    value = influence.value
    return max(bounds[0], min(value, low)), min(bounds[1], max(value, high))


def _limits(
    influence: Influence, share: float, variance: float, rows: float | None, tail: float
) -> Interval:
    """Wilson's limits of a share of this variance, each at its own effective number of rows."""
    z = _z(tail)
    low, high = (_effective_rows(influence, share, variance, rows, tail, end) for end in (0.0, 1.0))
    return _wilson(share, low, z)[0], _wilson(share, high, z)[1]


def _effective_rows(
    influence: Influence, share: float, variance: float, rows: float | None, tail: float,
    end: float,
) -> float:  # fmt: skip
    """The number of rows whose binomial variance is this variance.

    A small part of a unit at `end` is added to both, so that units which are all alike count as
    so many units and no more. The variance is itself an estimate, for which the number is reduced
    by the square of z / t.
    """
    units = rows or 1 / influence.concentration
    prior = PRIOR / units
    mean = (share + prior * end) / (1 + prior)
    spread = (variance * units + prior * (share - end) ** 2 / (1 + prior)) / (1 + prior)
    effective = units * mean * (1 - mean) / spread if spread > 1e-15 else units
    return max(1e-9, effective * (_z(tail) / _t(tail, influence.freedom)) ** 2)


# ---- a number without a range


def skewed_interval(influence: Influence, bounds: Interval, confidence: float = 0.95) -> Interval:
    """Student's interval with the skewness taken out, by Hall's (1992) cubic transformation.

    It needs no resampling. The end in the long tail has more skewness taken out than the other.
    """
    factors = (SEEN_SKEWNESS, UNSEEN_SKEWNESS)
    below, above = factors if influence.skewness > 0 else factors[::-1]
    low = _skewed_ends(influence, below * influence.skewness, confidence)[0]
    high = _skewed_ends(influence, above * influence.skewness, confidence)[1]
    value = influence.value
    return max(bounds[0], min(value, low)), min(bounds[1], max(value, high))


def log_interval(influence: Influence, bounds: Interval, confidence: float = 0.95) -> Interval:
    """The interval of e to the power of a mean, for which there is a least value above 0: that of
    the mean, by the derivative 1 / value.
    """
    on_log = influence.at(math.log(influence.value), 1 / influence.value)
    ends = (math.log(bounds[0]), math.log(min(bounds[1], sys.float_info.max)))
    low, high = skewed_interval(on_log, ends, confidence)
    return math.exp(low), math.exp(high)


def skewed_difference(influence: Influence, width: float, confidence: float = 0.95) -> Interval:
    """The interval of a difference of two numbers without a range: it holds both Student's interval
    and the one with the skewness taken out. Differences have long tails on both sides, whose
    skewness is mostly chance.
    """
    low, high = _widest(influence, (0.0, _skewness(influence)), confidence)
    return max(-width, low), min(width, high)


def _widest(influence: Influence, skewnesses: Sequence[float], confidence: float) -> Interval:
    """What holds the interval of each skewness, and the number."""
    ends = [_skewed_ends(influence, s, confidence) for s in skewnesses]
    value, lows, highs = influence.value, *zip(*ends, strict=True)
    return min(value, *lows), max(value, *highs)


def _skewed_ends(influence: Influence, skewness: float, confidence: float) -> Interval:
    t, error = _t((1 - confidence) / 2, influence.freedom), math.sqrt(influence.variance)
    centre = influence.value - influence.bias
    return centre - error * _undo_hall(t, skewness), centre - error * _undo_hall(-t, skewness)


def skewed_p(influence: Influence) -> float:
    """Two-sided p of no difference: the level at which `skewed_difference` just touches zero."""
    error = math.sqrt(influence.variance)
    if error == 0:
        return 1.0 if influence.value == 0 else 0.0
    centre = influence.value - influence.bias
    if centre * influence.value <= 0:
        return 1.0
    y = min(
        math.copysign(1, centre) * _hall(centre / error, s) for s in (0.0, _skewness(influence))
    )
    return float(min(1.0, 2 * special.stdtr(influence.freedom, -y)))


def _skewness(influence: Influence) -> float:
    return SEEN_SKEWNESS * influence.skewness


def _hall(t: float, skewness: float) -> float:
    """Hall's transformation of a t value; `skewness` is a row's divided by the root of n."""
    return t + skewness * t**2 / 3 + skewness**2 * t**3 / 27 + skewness / 6


def _undo_hall(y: float, skewness: float) -> float:
    if abs(skewness) < 1e-6:
        return y
    return float(3 / skewness * (np.cbrt(1 + skewness * (y - skewness / 6)) - 1))


# ---- a difference of two numbers that have a range


def tango_interval(only_a: int, only_b: int, n: int, confidence: float = 0.95) -> Interval:
    """The score interval of the difference of two paired proportions, b minus a.

    Tango (1998): the differences that the score test does not reject, the share of discordant rows
    at its likeliest under each. `only_a` and `only_b` are the rows that only one of them has right.
    """
    z = _z((1 - confidence) / 2)
    found = (only_b - only_a) / n

    def excess(difference: float) -> float:
        return abs(_tango_score(difference, only_a, only_b, n)) - z

    low = -1.0 if found == -1 else float(optimize.brentq(excess, -1 + 1e-12, found, xtol=1e-12))
    high = 1.0 if found == 1 else float(optimize.brentq(excess, found, 1 - 1e-12, xtol=1e-12))
    return low, high


def _tango_score(difference: float, only_a: int, only_b: int, n: int) -> float:
    linear = (2 * n - only_b + only_a) * difference - only_b - only_a
    constant = -only_a * difference * (1 - difference)
    share = (math.sqrt(max(0.0, linear**2 - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * share + difference * (1 - difference))
    gap = only_b - only_a - n * difference
    if variance > 0:
        return gap / math.sqrt(variance)
    return math.copysign(math.inf, gap) if gap else 0.0


def paired_interval(
    influence: Influence, width: float, rows: float | None = None, confidence: float = 0.95
) -> Interval:
    """The interval of a difference of two numbers whose range is `width` wide.

    The difference is a gain less a loss: what the units add that speak for b, less what those add
    that speak for a. Each has an interval as `bounded_interval` has it, and both are put together
    by the method of variance estimates recovery (Zou and Donner 2008; for proportions it is
    Newcombe's (1998) tenth). A few units that differ, all one way, so give an interval that is
    longer on the other side.
    """
    low, high = _paired_limits(influence.scaled((0.0, width)), rows, (1 - confidence) / 2)
    value = influence.value
    return max(-width, min(value, low * width)), min(width, max(value, high * width))


def paired_p(influence: Influence, width: float, rows: float | None = None) -> float:
    """Two-sided p of no difference: the level at which `paired_interval` just touches zero."""
    scaled = influence.scaled((0.0, width))
    if scaled.value == 0:
        return 1.0
    end = 0 if scaled.value > 0 else 1
    return _level_at_zero(lambda tail: _paired_limits(scaled, rows, tail)[end], scaled.value)


def _level_at_zero(limit: Callable[[float], float], value: float) -> float:
    """Twice the tail at which the limit of an interval is zero; `value` tells its side."""

    def towards(log_tail: float) -> float:
        return math.copysign(1.0, value) * limit(math.exp(log_tail))

    least, most = math.log(1e-15), math.log(0.4999)
    if towards(most) <= 0:
        return 1.0
    if towards(least) >= 0:
        return 2e-15
    return 2 * math.exp(float(optimize.brentq(towards, least, most, xtol=1e-6)))


def _paired_limits(influence: Influence, rows: float | None, tail: float) -> Interval:
    gain, loss, together = _gain_and_loss(influence)
    scale = math.sqrt(gain[1] * loss[1])
    correlation = max(-1.0, min(1.0, together / scale)) if scale > 1e-15 else 0.0
    gain_low, gain_high = _limits(influence, *gain, rows, tail)
    loss_low, loss_high = _limits(influence, *loss, rows, tail)
    centre = influence.value - influence.bias
    below = _joined(gain[0] - gain_low, loss_high - loss[0], correlation)
    above = _joined(gain_high - gain[0], loss[0] - loss_low, correlation)
    return centre - below, centre + above


def _joined(x: float, y: float, correlation: float) -> float:
    return math.sqrt(max(0.0, x**2 + y**2 - 2 * correlation * x * y))


def _gain_and_loss(influence: Influence) -> tuple[Interval, Interval, float]:
    """(gain, its variance), (loss, its variance) and their covariance."""
    contribution_C = influence.contribution_C
    parts = [np.maximum(side * contribution_C, 0.0) for side in (1, -1)]
    sums = [min(1.0, float(part.sum())) for part in parts]
    weight_C = influence.weight_C
    residuals: list[Floats] = [part - influence.share_C * part.sum() for part in parts]
    variances = [float(weight_C @ residual**2) for residual in residuals]
    together = float(weight_C @ (residuals[0] * residuals[1]))
    return (sums[0], variances[0]), (sums[1], variances[1]), together


def _z(tail: float) -> float:
    return -float(special.ndtri(tail))


def _t(tail: float, freedom: float) -> float:
    return -float(special.stdtrit(freedom, tail))
