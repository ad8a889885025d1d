"""The scores of one system's predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.errors import DataError, RecipeError, did_you_mean
from tunesmith.evaluate.metrics.base import Answers, Metric
from tunesmith.evaluate.metrics.classification import class_report
from tunesmith.evaluate.metrics.table import GENERAL, find_metrics, metric_names
from tunesmith.evaluate.parse import PARSERS
from tunesmith.evaluate.statistics import Floats
from tunesmith.recipe import DEFAULT_METRIC_OPTIONS, MetricOptions
from tunesmith.records import EvaluationDetails, Example, Prediction


@dataclass(frozen=True)
class MetricResult:
    """Scores of one system, not yet summarised.

    Attributes:
        scores: `scores[name][i]` of example i, for per-example metrics and the general ones.
        corpus: One value for each corpus metric.
        rows: rows_ND of every metric, from which its `value` is computed on any weighting.
        details: Classes, signatures and warnings.
    """

    scores: dict[str, list[float]]
    corpus: dict[str, float]
    rows: dict[str, Floats]
    details: EvaluationDetails

    def value(self, metric: str) -> float:
        """The metric over all examples."""
        found = self.corpus.get(metric)
        return float(np.mean(self.scores[metric])) if found is None else found


def score_predictions(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    metrics: Sequence[str],
    parser: str,
    options: MetricOptions = DEFAULT_METRIC_OPTIONS,
) -> MetricResult:
    """Every metric of the predictions, which are in the order of the examples.

    Raises:
        RecipeError: a metric or the parser is unknown.
        DataError: the predictions are not those of the examples, or a reference cannot be read.
    """
    chosen = find_metrics(metrics)
    if parser not in PARSERS:
        raise RecipeError(f"unknown answer parser {parser!r}", hint=did_you_mean(parser, PARSERS))
    _check_ids(examples, predictions)
    answers = Answers(examples, predictions, parser, options)
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
                f"the prediction for {prediction.example_id!r} stands "
                f"where example {example.id!r} is expected",
                hint="predictions are in the order of the examples",
            )


def _details(answers: Answers, chosen: Mapping[str, Metric]) -> EvaluationDetails:
    # in the table's order, so that warnings do not depend on the order in which a recipe asks
    metrics = {name: chosen[name] for name in metric_names() if name in chosen}
    details: EvaluationDetails = {"parser": answers.parser, "warnings": []}
    if any(metric.by_class for metric in metrics.values()):
        report = class_report(answers)
        details["per_class"], details["confusion"] = report["per_class"], report["confusion"]
    for table in dict.fromkeys(m.per_class for m in metrics.values() if m.per_class):
        details["per_class"] = table(answers)
    # metrics of a family share their warning, which is given once
    for warn in dict.fromkeys(metric.warn for metric in metrics.values() if metric.warn):
        warning = warn(answers)
        details["warnings"] += [warning] if warning else []
    signatures = {
        name: metric.signature(answers) for name, metric in metrics.items() if metric.signature
    }
    if signatures:
        details["signatures"] = signatures
    return details
