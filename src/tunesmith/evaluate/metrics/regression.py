"""MAE, RMSE and correlations of numbers.

An answer without a number is wrong, so that saying nothing never pays: its error is the distance to
the far end of the references' range, and in a correlation it is the references' mean. An evaluation
also gives the share of answers that have a number (`valid`) and the metric over those alone
(`given_valid`).
"""

from __future__ import annotations

import math

import numpy as np

from tunesmith.evaluate.metrics.base import Answers, Metric, per_example
from tunesmith.evaluate.parse import parse_number
from tunesmith.evaluate.statistics import Floats


def _numbers(answers: Answers) -> tuple[list[float | None], Floats]:
    # a parsed number is a float; any other reference has raised
    references = [row[0] for row in answers.parsed_references("number")]
    return [parse_number(text) for text in answers.texts], np.array(references, dtype=float)


def absolute_error(answers: Answers) -> list[float]:
    """|answer - reference|; for an answer without a number, the largest error there could be."""
    found, wanted_N = _numbers(answers)
    low, high = wanted_N.min(initial=np.inf), wanted_N.max(initial=-np.inf)
    return [
        float(max(wanted - low, high - wanted)) if value is None else abs(value - float(wanted))
        for value, wanted in zip(found, wanted_N, strict=True)
    ]


def _squared_error(answers: Answers) -> Floats:
    return np.square(absolute_error(answers)).reshape(-1, 1)


def _root_mean(weights_RN: Floats, rows_ND: Floats) -> Floats:
    root: Floats = np.sqrt((weights_RN @ rows_ND[:, 0]) / weights_RN.sum(axis=1))
    return root


def _pairs(answers: Answers) -> Floats:
    """rows_ND, D = 2: the number found and the right one."""
    found, wanted_N = _numbers(answers)
    middle = float(wanted_N.mean()) if len(wanted_N) else 0.0
    return np.column_stack([[middle if value is None else value for value in found], wanted_N])


def _pearson(weights_RN: Floats, rows_ND: Floats) -> Floats:
    ones_1N = np.ones((1, len(rows_ND)))
    return _correlation(weights_RN, rows_ND[:, 0] * ones_1N, rows_ND[:, 1] * ones_1N)


def _spearman(weights_RN: Floats, rows_ND: Floats) -> Floats:
    return _correlation(
        weights_RN, _ranks(weights_RN, rows_ND[:, 0]), _ranks(weights_RN, rows_ND[:, 1])
    )


def _correlation(weights_RN: Floats, x_RN: Floats, y_RN: Floats) -> Floats:
    """Weighted Pearson correlation of each resample; 0 where one side is constant."""
    total_R1 = weights_RN.sum(axis=1, keepdims=True)
    x_RN = x_RN - (weights_RN * x_RN).sum(axis=1, keepdims=True) / total_R1
    y_RN = y_RN - (weights_RN * y_RN).sum(axis=1, keepdims=True) / total_R1
    covariance_R = (weights_RN * x_RN * y_RN).sum(axis=1)
    scale_R = np.sqrt((weights_RN * x_RN**2).sum(axis=1) * (weights_RN * y_RN**2).sum(axis=1))
    flat = scale_R <= 1e-12 * np.maximum(1.0, np.abs(covariance_R))
    return np.where(flat, 0.0, covariance_R / np.where(flat, 1.0, scale_R))


def _ranks(weights_RN: Floats, values_N: Floats) -> Floats:
    """Average ranks of the values in the samples that hold row i weights_RN[r, i] times."""
    order_N = np.argsort(values_N, kind="stable")
    _, first_U, group_N = np.unique(values_N[order_N], return_index=True, return_inverse=True)
    count_RU = np.add.reduceat(weights_RN[:, order_N], first_U, axis=1)
    rank_RU = np.cumsum(count_RU, axis=1) - count_RU / 2 + 0.5
    ranks_RN = np.empty_like(weights_RN)
    ranks_RN[:, order_N] = rank_RU[:, group_N]
    return ranks_RN


def _closeness(rows_ND: Floats) -> Floats:
    closeness: Floats = -np.abs(rows_ND[:, 0] - rows_ND[:, 1])
    return closeness


METRICS: dict[str, Metric] = {
    "mae": Metric(
        "Mean absolute error",
        per_example(absolute_error),
        higher_is_better=False,
        unit="plain",
        range=(0.0, math.inf),
        parsers=("number",),
    ),
    "rmse": Metric(
        "Root mean squared error",
        _squared_error,
        _root_mean,
        higher_is_better=False,
        unit="plain",
        range=(0.0, math.inf),
        parsers=("number",),
    ),
    "pearson": Metric(
        "Pearson r",
        _pairs,
        _pearson,
        _closeness,
        unit="plain",
        range=(-1.0, 1.0),
        correlation=True,
        parsers=("number",),
    ),
    "spearman": Metric(
        "Spearman rho",
        _pairs,
        _spearman,
        _closeness,
        unit="plain",
        range=(-1.0, 1.0),
        correlation=True,
        parsers=("number",),
    ),
}
