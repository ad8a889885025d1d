"""When may a model answer by itself? Temperature and threshold from validation rows, and how far
confidences can be believed on the test rows.

Everything is computed from the log-likelihoods of the choices. Shape suffixes: N rows, K choices,
B bins.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import optimize, special, stats

from tunesmith.evaluate.decisions import Calibration, Confidences, Threshold
from tunesmith.evaluate.statistics import Floats, Ints, bootstrap, estimate_mean
from tunesmith.records import Estimate, Example, Prediction

BINS = 15
LARGEST_TEMPERATURE = 20.0
"""And its inverse is the smallest; rows that are all as likely as not say no more."""
SIMULATIONS = 2000
CURVE_POINTS = 100
SCALES = np.linspace(0, 2, 81)


@dataclass(frozen=True)
class Ranked:
    """Rows with the log-likelihood of every choice; missing choices have -inf.

    `target_N` is the position of the right answer, `right_N` whether the likeliest choice is right:
    several can be.
    """

    logprobs_NK: Floats
    target_N: Ints
    right_N: Floats
    clusters: Sequence[str]

    @cached_property
    def n(self) -> int:
        """Rows."""
        return len(self.target_N)

    def probabilities(self, temperature: float) -> Floats:
        """The softmax over the choices of log-likelihood / temperature; p_NK."""
        p_NK: Floats = special.softmax(self.logprobs_NK / temperature, axis=1)
        return p_NK

    def confidence(self, temperature: float) -> Floats:
        """The probability of the likeliest choice; p_N."""
        p_N: Floats = self.probabilities(temperature).max(axis=1)
        return p_N


def ranked(examples: Sequence[Example], predictions: Sequence[Prediction]) -> Ranked | None:
    """The rows as arrays; None where one is not a choice, or has no likelihoods."""
    pairs = list(zip(examples, predictions, strict=True))
    if not pairs or any(
        not e.choices or len(p.choice_logprobs) != len(e.choices) or e.completion not in e.choices
        for e, p in pairs
    ):
        return None
    width = max(len(e.choices) for e in examples)
    logprobs_NK = np.full((len(pairs), width), -np.inf)
    for row_K, (_, prediction) in zip(logprobs_NK, pairs, strict=True):
        row_K[: len(prediction.choice_logprobs)] = prediction.choice_logprobs
    best_N = logprobs_NK.argmax(axis=1)  # of equals the first, as metrics of likelihoods take it
    right = [
        e.choices[i].strip() in {r.strip() for r in (e.references or (e.completion,))}
        for e, i in zip(examples, best_N.tolist(), strict=True)
    ]
    return Ranked(
        logprobs_NK,
        np.array([e.choices.index(e.completion) for e in examples]),
        np.array(right, dtype=float),
        [e.group or e.row_id or e.id for e in examples],
    )


# ---- fitted on validation


def fit_temperature(rows: Ranked) -> float:
    """The temperature with the least negative log-likelihood of the right answers (Guo et al. 2017,
    "On calibration of modern neural networks").

    1 where every likeliest choice is right: the smaller the temperature, the likelier they are
    then, without end.
    """
    if rows.right_N.all():
        return 1.0
    rows_N = np.arange(rows.n)

    def nll(log_temperature: float) -> float:
        log_p_NK = special.log_softmax(rows.logprobs_NK / math.exp(log_temperature), axis=1)
        return float(-log_p_NK[rows_N, rows.target_N].mean())

    end = math.log(LARGEST_TEMPERATURE)
    found = optimize.minimize_scalar(
        nll, bounds=(-end, end), method="bounded", options={"xatol": 1e-6}
    )
    return float(math.exp(found.x))


def fit_threshold(
    rows: Ranked, target: float, confidence: float = 0.95, choices: tuple[str, ...] = ()
) -> Threshold:
    """The temperature, and the smallest threshold that is shown to reach the target.

    Selection with guaranteed risk (Geifman and El-Yaniv 2017, algorithm 2): a binary search over
    the confidences of these rows, each step of which asks whether the one-sided Clopper-Pearson
    bound of the accuracy above a threshold is at least the target. Each step may be wrong with its
    share of 1 - `confidence` (Bonferroni); that is enough where accuracy falls with confidence,
    because a step that is wrong can only follow steps that are known beforehand.
    """
    temperature = fit_temperature(rows)
    confidence_N = rows.confidence(temperature)
    order = np.argsort(-confidence_N, kind="stable")
    sorted_N, right_N = confidence_N[order], rows.right_N[order].cumsum()
    steps = math.ceil(math.log2(rows.n + 1))
    error = (1 - confidence) / steps
    best: tuple[float, int, int, float] | None = None
    few, many = 0, rows.n + 1  # so many rows pass, and so many do not
    while many - few > 1:
        middle = (few + many) // 2
        threshold = float(sorted_N[middle - 1])
        answered = int(np.searchsorted(-sorted_N, -threshold, side="right"))  # equals are answered
        right = int(right_N[answered - 1])
        bound = accuracy_at_least(right, answered, error)
        if bound >= target:
            best, few = (threshold, answered, right, bound), max(middle, answered)
        else:
            many = middle
    return Threshold(
        temperature=temperature,
        threshold=best[0] if best else None,
        target=target,
        confidence=confidence,
        rows=rows.n,
        answered=best[1] if best else 0,
        right=best[2] if best else 0,
        accuracy_at_least=best[3] if best else None,
        rows_needed=least_rows(target, error),
        choices=choices,
    )


def accuracy_at_least(right: int, n: int, error: float) -> float:
    """The one-sided lower bound of an accuracy, wrong with the probability `error` (Clopper and
    Pearson 1934).
    """
    if right == 0:
        return 0.0
    return float(stats.beta.ppf(error, right, n - right + 1))


def least_rows(target: float, error: float) -> int:
    """Rows that must all be right for the bound to reach the target: target^n = error."""
    if target >= 1:
        return 0
    return math.ceil(math.log(error) / math.log(target) - 1e-9)


# ---- opened once on test


def confidences(
    system: str,
    title: str,
    rows: Ranked,
    temperature: float,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Confidences:
    """Everything that says how far a system's confidences can be believed."""
    curve, aurc = risk_coverage(rows, temperature)
    return Confidences(
        system=system,
        title=title,
        temperature=temperature,
        accuracy=estimate_mean(rows.right_N, rows.clusters, confidence, proportion=True),
        ece=ece(rows, temperature, confidence=confidence, resamples=resamples, seed=seed),
        ece_if_calibrated=ece_if_calibrated(rows.confidence(temperature), seed),
        brier=estimate_mean(brier(rows, temperature), rows.clusters, confidence, bounds=(0.0, 2.0)),
        aurc=aurc,
        curve=curve,
    )


def brier(rows: Ranked, temperature: float = 1.0) -> Floats:
    """The squared distance between the probabilities of the choices and the right one, 0 to 2 a row
    (Brier 1950). For two choices it is twice scikit-learn's brier_score_loss.
    """
    truth_NK = np.zeros_like(rows.logprobs_NK)
    truth_NK[np.arange(rows.n), rows.target_N] = 1
    distance_N: Floats = ((rows.probabilities(temperature) - truth_NK) ** 2).sum(axis=1)
    return distance_N


def _bins(confidence_N: Floats) -> Floats:
    """Each row's bin as a row of zeros with a one; bins of equal size by confidence, in_NB."""
    n = len(confidence_N)
    count = min(BINS, n)
    place_N = np.empty(n, dtype=int)
    place_N[np.argsort(confidence_N, kind="stable")] = np.arange(n)
    in_NB: Floats = np.eye(count)[place_N * count // n]
    return in_NB


def _mean_gaps(weights_RN: Floats, gap_NB: Floats) -> Floats:
    """Of rows that count so often: each bin's share of the rows times its confidence - accuracy."""
    gap_RB: Floats = (weights_RN @ gap_NB) / weights_RN.sum(axis=1)[:, None]
    return gap_RB


def ece(
    rows: Ranked,
    temperature: float = 1.0,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """The expected calibration error (Naeini et al. 2015) in 15 bins of equal size (Nguyen and
    O'Connor 2015): the mean over rows of |confidence - accuracy| of their bin.

    Sampling error always adds to it, so that a percentile interval never holds 0, however right the
    confidences are. The interval is a test inverted instead: the bins' gaps are multiplied by s,
    the bootstrap's errors added, and those s are kept with which an error as large as the one
    found, or as small, is not rare.
    """
    confidence_N = rows.confidence(temperature)
    gap_NB = _bins(confidence_N) * (confidence_N - rows.right_N)[:, None]
    gap_B = gap_NB.mean(axis=0)
    found = float(np.abs(gap_B).sum())
    if len(set(rows.clusters)) < 2:
        return Estimate(found, rows.n, math.nan, (math.nan, math.nan))
    draws_RB = bootstrap(_mean_gaps, gap_NB, rows.clusters, resamples, seed)
    # a resample of m rows of a bin varies less than m new ones, by (m - 1) / m
    in_bin = max(2.0, rows.n / len(gap_B))
    noise_RB = (draws_RB - gap_B) * math.sqrt(in_bin / (in_bin - 1))
    low, high = _inverted(found, gap_B, noise_RB, confidence)
    se = float(np.abs(draws_RB).sum(axis=1).std(ddof=1))
    return Estimate(found, rows.n, se, (low, high))


def _inverted(
    found: float, gap_B: Floats, noise_RB: Floats, confidence: float
) -> tuple[float, float]:
    """The smallest and the largest error, s times the one found, that could have given it."""
    tail = (1 - confidence) / 2
    kept = []
    for s in SCALES:
        least, most = np.quantile(np.abs(s * gap_B + noise_RB).sum(axis=1), [tail, 1 - tail])
        if least <= found <= most:
            kept.append(float(s))
    return min(kept, default=1.0) * found, max(kept, default=1.0) * found


def ece_if_calibrated(confidence_N: Floats, seed: int = 0) -> float:
    """The mean error of rows that are right exactly as often as their confidence says: with few
    rows it is far from 0.
    """
    rng = np.random.default_rng(seed)
    in_NB, n = _bins(confidence_N), len(confidence_N)
    total = 0.0
    for _ in range(SIMULATIONS):
        gap_N = confidence_N - (rng.random(n) < confidence_N)
        total += float(np.abs(gap_N @ in_NB).sum()) / n
    return total / SIMULATIONS


def risk_coverage(
    rows: Ranked, temperature: float = 1.0
) -> tuple[tuple[tuple[float, float], ...], float]:
    """At most a hundred points (coverage, risk) of the rows answered, the most confident first, and
    the area under the whole curve (Geifman et al. 2019): the mean risk over all numbers of rows.

    Rows of equal confidence share their errors, so that their order does not matter.
    """
    confidence_N = rows.confidence(temperature)
    _, group_N = np.unique(-confidence_N, return_inverse=True)
    wrong_G = np.bincount(group_N, weights=1 - rows.right_N) / np.bincount(group_N)
    wrong_N = wrong_G[np.sort(group_N)]
    risk_N = wrong_N.cumsum() / np.arange(1, rows.n + 1)
    shown = np.unique(np.linspace(0, rows.n - 1, CURVE_POINTS).round().astype(int))
    points = tuple(((i + 1) / rows.n, float(risk_N[i])) for i in shown.tolist())
    return points, float(risk_N.mean())


def on_test(
    threshold: Threshold, systems: Sequence[Confidences], tuned: Ranked, confidence: float = 0.95
) -> Calibration:
    """What the threshold gives on the test rows."""
    found = Calibration(threshold, tuple(systems))
    if threshold.threshold is None:
        return found
    answered_N = tuned.confidence(threshold.temperature) >= threshold.threshold
    coverage = estimate_mean(answered_N.astype(float), tuned.clusters, confidence, proportion=True)
    if not answered_N.any():
        return dataclasses.replace(found, coverage=coverage)
    clusters = [c for c, is_answered in zip(tuned.clusters, answered_N, strict=True) if is_answered]
    right_N = tuned.right_N[answered_N]
    accuracy = estimate_mean(right_N, clusters, confidence, proportion=True)
    return dataclasses.replace(found, coverage=coverage, accuracy=accuracy)
