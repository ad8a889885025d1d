"""Every interval contains its number and stays in range; known answers; none where none holds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_answers import scored
from scipy import optimize

from tunesmith.evaluate.compare import compare, estimate_metric
from tunesmith.evaluate.influence import HALF, influence_of_mean, influence_of_value
from tunesmith.evaluate.intervals import (
    SEEN_SKEWNESS,
    UNSEEN_SKEWNESS,
    bounded_interval,
    correlation_interval,
    log_interval,
    paired_interval,
    paired_p,
    skewed_difference,
    skewed_interval,
    skewed_p,
    tango_interval,
)
from tunesmith.evaluate.metrics import GENERAL, METRICS, find_metric
from tunesmith.evaluate.statistics import (
    Floats,
    Kind,
    estimate_mean,
    estimate_value,
    mcnemar,
    paired_difference,
    standard_error,
    weighted_mean,
)
from tunesmith.records import Estimate, Evaluation

ALL = {n: m for n, m in {**METRICS, **GENERAL}.items() if n != "semantic_similarity"}  # a model's


def column(values: Sequence[float] | Floats) -> Floats:
    return np.asarray(values, dtype=float).reshape(-1, 1)


# ---- every metric


def holds(value: float, ci: tuple[float, float], note: str, range_: tuple[float, float]) -> bool:
    """Contains the number and stays inside the range, or is absent and says why."""
    if math.isnan(ci[0]) or math.isnan(ci[1]):
        return bool(note)
    return not note and range_[0] <= ci[0] <= value <= ci[1] <= range_[1]


ROWS = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 2), min_size=n, max_size=n),
        st.sampled_from(["perfect", "empty", "one", "any"]),
        st.lists(st.integers(0, 3), min_size=2 * n, max_size=2 * n),
        st.sampled_from([1, 2, 7, 1000]),
    )
)


@pytest.mark.parametrize("name", ALL)
@given(rows=ROWS)
@settings(deadline=None, max_examples=40)
def test_every_interval_contains_its_number_and_stays_in_range(
    name: str, rows: tuple[list[int], str, list[int], int]
) -> None:
    true, how, drawn, num_groups = rows
    n, metric = len(true), ALL[name]
    asked = name if name in METRICS else "exact_match"
    said = {"perfect": true, "empty": [99 % 4] * n, "one": [0] * n, "any": drawn[:n]}[how]
    groups = [i % num_groups for i in range(n)]
    a, b = (scored(asked, METRICS[asked], true, s, groups) for s in (said, drawn[n:]))
    low, high = metric.kind.bounds
    for found in (a.estimates[name], b.estimates[name]):
        assert holds(found.mean, found.ci, found.note, (low, high)), found
    change = compare(a, b, name, resamples=100)
    assert holds(change.difference, change.ci, change.note, (low - high, high - low)), change
    if not change.note and change.p < 0.05:
        assert not change.ci[0] <= 0 <= change.ci[1]


def test_ranges_are_declared_for_every_plain_metric() -> None:
    assert [name for name, m in ALL.items() if m.unit == "plain" and m.range is None] == []
    assert find_metric("ter").kind.bounds == (0.0, math.inf)  # more edits than words: above 100
    assert find_metric("bleu").kind.bounds == (0.0, 100.0)
    assert find_metric("accuracy").kind.bounds == (0.0, 1.0)


# ---- macro-F1


def by_class(counts: Sequence[int], wrong: int = 0) -> Floats:
    """Rows of metrics by class: all right but the first `wrong`, answered as the next class."""
    true = np.repeat(np.arange(len(counts)), counts)
    said = np.where(np.arange(len(true)) < wrong, (true + 1) % len(counts), true)
    eye = np.eye(len(counts))
    return np.hstack([eye[true] * eye[said], eye[said], eye[true]])


def test_a_perplexitys_interval_is_e_to_that_of_the_mean_it_comes_from() -> None:
    # -log p, tokens and bytes of each answer: one byte a token, and so bits * log 2 nats a token
    tokens_N = np.arange(5.0, 25.0)
    rows_ND = np.column_stack([tokens_N * np.linspace(0.5, 1.5, 20), tokens_N, tokens_N])
    perplexity = estimate_metric(METRICS["perplexity"], rows_ND, None)
    bits = estimate_metric(METRICS["bits_per_byte"], rows_ND, None)
    nats = [math.log(2) * end for end in (bits.mean, *bits.ci)]
    logs = [math.log(end) for end in (perplexity.mean, *perplexity.ci)]
    # the jackknife of a ratio and that of e to it differ in the second order
    assert logs == pytest.approx(nats, rel=0.01)


def test_the_rows_of_a_ratio_of_sums_weigh_what_its_denominator_says() -> None:
    # 6 over 4 in all, and so residuals of (2 - 1.5 * 1) / 4 and (4 - 1.5 * 3) / 4
    rows_ND = np.array([[2.0, 1.0], [4.0, 3.0]])
    found = influence_of_value(
        lambda weights_RN, rows: (weights_RN @ rows[:, 0]) / (weights_RN @ rows[:, 1]),
        rows_ND,
        np.arange(2),
        weight_N=rows_ND[:, 1],
    )
    assert found.value == 1.5
    assert found.share_C == pytest.approx([0.25, 0.75])
    assert found.residual_C == pytest.approx([0.125, -0.125])
    assert found.concentration == pytest.approx(0.25**2 + 0.75**2)


def test_a_huge_perplexity_has_an_interval() -> None:
    influence = influence_of_mean(np.array([1e307, 1e306, 5e306]), np.arange(3))
    assert log_interval(influence, (1.0, math.inf))[1] > 1e307


def test_a_perfect_file_of_77_classes_never_has_an_interval_that_excludes_1() -> None:
    # 234 rows in 77 classes, as in the file whose interval was [0.845, 0.958]
    found = estimate_metric(METRICS["macro_f1"], by_class([4] * 3 + [3] * 74), None)
    assert (found.mean, found.ci[1]) == (1.0, 1.0)
    assert 0.95 < found.ci[0] < 1


def test_too_few_rows_of_a_class_give_no_macro_f1_interval_and_say_so() -> None:
    found = estimate_metric(METRICS["macro_f1"], by_class([3] * 70 + [2] * 7), None)
    assert math.isnan(found.ci[0])
    assert math.isnan(found.ci[1])
    assert found.note == "7 of 77 classes have fewer than 3 rows"
    one = estimate_metric(METRICS["macro_f1"], by_class([3, 4, 0]), None)
    assert one.note == "1 of 3 classes has fewer than 3 rows"


def test_a_perfect_macro_f1_rests_on_its_rarest_class() -> None:
    # 95 and 5 rows: as sure as 4 / (1/95 + 1/5) = 19 rows, and far less sure than 100
    found = estimate_metric(METRICS["macro_f1"], by_class([95, 5]), None)
    balanced = estimate_metric(METRICS["macro_f1"], by_class([50, 50]), None)
    assert 1 - found.ci[0] > 3 * (1 - balanced.ci[0])


# ---- means


def test_scores_that_are_0_or_1_have_wilsons_interval_with_or_without_the_word_proportion() -> None:
    values = [1.0] * 30 + [0.0] * 10
    exact = estimate_mean(values, proportion=True).ci
    as_scores = estimate_mean(values, bounds=(0.0, 1.0)).ci
    assert as_scores == pytest.approx(exact, abs=0.01)


def test_all_ones_are_as_sure_as_so_many_rows_right() -> None:
    low, high = estimate_mean([1.0] * 20, bounds=(0.0, 1.0)).ci
    # Wilson of 20 in 20 is 0.839; Student's factor for 20 rows widens it a little
    assert 0.80 < low < 0.839
    assert high == 1.0


def test_the_interval_of_scores_is_the_same_in_any_unit() -> None:
    scores = np.random.default_rng(0).beta(2, 5, 60)
    plain, points = (estimate_mean(f * scores, bounds=(0.0, f)).ci for f in (1.0, 100.0))
    assert points == pytest.approx([100 * end for end in plain])


def test_a_mean_without_a_range_is_skewed_as_its_values_are() -> None:
    low, high = estimate_mean(np.random.default_rng(0).lognormal(0, 1, 50)).ci
    mean = np.random.default_rng(0).lognormal(0, 1, 50).mean()
    assert high - mean > 1.3 * (mean - low) > 0


def test_halls_interval_is_the_inverse_of_his_transformation() -> None:
    # Hall (1992): T + g T^2 / 3 + g^2 T^3 / 27 + g / 6 is nearly standard, g the skewness / root n
    values = np.random.default_rng(1).exponential(size=30)
    influence = influence_of_mean(values, np.arange(30))
    assert influence.skewness == pytest.approx(scipy.stats.skew(values) / math.sqrt(30))
    low, high = skewed_interval(influence, (0, math.inf))
    for end, factor, sign in ((low, SEEN_SKEWNESS, 1), (high, UNSEEN_SKEWNESS, -1)):
        g = factor * influence.skewness  # the long tail is above, where more is taken out
        t = (values.mean() - end) / scipy.stats.sem(values)
        y = t + g * t**2 / 3 + g**2 * t**3 / 27 + g / 6
        assert y == pytest.approx(sign * scipy.stats.t.ppf(0.975, 29))


def test_a_long_tail_below_gives_the_mirrored_interval() -> None:
    values = np.random.default_rng(1).exponential(size=30)
    whole = (-math.inf, math.inf)
    low, high = skewed_interval(influence_of_mean(values, np.arange(30)), whole)
    mirrored = skewed_interval(influence_of_mean(-values, np.arange(30)), whole)
    assert mirrored == pytest.approx((-high, -low))


def test_few_rows_unlike_the_others_give_no_interval_of_a_number_without_a_range() -> None:
    five = estimate_mean([0.0] * 15 + [1.0, 2.0, 3.0, 4.0, 5.0])
    assert math.isnan(five.ci[0])
    assert five.note == "all but 5 rows have the same value"
    six = estimate_mean([0.0] * 15 + [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert math.isfinite(six.ci[0])
    # two equal values of six are not most of them
    assert math.isfinite(estimate_mean([0.1, 0.3, 0.5, 0.5, 0.7, 0.9]).ci[0])


def test_a_correlation_without_skewness_has_students_interval_on_fishers_z() -> None:
    found = influence_of_mean(np.array([0.2, 0.4, 0.6, 0.8]), np.arange(4))  # r 0.5, se 0.1291
    t = scipy.stats.t.ppf(0.975, 3)
    half = t * (math.sqrt(0.05 / 3)) / (1 - 0.25)
    expected = math.tanh(math.atanh(0.5) - half), math.tanh(math.atanh(0.5) + half)
    assert correlation_interval(found) == pytest.approx(expected)


def test_a_correlation_of_1_has_an_interval_that_ends_there() -> None:
    rows = np.column_stack([np.arange(20.0), np.arange(20.0)])
    found = estimate_metric(METRICS["pearson"], rows, None)
    assert found.ci[1] == found.mean == pytest.approx(1.0)
    assert found.ci[0] < 0.9


def test_half_a_row_left_out_gives_the_variance_of_a_mean_over_classes() -> None:
    """Of a mean of two class means its variance is (s1^2 / m1 + s2^2 / m2) / 4."""
    true = np.repeat([0, 1], [40, 4])
    scores = np.array([1.0, 0.0] * 20 + [1.0, 0.0, 0.0, 1.0])
    rows = np.column_stack([scores, true == 0, true == 1]).astype(float)

    def by_class(weights_RN: Floats, rows_ND: Floats) -> Floats:
        sums = [
            (weights_RN @ (rows_ND[:, 0] * rows_ND[:, k])) / (weights_RN @ rows_ND[:, k])
            for k in (1, 2)
        ]
        return np.asarray((sums[0] + sums[1]) / 2)

    truth = (np.var(scores[:40], ddof=1) / 40 + np.var(scores[40:], ddof=1) / 4) / 4
    whole, half = (
        influence_of_value(by_class, rows, np.arange(44), left_out).variance
        for left_out in (1.0, HALF)
    )
    assert half == pytest.approx(truth, rel=0.03)
    assert whole > 1.25 * truth  # 4 / 3 for the small class


def test_equal_values_without_a_range_have_no_interval() -> None:
    found = estimate_mean([2.0] * 10)
    assert math.isnan(found.ci[0])
    assert found.note == "every row has the same value"


# ---- clusters


def test_equal_clusters_have_liang_and_zegers_variance_and_c_minus_1_degrees() -> None:
    values, names = np.random.default_rng(0).normal(size=40), [str(i // 5) for i in range(40)]
    influence = influence_of_mean(values, np.repeat(np.arange(8), 5))
    assert math.sqrt(influence.variance) == pytest.approx(standard_error(values, names))
    assert influence.freedom == pytest.approx(7)


def test_degrees_of_freedom_are_those_of_the_quadratic_form() -> None:
    # the variance is u'Mu for independent cluster means u: Satterthwaite's tr(M)^2 / tr(M^2)
    sizes = np.array([1, 2, 3, 10, 4, 4, 9])
    influence = influence_of_mean(np.zeros(sizes.sum()), np.repeat(np.arange(7), sizes))
    w = sizes / sizes.sum()
    residual = np.eye(7) - np.outer(np.ones(7), w)
    weight = 1 / (1 - 2 * w + w @ w)
    m = residual.T @ np.diag(weight * w**2) @ residual
    assert np.trace(m) == pytest.approx(w @ w)  # unbiased where a cluster's rows are alike
    assert influence.freedom == pytest.approx(np.trace(m) ** 2 / np.trace(m @ m))


@pytest.mark.parametrize(
    "sizes, note",
    [
        ([60, 3, 3, 3, 3], "only 5 groups"),
        ([60] + 19 * [3], "groups of too unequal size, one has 60 of 117 rows"),
        ([10], "only 1 group"),
        (12 * [5], ""),
    ],
)
def test_few_or_unequal_clusters_give_no_interval_and_say_so(sizes: list[int], note: str) -> None:
    names = [str(i) for i in np.repeat(np.arange(len(sizes)), sizes)]
    values = np.random.default_rng(0).random(len(names))
    for found in (
        estimate_mean(values, names, bounds=(0.0, 1.0)),
        estimate_mean((values > 0.5).astype(float), names, proportion=True),
        estimate_value(lambda w, r: (w @ r[:, 0]) / w.sum(1), column(values), names),
        paired_difference(weighted_mean, column(values), column(values**2), names),
    ):
        assert found.note == note
        assert math.isnan(found.ci[0]) == bool(note)


def test_more_confidence_needs_more_clusters() -> None:
    # 2 of 2^6 swaps are 3 %: enough for 95 %, not for 99 %
    names, values = [str(i // 2) for i in range(12)], [0.0, 1.0] * 6
    assert estimate_mean(values, names, 0.95, proportion=True).note == ""
    assert estimate_mean(values, names, 0.99, proportion=True).note == "only 6 groups"


# ---- the jackknife


def test_the_jackknife_of_a_mean_is_its_residuals() -> None:
    values = np.random.default_rng(0).normal(size=12)
    for number_N in (np.arange(12), np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 5, 5, 5])):
        exact = influence_of_mean(values, number_N)
        found = influence_of_value(lambda w, r: (w @ r[:, 0]) / w.sum(1), column(values), number_N)
        assert found.residual_C == pytest.approx(exact.residual_C)
        assert found.bias == pytest.approx(0, abs=1e-12)
        assert found.freedom == pytest.approx(exact.freedom)


def test_the_jackknife_of_a_variance_takes_off_its_known_bias() -> None:
    # the plug-in variance is too low by s^2 / n, and the jackknife finds just that
    values = np.random.default_rng(0).normal(size=20)

    def variance(weights_RN: Floats, rows_ND: Floats) -> Floats:
        share = weights_RN / weights_RN.sum(axis=1, keepdims=True)
        return share @ rows_ND[:, 0] ** 2 - (share @ rows_ND[:, 0]) ** 2

    found = influence_of_value(variance, column(values), np.arange(20))
    assert found.bias == pytest.approx(-values.var(ddof=1) / 20)


def test_many_rows_are_left_out_in_parts_and_give_nearly_the_same() -> None:
    values = np.random.default_rng(0).exponential(size=5000)
    found = estimate_value(lambda w, r: (w @ r[:, 0]) / w.sum(1), column(values))
    assert found.se == pytest.approx(scipy.stats.sem(values), rel=0.1)
    assert found.ci == pytest.approx(estimate_mean(values).ci, abs=0.005)


# ---- two systems


def test_tangos_interval_of_the_airway_study_is_the_published_one() -> None:
    # 21 children, 7 and 1 discordant: -0.517 to -0.026 (Fagerland, Lydersen and Laake 2014)
    assert tango_interval(7, 1, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_tangos_interval_without_a_discordant_row_by_hand() -> None:
    # n d^2 = z^2 (d - d^2), so d = z^2 / (n + z^2) = 3.8415 / 53.8415
    assert tango_interval(0, 0, 50) == pytest.approx((-0.07135, 0.07135), abs=1e-5)


@pytest.mark.parametrize("only_a, only_b, n", [(7, 1, 21), (20, 40, 160), (0, 3, 100), (1, 1, 10)])
def test_tangos_limits_are_where_the_score_statistic_is_z(only_a: int, only_b: int, n: int) -> None:
    def score(difference: float) -> float:
        def loss(share: float) -> float:  # -log likelihood, `share` is that of only_a
            p, q = share + difference, share
            return -(only_b * math.log(p) + only_a * math.log(q)
                     + (n - only_a - only_b) * math.log(1 - p - q))  # fmt: skip

        least = max(0.0, -difference) + 1e-12
        most = (1 - difference) / 2 - 1e-12
        q = optimize.minimize_scalar(loss, bounds=(least, most), options={"xatol": 1e-12}).x
        return (only_b - only_a - n * difference) / math.sqrt(
            n * (2 * q + difference - difference**2)
        )

    low, high = tango_interval(only_a, only_b, n)
    assert score(low) == pytest.approx(1.959964, rel=1e-3)
    assert score(high) == pytest.approx(-1.959964, rel=1e-3)


def test_where_mcnemar_rejects_tangos_interval_excludes_zero() -> None:
    for n in (30, 100, 400):
        for only_a in range(12):
            for only_b in range(only_a, 30 - only_a):
                if mcnemar(only_a, only_b) < 0.05:
                    assert tango_interval(only_a, only_b, n)[0] > 0


def test_gains_alone_make_an_interval_that_is_longer_above_than_below() -> None:
    # 3 of 200 rows gain 0.8, none loses: it cannot have fallen by much
    gains = np.array([0.8] * 3 + [0.0] * 197)
    low, high = paired_interval(influence_of_mean(gains, np.arange(200)), 1.0)
    assert -0.02 < low < 0.012
    assert high - 0.012 > 1.1 * (0.012 - low)


@pytest.mark.parametrize("seed", range(5))
def test_p_is_the_level_at_which_the_interval_touches_zero(seed: int) -> None:
    gains = np.random.default_rng(seed).normal(0.05, 0.2, 60)
    influence = influence_of_mean(gains, np.arange(60))
    p = paired_p(influence, 1.0)
    touching = paired_interval(influence, 1.0, confidence=1 - p)
    assert min(abs(end) for end in touching) < 1e-4
    p = skewed_p(influence)
    touching = skewed_difference(influence, math.inf, confidence=1 - p)
    assert min(abs(end) for end in touching) < 1e-9


def test_one_row_that_differs_is_no_interval_for_an_error() -> None:
    a = column(np.arange(20.0))
    b = a.copy()
    b[3] += 1
    found = paired_difference(weighted_mean, a, b, None, kind=Kind((0.0, math.inf)))
    assert (found.note, found.value) == ("only 1 row differs", pytest.approx(0.05))
    assert math.isnan(found.ci[0])


def test_two_identical_systems_are_not_shown_as_certainly_equal() -> None:
    rows = column(np.random.default_rng(0).random(50))
    found = paired_difference(weighted_mean, rows, rows, None, kind=Kind((0.0, 1.0)))
    assert found.p == 1.0
    assert found.ci[0] == pytest.approx(-found.ci[1])
    assert 0.05 < found.ci[1] < 0.11  # a share seen 0 times in 50 is at most 0.071 by Wilson


def test_a_metric_is_estimated_with_its_own_range_and_classes() -> None:
    rows = column(np.random.default_rng(0).random(30))
    assert estimate_metric(METRICS["token_f1"], rows, None) == estimate_mean(
        rows[:, 0], bounds=(0.0, 1.0)
    )
    assert isinstance(estimate_metric(METRICS["mae"], rows, None), Estimate)


# ---- coverage: drawn data sets whose truth is known (benchmarks/coverage.py has many more)


def coverage(intervals: Sequence[tuple[float, float]], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


@pytest.mark.parametrize("n", [20, 50, 100])
def test_token_f1_of_which_most_are_1_is_covered(n: int) -> None:
    rng = np.random.default_rng(n)
    data = [np.where(rng.random(n) < 0.95, 1.0, rng.random(n)) for _ in range(1000)]
    found = [estimate_mean(x, bounds=(0.0, 1.0)).ci for x in data]
    assert 0.93 <= coverage(found, 0.975) <= 0.98


def test_lognormal_errors_are_covered() -> None:
    rng = np.random.default_rng(0)
    found = [
        estimate_mean(rng.lognormal(0, 0.5, 50), bounds=(0.0, math.inf)).ci for _ in range(1000)
    ]
    assert 0.93 <= coverage(found, math.exp(0.125)) <= 0.97


def test_clustered_scores_that_are_lopsided_are_rejected_in_no_more_than_5_percent() -> None:
    # equally good: much better in one cluster of ten, a little worse in the others
    rng, rejected = np.random.default_rng(0), 0
    for _ in range(400):
        gain = np.repeat(np.where(rng.random(40) < 0.1, 0.45, -0.05), 3)
        b = column(0.4 + gain + rng.uniform(-0.05, 0.05, 120))
        names = [str(i // 3) for i in range(120)]
        rejected += evaluated_p(column(np.full(120, 0.4)), b, names) <= 0.05
    assert rejected <= 0.07 * 400


def evaluated_p(a_ND: Floats, b_ND: Floats, clusters: Sequence[str]) -> float:
    ids = [str(i) for i in range(len(a_ND))]
    a, b = (
        Evaluation(name, "test", ids, clusters, [], {}, {}, rows={"token_f1": rows})
        for name, rows in (("a", a_ND), ("b", b_ND))
    )
    return compare(a, b, "token_f1", resamples=499).p


def test_bounded_interval_of_a_share_equals_wilsons() -> None:
    values = np.array([1.0] * 8 + [0.0] * 2)
    found = bounded_interval(influence_of_mean(values, np.arange(10)), (0.0, 1.0), binary=True)
    expected = scipy.stats.binomtest(8, 10).proportion_ci(method="wilson")
    assert found == pytest.approx((expected.low, expected.high))
