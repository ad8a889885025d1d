"""Several trainings of a recipe, judged by their mean: the luck of one training is in the interval.

A comparison is of pairs: each training with the reference that all share, or with the training of
another run that has its place. Rows and trainings are crossed (crossed.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy import stats

from tunesmith.evaluate.compare import Resampling
from tunesmith.evaluate.crossed import CrossedMean, crossed_mean, mean_covariance, row_covariance
from tunesmith.evaluate.metrics import OVER_TASKS, Metric, find_metric
from tunesmith.evaluate.power import POWER
from tunesmith.evaluate.statistics import (
    NO_INTERVAL,
    Floats,
    Kind,
    PairedDifference,
    Value,
    estimate_mean,
    estimate_value,
    paired_difference,
    weighted_mean,
    wilson_interval,
    wins_ties_losses,
)
from tunesmith.evaluate.task_mean import mean_over_trainings
from tunesmith.evaluate.tasks import (
    as_a_sample,
    compare_systems,
    counted,
    estimate_system,
    gain_shares,
    level_shares,
    task_gains,
)
from tunesmith.records import Comparison, Estimate, Evaluation, TaskEvaluation

Pairs: TypeAlias = Sequence[tuple[Evaluation, Evaluation]]
"""A reference and a training each, on the same rows."""


# ---- the level of a recipe


def mean_of_seeds(tuned: Sequence[Evaluation], how: Resampling) -> Evaluation:
    """The first training's evaluation with every estimate that of the mean over all trainings, for
    a training of this recipe and not for one lucky run; of a mixture, in each task too. Answers and
    scores by row stay the first training's.
    """
    first = tuned[0]
    if len(tuned) == 1:
        return first
    details = first.details.copy()
    if "given_valid" in details:
        details["given_valid"] = _mean_given_valid([e.details["given_valid"] for e in tuned])
    return replace(
        first,
        estimates={name: mean_estimate(tuned, name, how) for name in first.estimates},
        details=details,
        tasks={
            name: TaskEvaluation(metric, mean_of_seeds(_of_task(tuned, name), how))
            for name, (metric, _) in first.tasks.items()
        },
    )


def _of_task(evaluations: Sequence[Evaluation], name: str) -> list[Evaluation]:
    return [evaluation.tasks[name].evaluation for evaluation in evaluations]


def _mean_given_valid(found: Sequence[Mapping[str, Estimate]]) -> dict[str, Estimate]:
    """The mean over the trainings, without an interval: each has other valid answers."""
    return {
        name: Estimate(
            float(np.mean([estimates[name].mean for estimates in found])),
            sum(estimates[name].n for estimates in found),
            math.nan,
            (math.nan, math.nan),
        )
        for name in found[0]
        if all(name in estimates for estimates in found)
    }


def mean_estimate(tuned: Sequence[Evaluation], metric: str, how: Resampling) -> Estimate:
    """The mean over the trainings, with the interval of crossed rows and trainings; of one
    training its own estimate. No interval where the rows alone give the mean none.
    """
    first = estimate_system(tuned[0], metric, how["confidence"])
    if len(tuned) == 1:
        return first
    if metric == OVER_TASKS and tuned[0].tasks:
        found = mean_over_trainings([level_shares(one.tasks, how["confidence"]) for one in tuned])
        alone = first if found.se == 0 else replace(first, ci=(found.mean, found.mean))
    else:
        rows = [_aligned(one, tuned[0], metric) for one in tuned]
        means = [estimate_system(one, metric, how["confidence"]).mean for one in tuned]
        found = _crossed(means, find_metric(metric), rows, [], tuned[0].clusters, how)
        alone = _level_alone(find_metric(metric), rows, tuned[0].clusters, how["confidence"])
    ci = _within(found, find_metric(metric), alone, how["confidence"])
    return replace(first, mean=found.mean, se=found.se, ci=ci, note=alone.note)


def _level_alone(
    metric: Metric, rows: Sequence[Floats], clusters: Sequence[str], confidence: float
) -> Estimate:
    """The mean of these very trainings, whose interval is of the rows alone."""
    value, kind, rows_ND = _mean_of(metric, rows)
    if value is weighted_mean:
        return estimate_mean(rows_ND[:, 0], clusters, confidence, kind.binary, kind.bounds)
    return estimate_value(value, rows_ND, clusters, confidence=confidence, kind=kind)


def _within(
    found: CrossedMean, metric: Metric, alone: Estimate, confidence: float
) -> tuple[float, float]:
    """The interval of a level, inside what the metric can be, around that of the rows alone, which
    knows that rows which are all alike say little; none where that is none.

    For right and wrong Wilson's, at the number of rows whose binomial variance gives this width
    (Korn and Graubard 1998).
    """
    if not all(map(math.isfinite, (*alone.ci, found.se))):
        return NO_INTERVAL
    half, certain = found.half_width(confidence), found.mean * (1 - found.mean)
    low, high = found.mean - half, found.mean + half
    if metric.binary and half > 0 and certain > 0:
        z = float(stats.norm.ppf((1 + confidence) / 2))
        n = min(certain * (z / half) ** 2, float(alone.n * found.runs))
        low, high = wilson_interval(found.mean * n, n, confidence)
    least, most = metric.kind.bounds
    return max(least, min(low, alone.ci[0])), min(most, max(high, alone.ci[1]))


# ---- a difference


def against_seeds(
    reference: Evaluation, tuned: Sequence[Evaluation], metric: str, how: Resampling
) -> tuple[Comparison, str]:
    """The mean of the trainings minus the reference, as `compare_pairs` has it, and a note, empty
    for one training.
    """
    found, differences = compare_pairs([(reference, one) for one in tuned], metric, how)
    return found, _note(found, differences) if len(tuned) > 1 else ""


def compare_pairs(pairs: Pairs, metric: str, how: Resampling) -> tuple[Comparison, list[float]]:
    """The mean over the pairs of the training minus its reference, and the difference of each pair;
    of one pair the plain comparison.

    The interval is that of crossed rows and trainings, over the tasks of a mixture with
    task_mean.mean_over_trainings, around the interval of the rows alone for the mean of these very
    trainings, which knows that few rows that differ say little; p is the larger of both. A row is
    won where the mean over the trainings is better. Raises DataError as compare.compare.
    """
    first = compare_systems(*pairs[0], metric, **how)
    if len(pairs) == 1:
        return first, [first.difference]
    if metric == OVER_TASKS and pairs[0][0].tasks:
        found = _over_tasks(pairs, first, how)
    else:
        found = _over_rows(pairs, metric, how)
    wins, ties, losses = found.won
    counts = replace(first, wins=wins, ties=ties, losses=losses, runs=len(pairs))
    return _judged(counts, found.mean, found.alone, how["confidence"]), found.differences


class _Found(NamedTuple):
    """Rows won, tied and lost, the mean, the rows alone, and the difference of each pair."""

    won: tuple[int, int, int]
    mean: CrossedMean
    alone: PairedDifference
    differences: list[float]


def _over_rows(pairs: Pairs, metric: str, how: Resampling) -> _Found:
    kind, (before, after) = find_metric(metric), _rows_of_pairs(pairs, metric)
    clusters = pairs[0][0].clusters
    differences = [
        _value(kind, b_ND) - _value(kind, a_ND) for a_ND, b_ND in zip(before, after, strict=True)
    ]
    mean = _crossed(differences, kind, after, before, clusters, how)
    value, what, a_ND = _mean_of(kind, before)
    tuned, b_ND = _mean_of(kind, after)[1:]
    what = replace(what, binary=what.binary and tuned.binary)
    alone = paired_difference(value, a_ND, b_ND, clusters, confidence=how["confidence"], kind=what)
    return _Found(_won(pairs, metric), mean, alone, differences)


def _over_tasks(pairs: Pairs, first: Comparison, how: Resampling) -> _Found:
    trainings = [gain_shares(a, b, how["confidence"]) for a, b in pairs]
    differences = [sum(share.value for share in shares) / len(shares) for shares in trainings]
    won = [
        _won([(a.tasks[name].evaluation, b.tasks[name].evaluation) for a, b in pairs], own)
        for name, (own, _) in counted(pairs[0][0].tasks).items()
    ]
    wins, ties, losses = (sum(of_tasks) for of_tasks in zip(*won, strict=True))
    mean = mean_over_trainings(trainings)
    ci, p = (first.ci, first.p) if mean.se == 0 else ((mean.mean, mean.mean), 0.0)
    alone = PairedDifference(mean.mean, first.se_clustered, ci, p)
    return _Found((wins, ties, losses), mean, alone, differences)


def _won(pairs: Pairs, metric: str) -> tuple[int, int, int]:
    """Rows where the mean over the trainings is better, as good, worse."""
    kind = find_metric(metric)
    before, after = (
        np.mean([kind.row_quality(rows_ND) for rows_ND in rows], axis=0)
        for rows in _rows_of_pairs(pairs, metric)
    )
    return wins_ties_losses(before, after)


def _judged(
    counts: Comparison, found: CrossedMean, alone: PairedDifference, confidence: float
) -> Comparison:
    """The comparison with the mean's numbers; without an interval where the rows alone have
    none.
    """
    known = all(map(math.isfinite, (*alone.ci, found.se)))
    half = found.half_width(confidence) if known else math.nan
    detectable = _detectable(found, confidence) if found.se > 0 else counts.smallest_detectable
    low, high = find_metric(counts.metric).kind.bounds
    ends = (min(found.mean - half, alone.ci[0]), max(found.mean + half, alone.ci[1]))
    return replace(
        counts,
        difference=found.mean,
        se=found.se,
        se_clustered=found.se,
        ci=(max(low - high, ends[0]), min(high - low, ends[1])) if known else NO_INTERVAL,
        p=max(found.p(), alone.p) if known else counts.p,
        smallest_detectable=detectable if known else math.nan,
        se_runs=math.sqrt(found.luck_variance),
        test=f"Student's t, {found.runs} trainings" if known else counts.test,
        note=alone.note,
    )


def _detectable(found: CrossedMean, confidence: float) -> float:
    return found.half_width(confidence) + float(stats.norm.ppf(POWER)) * found.se


def pairs_as_a_sample(pairs: Pairs, these: Comparison, how: Resampling) -> Comparison:
    """`these`, the comparison over the tasks of a mixture, for tasks of which these are a sample,
    and for other trainings; a cluster is then a task.

    Tasks and trainings are crossed as rows and trainings are, a row's score being the gain of one
    training in one task. Of one pair it is tasks.as_a_sample.
    """
    gains_KT = np.array([task_gains(a, b, how["confidence"]) for a, b in pairs])
    sample = as_a_sample(these, gains_KT.mean(axis=0).tolist(), how["confidence"])
    if len(pairs) == 1 or math.isnan(sample.p):
        return sample
    names = [str(task) for task in range(sample.clusters)]
    found = crossed_mean(gains_KT.mean(axis=1), mean_covariance(gains_KT.T, names), len(names))
    test = f"Student's t, {len(names)} tasks and {len(pairs)} trainings"
    alone = PairedDifference(found.mean, sample.se_clustered, sample.ci, sample.p)
    judged = _judged(sample, found, alone, how["confidence"])
    return replace(judged, se=these.se, test=test)


def differences_by_pair(differences: Sequence[float]) -> str:
    """The difference of each pair and how far they scatter, for a note."""
    few = "; two trainings say little about their spread" if len(differences) == 2 else ""
    spread = float(np.std(differences, ddof=1))
    listed = ", ".join(f"{difference:+.3f}" for difference in differences)
    return f"{listed} (standard deviation between runs {spread:.3f}{few})"


def _note(found: Comparison, differences: Sequence[float]) -> str:
    return (
        f"{found.runs} trainings with different seeds: {found.metric} differs from {found.a} by "
        f"{differences_by_pair(differences)}; all numbers of the tuned model on its test rows are "
        "means over them and their intervals include it; single answers, what is counted or "
        "decided by them (rows that broke, when the model may answer), and what was kept of its "
        "general language are the first training's"
    )


# ---- rows


def _mean_of(metric: Metric, rows: Sequence[Floats]) -> tuple[Value, Kind, Floats]:
    """How the mean over the trainings is computed, what kind of number it is, and from which
    rows_ND.
    """
    kind, runs = metric.kind, len(rows)
    if metric.per_example:
        mean_ND = np.mean(rows, axis=0)
        still_binary = kind.binary and bool(np.isin(mean_ND, (0, 1)).all())
        return weighted_mean, replace(kind, binary=still_binary), mean_ND

    def value(weights_RN: Floats, rows_ND: Floats) -> Floats:
        values = [metric.value(weights_RN, own_ND) for own_ND in np.split(rows_ND, runs, axis=1)]
        return np.asarray(np.mean(values, axis=0))

    # the classes of the right answers, which are the same for all trainings
    support = partial(_support_of_first, kind.support, runs) if kind.support else None
    return value, replace(kind, support=support), np.hstack(rows)


def _support_of_first(support: Callable[[Floats], Floats], runs: int, rows_ND: Floats) -> Floats:
    return support(np.split(rows_ND, runs, axis=1)[0])


def _crossed(
    values: Sequence[float],
    kind: Metric,
    rows: Sequence[Floats],
    references: Sequence[Floats],
    clusters: Sequence[str],
    how: Resampling,
) -> CrossedMean:
    """The mean of the trainings' values of a metric, each less its reference's if there are any."""
    if kind.per_example:
        scores_NK = np.stack([rows_ND[:, 0] for rows_ND in rows], axis=1)
        if references:
            scores_NK = scores_NK - np.stack([rows_ND[:, 0] for rows_ND in references], axis=1)
        covariance_KK = mean_covariance(scores_NK, clusters)
    else:
        covariance_KK = row_covariance(
            kind.value,
            rows,
            references,
            clusters,
            resamples=how["resamples"],
            seed=how["seed"],
        )
    return crossed_mean(np.asarray(values), covariance_KK, len(set(clusters)))


def _value(kind: Metric, rows_ND: Floats) -> float:
    return float(kind.value(np.ones((1, len(rows_ND))), rows_ND)[0])


def _rows_of_pairs(pairs: Pairs, metric: str) -> tuple[list[Floats], list[Floats]]:
    """rows_ND of the references and of the trainings, in the order of the first one's examples; of
    a reference that several share, the same array.
    """
    order = pairs[0][0]
    rows = {id(one): _aligned(one, order, metric) for pair in pairs for one in pair}
    return [rows[id(a)] for a, _ in pairs], [rows[id(b)] for _, b in pairs]


def _rows(evaluation: Evaluation, metric: str) -> Floats:
    if metric in evaluation.rows:
        return evaluation.rows[metric]
    return np.asarray(evaluation.scores[metric], dtype=float).reshape(-1, 1)


def _aligned(evaluation: Evaluation, other: Evaluation, metric: str) -> Floats:
    """rows_ND in the other's order of examples."""
    place = {example_id: i for i, example_id in enumerate(evaluation.example_ids)}
    return _rows(evaluation, metric)[[place[example_id] for example_id in other.example_ids]]
