"""Metrics, each equal to its reference implementation, by name.

`table` lists them and finds those of installed packages, `score` computes them, and each of the
other modules defines a few: a metric's function and its entry in the table stand side by side.

>>> sorted(METRICS)[:3]
['accuracy', 'bits_per_byte', 'bleu']
"""

from __future__ import annotations

from tunesmith.evaluate.metrics.base import Answers, Metric, of_sums, per_example
from tunesmith.evaluate.metrics.score import MetricResult, score_predictions
from tunesmith.evaluate.metrics.table import (
    GENERAL,
    METRICS,
    OVER_TASKS,
    check_recipe_metrics,
    check_template_metrics,
    find_metric,
    find_metrics,
    is_metric,
    likelihood_metrics,
    metric_names,
)

__all__ = [
    "GENERAL",
    "METRICS",
    "OVER_TASKS",
    "Answers",
    "Metric",
    "MetricResult",
    "check_recipe_metrics",
    "check_template_metrics",
    "find_metric",
    "find_metrics",
    "is_metric",
    "likelihood_metrics",
    "metric_names",
    "of_sums",
    "per_example",
    "score_predictions",
]
