"""Metrics, each equal to its reference implementation, by name.

>>> sorted(METRICS)[:3]
['accuracy', 'bits_per_byte', 'bleu']
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunesmith.errors import DataError, RecipeError, did_you_mean
from tunesmith.evaluate.metrics import (
    classification,
    exact,
    general,
    likelihood,
    regression,
    rouge,
    squad,
    translation,
)
from tunesmith.evaluate.metrics.base import Answers, Metric
from tunesmith.evaluate.metrics.likelihood import bits_per_byte, perplexity
from tunesmith.evaluate.parse import PARSERS
from tunesmith.evaluate.statistics import Floats
from tunesmith.records import Example, Prediction

__all__ = [
    "GENERAL",
    "METRICS",
    "MetricResult",
    "bits_per_byte",
    "check_answer_metrics",
    "find_metric",
    "find_metrics",
    "perplexity",
    "score_predictions",
]

METRICS: dict[str, Metric] = {
    **classification.METRICS,
    **exact.METRICS,
    **squad.METRICS,
    **rouge.METRICS,
    **translation.METRICS,
    **regression.METRICS,
    **likelihood.METRICS,
}
GENERAL: dict[str, Metric] = general.METRICS
BY_CLASS = {"macro_f1", "micro_f1", "weighted_f1", "mcc"}


@dataclass(frozen=True)
class MetricResult:
    """Scores of one system, unsummarised.

    `scores[name][i]`: of example i, for per-example metrics and the general ones. `corpus[name]`:
    one value. `rows[name]`: rows_ND from which METRICS[name].value computes the metric on any
    weighting of the examples. `details`: per-class table, confusion matrix, sacrebleu signatures,
    warnings; all of it JSON.
    """

    scores: dict[str, list[float]]
    corpus: dict[str, float]
    rows: dict[str, Floats]
    details: dict[str, Any]


def find_metric(name: str) -> Metric:
    """A metric or a general one by name; RecipeError naming the nearest for an unknown one."""
    if name not in METRICS and name not in GENERAL:
        raise RecipeError(f"unknown metric {name!r}", hint=did_you_mean(name, METRICS))
    return METRICS.get(name) or GENERAL[name]


def find_metrics(names: Sequence[str]) -> dict[str, Metric]:
    """Metrics by name, in the order given; RecipeError as for one."""
    return {name: find_metric(name) for name in names}


def check_answer_metrics(names: Sequence[str]) -> None:
    """RecipeError for a metric that is unknown, or that a baseline without a model cannot have."""
    find_metrics(names)
    for name in names:
        if name in likelihood.METRICS:
            raise RecipeError(
                f"evaluation.metrics: {name} is a metric of likelihoods, which a baseline without a model has not",
                hint="leave it out: it is shown beside the metrics wherever there are likelihoods",
            )


def score_predictions(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    metrics: Sequence[str],
    parser: str,
) -> MetricResult:
    """Every metric of the predictions, which stand in the examples' order.

    Raises RecipeError for an unknown metric or parser, DataError where an id or a reference does
    not fit.
    """
    chosen = find_metrics(metrics)
    if parser not in PARSERS:
        raise RecipeError(f"unknown answer parser {parser!r}", hint=did_you_mean(parser, PARSERS))
    _check_ids(examples, predictions)
    answers = Answers(examples, predictions, parser)
    rows = {name: metric.rows(answers) for name, metric in {**chosen, **GENERAL}.items()}
    ones = np.ones((1, len(examples)))
    return MetricResult(
        scores={
            name: r[:, 0].tolist()
            for name, r in rows.items()
            if name in GENERAL or chosen[name].per_example
        },
        corpus={
            name: float(m.value(ones, rows[name])[0])
            for name, m in chosen.items()
            if not m.per_example
        },
        rows=rows,
        details=_details(answers, chosen),
    )


def _check_ids(examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
    if not examples:
        raise DataError("there are no examples to score")
    if len(examples) != len(predictions):
        raise DataError(f"{len(predictions)} predictions for {len(examples)} examples")
    for example, prediction in zip(examples, predictions, strict=True):
        if example.id != prediction.example_id:
            raise DataError(
                f"the prediction for {prediction.example_id!r} stands where example {example.id!r} is expected",
                hint="predictions are in the order of the examples",
            )


def _details(answers: Answers, chosen: dict[str, Metric]) -> dict[str, Any]:
    details: dict[str, Any] = {"parser": answers.parser, "warnings": []}
    if BY_CLASS & set(chosen):
        details |= classification.class_report(answers)
        unseen = classification.unseen_classes(answers)
        if unseen and "macro_f1" in chosen:
            shown = ", ".join(unseen[:5]) + (" ..." if len(unseen) > 5 else "")
            details["warnings"].append(
                f"{len(unseen)} of the labels have no row here and count as F1 0: {shown}"
            )
    if set(rouge.NAMES) & set(chosen):
        warning = rouge.latin_warning(
            [reference for row in answers.references for reference in row]
        )
        details["warnings"] += [warning] if warning else []
    signatures = {
        name: translation.signature(name, answers) for name in translation.NAMES if name in chosen
    }
    return {**details, **({"signatures": signatures} if signatures else {})}
