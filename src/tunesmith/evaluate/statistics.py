"""How sure a number is: estimates with their intervals, paired differences with their tests.

Shape suffixes: N rows, D numbers a row, R resamples, C clusters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from tunesmith.evaluate.influence import (
    HALF,
    Influence,
    few_units,
    influence_of_mean,
    influence_of_value,
)
from tunesmith.evaluate.intervals import (
    Interval,
    bounded_interval,
    correlation_interval,
    log_interval,
    paired_interval,
    paired_p,
    skewed_difference,
    skewed_interval,
    skewed_p,
    tango_interval,
    wilson_interval,
)
from tunesmith.evaluate.values import (
    Floats,
    Ints,
    Value,
    chunks,
    cluster_numbers,
    weighted_mean,
)
from tunesmith.records import Estimate

__all__ = [
    "Floats",
    "Interval",
    "Ints",
    "Kind",
    "PairedDifference",
    "Value",
    "approximate_randomisation",
    "bootstrap",
    "can_enumerate",
    "cluster_numbers",
    "estimate_mean",
    "estimate_value",
    "holm",
    "mcnemar",
    "paired_difference",
    "resample_weights",
    "standard_error",
    "tango_interval",
    "weighted_mean",
    "wilson_interval",
    "wins_ties_losses",
]

_TIE = 1e-12
MIN_FREEDOM = 4.0  # below it the width of an interval is mostly chance
MIN_SUPPORT = 3  # rows of each class: with fewer an F1 by class has no measurable spread
MAX_SWAPPED = 2000  # clusters: with more, a swap test only repeats what the interval says
NO_INTERVAL: Interval = (math.nan, math.nan)


@dataclass(frozen=True)
class Kind:
    """What a number is, as far as its interval depends on it.

    Attributes:
        bounds: The least and the greatest value that it can have.
        binary: The mean of scores that are 0 or 1.
        support: rows_ND -> support_K, the rows of each of K classes whose scores are averaged with
            equal weight; None where the number is of all rows alike.
        correlation: Between what is right and what was answered.
        log_scale: e to the power of a mean.
        weights: rows_ND -> weight_N, how much each row weighs in a ratio of sums; None where all
            weigh the same.
    """

    bounds: Interval = (-math.inf, math.inf)
    binary: bool = False
    support: Callable[[Floats], Floats] | None = None
    correlation: bool = False
    log_scale: bool = False
    weights: Callable[[Floats], Floats] | None = None

    @property
    def left_out(self) -> float:
        """How much of a unit the jackknife leaves out."""
        return HALF if self.support else 1.0

    @property
    def bounded(self) -> bool:
        """Whether the range has two ends."""
        return all(map(math.isfinite, self.bounds))


# ---- one number


def standard_error(
    values: Sequence[float] | Floats, clusters: Sequence[str] | None = None
) -> float:
    """The standard error of the mean; nan where there is one cluster or none.

    With clusters, the root of C/(C-1) times the sum of squared cluster sums of residuals, over n:
    Liang and Zeger (1986), as in Miller, "Adding error bars to evals" (2024); without clusters it
    is s / sqrt(n).
    """
    array = np.asarray(values, dtype=float)
    number_N = cluster_numbers(clusters, len(array))
    count = int(number_N.max(initial=-1)) + 1
    if count < 2:
        return math.nan
    sums_C = np.bincount(number_N, weights=array - array.mean(), minlength=count)
    return float(math.sqrt(count / (count - 1) * float(sums_C @ sums_C)) / len(array))


def estimate_mean(
    values: Sequence[float] | Floats,
    clusters: Sequence[str] | None = None,
    confidence: float = 0.95,
    proportion: bool = False,
    bounds: Interval = (-math.inf, math.inf),
) -> Estimate:
    """The mean with its clustered standard error and interval; all rows weigh the same.

    `bounds` are the least and the greatest score there can be; a proportion's are 0 and 1. No
    interval, and a note, where it would not hold.
    """
    array = np.asarray(values, dtype=float)
    if not len(array):
        return Estimate(math.nan, 0, math.nan, NO_INTERVAL, "no rows")
    kind = Kind((0.0, 1.0) if proportion else bounds, proportion)
    influence = influence_of_mean(array, cluster_numbers(clusters, len(array)))
    ci, note = _interval(influence, kind, None, confidence, exact=True)
    return Estimate(influence.value, len(array), standard_error(array, clusters), ci, note)


def estimate_value(
    value: Value,
    rows_ND: Floats,
    clusters: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    kind: Kind = Kind(),
) -> Estimate:
    """A corpus metric with its jackknife standard error and interval.

    No interval, and a note, where it would not hold.
    """
    number_N = cluster_numbers(clusters, len(rows_ND))
    if number_N.max(initial=-1) < 1:
        whole = float(value(np.ones((1, len(rows_ND))), rows_ND)[0])
        note = f"only 1 {'row' if len(rows_ND) == 1 else 'group'}"
        return Estimate(whole, len(rows_ND), math.nan, NO_INTERVAL, note)
    weight_N = kind.weights(rows_ND) if kind.weights else None
    influence = influence_of_value(value, rows_ND, number_N, kind.left_out, weight_N=weight_N)
    support_K = kind.support(rows_ND) if kind.support else None
    ci, note = _interval(influence, kind, support_K, confidence, exact=False)
    return Estimate(influence.value, len(rows_ND), math.sqrt(influence.variance), ci, note)


def _interval(
    influence: Influence, kind: Kind, support_K: Floats | None, confidence: float, exact: bool
) -> tuple[Interval, str]:
    """The interval and no note, or no interval and the reason. `exact`: of a mean."""
    note = _too_little(influence, confidence, exact and kind.bounded) or _too_rare(support_K)
    if note:
        return NO_INTERVAL, note
    if kind.correlation:
        return correlation_interval(influence, confidence), ""
    if kind.bounded:
        rows = _effective_rows(influence, support_K)
        return bounded_interval(influence, kind.bounds, rows, kind.binary, confidence), ""
    note = _mostly_one(influence, confidence)
    if note:
        return NO_INTERVAL, note
    suited = log_interval if kind.log_scale else skewed_interval
    return suited(influence, kind.bounds, confidence), ""


def _too_little(influence: Influence, confidence: float, few_do: bool) -> str:
    """Why so few units, or units so unequal, give no interval; `few_do`: two single rows do."""
    few = few_units(influence.units, confidence)
    if influence.units < 2 or (few and (influence.clustered or not few_do)):
        return f"only {_count(influence.units, _unit(influence))}"
    if influence.clustered and influence.freedom < MIN_FREEDOM:
        largest = round(float(influence.share_C.max()) * influence.n)
        return f"groups of too unequal size, one has {largest:,} of {influence.n:,} rows"
    return ""


def _mostly_one(influence: Influence, confidence: float) -> str:
    """Why a number without a range has no interval where so few units are unlike the others."""
    unit = _unit(influence)
    if influence.variance == 0:
        return f"every {unit} has the same value"
    _, counts = np.unique(influence.residual_C, return_counts=True)
    others = influence.units - int(counts.max())
    if 2 * others > influence.units or not few_units(others, confidence):
        return ""
    return f"all but {_count(others, unit)} have the same value"


def _too_rare(support_K: Floats | None) -> str:
    if support_K is None:
        return ""
    rare = int((support_K < MIN_SUPPORT).sum())
    have = "has" if rare == 1 else "have"
    return (
        f"{rare} of {len(support_K)} classes {have} fewer than {MIN_SUPPORT} rows" if rare else ""
    )


def _effective_rows(influence: Influence, support_K: Floats | None) -> float | None:
    """The units that an average over classes rests on: K^2 / sum(1 / rows of the class), as for a
    mean of K shares, and fewer by the clusters' share. None: the units themselves.
    """
    if support_K is None:
        return None
    by_rows = len(support_K) ** 2 / float((1 / support_K).sum())
    return by_rows / (influence.n * influence.concentration)


def _unit(influence: Influence) -> str:
    return "group" if influence.clustered else "row"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")


# ---- two systems on the same rows


@dataclass(frozen=True)
class PairedDifference:
    """b minus a: its interval, a p that goes with the interval, and its standard error.

    Where there is no interval, `note` says why; p is that of the interval there would be. It is nan
    for one cluster.
    """

    value: float
    se: float
    ci: Interval
    p: float
    note: str = ""


def paired_difference(
    value: Value,
    a_ND: Floats,
    b_ND: Floats,
    clusters: Sequence[str] | None,
    *,
    confidence: float = 0.95,
    kind: Kind = Kind(),
) -> PairedDifference:
    """The value of b less that of a on the same rows, all of the same weight, by clusters.

    Right and wrong on rows of their own have Tango's score interval; other numbers that have a
    range that of a gain less a loss; numbers without one Student's with the skewness taken out.
    """
    n, number_N = len(a_ND), cluster_numbers(clusters, len(a_ND))
    ones = np.ones((1, n))
    found = float((value(ones, b_ND) - value(ones, a_ND))[0])
    if number_N.max(initial=-1) < 1:
        note = f"only 1 {'row' if n == 1 else 'group'}"
        return PairedDifference(found, math.nan, NO_INTERVAL, math.nan, note)
    influence = _influence_of_difference(value, a_ND, b_ND, number_N, kind.left_out)
    se = math.sqrt(influence.variance)
    support_K = np.minimum(kind.support(a_ND), kind.support(b_ND)) if kind.support else None
    differ = len(np.unique(number_N[(a_ND != b_ND).any(axis=1)]))
    note = (
        _too_little(influence, confidence, kind.bounded and value is weighted_mean)
        or _too_rare(support_K)
        or ("" if kind.bounded else _too_alike(influence, differ, confidence))
    )
    rows = _effective_rows(influence, None if _too_rare(support_K) else support_K)
    if kind.binary and not influence.clustered:
        only_a, only_b = (int((x > y).sum()) for x, y in ((a_ND, b_ND), (b_ND, a_ND)))
        p, ci = mcnemar(only_a, only_b), tango_interval(only_a, only_b, n, confidence)
    else:
        p, ci = _p_and_interval(influence, kind, rows, confidence)
    return PairedDifference(found, se, NO_INTERVAL if note else ci, p, note)


def _p_and_interval(
    influence: Influence, kind: Kind, rows: float | None, confidence: float
) -> tuple[float, Interval]:
    width = kind.bounds[1] - kind.bounds[0]
    if kind.bounded:
        return paired_p(influence, width, rows), paired_interval(influence, width, rows, confidence)
    return skewed_p(influence), skewed_difference(influence, width, confidence)


def _too_alike(influence: Influence, differ: int, confidence: float) -> str:
    """Why no interval, where `differ` units tell the two apart."""
    unit = _unit(influence)
    if differ == 0:
        return f"no {unit} differs"
    if few_units(differ, confidence):
        return f"only {_count(differ, unit)} {'differs' if differ == 1 else 'differ'}"
    return ""


def _influence_of_difference(
    value: Value, a_ND: Floats, b_ND: Floats, number_N: Ints, left_out: float
) -> Influence:
    if value is weighted_mean:
        return influence_of_mean(b_ND[:, 0] - a_ND[:, 0], number_N)
    columns = a_ND.shape[1]

    def difference(weights_RN: Floats, both_ND: Floats) -> Floats:
        return value(weights_RN, both_ND[:, columns:]) - value(weights_RN, both_ND[:, :columns])

    return influence_of_value(difference, np.hstack([a_ND, b_ND]), number_N, left_out)


# ---- resampling


def resample_weights(number_N: Ints, resamples: int, seed: int) -> Iterator[Floats]:
    """Chunks of weights_RN: how often each row is in a resample of whole clusters."""
    count = int(number_N.max(initial=-1)) + 1
    rng = np.random.default_rng(seed)
    for size in map(len, chunks(resamples, len(number_N))):
        draws_RC = rng.integers(0, count, size=(size, count)) + count * np.arange(size)[:, None]
        weights_RC = (
            np.bincount(draws_RC.ravel(), minlength=size * count).reshape(size, count).astype(float)
        )
        yield weights_RC if count == len(number_N) else weights_RC[:, number_N]


def bootstrap(
    value: Value, rows_ND: Floats, clusters: Sequence[str] | None, resamples: int, seed: int
) -> Floats:
    """The value on `resamples` samples of whole clusters; values_R, the same for the same seed."""
    number_N = cluster_numbers(clusters, len(rows_ND))
    return np.concatenate(
        [value(weights, rows_ND) for weights in resample_weights(number_N, resamples, seed)]
    )


# ---- tests of a paired difference


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p of McNemar's test from the rows that only one system has right."""
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(min(only_a, only_b), only_a + only_b, 0.5).pvalue)


def approximate_randomisation(
    value: Value,
    a_ND: Floats,
    b_ND: Floats,
    clusters: Sequence[str] | None,
    resamples: int,
    seed: int,
) -> float:
    """Two-sided p: the share of swaps of whole clusters between a and b that differ as much.

    Noreen (1989), as used for corpus metrics by Riezler and Maxwell (2005). Where there are no more
    than `resamples` ways to swap, each is tried, and p is exact: with C clusters at least
    2 / 2^C. Else the swaps are drawn, and the observed one counts as one more, so that the smallest
    p is 1 / (resamples + 1).
    """
    number_N = cluster_numbers(clusters, len(a_ND))
    count = int(number_N.max(initial=-1)) + 1
    both_2N = np.concatenate([a_ND, b_ND])
    ones = np.ones((1, len(a_ND)))
    observed = abs(float((value(ones, b_ND) - value(ones, a_ND))[0]))
    tried = extreme = 0
    for swap_RC in _swaps(count, len(a_ND), resamples, seed):
        swap_RN = swap_RC[:, number_N]
        stay_RN = 1.0 - swap_RN
        difference_R = value(np.hstack([swap_RN, stay_RN]), both_2N) - value(
            np.hstack([stay_RN, swap_RN]), both_2N
        )
        tried += len(difference_R)
        extreme += int((np.abs(difference_R) >= observed - _TIE * max(1.0, observed)).sum())
    if can_enumerate(count, resamples):
        return extreme / tried
    return (extreme + 1) / (tried + 1)


def can_enumerate(clusters: int, resamples: int) -> bool:
    """Whether `resamples` are enough to try every way to swap two systems by cluster."""
    return clusters < 64 and 2**clusters <= resamples


def _swaps(count: int, n: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Chunks of swap_RC, 1 where a cluster is swapped: every way, or `resamples` drawn ones."""
    rng = np.random.default_rng(seed)
    every = can_enumerate(count, resamples)
    for some in chunks(2**count if every else resamples, 2 * n):
        if every:
            yield (np.array(some)[:, None] >> np.arange(count) & 1).astype(float)
        else:
            yield rng.integers(0, 2, size=(len(some), count)).astype(float)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979) of a family of p, in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def wins_ties_losses(
    a: npt.ArrayLike, b: npt.ArrayLike, higher_is_better: bool = True
) -> tuple[int, int, int]:
    """Rows where b is better, as good, worse than a."""
    gain = (np.asarray(b, dtype=float) - np.asarray(a, dtype=float)) * (
        1 if higher_is_better else -1
    )
    wins, losses = int((gain > _TIE).sum()), int((gain < -_TIE).sum())
    return wins, len(gain) - wins - losses, losses
