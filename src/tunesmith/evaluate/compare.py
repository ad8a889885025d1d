"""One system on one split, and two systems on the same rows."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from tunesmith.errors import DataError, did_you_mean
from tunesmith.evaluate.metrics import (
    GENERAL,
    Metric,
    find_metric,
    find_metrics,
    score_predictions,
)
from tunesmith.evaluate.parse import Json
from tunesmith.evaluate.power import largest_gain, smallest_detectable
from tunesmith.evaluate.statistics import (
    MAX_SWAPPED,
    Floats,
    PairedDifference,
    approximate_randomisation,
    can_enumerate,
    estimate_mean,
    estimate_value,
    paired_difference,
    standard_error,
    wins_ties_losses,
)
from tunesmith.recipe import DEFAULT_METRIC_OPTIONS, MetricOptions
from tunesmith.records import Comparison, Estimate, Evaluation, Example, Prediction


class Resampling(TypedDict):
    """How intervals and tests are computed: `confidence` of the intervals; `resamples` and `seed`
    of swap tests.
    """

    confidence: float
    resamples: int
    seed: int


# ---- one system


def evaluate(
    system: str,
    split: str,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    metrics: Sequence[str],
    parser: str,
    *,
    confidence: float = 0.95,
    metric_options: MetricOptions = DEFAULT_METRIC_OPTIONS,
) -> Evaluation:
    """Scores and estimates of the metrics and of the general ones (valid, stopped, empty ...).

    Rows of one group, or of one data row where several wordings are pooled, are one cluster.

    Raises:
        RecipeError, DataError: as `score_predictions`.
    """
    result = score_predictions(examples, predictions, metrics, parser, metric_options)
    clusters = [example.group or example.row_id or example.id for example in examples]
    chosen = find_metrics(metrics)
    estimates = _estimates({**chosen, **GENERAL}, result.rows, clusters, confidence)
    keep = np.array(result.scores["valid"]) == 1
    if not keep.all():
        rows = {name: result.rows[name][keep] for name in chosen}
        given_valid = _estimates(chosen, rows, list(itertools.compress(clusters, keep)), confidence)
    else:
        given_valid = {name: estimates[name] for name in chosen}
    return Evaluation(
        system=system,
        split=split,
        example_ids=[example.id for example in examples],
        clusters=clusters,
        predictions=predictions,
        scores=result.scores,
        estimates=estimates,
        details={**result.details, "given_valid": given_valid},
        rows=result.rows,
    )


def _estimates(
    metrics: Mapping[str, Metric],
    rows: Mapping[str, Floats],
    clusters: Sequence[str],
    confidence: float,
) -> dict[str, Estimate]:
    """The estimates by metric; none where there are no rows."""
    return {
        name: estimate_metric(metric, rows[name], clusters, confidence)
        for name, metric in (metrics.items() if clusters else ())
    }


def estimate_metric(
    metric: Metric, rows_ND: Floats, clusters: Sequence[str] | None, confidence: float = 0.95
) -> Estimate:
    """The metric of some rows, with the interval that suits it."""
    if not metric.per_example:
        return estimate_value(
            metric.value, rows_ND, clusters, confidence=confidence, kind=metric.kind
        )
    return estimate_mean(
        rows_ND[:, 0], clusters, confidence, metric.binary, bounds=metric.kind.bounds
    )


# ---- two systems


def compare(
    a: Evaluation,
    b: Evaluation,
    metric: str,
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """`b` minus `a`, paired by example id and clustered.

    The sign of the difference is the metric's own (a lower TER is negative); `wins` are rows where
    b is better. The interval is statistics.paired_difference's. The test is exact McNemar for right
    and wrong on unclustered rows. Else p is the larger of two: that of swapping the systems by
    cluster, which is exact where nothing tells them apart, and the level at which the interval
    touches zero, which also holds where they differ but are equally good. So p below 1 - confidence
    never goes with an interval that holds zero.

    Raises:
        DataError: the two are not on the same examples, one was not evaluated on the metric, or
            its settings differ.
    """
    kind = find_metric(metric)
    rows_a, rows_b = _rows(a, metric), _rows(b, metric)[_places(a, b)]
    _check_settings(a, b, metric)
    clusters, n, count = list(a.clusters), len(rows_a), len(set(a.clusters))
    found, p, test = difference_and_test(
        kind, rows_a, rows_b, clusters, resamples=resamples, confidence=confidence, seed=seed
    )
    se, se_clustered = _standard_errors(kind, rows_a, rows_b, clusters, found.se)
    quality_a, quality_b = kind.row_quality(rows_a), kind.row_quality(rows_b)
    wins, ties, losses = wins_ties_losses(quality_a, quality_b)
    return Comparison(
        a=a.system,
        b=b.system,
        metric=metric,
        difference=found.value,
        se=se,
        se_clustered=se_clustered,
        ci=found.ci,
        p=p,
        wins=wins,
        ties=ties,
        losses=losses,
        n=n,
        clusters=count,
        smallest_detectable=smallest_detectable(
            difference=kind.sign * found.value,
            se=se_clustered,
            differences_N=rows_b[:, 0] - rows_a[:, 0] if kind.per_example else None,
            differs_N=(rows_a != rows_b).any(axis=1),
            clusters=clusters,
            binary=kind.binary,
            most=largest_gain(kind, float(kind.value(np.ones((1, n)), rows_a)[0])),
            confidence=confidence,
        ),
        test=test,
        note=found.note,
    )


def difference_and_test(
    metric: Metric,
    rows_a: Floats,
    rows_b: Floats,
    clusters: Sequence[str],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[PairedDifference, float, str]:
    """The difference with its interval, p, and the name of the test that gave it."""
    found = paired_difference(
        metric.value, rows_a, rows_b, clusters, confidence=confidence, kind=metric.kind
    )
    p, test = _test(metric, found, rows_a, rows_b, clusters, resamples, seed)
    return found, p, test


def _test(
    metric: Metric, found: PairedDifference, rows_a: Floats, rows_b: Floats,
    clusters: Sequence[str], resamples: int, seed: int,
) -> tuple[float, str]:  # fmt: skip
    """p and the name of the test that gave it."""
    count = len(set(clusters))
    if metric.binary and count == len(rows_a):
        return 1.0 if math.isnan(found.p) else found.p, "exact McNemar"
    if count > MAX_SWAPPED:
        return found.p, "the level at which the interval touches zero"
    p = approximate_randomisation(metric.value, rows_a, rows_b, clusters, resamples, seed)
    test = (
        f"exact randomisation, all {2**count:,} swaps"
        if can_enumerate(count, resamples)
        else f"approximate randomisation, {resamples:,} swaps"
    )
    if found.p > p:
        return found.p, f"{test}; larger by the interval"
    return p, test


def _check_settings(a: Evaluation, b: Evaluation, metric: str) -> None:
    found = [evaluation.details.get("signatures", {}).get(metric) for evaluation in (a, b)]
    if found[0] != found[1]:
        raise DataError(
            f"{metric}: {a.system} was scored with {found[0]}, {b.system} with {found[1]}",
            hint="scores are comparable where evaluation.metric_options are the same",
        )


def _standard_errors(
    metric: Metric, rows_a: Floats, rows_b: Floats, clusters: Sequence[str], by_cluster: float
) -> tuple[float, float]:
    """Of the difference, by row and by cluster: a formula for a mean, else the jackknife."""
    if metric.per_example:
        difference_N = rows_b[:, 0] - rows_a[:, 0]
        return standard_error(difference_N), standard_error(difference_N, clusters)
    if len(set(clusters)) == len(clusters):
        return by_cluster, by_cluster
    return paired_difference(metric.value, rows_a, rows_b, None).se, by_cluster


def _places(a: Evaluation, b: Evaluation) -> list[int]:
    """The position in b of each of a's examples."""
    place = {example_id: i for i, example_id in enumerate(b.example_ids)}
    for ids, other, name in (
        (a.example_ids, place, b.system),
        (b.example_ids, set(a.example_ids), a.system),
    ):
        missing = [example_id for example_id in ids if example_id not in other]
        if missing:
            raise DataError(
                f"{a.system} and {b.system} are not on the same examples: "
                f"{len(missing)} are not in {name}, first {missing[0]!r}",
                hint="evaluate both on the same split",
            )
    if len(place) != len(b.example_ids) or len(place) != len(a.example_ids):
        raise DataError(
            f"{a.system} or {b.system} has an example twice", hint="example ids must be unique"
        )
    return [place[example_id] for example_id in a.example_ids]


def _rows(evaluation: Evaluation, metric: str) -> Floats:
    if metric in evaluation.rows:
        return evaluation.rows[metric]
    if metric in evaluation.scores:
        return np.asarray(evaluation.scores[metric], dtype=float).reshape(-1, 1)
    raise DataError(
        f"{evaluation.system} was not evaluated on {metric!r}",
        hint=did_you_mean(metric, evaluation.estimates),
    )


# ---- as JSON


def to_json(record: Evaluation | Comparison | Estimate) -> dict[str, Json]:
    """A record as plain JSON; of an evaluation the summary alone. Numbers that are not finite
    become null.
    """
    if isinstance(record, Evaluation):
        return {
            "system": record.system,
            "split": record.split,
            "n": len(record.example_ids),
            "clusters": len(set(record.clusters)),
            "estimates": plain(record.estimates),
            "details": plain(record.details),
        }
    return plain(dataclasses.asdict(record))


def plain(values: Mapping[str, object]) -> dict[str, Json]:
    """Records, mappings and lists as plain JSON; numbers that are not finite become null."""
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: object) -> Json:
    if isinstance(value, Estimate):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"a {type(value).__name__} is not JSON")
