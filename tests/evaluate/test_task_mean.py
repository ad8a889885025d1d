"""Means over tasks: hand-computed, and equal to Welch's and Student's t as scipy has them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from metric_answers import scored
from scipy import stats

from tunesmith.evaluate.metrics import METRICS, Metric, of_sums
from tunesmith.evaluate.statistics import standard_error
from tunesmith.evaluate.task_mean import (
    Share,
    cluster_influence,
    mean_of_a_sample,
    mean_of_tasks,
    mean_over_trainings,
)

ACCURACY = METRICS["accuracy"]


def share(values: list[float], clusters: list[str], metric: Metric = ACCURACY) -> Share:
    rows = np.array(values)[:, None]
    mean = float(np.mean(values))
    return Share(mean, (mean, mean), cluster_influence(metric, rows, clusters))


def test_the_variance_over_two_tasks_is_the_sum_of_theirs_over_four() -> None:
    """1, 0, 0, 1: variance of the mean 1/12; 1, 1, 0: 1/9; (1/12 + 1/9) / 4 = 7/144."""
    found = mean_of_tasks([share([1, 0, 0, 1], list("abcd")), share([1, 1, 0], list("efg"))], 0.95)
    assert found.mean == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found.se == pytest.approx(math.sqrt(7 / 144))
    assert found.clusters == 7


def test_the_interval_over_two_tasks_is_welchs() -> None:
    """The mean of a and b is half the difference of a and minus b."""
    a, b = [1.0, 0.0, 0.0, 1.0, 1.0], [0.3, 0.9, 0.5]
    found = mean_of_tasks([share(a, list("abcde")), share(b, list("fgh"))], 0.9)
    welch = stats.ttest_ind(a, [-x for x in b], equal_var=False).confidence_interval(0.9)
    assert found.ci == pytest.approx((welch.low / 2, welch.high / 2))


def test_rows_that_two_tasks_share_are_not_counted_as_new_evidence() -> None:
    """Two tasks on the same rows that are right on the same ones say no more than one."""
    values, clusters = [1.0, 0.0, 0.0, 1.0, 1.0], list("abcde")
    alone = mean_of_tasks([share(values, clusters)], 0.95)
    twice = mean_of_tasks([share(values, clusters), share(values, clusters)], 0.95)
    assert twice.se == pytest.approx(alone.se)
    assert twice.ci == pytest.approx(alone.ci)
    assert twice.clusters == 5
    opposite = [1 - value for value in values]
    assert mean_of_tasks([share(values, clusters), share(opposite, clusters)], 0.95).se == (
        pytest.approx(0.0, abs=1e-12)
    )


def test_the_influence_of_clusters_gives_the_clustered_standard_error() -> None:
    values, clusters = [1.0, 0.0, 0.5, 1.0, 0.25], ["a", "a", "b", "c", "c"]
    found = cluster_influence(ACCURACY, np.array(values)[:, None], clusters)
    squares = sum(change**2 for change in found.values())
    assert math.sqrt(squares * 3 / 2) == pytest.approx(standard_error(values, clusters))


def test_the_influence_on_a_metric_of_all_rows_is_its_derivative() -> None:
    """A ratio of sums with equal denominators is a mean, and has the mean's influence."""
    ratio = Metric("", lambda answers: np.zeros((0, 2)), of_sums(lambda s: s[:, 0] / s[:, 1]))
    values, clusters = np.array([1.0, 0.0, 0.5, 1.0]), ["a", "b", "b", "c"]
    of_mean = cluster_influence(ACCURACY, values[:, None], clusters)
    of_ratio = cluster_influence(ratio, np.stack([values, np.ones(4)], axis=1), clusters)
    assert of_ratio == pytest.approx(of_mean, abs=1e-8)


def test_where_nothing_varies_the_tasks_own_intervals_are_put_together() -> None:
    """Both 1 with [0.8, 1] and [0.7, 1]: sqrt(0.04 + 0.09) / 2 below, nothing above."""
    tasks = [
        Share(1.0, (0.8, 1.0), {"a": 0.0, "b": 0.0}),
        Share(1.0, (0.7, 1.0), {"c": 0.0, "d": 0.0}),
    ]
    found = mean_of_tasks(tasks, 0.95)
    assert found.se == 0
    assert found.ci == pytest.approx((1 - math.sqrt(0.13) / 2, 1.0))


def test_tasks_as_a_sample_of_tasks_have_students_interval() -> None:
    """0.1, 0.3, 0.2: mean 0.2, standard error 0.1 / sqrt(3), t(2) at 97.5 % is 4.3027."""
    found, p = mean_of_a_sample([0.1, 0.3, 0.2], 0.95)
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert found.se == pytest.approx(0.1 / math.sqrt(3))
    assert found.ci == pytest.approx((0.2 - half, 0.2 + half))
    assert p == pytest.approx(2 * stats.t.sf(2 * math.sqrt(3), 2))


@pytest.mark.parametrize("gains", [[0.4], [1.0, 1.0], [0.0, 0.0, 0.0]])
def test_one_task_and_equal_gains_say_nothing_of_other_tasks(gains: list[float]) -> None:
    found, p = mean_of_a_sample(gains, 0.95)
    assert found.mean == gains[0]
    assert all(map(math.isnan, (found.se, *found.ci, p)))


WHOLE_SPLIT = [name for name, metric in METRICS.items() if not metric.per_example]


@pytest.mark.parametrize("name", WHOLE_SPLIT)
def test_the_influence_on_every_metric_of_a_whole_split_is_the_jackknifes(name: str) -> None:
    """What leaving each of 30 pairs of rows out of 60 changes, times (C - 1) / C: BLEU, which takes
    whole counts, had none by its derivative.
    """
    metric, rng = METRICS[name], np.random.default_rng(0)
    true = rng.integers(0, 3, 60)
    said = np.where(rng.random(60) < 0.6, true, rng.integers(0, 4, 60))
    system = scored(name, metric, true.tolist(), said.tolist(), [i // 2 for i in range(60)])
    rows, clusters = system.rows[name], list(system.clusters)

    def value(left: list[bool]) -> float:
        return float(metric.value(np.ones((1, sum(left))), rows[left])[0])

    without = np.array([value([c != out for c in clusters]) for out in dict.fromkeys(clusters)])
    jackknife = (without.mean() - without) * 29 / 30
    found = np.array(list(cluster_influence(metric, rows, clusters).values()))
    assert np.abs(jackknife).max() > 0
    assert found == pytest.approx(jackknife, abs=0.03 * np.abs(jackknife).max())


def test_more_clusters_than_the_jackknife_of_an_interval_has_parts_are_left_out_one_by_one() -> (
    None
):
    ratio = Metric("", lambda answers: np.zeros((0, 2)), of_sums(lambda s: s[:, 0] / s[:, 1]))
    values, clusters = np.arange(1200) % 7 / 7, [str(i) for i in range(1200)]
    found = cluster_influence(ratio, np.stack([values, np.ones(1200)], axis=1), clusters)
    of_mean = cluster_influence(ACCURACY, values[:, None], clusters)
    assert found == pytest.approx(of_mean, abs=1e-9)


def test_over_trainings_a_cluster_with_rows_in_two_tasks_counts_with_the_sum() -> None:
    """Two trainings that answer alike on two tasks of the same rows are no more than one task."""
    values, clusters = [1.0, 0.0, 0.0, 1.0, 1.0], list("abcde")
    alone = mean_of_tasks([share(values, clusters)], 0.95)
    found = mean_over_trainings([[share(values, clusters)] * 2] * 3)
    assert found.se == pytest.approx(alone.se)
    assert found.mean - found.half_width(0.95) == pytest.approx(alone.ci[0])
    assert found.luck_variance == 0
