"""How sure a mean over tasks is, for these tasks and for tasks like them.

Shape suffixes: N rows, D numbers a row, R resamples, C clusters (see statistics.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tunesmith.evaluate.metrics import Metric
from tunesmith.evaluate.statistics import Floats, Ints, Value, cluster_numbers

STEP = 1e-4  # of a cluster's weight, for the derivative of a metric of the whole split
CHUNK = 2_000_000  # weights in memory at a time


@dataclass(frozen=True)
class Share:
    """What one task gives to the mean: its value with its own interval, and how much each cluster
    of its rows changes that value (`cluster_influence`).
    """

    value: float
    ci: tuple[float, float]
    influence: Mapping[str, float]


@dataclass(frozen=True)
class MeanOfTasks:
    """A mean over tasks with its standard error and interval; `clusters` is the number of all
    clusters.
    """

    mean: float
    se: float
    ci: tuple[float, float]
    clusters: int


def cluster_influence(metric: Metric, rows_ND: Floats, clusters: Sequence[str]) -> dict[str, float]:
    """How fast the metric changes with the weight of each cluster of rows, by cluster.

    The infinitesimal jackknife (Jaeckel 1972; Efron 1982, chapter 6). Of a mean it is the cluster's
    sum of residuals over n, and the sum of its squares times C / (C - 1) is the clustered variance
    of statistics.standard_error.
    """
    number_N = cluster_numbers(clusters, len(rows_ND))
    count = int(number_N.max()) + 1
    if metric.per_example:
        residual_N = rows_ND[:, 0] - rows_ND[:, 0].mean()
        change_C = np.bincount(number_N, weights=residual_N, minlength=count) / len(rows_ND)
    else:
        change_C = _derivative(metric.value, rows_ND, number_N, count)
    return dict(zip(dict.fromkeys(clusters), change_C.tolist(), strict=True))


def _derivative(value: Value, rows_ND: Floats, number_N: Ints, count: int) -> Floats:
    """Central differences, a block of clusters at a time."""
    found = []
    size = max(1, CHUNK // len(rows_ND))
    for start in range(0, count, size):
        own_RN = number_N == np.arange(start, min(count, start + size))[:, None]
        up, down = (value(1.0 + sign * STEP * own_RN, rows_ND) for sign in (1, -1))
        found.append((up - down) / (2 * STEP))
    return np.concatenate(found)


def mean_of_tasks(shares: Sequence[Share], confidence: float) -> MeanOfTasks:
    """Over these tasks: of k of them the variance is the sum of theirs over k squared, and a
    cluster with rows in several tasks counts with the sum of what it does to each.

    Student's t with Satterthwaite's (1946) degrees of freedom. Where no task varies at all (every
    answer right, say) there is no spread to estimate from, and the tasks' own intervals are put
    together by Zou and Donner's (2008) square-and-add.
    """
    k = len(shares)
    mean = sum(share.value for share in shares) / k
    moves: dict[str, float] = {}
    variances, freedoms = [], []
    for share in shares:
        count = len(share.influence)
        scale = math.sqrt(count / (count - 1))
        for cluster, change in share.influence.items():
            moves[cluster] = moves.get(cluster, 0.0) + scale * change / k
        variances.append(sum((scale * change / k) ** 2 for change in share.influence.values()))
        freedoms.append(count - 1)
    se = math.sqrt(sum(move**2 for move in moves.values()))
    if se == 0:
        return MeanOfTasks(mean, se, _squares_added(shares, mean), len(moves))
    squares = sum(v**2 / df for v, df in zip(variances, freedoms, strict=True))
    # clusters that tasks share are as few as they are, however many tasks they are in
    freedom = min(sum(variances) ** 2 / squares, len(moves) - 1)
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * se
    return MeanOfTasks(mean, se, (mean - half, mean + half), len(moves))


def _squares_added(shares: Sequence[Share], mean: float) -> tuple[float, float]:
    below, above = (
        math.sqrt(sum((share.ci[end] - share.value) ** 2 for share in shares)) / len(shares)
        for end in (0, 1)
    )
    return mean - below, mean + above


def mean_of_a_sample(values: Sequence[float], confidence: float) -> tuple[MeanOfTasks, float]:
    """Of tasks that are a sample of tasks: Student's t over their values, and its two-sided p of a
    mean of 0.

    Neither for one task, nor where all values are equal: they say nothing about how much tasks
    differ.
    """
    k, mean = len(values), float(np.mean(values))
    if len(set(values)) < 2:
        return MeanOfTasks(mean, math.nan, (math.nan, math.nan), k), math.nan
    found = stats.ttest_1samp(values, 0.0)
    low, high = found.confidence_interval(confidence)
    se = float(np.std(values, ddof=1)) / math.sqrt(k)
    return MeanOfTasks(mean, se, (float(low), float(high)), k), float(found.pvalue)
