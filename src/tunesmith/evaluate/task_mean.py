"""How sure a mean over tasks is, for these tasks and for tasks like them.

Shape suffixes: N rows, D numbers a row, C clusters, K trainings (see statistics.py, crossed.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tunesmith.evaluate.crossed import CrossedMean, crossed_mean
from tunesmith.evaluate.influence import influence_of_value
from tunesmith.evaluate.metrics import Metric
from tunesmith.evaluate.statistics import Floats, cluster_numbers


@dataclass(frozen=True)
class Share:
    """What one task gives to the mean: its value with its own interval, and how far each cluster
    of its rows pulls that value (`cluster_influence`).
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
    """How far each cluster of rows pulls the metric from what the others say, by cluster.

    Of a mean it is the cluster's sum of residuals over n, and the sum of its squares times
    C / (C - 1) is the clustered variance of statistics.standard_error. Of a metric of the whole
    split it is the jackknife's, as in that metric's own interval. No derivative would do: BLEU
    counts in whole numbers, and does not change with a small part of a row.
    """
    number_N = cluster_numbers(clusters, len(rows_ND))
    count = int(number_N.max()) + 1
    if metric.per_example:
        residual_N = rows_ND[:, 0] - rows_ND[:, 0].mean()
        change_C = np.bincount(number_N, weights=residual_N, minlength=count) / len(rows_ND)
    else:
        left_out = metric.kind.left_out
        found = influence_of_value(metric.value, rows_ND, number_N, left_out, most_parts=count)
        change_C = found.residual_C
    return dict(zip(dict.fromkeys(clusters), change_C.tolist(), strict=True))


def mean_of_tasks(shares: Sequence[Share], confidence: float) -> MeanOfTasks:
    """Over these tasks: of k of them the variance is the sum of theirs over k squared, and a
    cluster with rows in several tasks counts with the sum of what it does to each.

    Student's t with Satterthwaite's (1946) degrees of freedom. Where no task varies at all (every
    answer right, say) there is no spread to estimate from, and the tasks' own intervals are put
    together by Zou and Donner's (2008) square-and-add.
    """
    mean, moves = _mean(shares), _moves(shares)
    se = math.sqrt(sum(move**2 for move in moves.values()))
    if se == 0:
        return MeanOfTasks(mean, se, _squares_added(shares, mean), len(moves))
    half = float(stats.t.ppf((1 + confidence) / 2, _freedom(shares))) * se
    return MeanOfTasks(mean, se, (mean - half, mean + half), len(moves))


def mean_over_trainings(trainings: Sequence[Sequence[Share]]) -> CrossedMean:
    """Over these tasks and several trainings, from what each training's tasks give to its mean.

    Rows and trainings are crossed (crossed.py): what a cluster does to the mean of one training and
    of another is their covariance over the test rows. The rows' part has the degrees of freedom of
    the mean over the trainings.
    """
    moves = [_moves(shares) for shares in trainings]
    clusters = dict.fromkeys(cluster for own in moves for cluster in own)
    moves_KC = np.array([[own.get(cluster, 0.0) for cluster in clusters] for own in moves])
    values_K = np.array([_mean(shares) for shares in trainings])
    freedom = _freedom([_together(of_task) for of_task in zip(*trainings, strict=True)])
    return crossed_mean(values_K, moves_KC @ moves_KC.T, freedom + 1)


def _mean(shares: Sequence[Share]) -> float:
    return sum(share.value for share in shares) / len(shares)


def _moves(shares: Sequence[Share]) -> dict[str, float]:
    """How far each cluster moves the mean over the tasks."""
    moves: dict[str, float] = {}
    for share in shares:
        for cluster, move in _task_moves(share, len(shares)).items():
            moves[cluster] = moves.get(cluster, 0.0) + move
    return moves


def _task_moves(share: Share, tasks: int) -> dict[str, float]:
    count = len(share.influence)
    scale = math.sqrt(count / (count - 1))
    return {cluster: scale * change / tasks for cluster, change in share.influence.items()}


def _freedom(shares: Sequence[Share]) -> float:
    """Satterthwaite's degrees of freedom of the mean's variance; clusters that tasks share are as
    few as they are, however many tasks they are in.
    """
    most = len({cluster for share in shares for cluster in share.influence}) - 1
    variances = [sum(m**2 for m in _task_moves(share, len(shares)).values()) for share in shares]
    squares = sum(
        v**2 / (len(share.influence) - 1) for v, share in zip(variances, shares, strict=True)
    )
    return min(sum(variances) ** 2 / squares, most) if squares > 0 else most


def _together(trainings: Sequence[Share]) -> Share:
    """What one task gives in the mean over the trainings; without an interval."""
    influence = {
        cluster: sum(share.influence[cluster] for share in trainings) / len(trainings)
        for cluster in trainings[0].influence
    }
    return Share(_mean(trainings), (math.nan, math.nan), influence)


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
