"""Right or wrong, and by class. The classes are the declared ones: an unparseable answer is wrong,
never a class.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any

import numpy as np

from tunesmith.errors import DataError
from tunesmith.evaluate.metrics.base import Answers, Metric, from_sums, per_example
from tunesmith.evaluate.statistics import Floats, Ints

MAX_CLASSES = 1000


def accuracy(answers: Answers) -> list[float]:
    references = answers.parsed_references(answers.parser)
    return [
        float(value in wanted) for value, wanted in zip(answers.parsed, references, strict=True)
    ]


def classes(answers: Answers) -> tuple[list[str], Ints, Ints]:
    """The K class names, and for each row the right class and the predicted one (K where none could
    be read).

    Where several references are right, the right class is the predicted one if it is among them,
    else the first.
    """
    references = [tuple(_key(r) for r in row) for row in answers.parsed_references(answers.parser)]
    declared: tuple[Hashable, ...] = answers.labels if answers.parser == "choice" else ()
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


def _key(value: Any) -> Any:
    return (
        json.dumps(value, sort_keys=True, ensure_ascii=False)
        if isinstance(value, (dict, list))
        else value
    )


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
    """Gorodkin's R_K (2004): the correlation of the K true and K predicted indicators; 0 where one
    has no variance.

    Equal to scikit-learn's where every answer is a class; an unparseable one has no indicator set.
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


def class_report(answers: Answers) -> dict[str, Any]:
    """Precision, recall, F1 and rows of each class, and the confusion matrix (rows true, columns
    predicted, the last column unparseable), as scikit-learn computes them.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

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


def unseen_classes(answers: Answers) -> list[str]:
    """Declared classes without a row here; macro F1 counts each as 0, as scikit-learn does."""
    names, true_N, _ = classes(answers)
    return [name for i, name in enumerate(names) if i not in set(true_N.tolist())]


METRICS: dict[str, Metric] = {
    "accuracy": per_example(accuracy, binary=True),
    "macro_f1": from_sums(_class_counts, _macro_f1, quality=_is_right),
    "micro_f1": from_sums(_class_counts, _micro_f1, quality=_is_right),
    "weighted_f1": from_sums(_class_counts, _weighted_f1, quality=_is_right),
    "mcc": from_sums(_class_counts, _mcc, quality=_is_right, unit="plain"),
}
