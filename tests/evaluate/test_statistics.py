"""Intervals and tests: known answers, scipy's answers, coverage where the truth is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.evaluate.statistics import (
    Floats,
    Kind,
    approximate_randomisation,
    bootstrap,
    cluster_numbers,
    estimate_mean,
    estimate_value,
    holm,
    mcnemar,
    paired_difference,
    standard_error,
    weighted_mean,
    wilson_interval,
    wins_ties_losses,
)


def column(values: Sequence[float] | Floats) -> Floats:
    return np.asarray(values, dtype=float).reshape(-1, 1)


# ---- known answers


def test_mcnemar_of_3_and_15_is_0_00754() -> None:
    assert mcnemar(3, 15) == pytest.approx(0.00754, abs=5e-6)
    assert mcnemar(15, 3) == mcnemar(3, 15)


def test_mcnemar_without_a_discordant_row_is_1() -> None:
    assert mcnemar(0, 0) == 1.0


def test_wilson_of_none_and_of_all_ends_at_0_and_1_exactly() -> None:
    assert wilson_interval(0, 6)[0] == 0.0
    assert wilson_interval(6, 6)[1] == 1.0


def test_wilson_of_8_in_10_is_0_490_to_0_943() -> None:
    assert wilson_interval(8, 10) == pytest.approx((0.490, 0.943), abs=5e-4)


@given(
    st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.sampled_from([0.9, 0.95, 0.99]),
)
@settings(deadline=None, max_examples=50)
def test_wilson_equals_scipys(counts: tuple[int, int], confidence: float) -> None:
    expected = scipy.stats.binomtest(*counts).proportion_ci(confidence, method="wilson")
    assert wilson_interval(*counts, confidence) == pytest.approx(
        (expected.low, expected.high), abs=1e-9
    )


def test_standard_error_of_two_clusters_by_hand() -> None:
    # mean 2.5, residuals -1.5 -.5 .5 1.5, cluster sums -2 and 2: sqrt(2/1 * 8) / 4 = 1
    assert standard_error([1, 2, 3, 4], ["x", "x", "y", "y"]) == pytest.approx(1.0)
    assert standard_error([1, 2, 3, 4]) == pytest.approx(scipy.stats.sem([1, 2, 3, 4]))


def test_one_row_or_one_cluster_has_no_standard_error() -> None:
    assert math.isnan(standard_error([1.0]))
    assert math.isnan(standard_error([1.0, 2.0], ["x", "x"]))
    assert math.isnan(estimate_mean([1.0, 2.0], ["x", "x"]).ci[0])


def test_the_interval_of_a_mean_is_students() -> None:
    # symmetric, so that there is no skewness to take out
    values = [0.1, 0.3, 0.5, 0.5, 0.7, 0.9]
    expected = scipy.stats.t.interval(0.95, 5, np.mean(values), scipy.stats.sem(values))
    assert estimate_mean(values).ci == pytest.approx(expected)


def test_a_proportion_of_clusters_all_alike_counts_clusters_not_rows() -> None:
    # 30 clusters of 10 equal rows hold what 30 rows do; the t factor makes it a little wider still
    values = [float(i % 3 == 0) for i in range(30) for _ in range(10)]
    clusters = [str(i) for i in range(30) for _ in range(10)]
    low, high = estimate_mean(values, clusters, proportion=True).ci
    narrow, wide = wilson_interval(10, 30), wilson_interval(10 * 0.85, 30 * 0.85)
    assert wide[0] < low < narrow[0]
    assert narrow[1] < high < wide[1]


def test_all_right_in_few_clusters_is_no_certainty() -> None:
    names = [str(i // 10) for i in range(80)]
    low, high = estimate_mean([1.0] * 80, names, proportion=True).ci
    # 8 clusters say no more than 8 rows, and a little less for the t factor
    assert low < wilson_interval(8, 8)[0]
    assert high == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(deadline=None, max_examples=50)
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    pairs = list(zip(p_values, adjusted, strict=True))
    assert all(p <= a <= min(1.0, p * len(p_values)) + 1e-12 for p, a in pairs)
    assert [a for _, a in sorted(pairs)] == sorted(adjusted)


def test_wins_ties_and_losses_are_counted_for_b() -> None:
    assert wins_ties_losses([0, 1, 0.5], [1, 1, 0.4]) == (1, 1, 1)
    assert wins_ties_losses([0, 1, 0.5, 0.5], [1, 2, 0.4, 0.5], higher_is_better=False) == (1, 1, 2)


def test_cluster_numbers_depend_on_equality_and_order_alone() -> None:
    assert cluster_numbers(["b", "a", "b"], 3).tolist() == [0, 1, 0]
    assert cluster_numbers(None, 3).tolist() == [0, 1, 2]


# ---- resampling


def test_the_bootstrap_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    rows = column(np.random.default_rng(1).normal(size=40))
    first, again, other = (bootstrap(weighted_mean, rows, None, 200, seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert not (first == other).all()


def test_resamples_are_the_mean_of_drawn_rows() -> None:
    # three rows 0, 0, 1: every resampled mean is a multiple of a third, and their mean is near one
    # third
    draws = bootstrap(weighted_mean, column([0, 0, 1]), None, 6000, 0)
    assert set(np.round(draws * 3, 9)) == {0.0, 1.0, 2.0, 3.0}
    assert draws.mean() == pytest.approx(1 / 3, abs=0.02)


def test_clusters_are_drawn_whole() -> None:
    # two clusters, of ones and of zeros: a resample is all ones, all zeros or as it was
    draws = bootstrap(weighted_mean, column([1, 1, 0, 0]), ["x", "x", "y", "y"], 500, 0)
    assert set(draws) == {0.0, 0.5, 1.0}


def test_the_bootstrap_is_close_to_scipys() -> None:
    values = np.random.default_rng(0).exponential(size=200)
    ours = np.quantile(bootstrap(weighted_mean, column(values), None, 20_000, 0), [0.025, 0.975])
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=1, batch=2000
    )
    assert ours == pytest.approx(theirs.confidence_interval, abs=0.01)


def test_an_estimate_of_a_value_on_one_cluster_has_no_interval() -> None:
    estimate = estimate_value(weighted_mean, column([1, 2]), ["x", "x"])
    assert estimate.mean == 1.5
    assert math.isnan(estimate.se)


def test_identical_systems_give_p_1() -> None:
    rows = column([0, 1, 1, 0.5])
    assert approximate_randomisation(weighted_mean, rows, rows, None, 1000, 0) == 1.0


def test_randomisation_agrees_with_the_exact_permutation_test() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=12), rng.normal(0.6, size=12)
    exact = scipy.stats.permutation_test(
        (b, a),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    ours = approximate_randomisation(weighted_mean, column(a), column(b), None, 4096, 0)
    assert ours == pytest.approx(exact.pvalue, abs=1e-12)
    drawn = approximate_randomisation(weighted_mean, column(a), column(b), None, 4095, 0)
    assert drawn == pytest.approx(exact.pvalue, abs=0.02)


def test_randomisation_swaps_clusters_whole() -> None:
    # three clusters all better by 1: of the 8 ways to swap whole clusters 2 are as extreme; of
    # those to swap rows, 2 of 512
    a, b = column(np.zeros(9)), column(np.ones(9))
    clusters = [str(i // 3) for i in range(9)]
    assert approximate_randomisation(weighted_mean, a, b, clusters, 20_000, 0) == 0.25
    assert approximate_randomisation(weighted_mean, a, b, None, 20_000, 0) == 2 / 512


def test_with_five_clusters_no_p_is_below_a_sixteenth() -> None:
    a, b = column(np.zeros(15)), column(np.ones(15))
    clusters = [str(i // 3) for i in range(15)]
    assert approximate_randomisation(weighted_mean, a, b, clusters, 10_000, 0) == 0.0625


# ---- coverage: 1,000 drawn data sets whose truth is known


def coverage(intervals: Sequence[tuple[float, float]], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def test_paired_intervals_cover_the_truth_in_93_to_97_percent() -> None:
    rng = np.random.default_rng(0)
    found = []
    kind = Kind((0.0, 1.0), binary=True)
    for _ in range(1000):
        a = rng.random(100) < 0.6
        b = np.where(rng.random(100) < 0.7, a, rng.random(100) < 0.8)  # truth: 0.3 * (0.8 - 0.6)
        found.append(paired_difference(weighted_mean, column(a), column(b), None, kind=kind).ci)
    assert 0.93 <= coverage(found, 0.3 * 0.2) <= 0.97


def clustered_gains(rng: np.random.Generator, clusters: int) -> tuple[Floats, list[str]]:
    """Gains of mean 0.1 whose clusters of 1 to 8 rows share most of their noise."""
    sizes = rng.integers(1, 9, size=clusters)
    shared = np.repeat(rng.normal(0.1, 1.0, size=clusters), sizes)
    names = [str(i) for i in np.repeat(np.arange(clusters), sizes)]
    return shared + rng.normal(0, 0.5, size=len(shared)), names


@pytest.mark.parametrize("clusters", [20, 60])
def test_clustered_paired_intervals_cover_the_truth_in_93_to_97_percent(clusters: int) -> None:
    rng = np.random.default_rng(clusters)
    found = []
    for _ in range(1000):
        gains, names = clustered_gains(rng, clusters)
        found.append(paired_difference(weighted_mean, column(0 * gains), column(gains), names).ci)
    assert 0.93 <= coverage(found, 0.1) <= 0.97


def test_clustered_intervals_of_a_mean_cover_and_unclustered_ones_do_not() -> None:
    rng = np.random.default_rng(2)
    data = [clustered_gains(rng, 40) for _ in range(1000)]
    assert 0.93 <= coverage([estimate_mean(gains, names).ci for gains, names in data], 0.1) <= 0.97
    assert coverage([estimate_mean(gains).ci for gains, _ in data], 0.1) < 0.80


def test_clustered_intervals_of_a_proportion_cover_the_truth_in_93_to_97_percent() -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(1000):
        right = rng.random((50, 4)) < rng.beta(
            4, 1, size=(50, 1)
        )  # 50 clusters of 4 rows, mean 0.8
        names = [str(i) for i in range(50) for _ in range(4)]
        found.append(estimate_mean(right.ravel().astype(float), names, proportion=True).ci)
    assert 0.93 <= coverage(found, 0.8) <= 0.97


def test_p_of_systems_that_are_equally_good_is_below_5_percent_in_about_5_percent() -> None:
    rng = np.random.default_rng(5)
    p_values = []
    for seed in range(1000):
        gains, names = clustered_gains(rng, 30)
        a, b = column(0 * gains), column(gains - 0.1)
        p_values.append(approximate_randomisation(weighted_mean, a, b, names, 300, seed))
    assert 0.03 <= np.mean(np.array(p_values) <= 0.05) <= 0.07
