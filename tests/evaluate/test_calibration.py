"""Temperature and threshold from validation rows, and what confidences are worth on test rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import brier_score_loss

from tunesmith.evaluate.calibration import (
    Ranked,
    _bins,
    accuracy_at_least,
    brier,
    confidences,
    ece,
    ece_if_calibrated,
    fit_temperature,
    fit_threshold,
    least_rows,
    on_test,
    ranked,
    risk_coverage,
)
from tunesmith.evaluate.decisions import Threshold
from tunesmith.records import Example, Prediction


def of_confidences(confidence: Sequence[float], right: Sequence[float]) -> Ranked:
    """Rows of two choices: the first one is the likeliest, with this probability."""
    p_N, right_N = np.array(confidence, float), np.array(right, float)
    logprobs_NK = np.log(np.stack([p_N, 1 - p_N], axis=1))
    target_N = np.where(right_N == 1, 0, 1)
    return Ranked(logprobs_NK, target_N, right_N, [str(i) for i in range(len(p_N))])


def drawn(n: int, scale: float, seed: int, mean: float = 1.0) -> Ranked:
    """Rows that are right as often as a confidence says; the model's own is `scale` too sure."""
    rng = np.random.default_rng(seed)
    logit_N = np.abs(rng.normal(mean, 1.5, n))
    right_N = (rng.random(n) < 1 / (1 + np.exp(-logit_N))).astype(float)
    logprobs_NK = np.stack([logit_N * scale, np.zeros(n)], axis=1)
    target_N = np.where(right_N == 1, 0, 1)
    return Ranked(logprobs_NK, target_N, right_N, [str(i) for i in range(n)])


def choice_rows() -> tuple[list[Example], list[Prediction]]:
    examples = [
        Example("a", "r1", "t", "p", "no", ("no",), ("no", "yes"), group="g"),
        Example("b", "r2", "t", "p", "two", ("two", "three"), ("one", "two", "three")),
    ]
    logprobs = [(-0.1, -3.0), (-5.0, -2.0, -1.0)]
    return examples, [
        Prediction(e.id, "", True, 0, of) for e, of in zip(examples, logprobs, strict=True)
    ]


# ---- rows


def test_rows_with_fewer_choices_give_the_missing_ones_no_probability() -> None:
    rows = ranked(*choice_rows())
    assert rows is not None
    p_NK = rows.probabilities(1.0)
    assert p_NK.sum(axis=1) == pytest.approx([1, 1])
    assert p_NK[0, 2] == 0
    # softmax(-0.1, -3): 1 / (1 + e^-2.9)
    assert p_NK[0, 0] == pytest.approx(1 / (1 + math.exp(-2.9)))
    assert rows.clusters == ["g", "r2"]


def test_any_of_the_references_is_right() -> None:
    rows = ranked(*choice_rows())
    assert rows is not None
    assert rows.right_N.tolist() == [1, 1]
    assert rows.target_N.tolist() == [0, 1]


@pytest.mark.parametrize("what", ["free text", "no likelihoods", "an answer that is no choice"])
def test_rows_that_are_no_choice_have_no_confidence(what: str) -> None:
    choices = () if what == "free text" else ("no", "yes")
    answer = "both" if what == "an answer that is no choice" else "no"
    example = Example("a", "r", "t", "p", answer, (answer,), choices)
    logprobs = () if what == "no likelihoods" else (-1.0,) * len(choices)
    assert ranked([example], [Prediction("a", "", True, 0, logprobs)]) is None


# ---- temperature


def test_the_temperature_makes_confidence_the_share_that_is_right() -> None:
    """Four rows with a logit of 2, three of them right: sigmoid(2 / T) = 3/4, so T = 2 / ln 3."""
    rows = Ranked(
        np.array([[2.0, 0.0]] * 4), np.array([0, 0, 0, 1]), np.array([1.0, 1, 1, 0]), list("abcd")
    )
    assert fit_temperature(rows) == pytest.approx(2 / math.log(3), rel=1e-4)


def test_an_overconfident_model_is_cooled_by_as_much_as_it_is_too_sure() -> None:
    assert fit_temperature(drawn(20_000, 3.0, 0)) == pytest.approx(3.0, rel=0.05)
    assert fit_temperature(drawn(20_000, 1.0, 1)) == pytest.approx(1.0, rel=0.05)


def test_rows_that_are_all_right_leave_the_temperature_as_it_is() -> None:
    assert fit_temperature(of_confidences([0.6, 0.9], [1, 1])) == 1.0


# ---- threshold


@pytest.mark.parametrize("right, n", [(59, 59), (58, 60), (1, 3)])
def test_the_bound_is_clopper_and_pearsons(right: int, n: int) -> None:
    exact = scipy.stats.binomtest(right, n, alternative="greater").proportion_ci(0.95, "exact")
    assert accuracy_at_least(right, n, 0.05) == pytest.approx(exact.low)


def test_none_right_shows_nothing() -> None:
    assert accuracy_at_least(0, 5, 0.05) == 0.0


def test_rows_without_a_mistake_from_which_the_target_is_shown() -> None:
    assert least_rows(0.95, 0.05) == 59  # 0.95^59 = 0.0485
    assert accuracy_at_least(59, 59, 0.05) >= 0.95 > accuracy_at_least(58, 58, 0.05)


def test_the_threshold_is_the_smallest_that_is_shown_to_reach_the_target() -> None:
    """300 sure rows that are right, 100 unsure ones that are wrong; nine steps of a search."""
    confidence = np.concatenate([np.linspace(0.99, 0.8, 300), np.linspace(0.79, 0.55, 100)])
    rows = of_confidences(confidence.tolist(), [1] * 300 + [0] * 100)
    found = fit_threshold(rows, 0.95)
    assert found.threshold is not None
    assert found.right == 300
    error = 0.05 / 9
    shown = max(n for n in range(300, 401) if accuracy_at_least(300, n, error) >= 0.95)
    assert found.answered == shown
    assert found.accuracy_at_least == pytest.approx(accuracy_at_least(300, shown, error))
    kept_N = rows.confidence(found.temperature) >= found.threshold
    assert int(kept_N.sum()) == shown


def test_rows_of_the_same_confidence_are_answered_together() -> None:
    rows = of_confidences([0.9] * 200 + [0.6] * 50, [1] * 200 + [0] * 50)
    found = fit_threshold(rows, 0.9)
    assert (found.answered, found.right) == (200, 200)


def test_a_model_that_is_always_right_answers_everything() -> None:
    found = fit_threshold(of_confidences(np.linspace(0.6, 0.9, 200).tolist(), [1] * 200), 0.95)
    assert (found.answered, found.threshold) == (200, pytest.approx(0.6))


def test_too_few_rows_for_any_threshold_are_said_to_be() -> None:
    """Six steps over 50 rows: 0.95^n <= 0.05 / 6 takes 94 rows."""
    found = fit_threshold(of_confidences(np.linspace(0.6, 0.9, 50).tolist(), [1] * 50), 0.95)
    assert (found.threshold, found.answered, found.accuracy_at_least) == (None, 0, None)
    assert found.rows_needed == 94


def test_the_promised_accuracy_holds_in_at_least_95_of_100_fits() -> None:
    """Of the accuracy on new rows, for a threshold that was fitted on 400."""
    broken = found = 0
    new = drawn(50_000, 1.0, 10_000, mean=2.5)
    for seed in range(200):
        fitted = fit_threshold(drawn(400, 1.0, seed, mean=2.5), 0.9)
        if fitted.threshold is not None:
            answered_N = new.confidence(fitted.temperature) >= fitted.threshold
            found += 1
            broken += float(new.right_N[answered_N].mean()) < 0.9
    assert found > 150
    assert broken <= 0.05 * 200


# ---- what confidences are worth


def test_briers_score_of_two_choices_is_twice_scikit_learns() -> None:
    rows = drawn(100, 1.3, 0)
    truth = rows.target_N == 0
    for temperature in (1.0, 2.0):
        reference = brier_score_loss(truth, rows.probabilities(temperature)[:, 0])
        assert brier(rows, temperature).mean() == pytest.approx(2 * reference)


def test_briers_score_of_three_choices_is_a_squared_distance() -> None:
    rows = Ranked(
        np.log([[0.7, 0.2, 0.1]]), np.array([1]), np.array([0.0]), ["a"]
    )  # (0.7)^2 + (0.2 - 1)^2 + 0.1^2
    assert brier(rows).tolist() == pytest.approx([0.49 + 0.64 + 0.01])


def test_the_calibration_error_is_the_mean_gap_of_bins_of_equal_size() -> None:
    # fewer rows than bins: each row is one, with the gaps 0.1 and 0.6
    assert ece(of_confidences([0.9, 0.6], [1, 0]), resamples=100).mean == pytest.approx(0.35)
    # 15 bins of two rows: 0.9 against 1 of 2 right
    rows = of_confidences([0.9] * 30, [1, 0] * 15)
    assert ece(rows, resamples=100).mean == pytest.approx(0.4)


def test_equal_sizes_hold_where_rows_do_not_divide_by_the_bins() -> None:
    sizes = _bins(np.linspace(0.5, 0.9, 40)).sum(axis=0)
    assert len(sizes) == 15
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("scale", [1.0, 1.5, 3.0])
def test_the_interval_of_the_calibration_error_holds_the_true_one(scale: float) -> None:
    """In nine of ten draws of 200 rows at least, 0 included where every confidence is right."""
    logit_N = np.abs(np.random.default_rng(1).normal(1.0, 1.5, 200_000))
    sure_N, true_N = (1 / (1 + np.exp(-logit_N * s)) for s in (scale, 1.0))
    truth = float(np.abs(sure_N - true_N).mean())
    found = [ece(drawn(200, scale, seed), resamples=300, seed=seed).ci for seed in range(150)]
    assert sum(low <= truth <= high for low, high in found) >= 0.9 * 150


def test_few_rows_have_a_calibration_error_even_where_every_confidence_is_right() -> None:
    """One bin for each of 15 rows: |p - 1| with probability p, p with 1 - p, so 2 p (1 - p)."""
    assert ece_if_calibrated(np.full(15, 0.8)) == pytest.approx(2 * 0.8 * 0.2, rel=0.05)
    assert ece_if_calibrated(np.full(15_000, 0.8)) < 0.02


def test_one_row_has_no_interval() -> None:
    found = ece(of_confidences([0.9], [1]))
    assert found.mean == pytest.approx(0.1)
    assert math.isnan(found.ci[0])


def test_risk_is_of_the_most_confident_rows() -> None:
    points, area = risk_coverage(of_confidences([0.6, 0.9, 0.7, 0.8], [1, 1, 1, 0]))
    assert [coverage for coverage, _ in points] == [0.25, 0.5, 0.75, 1.0]
    assert [risk for _, risk in points] == pytest.approx([0, 1 / 2, 1 / 3, 1 / 4])
    assert area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_rows_of_equal_confidence_share_their_mistakes_whatever_their_order() -> None:
    for right in ([1, 0, 1, 1], [0, 1, 1, 1]):
        points, area = risk_coverage(of_confidences([0.8] * 4, right))
        assert [risk for _, risk in points] == pytest.approx([0.25] * 4)
        assert area == pytest.approx(0.25)


def test_a_long_curve_is_drawn_with_a_hundred_points_up_to_all_rows() -> None:
    rows = drawn(1000, 1.0, 0)
    points, area = risk_coverage(rows)
    assert len(points) == 100
    assert points[-1] == (1.0, pytest.approx(1 - rows.right_N.mean()))
    order = np.argsort(-rows.confidence(1.0), kind="stable")
    risks = (1 - rows.right_N[order]).cumsum() / np.arange(1, 1001)
    assert area == pytest.approx(risks.mean())


def test_a_temperature_of_two_choices_changes_no_order_and_no_answer() -> None:
    rows = drawn(300, 2.0, 0)
    before, after = (confidences("tuned", "", rows, t, resamples=100) for t in (1.0, 2.0))
    assert before.aurc == pytest.approx(after.aurc)
    assert before.accuracy == after.accuracy
    assert after.ece.mean < before.ece.mean


# ---- on test


def fitted(threshold: float | None) -> Threshold:
    return Threshold(1.0, threshold, 0.95, 0.95, 100, 80, 79, 0.95, 94)


def test_the_rows_above_the_threshold_are_answered() -> None:
    rows = of_confidences([0.95] * 10 + [0.9] * 10 + [0.6] * 5, [1] * 19 + [0] + [0] * 5)
    found = on_test(fitted(0.899), [], rows)
    assert found.coverage is not None
    assert found.accuracy is not None
    assert (found.coverage.mean, found.accuracy.mean) == (20 / 25, 19 / 20)
    wilson = scipy.stats.binomtest(19, 20).proportion_ci(0.95, "wilson")
    assert found.accuracy.ci == pytest.approx((wilson.low, wilson.high))


def test_without_a_threshold_or_an_answered_row_there_is_no_accuracy() -> None:
    rows = of_confidences([0.6, 0.7], [1, 0])
    assert on_test(fitted(None), [], rows).coverage is None
    none = on_test(fitted(0.9), [], rows)
    assert none.coverage is not None
    assert (none.coverage.mean, none.accuracy) == (0.0, None)
