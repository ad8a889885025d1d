"""What a number of rows can show: the power of the test that a comparison uses, the smallest gain
that it finds, and the rows that would tell.

Power is the probability that the test comes out in favour of the better system, p < 1 -
confidence. A unit is what the test swaps: a row, or a cluster where rows come in clusters.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from tunesmith.evaluate.crossed import half_width
from tunesmith.evaluate.metrics import Metric, find_metric
from tunesmith.evaluate.statistics import Floats
from tunesmith.records import Comparison

POWER = 0.8
_COUNTS = 201  # numbers of differing units that a power is averaged over, at most
_CERTAIN = 200  # degrees of freedom from which a standard deviation is taken as known
_SCALES = 9  # standard deviations that a power is averaged over below that
_MOST_ROWS = 10_000_000  # whoever needs more cannot get them


# ---- the power of the two tests


def mcnemar_power(gain: float, n: float, discordant: float, confidence: float = 0.95) -> float:
    """The power of exact McNemar with n rows.

    `gain` is the difference of the shares that are right, `discordant` the share of rows that only
    one system has right: (discordant + gain) / 2 by the better one. Exact but for the cut tails:
    the binomial probability of rejecting given m discordant rows, averaged over m (Duffy 1984).
    """
    counts_M, weights_M = _differing(n, discordant)
    limit_M = _largest_minority(counts_M, confidence)
    losing = (discordant - gain) / 2 / discordant if discordant > 0 else 0.5
    return float(weights_M @ stats.binom.cdf(limit_M, counts_M, max(0.0, losing)))


def _largest_minority(counts_M: Floats, confidence: float) -> Floats:
    """The most discordant rows of m that may favour the other system with p < 1 - confidence; -1
    where there is no such number.
    """
    tail = (1 - confidence) / 2
    limit_M = stats.binom.ppf(tail, counts_M, 0.5)
    return np.asarray(limit_M - (stats.binom.cdf(limit_M, counts_M, 0.5) >= tail), dtype=float)


@dataclass(frozen=True)
class Units:
    """How two systems differ from unit to unit.

    `count` is the number of units, an effective one where their sizes are unequal; `share` that of
    the units on which the two differ at all; `sd` and `size` are the standard deviation and the
    mean absolute value of the difference on these. `freedom` is the degrees of freedom of an `sd`
    that was estimated. `step` is the distance between the means that flips of signs can give: two
    rows of n where they are right or wrong.
    """

    count: float
    share: float
    sd: float
    size: float
    freedom: float = math.inf
    step: float = 0.0

    @property
    def scales(self) -> Floats:
        """The factors by which sd may be too large, each as probable as the others."""
        if self.freedom > _CERTAIN:
            return np.ones(1)
        quantiles = (np.arange(_SCALES) + 0.5) / _SCALES
        return np.asarray(np.sqrt(stats.chi2.ppf(quantiles, self.freedom) / self.freedom))

    def at(self, gain: float) -> tuple[float, float]:
        """The share of units that differ, and their mean difference, where the gain is `gain`.

        Up to the size that differences have, a gain makes them more one-sided; a larger one can
        only come from more units that differ.
        """
        share = min(1.0, max(self.share, gain / self.size))
        return share, gain / share


def randomisation_power(gain: float, units: Units, confidence: float = 0.95) -> float:
    """The power of approximate randomisation over units.

    That of Student's t (noncentral t) on the units that differ, because swapping the others
    changes nothing, at the level that their sign flips can attain: m of them have 2^(m-1) pairs of
    signs, so that fewer than six never reach p < 0.05. Half a step of the mean is lost where
    differences are whole rows, as in a continuity correction. The power is the mean over what the
    standard deviation may be where it was estimated: a `Detectable` would be too small as often as
    too large, and lose more in the one case than it wins in the other.
    """
    share, mean = units.at(gain)
    mean = max(0.0, gain - units.step / 2) / share
    counts_M, weights_M = _differing(units.count, share)
    level_M = attainable_level(counts_M, confidence)
    able_M = level_M > 0
    if not able_M.any():
        return 0.0
    # half a pair of signs less: a continuity correction for the few levels that few units have
    counts_M, level_M = counts_M[able_M], level_M[able_M] - 0.5 ** counts_M[able_M]
    # identical differences are found as soon as there are enough of them
    shift_M = np.sqrt(counts_M) * mean / units.sd if units.sd > 0 else np.full(len(counts_M), 1e3)
    critical_M = np.asarray(stats.t.isf(level_M / 2, counts_M - 1), dtype=float)
    power_SM = _t_power(np.outer(units.scales, shift_M), critical_M, counts_M - 1)
    return float(weights_M[able_M] @ power_SM.mean(axis=0))


def _t_power(shift_SM: Floats, critical_M: Floats, freedom_M: Floats) -> Floats:
    """P(t > critical) at these shifts; 1 for large ones, where the noncentral t is slow."""
    far = critical_M + 37
    power_SM = stats.nct.sf(critical_M, freedom_M, np.minimum(shift_SM, far))
    return np.asarray(np.where(shift_SM > far, 1.0, power_SM))


def attainable_level(counts_M: Floats, confidence: float) -> Floats:
    """The largest p below 1 - confidence that sign flips of m units can have; 0 where none is."""
    pairs_M = 2.0 ** np.minimum(np.floor(counts_M) - 1, 50)
    level_M: Floats = (np.ceil((1 - confidence) * pairs_M - 1e-9) - 1) / pairs_M
    return np.maximum(level_M, 0.0)


def _differing(count: float, share: float) -> tuple[Floats, Floats]:
    """How many of the units differ, counts_M, and how probable that is, weights_M (sum 1)."""
    if share >= 1:
        return np.array([float(count)]), np.ones(1)
    n = math.floor(count)
    low, high = (float(stats.binom.ppf(tail, n, share)) for tail in (1e-7, 1 - 1e-7))
    step = max(1, math.ceil((high - low + 1) / _COUNTS))
    counts_M = np.arange(max(0.0, low), high + 1, step)
    weights_M = stats.binom.pmf(counts_M, n, share)
    return counts_M, np.asarray(weights_M / weights_M.sum(), dtype=float)


# ---- the smallest gain


def smallest_gain(power_of: Callable[[float], float], most: float, power: float = POWER) -> float:
    """The smallest gain whose power is at least `power`, to a thousandth of itself; nan where
    `most`, the largest gain that can occur, has less.
    """
    if not most > 0 or power_of(most) < power:
        return math.nan
    low, high = 0.0, most
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power_of(middle) >= power else (middle, high)
    return high


def smallest_accuracy_gain(
    n: float, discordant: float, *, most: float = 1.0, confidence: float = 0.95
) -> float:
    """The smallest gain of a right/wrong metric that exact McNemar finds with n rows; nan for none.

    `most` is what the weaker system has wrong, the largest gain that can occur. A gain above
    `discordant` makes more rows discordant, and one near `most` fewer: no more can be won than
    are wrong.
    """
    if n * most < 1:
        return math.nan

    def power_of(gain: float) -> float:
        discordant_then = min(max(discordant, gain), max(gain, 2 * most - gain))
        return mcnemar_power(gain, n, discordant_then, confidence)

    return smallest_gain(power_of, most)


def smallest_mean_gain(units: Units, *, most: float = math.inf, confidence: float = 0.95) -> float:
    """The smallest gain that approximate randomisation over the units finds; nan for none."""
    if math.isnan(units.sd) or not units.size > 0:
        return math.nan
    # with every unit differing by ten standard deviations any test that can reject does
    typical = units.size if math.isfinite(units.size) else units.sd
    bound = min(most, typical + 10 * units.sd)
    return smallest_gain(lambda gain: randomisation_power(gain, units, confidence), bound)


def smallest_detectable_effect(n: int, sd: float, confidence: float = 0.95) -> float:
    """The smallest paired difference that n units find, where `sd` is the standard deviation of one
    unit's difference and all units differ; nan where n units cannot show any.
    """
    return smallest_mean_gain(Units(n, 1.0, sd, sd), confidence=confidence)


def largest_gain(metric: Metric, value: float) -> float:
    """The largest gain over a system that has this value of the metric."""
    low, high = metric.kind.bounds
    return high - value if metric.higher_is_better else value - low


def smallest_detectable(
    *,
    difference: float,
    se: float,
    differences_N: Floats | None,
    differs_N: npt.NDArray[np.bool_],
    clusters: Sequence[str],
    binary: bool,
    most: float,
    confidence: float = 0.95,
) -> float:
    """The smallest gain that a comparison like this one finds with 80 % power; nan for none.

    `differences_N` are those by row, None for a corpus metric; `differs_N` says on which rows the
    two systems differ at all. `se` is the clustered standard error of `difference`; `most` is the
    largest gain that can occur.
    """
    if binary and len(set(clusters)) == len(clusters):
        return smallest_accuracy_gain(
            len(clusters), float(differs_N.mean()), most=most, confidence=confidence
        )
    units = _units(difference, se, differences_N, differs_N, clusters, binary)
    return smallest_mean_gain(units, most=most, confidence=confidence)


def _units(
    difference: float,
    se: float,
    differences_N: Floats | None,
    differs_N: npt.NDArray[np.bool_],
    clusters: Sequence[str],
    binary: bool,
) -> Units:
    sizes = Counter(clusters)
    count = len(sizes)
    differ = {cluster for cluster, here in zip(clusters, differs_N, strict=True) if here}
    share = len(differ) / count
    if share == 0:
        return Units(count, 0.0, math.nan, 0.0)
    # the variance of all units is that of those that differ and that of which ones do
    mean = difference / share
    variance = se**2 * count / share - (1 - share) * mean**2
    return Units(
        count=effective_units(list(sizes.values())),
        share=share,
        sd=math.sqrt(max(0.0, variance)),
        size=math.inf if differences_N is None else _size(differences_N, clusters, len(differ)),
        freedom=max(1, len(differ) - 1),
        step=2 / len(clusters) if binary else 0.0,
    )


def _size(differences_N: Floats, clusters: Sequence[str], differing: int) -> float:
    """The mean absolute difference of the clusters that differ, in units of the mean over rows."""
    sums: Counter[str] = Counter()
    for cluster, value in zip(clusters, differences_N, strict=True):
        sums[cluster] += value
    total = sum(abs(value) for value in sums.values())
    return float(total * len(sums) / len(differences_N) / differing)


def effective_units(sizes: Sequence[int]) -> float:
    """The number of equally large clusters that say as much as clusters of these sizes do when the
    rows of each are alike: Kish (1965), the squared sum over the sum of squares.
    """
    return sum(sizes) ** 2 / sum(size**2 for size in sizes)


# ---- the rows that would tell


@dataclass(frozen=True)
class RowsRange:
    """How many rows would find a gain with 80 % power, for three gains that the comparison allows.

    There are `rows` now, and no fewer are given. `least` rows find `largest_gain`, the better end
    of the interval, and `seen` rows find `seen_gain`. `most` rows find `smallest_gain`, the worse
    end. None stands for no number of rows: the gain is zero or less there, more than ten million
    rows are needed, or the trainings differ from each other by too much. Where not even the gain
    that was seen could be found (`runs_decide`), more trainings are needed, not more rows.
    """

    rows: int
    least: int | None
    seen: int | None
    most: int | None
    largest_gain: float
    seen_gain: float
    smallest_gain: float
    runs_decide: bool

    def words(self, amount: Callable[[float], str]) -> str:
        """A clause without a full stop; `amount` writes a gain."""
        if self.runs_decide:
            return (
                "no number of rows does, because the trainings differ from each other too much: "
                "train with more seeds"
            )
        largest, seen = amount(self.largest_gain), amount(self.seen_gain)
        if self.seen is None:
            return f"a gain as small as the one seen ({seen}) is out of reach of any test set"
        if self.most is not None:
            return f"about {self.seen:,} to {self.most:,} rows would"
        smaller = "and more if it is smaller"
        if self.least is None or self.least <= self.rows:
            return f"about {self.seen:,} rows are needed for a gain as seen ({seen}), {smaller}"
        return (
            f"at least about {self.least:,} rows are needed if the gain is as large as the "
            f"interval allows ({largest}), about {self.seen:,} if it is the one seen ({seen}), "
            f"{smaller}"
        )


def rows_to_tell(
    comparison: Comparison, confidence: float = 0.95, power: float = POWER
) -> RowsRange | None:
    """The rows at which the test of this comparison would find the gain, as a range; None where
    there is no interval or no gain to find.

    The interval's better end gives a number that holds as surely as the interval does: fewer rows
    are enough for 1 sample in 40. The gain that was seen gives twice the rows there are at least,
    because one that is just significant would be found again only half of the time.
    """
    c = comparison
    metric = find_metric(c.metric)
    low, high = metric.gain_interval(c.ci)
    gain = metric.sign * c.difference
    if not all(map(math.isfinite, (low, high, c.se_clustered))) or gain <= 0:
        return None

    def rows(wanted: float, floor: int) -> int | None:
        found = _rows_for(wanted, c, confidence, power)
        return None if found is None else _two_digits(max(found, floor))

    seen = rows(gain, 2 * c.n)
    return RowsRange(
        rows=c.n,
        least=rows(high, c.n),
        seen=seen,
        most=rows(low, 2 * c.n),
        largest_gain=high,
        seen_gain=gain,
        smallest_gain=low,
        runs_decide=c.se_runs > 0 and not _found_with(math.inf, gain, c, confidence, power),
    )


def _rows_for(gain: float, c: Comparison, confidence: float, power: float) -> int | None:
    """The smallest number of rows, to a thousandth, that finds the gain; None where none does."""
    if gain <= 0 or not _found_with(_MOST_ROWS, gain, c, confidence, power):
        return None
    low, high = 0.0, 1.0
    while not _found_with(high, gain, c, confidence, power):
        low, high = high, 2 * high
    while high - low > max(0.5, 1e-3 * high):
        middle = (low + high) / 2
        found = _found_with(middle, gain, c, confidence, power)
        low, high = (low, middle) if found else (middle, high)
    return math.ceil(high)


def _found_with(n: float, gain: float, c: Comparison, confidence: float, power: float) -> bool:
    """Whether n rows like those of the comparison find the gain."""
    if c.runs > 1:
        return _runs_power(n, gain, c, confidence) >= power
    differ = (c.wins + c.losses) / c.n
    if find_metric(c.metric).binary and c.clusters == c.n:
        return mcnemar_power(gain, n, min(1.0, max(differ, gain)), confidence) >= power
    count = n * c.clusters / c.n
    if count < 2:
        return False
    units = Units(count, 1.0, c.se_clustered * math.sqrt(c.clusters), math.inf)
    return randomisation_power(gain, units, confidence) >= power


def _runs_power(n: float, gain: float, c: Comparison, confidence: float) -> float:
    """The power of Student's t over several trainings with n rows; the normal approximation of how
    far their mean scatters.
    """
    of_rows = (c.se_clustered**2 - c.se_runs**2) * c.n / n
    clusters = max(2.0, n * c.clusters / c.n)
    half = half_width(of_rows, c.se_runs**2, clusters, c.runs, confidence)
    se = math.sqrt(of_rows + c.se_runs**2)
    return float(stats.norm.cdf((gain - half) / se)) if se > 0 else 1.0


def _two_digits(number: int) -> int:
    step = int(10 ** max(0, len(str(number)) - 2))
    return math.ceil(number / step) * step
