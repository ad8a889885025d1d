"""How sure a number is: intervals, paired tests and clusters.

Every statistic of a set of rows is a `Value`: a function of how often each row counts. A resample
is then a row of weights, a swap of two systems is one too, and thousands are computed in one matrix
product. Shape suffixes: N rows, D numbers a row, R resamples, C clusters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

from tunesmith.records import Estimate

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Value: TypeAlias = Callable[[Floats, Floats], Floats]
"""(weights_RN, rows_ND) -> values_R"""

_CHUNK = 2_000_000  # weights in memory at a time
_TIE = 1e-12


def weighted_mean(weights_RN: Floats, rows_ND: Floats) -> Floats:
    """The mean of the first column, the Value of all per-example metrics."""
    mean: Floats = (weights_RN @ rows_ND[:, 0]) / weights_RN.sum(axis=1)
    return mean


# ---- one mean


def wilson_interval(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion; n may be an effective number of rows.

    Wilson (1927); equal to scipy's binomtest(...).proportion_ci(method="wilson") for whole numbers.
    """
    z = stats.norm.ppf((1 + confidence) / 2)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # exactly 0 and 1 at the ends, as scipy has it
    low = 0.0 if share == 0 else max(0.0, float(centre - half))
    high = 1.0 if share == 1 else min(1.0, float(centre + half))
    return low, high


def cluster_numbers(clusters: Sequence[str] | None, n: int) -> Ints:
    """The number of each row's cluster, 0, 1, 2 ... in order of appearance.

    Without clusters each row is its own.
    """
    numbers: dict[str, int] = {}
    return np.array(
        [numbers.setdefault(cluster, len(numbers)) for cluster in clusters or map(str, range(n))],
        dtype=int,
    )


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
) -> Estimate:
    """The mean with its clustered standard error and interval.

    Wilson's interval for proportions, Student's t otherwise. Clustered proportions use Wilson's
    interval at the effective number of rows (Korn and Graubard 1998; Dean and Pagano 2015): the n
    whose binomial variance is the clustered one.
    """
    array = np.asarray(values, dtype=float)
    n, mean = len(array), float(np.mean(array)) if len(array) else math.nan
    count = int(cluster_numbers(clusters, n).max(initial=-1)) + 1
    se = standard_error(array, clusters)
    if proportion and n:
        n_effective = float(n) if count == n else _effective_n(mean, se, n, count, confidence)
        return Estimate(mean, n, se, wilson_interval(mean * n_effective, n_effective, confidence))
    half = _t(confidence, count) * se
    return Estimate(mean, n, se, (mean - half, mean + half))


def _effective_n(share: float, se: float, n: int, clusters: int, confidence: float) -> float:
    # all right or all wrong says nothing about the clustering: count clusters, not rows
    if clusters < 2 or se == 0:
        return float(clusters)
    z = stats.norm.ppf((1 + confidence) / 2)
    return float(min(n, share * (1 - share) / se**2 * (z / _t(confidence, clusters)) ** 2))


def _t(confidence: float, clusters: int) -> float:
    return float(stats.t.ppf((1 + confidence) / 2, clusters - 1)) if clusters > 1 else math.nan


# ---- resampling


def resample_weights(number_N: Ints, resamples: int, seed: int) -> Iterator[Floats]:
    """Chunks of weights_RN: how often each row is in a resample of whole clusters."""
    count = int(number_N.max(initial=-1)) + 1
    rng = np.random.default_rng(seed)
    for size in _chunks(resamples, len(number_N)):
        draws_RC = rng.integers(0, count, size=(size, count)) + count * np.arange(size)[:, None]
        weights_RC = (
            np.bincount(draws_RC.ravel(), minlength=size * count).reshape(size, count).astype(float)
        )
        yield weights_RC if count == len(number_N) else weights_RC[:, number_N]


def _chunks(total: int, width: int) -> Iterator[int]:
    size = max(1, _CHUNK // max(1, width))
    for start in range(0, total, size):
        yield min(size, total - start)


def bootstrap(
    value: Value, rows_ND: Floats, clusters: Sequence[str] | None, resamples: int, seed: int
) -> Floats:
    """The value on `resamples` samples of whole clusters; values_R, the same for the same seed."""
    number_N = cluster_numbers(clusters, len(rows_ND))
    return np.concatenate(
        [value(weights, rows_ND) for weights in resample_weights(number_N, resamples, seed)]
    )


def paired_bootstrap(
    value: Value,
    a_ND: Floats,
    b_ND: Floats,
    clusters: Sequence[str] | None,
    resamples: int,
    seed: int,
) -> Floats:
    """value(b) - value(a) on the same resamples of whole clusters; values_R."""
    number_N = cluster_numbers(clusters, len(a_ND))
    draws = resample_weights(number_N, resamples, seed)
    return np.concatenate([value(weights, b_ND) - value(weights, a_ND) for weights in draws])


def percentile_interval(
    draws_R: Floats, clusters: int, confidence: float = 0.95
) -> tuple[float, float]:
    """The percentile interval of bootstrap draws, at levels widened for a small number of clusters.

    Hesterberg, "What teachers should know about the bootstrap" (2015), the expanded percentile
    interval: with C clusters the plain one is too narrow by the factor sqrt((C-1)/C) z/t. For many
    clusters they are the same.
    """
    if clusters < 2:
        return math.nan, math.nan
    tail = stats.norm.cdf(-math.sqrt(clusters / (clusters - 1)) * _t(confidence, clusters))
    low, high = np.quantile(draws_R, [tail, 1 - tail])
    return float(low), float(high)


def estimate_value(
    value: Value,
    rows_ND: Floats,
    clusters: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """A corpus metric with its bootstrap standard error and percentile interval."""
    n = len(rows_ND)
    count = int(cluster_numbers(clusters, n).max(initial=-1)) + 1
    mean = float(value(np.ones((1, n)), rows_ND)[0])
    if count < 2:
        return Estimate(mean, n, math.nan, (math.nan, math.nan))
    draws_R = bootstrap(value, rows_ND, clusters, resamples, seed)
    return Estimate(
        mean, n, float(draws_R.std(ddof=1)), percentile_interval(draws_R, count, confidence)
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
    """Two-sided p: the share of random swaps of whole clusters between a and b that differ as much.

    Noreen (1989), as used for corpus metrics by Riezler and Maxwell (2005). The observed swap
    counts as one more, so that the smallest p is 1 / (resamples + 1).
    """
    number_N = cluster_numbers(clusters, len(a_ND))
    count = int(number_N.max(initial=-1)) + 1
    both_2N = np.concatenate([a_ND, b_ND])
    ones = np.ones((1, len(a_ND)))
    observed = abs(float((value(ones, b_ND) - value(ones, a_ND))[0]))
    rng = np.random.default_rng(seed)
    extreme = 0
    for size in _chunks(resamples, 2 * len(a_ND)):
        swap_RN = rng.integers(0, 2, size=(size, count)).astype(float)[:, number_N]
        stay_RN = 1.0 - swap_RN
        difference_R = value(np.hstack([swap_RN, stay_RN]), both_2N) - value(
            np.hstack([stay_RN, swap_RN]), both_2N
        )
        extreme += int((np.abs(difference_R) >= observed - _TIE * max(1.0, observed)).sum())
    return (extreme + 1) / (resamples + 1)


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
