"""Accuracy and measures by class. An answer that cannot be read is wrong, never a class."""

from __future__ import annotations

import json
from typing import TypeAlias

import numpy as np

from tunesmith.data.templates.families import Parser
from tunesmith.errors import DataError
from tunesmith.evaluate.metrics.base import Answers, Metric, of_sums, per_example
from tunesmith.evaluate.parse import Json
from tunesmith.evaluate.statistics import Floats, Ints
from tunesmith.records import ClassReport

MAX_CLASSES = 1000

_Key: TypeAlias = "str | float | None"


def accuracy(answers: Answers) -> list[float]:
    """1 where the parsed answer is one of the references."""
    references = answers.parsed_references(answers.parser)
    return [
        float(value in wanted) for value, wanted in zip(answers.parsed, references, strict=True)
    ]


def classes(answers: Answers) -> tuple[list[str], Ints, Ints]:
    """The K class names, true_N and predicted_N; a prediction is K where no class could be read.

    Where several references are right, the true class is the predicted one if it is among them,
    else the first.

    Raises:
        DataError: there are more than MAX_CLASSES classes.
    """
    references = [tuple(_key(r) for r in row) for row in answers.parsed_references(answers.parser)]
    declared: tuple[_Key, ...] = answers.labels if answers.parser == "choice" else ()
    number = {
        key: i
        for i, key in enumerate(
            dict.fromkeys([*declared, *(key for row in references for key in row)])
        )
    }
    if len(number) > MAX_CLASSES:
        raise DataError(
            f"{len(number)} different right answers are too many classes (at most {MAX_CLASSES})",
            hint="use exact_match or token_f1 for free text",
        )
    predicted = [_key(value) for value in answers.parsed]
    true = [number[p if p in row else row[0]] for p, row in zip(predicted, references, strict=True)]
    names = [key if isinstance(key, str) else f"{key:g}" for key in number]
    return names, np.array(true), np.array([number.get(p, len(number)) for p in predicted])


def _key(value: Json) -> _Key:
    if isinstance(value, (dict, list)):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    return value


def _class_counts(answers: Answers) -> Floats:
    """rows_ND, D = 3 K: right, predicted, true; one-hot each."""
    names, true_N, predicted_N = classes(answers)
    k = len(names)
    true_NK = np.eye(k)[true_N]
    predicted_NK = np.eye(k + 1)[predicted_N][:, :k]
    return np.hstack([true_NK * predicted_NK, predicted_NK, true_NK])


def _f1(sums_RD: Floats) -> tuple[Floats, Floats]:
    """F1 by class (0 where a class neither occurs nor is predicted) and the number of true rows."""
    right_RK, predicted_RK, true_RK = np.split(sums_RD, 3, axis=1)
    return 2 * right_RK / np.maximum(predicted_RK + true_RK, 1), true_RK


def _macro_f1(sums_RD: Floats) -> Floats:
    mean: Floats = _f1(sums_RD)[0].mean(axis=1)
    return mean


def _weighted_f1(sums_RD: Floats) -> Floats:
    f1_RK, true_RK = _f1(sums_RD)
    weighted: Floats = (f1_RK * true_RK).sum(axis=1) / true_RK.sum(axis=1)
    return weighted


def _micro_f1(sums_RD: Floats) -> Floats:
    right_R, predicted_R, true_R = (part.sum(axis=1) for part in np.split(sums_RD, 3, axis=1))
    micro: Floats = 2 * right_R / (predicted_R + true_R)
    return micro


def _mcc(sums_RD: Floats) -> Floats:
    """Gorodkin's R_K (2004): the correlation of the K true and K predicted indicators.

    0 where one of them has no variance. Equal to scikit-learn's where every answer is a class; in
    an answer that cannot be read no indicator is set.
    """
    right_RK, predicted_RK, true_RK = np.split(sums_RD, 3, axis=1)
    n_R = true_RK.sum(axis=1)
    covariance_R = n_R * right_RK.sum(axis=1) - (predicted_RK * true_RK).sum(axis=1)
    predicted_R = n_R * predicted_RK.sum(axis=1) - (predicted_RK**2).sum(axis=1)
    true_R = n_R**2 - (true_RK**2).sum(axis=1)
    product_R = predicted_R * true_R
    return np.where(product_R > 0, covariance_R / np.sqrt(np.maximum(product_R, 1)), 0.0)


def _is_right(rows_ND: Floats) -> Floats:
    right: Floats = rows_ND[:, : rows_ND.shape[1] // 3].sum(axis=1)
    return right


def _class_sizes(rows_ND: Floats) -> Floats:
    """The true rows of each class."""
    sizes: Floats = rows_ND[:, 2 * rows_ND.shape[1] // 3 :].sum(axis=0)
    return sizes


def class_report(answers: Answers) -> ClassReport:
    """Precision, recall, F1 and rows of each class, and the confusion matrix, by scikit-learn.

    The matrix has true classes in rows and predicted ones in columns; its last column counts
    answers that could not be read.
    """
    # scikit-learn takes a second to import, and only a report by class needs it
    from sklearn.metrics import (  # noqa: PLC0415
        confusion_matrix,
        precision_recall_fscore_support,
    )

    names, true_N, predicted_N = classes(answers)
    known = range(len(names))
    table = precision_recall_fscore_support(true_N, predicted_N, labels=known, zero_division=0)
    matrix = confusion_matrix(true_N, predicted_N, labels=range(len(names) + 1))[:-1]
    return {
        "per_class": [
            {"label": name, "precision": float(p), "recall": float(r), "f1": float(f), "n": int(n)}
            for name, p, r, f, n in zip(names, *table, strict=True)
        ],
        "confusion": {"labels": names, "counts": matrix.tolist()},
    }


def _warn_of_unseen_classes(answers: Answers) -> str | None:
    """Macro F1 counts a declared class without a row as 0, as scikit-learn does."""
    names, true_N, _ = classes(answers)
    seen = set(true_N.tolist())
    unseen = [name for i, name in enumerate(names) if i not in seen]
    if not unseen:
        return None
    shown = ", ".join(unseen[:5]) + (" ..." if len(unseen) > 5 else "")
    return f"{len(unseen)} of the labels have no row here and count as F1 0: {shown}"


_LABELS: tuple[Parser, ...] = ("choice", "text", "number", "json")

METRICS: dict[str, Metric] = {
    "accuracy": Metric("Accuracy", per_example(accuracy), binary=True, parsers=_LABELS),
    "macro_f1": Metric(
        "Macro F1",
        _class_counts,
        of_sums(_macro_f1),
        quality=_is_right,
        support=_class_sizes,
        parsers=_LABELS,
        by_class=True,
        warn=_warn_of_unseen_classes,
    ),
    "micro_f1": Metric(
        "Micro F1",
        _class_counts,
        of_sums(_micro_f1),
        quality=_is_right,
        parsers=_LABELS,
        by_class=True,
    ),
    "weighted_f1": Metric(
        "Weighted F1",
        _class_counts,
        of_sums(_weighted_f1),
        quality=_is_right,
        parsers=_LABELS,
        by_class=True,
    ),
    "mcc": Metric(
        "Matthews correlation",
        _class_counts,
        of_sums(_mcc),
        quality=_is_right,
        unit="plain",
        range=(-1.0, 1.0),
        support=_class_sizes,
        parsers=_LABELS,
        by_class=True,
    ),
}
