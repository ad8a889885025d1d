"""Several trainings answered the same test rows: how sure is their mean?

Rows and trainings are crossed. The difference of training j on row i is

    mean + row_i + training_j + (row, training)_ij

and the variance of its mean over n rows and k trainings is that of the rows over n, of the
trainings over k, and of what is left over n k. Two trainings on the same rows differ by chance even
where training brings no luck at all: that part of their spread is the rows' and counts once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from tunesmith.evaluate.statistics import Floats, Value, cluster_numbers, resample_weights

_NOISE = {2: 0.5}
"""Mean squares between trainings below this share of what the test rows alone would cause show no
luck of training: 1, the expectation, for three trainings and more.

Simulated in benchmarks/power.py: two trainings lie close together by chance so often that at 1 they
would give intervals too narrow, and at 0 they would always give wide ones.
"""


@dataclass(frozen=True)
class CrossedMean:
    """A mean over test rows and trainings.

    Attributes:
        mean: Over the trainings.
        rows_variance: The part of the mean's variance that has `clusters` - 1 degrees of freedom.
        runs_variance: The part that is read from how the trainings differ, `runs` - 1 degrees.
        luck_variance: What of it more test rows would not take away.
        spread: The standard deviation between the trainings, as observed.
        clusters: Units of test rows; of a mean over tasks, the degrees of freedom of the rows' part
            and one.
        runs: Trainings.
    """

    mean: float
    rows_variance: float
    runs_variance: float
    luck_variance: float
    spread: float
    clusters: float
    runs: int

    @property
    def se(self) -> float:
        """The standard error of the mean."""
        return math.sqrt(self.rows_variance + self.runs_variance)

    def half_width(self, confidence: float) -> float:
        """Of the interval around the mean."""
        return half_width(
            self.rows_variance, self.runs_variance, self.clusters, self.runs, confidence
        )

    def p(self) -> float:
        """Of the mean being zero: 1 - confidence of the interval that ends there."""
        size = abs(self.mean)
        if size == 0 or self.se == 0:
            return 1.0 if size == 0 else 0.0

        def beyond(log_p: float) -> float:
            return self.half_width(1 - math.exp(log_p)) - size

        lowest, highest = math.log(1e-12), -1e-12
        if beyond(lowest) < 0:
            return 1e-12
        if beyond(highest) > 0:  # a mean that is 0 but for rounding
            return 1.0
        return math.exp(optimize.brentq(beyond, lowest, highest))


def half_width(
    rows_variance: float, runs_variance: float, clusters: float, runs: int, confidence: float
) -> float:
    """Half of the interval for the sum of two independent errors, each with a variance estimate of
    its own degrees of freedom.

    Student's t of each, weighted by the variances: Cochran (1964). Satterthwaite's single t is too
    narrow for two or three trainings, whose spread is small by chance as often as not.
    """
    level = (1 + confidence) / 2
    of_rows = stats.t.ppf(level, clusters - 1) * rows_variance if rows_variance > 0 else 0.0
    of_runs = stats.t.ppf(level, runs - 1) * runs_variance if runs_variance > 0 else 0.0
    variance = rows_variance + runs_variance
    return float((of_rows + of_runs) / math.sqrt(variance)) if variance > 0 else 0.0


def crossed_mean(values_K: Floats, covariance_KK: Floats, clusters: float) -> CrossedMean:
    """The mean of the values of K trainings, K > 1, whose covariance over test rows is given.

    The analysis of variance of the model above: the covariance of two trainings is the rows'
    variance over n, a training's own variance is that and the rest; mean squares between trainings
    hold the trainings' variance and the rest.
    """
    runs = len(values_K)
    shared = float((covariance_KK.sum() - np.trace(covariance_KK)) / (runs * (runs - 1)))
    rest = max(0.0, float(np.trace(covariance_KK)) / runs - shared) / runs
    spread = float(np.std(values_K, ddof=1))
    between = spread**2 / runs
    all_rows = max(0.0, float(covariance_KK.mean()))
    seen = between > _NOISE.get(runs, 1.0) * rest
    return CrossedMean(
        mean=float(np.mean(values_K)),
        rows_variance=max(0.0, shared) if seen else all_rows,
        runs_variance=between if seen else 0.0,
        luck_variance=max(0.0, between - rest),
        spread=spread,
        clusters=clusters,
        runs=runs,
    )


def row_covariance(
    value: Value,
    tuned: Sequence[Floats],
    references: Sequence[Floats],
    clusters: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> Floats:
    """covariance_KK of the trainings' values, each less its own reference's if there are any, over
    resamples of whole clusters, the same for all of them.
    """
    draws = []
    systems = {id(rows_ND): rows_ND for rows_ND in (*tuned, *references)}  # one may be of many
    for weights_RN in resample_weights(cluster_numbers(clusters, len(clusters)), resamples, seed):
        values = {key: value(weights_RN, rows_ND) for key, rows_ND in systems.items()}
        values_RK = np.stack([values[id(rows_ND)] for rows_ND in tuned], axis=1)
        if references:
            values_RK -= np.stack([values[id(rows_ND)] for rows_ND in references], axis=1)
        draws.append(values_RK)
    return np.atleast_2d(np.cov(np.concatenate(draws), rowvar=False))


def mean_covariance(scores_NK: Floats, clusters: Sequence[str]) -> Floats:
    """covariance_KK of the trainings' means over rows: Liang and Zeger (1986), as
    `statistics.standard_error` has it for one of them; nan for one cluster.
    """
    number_N = cluster_numbers(clusters, len(scores_NK))
    count = int(number_N.max(initial=-1)) + 1
    if count < 2:
        return np.full((scores_NK.shape[1],) * 2, math.nan)
    sums_CK = np.zeros((count, scores_NK.shape[1]))
    np.add.at(sums_CK, number_N, scores_NK - scores_NK.mean(axis=0))
    return np.asarray(count / (count - 1) * sums_CK.T @ sums_CK / len(scores_NK) ** 2)
