"""One system on one split, and two systems on the same rows; the sentence that follows is
verdict's.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics as plain_statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tunesmith.errors import DataError, did_you_mean
from tunesmith.evaluate.metrics import GENERAL, find_metric, find_metrics, score_predictions
from tunesmith.evaluate.metrics.base import Answers, Metric
from tunesmith.evaluate.parse import parse_number
from tunesmith.evaluate.statistics import (
    Floats,
    approximate_randomisation,
    estimate_mean,
    estimate_value,
    mcnemar,
    paired_bootstrap,
    percentile_interval,
    smallest_detectable_effect,
    standard_error,
    wins_ties_losses,
)
from tunesmith.evaluate.verdict import Verdict, verdict
from tunesmith.records import Comparison, Estimate, Evaluation, Example, Prediction

__all__ = [
    "Verdict",
    "best_baseline",
    "compare",
    "constant_predictions",
    "copy_input_predictions",
    "evaluate",
    "majority_predictions",
    "to_json",
    "verdict",
]

CONSTANT_ROWS = 100
SE_RESAMPLES = 1000  # for the standard error by row, which only stands beside the clustered one


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
    resamples: int = 10_000,
    seed: int = 0,
    seconds: float = 0.0,
) -> Evaluation:
    """Scores and estimates of the metrics and of the general ones (valid, stopped, empty ...).

    Rows of one group, or of one data row where several wordings are pooled, are one cluster.
    `details` adds `given_valid` (each metric over the answers in the right format), the class
    table, signatures, warnings, and `rows`: numpy arrays that `compare` needs and `to_json` leaves
    out.
    """
    result = score_predictions(examples, predictions, metrics, parser)
    clusters = [example.group or example.row_id or example.id for example in examples]
    options = {"confidence": confidence, "resamples": resamples, "seed": seed}
    chosen = find_metrics(metrics)
    estimates = _estimates({**chosen, **GENERAL}, result.rows, clusters, options)
    keep = np.array(result.scores["valid"]) == 1
    if not keep.all():
        rows = {name: result.rows[name][keep] for name in chosen}
        given_valid = _estimates(chosen, rows, list(itertools.compress(clusters, keep)), options)
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
        details={**result.details, "given_valid": given_valid, "rows": result.rows},
        seconds=seconds,
    )


def _estimates(
    metrics: dict[str, Metric],
    rows: dict[str, Floats],
    clusters: Sequence[str],
    options: dict[str, Any],
) -> dict[str, Estimate]:
    """The estimates by metric; none where there are no rows."""
    found = {}
    for name, metric in metrics.items() if clusters else ():
        if metric.per_example:
            found[name] = estimate_mean(
                rows[name][:, 0], clusters, options["confidence"], metric.binary
            )
        else:
            found[name] = estimate_value(metric.value, rows[name], clusters, **options)
    return found


def best_baseline(evaluations: Sequence[Evaluation], metric: str) -> Evaluation:
    """The evaluation with the best estimate; the first of equals."""
    if not evaluations:
        raise DataError("there is no baseline to compare with")
    sign = find_metric(metric).sign
    return max(evaluations, key=lambda evaluation: sign * evaluation.estimates[metric].mean)


def majority_predictions(
    train: Sequence[Example], examples: Sequence[Example], parser: str = "choice"
) -> list[Prediction]:
    """The training answer that is right most often, given to every example; for numbers the median.

    Among an example's own choices where it has any; the first seen of equals.
    """
    counts = Counter(example.completion for example in train)
    constant = max(counts, key=lambda text: counts[text], default="")
    numbers = [value for text in counts.elements() if (value := parse_number(text)) is not None]
    if parser == "number" and numbers:
        constant = f"{plain_statistics.median(numbers):g}"
    return [
        _constant(e, max(e.choices, key=lambda c: counts[c]) if e.choices else constant)
        for e in examples
    ]


def constant_predictions(
    train: Sequence[Example], examples: Sequence[Example], metric: str, parser: str
) -> list[Prediction]:
    """One training answer given to every example: the one that does best as the answer to the
    others.

    What a model gains that learned no more than how answers look. Candidates, and the rows they are
    tried on, are at most CONSTANT_ROWS training examples spread over the split.
    """
    step = max(1.0, len(train) / CONSTANT_ROWS)
    sample = [train[int(i * step)] for i in range(min(len(train), CONSTANT_ROWS))]
    kind, ones = find_metric(metric), np.ones((1, len(sample)))

    def value(text: str) -> float:
        answers = Answers(sample, [_constant(example, text) for example in sample], parser)
        return kind.sign * float(kind.value(ones, kind.rows(answers))[0])

    best = max(dict.fromkeys(example.completion for example in sample), key=value)
    return [_constant(example, best) for example in examples]


def copy_input_predictions(
    examples: Sequence[Example], inputs: Sequence[str] | None = None
) -> list[Prediction]:
    """The input as its own answer: `inputs` (one text an example), else the whole prompt."""
    texts = [example.prompt for example in examples] if inputs is None else inputs
    return [_constant(example, text) for example, text in zip(examples, texts, strict=True)]


def _constant(example: Example, text: str) -> Prediction:
    return Prediction(example.id, text, stopped=True, num_tokens=0)


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
    """`b` minus `a`, paired by example id and clustered; the sign is the metric's own (a lower TER
    is negative).

    The interval is the percentile interval of a paired bootstrap over clusters. The test is exact
    McNemar for right and wrong on unclustered rows, else approximate randomisation over clusters.
    `wins` are rows where b is better. Raises DataError where the two are not the same examples.
    """
    kind = find_metric(metric)
    rows_a, rows_b = _rows(a, metric), _rows(b, metric)[_places(a, b)]
    clusters, n, count = list(a.clusters), len(rows_a), len(set(a.clusters))
    draws_R = paired_bootstrap(kind.value, rows_a, rows_b, clusters, resamples, seed)
    se, se_clustered = _standard_errors(kind, rows_a, rows_b, clusters, draws_R)
    wins, ties, losses = wins_ties_losses(kind.row_quality(rows_a), kind.row_quality(rows_b))
    if kind.binary and count == n:
        p, test = mcnemar(losses, wins), "exact McNemar"
    else:
        p = approximate_randomisation(kind.value, rows_a, rows_b, clusters, resamples, seed)
        test = f"approximate randomisation, {resamples:,} swaps"
    ones = np.ones((1, n))
    return Comparison(
        a=a.system,
        b=b.system,
        metric=metric,
        difference=float((kind.value(ones, rows_b) - kind.value(ones, rows_a))[0]),
        se=se,
        se_clustered=se_clustered,
        ci=percentile_interval(draws_R, count, confidence),
        p=p,
        wins=wins,
        ties=ties,
        losses=losses,
        n=n,
        clusters=count,
        smallest_detectable=smallest_detectable_effect(
            n, se_clustered * math.sqrt(n), confidence=confidence
        ),
        test=test,
    )


def _standard_errors(
    metric: Metric, rows_a: Floats, rows_b: Floats, clusters: Sequence[str], draws_R: Floats
) -> tuple[float, float]:
    """Of the difference, by row and by cluster: by formula for a mean, from the bootstrap for a
    corpus metric.
    """
    if metric.per_example:
        difference_N = rows_b[:, 0] - rows_a[:, 0]
        return standard_error(difference_N), standard_error(difference_N, clusters)
    count, n = len(set(clusters)), len(clusters)
    by_cluster = float(draws_R.std(ddof=1)) if count > 1 else math.nan
    if count == n:
        return by_cluster, by_cluster
    by_row = paired_bootstrap(metric.value, rows_a, rows_b, None, SE_RESAMPLES, seed=0)
    return float(by_row.std(ddof=1)) if n > 1 else math.nan, by_cluster


def _places(a: Evaluation, b: Evaluation) -> list[int]:
    """Where each of a's examples stands in b."""
    place = {example_id: i for i, example_id in enumerate(b.example_ids)}
    for ids, other, name in (
        (a.example_ids, place, b.system),
        (b.example_ids, set(a.example_ids), a.system),
    ):
        missing = [example_id for example_id in ids if example_id not in other]
        if missing:
            raise DataError(
                f"{a.system} and {b.system} are not on the same examples: {len(missing)} are not in {name}, "
                f"first {missing[0]!r}",
                hint="evaluate both on the same split",
            )
    if len(place) != len(b.example_ids) or len(place) != len(a.example_ids):
        raise DataError(
            f"{a.system} or {b.system} has an example twice", hint="example ids must be unique"
        )
    return [place[example_id] for example_id in a.example_ids]


def _rows(evaluation: Evaluation, metric: str) -> Floats:
    rows = evaluation.details.get("rows", {})
    if metric in rows:
        return np.asarray(rows[metric], dtype=float)
    if metric in evaluation.scores:
        return np.asarray(evaluation.scores[metric], dtype=float).reshape(-1, 1)
    raise DataError(
        f"{evaluation.system} was not evaluated on {metric!r}",
        hint=did_you_mean(metric, evaluation.estimates),
    )


# ---- as JSON


def to_json(record: Evaluation | Comparison | Estimate) -> dict[str, Any]:
    """A record as plain JSON: no predictions, scores or arrays of an evaluation; a number that is
    none is null.
    """
    if isinstance(record, Evaluation):
        details = {name: value for name, value in record.details.items() if name != "rows"}
        return {
            "system": record.system,
            "split": record.split,
            "n": len(record.example_ids),
            "clusters": len(set(record.clusters)),
            "estimates": _plain(record.estimates),
            "details": _plain(details),
            "seconds": record.seconds,
        }
    values: dict[str, Any] = _plain(dataclasses.asdict(record))
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, Estimate):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
