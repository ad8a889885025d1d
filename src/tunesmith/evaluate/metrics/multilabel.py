"""Sets of labels: exact set, Jaccard, micro and macro F1, equal to scikit-learn's on indicators.

A label that is in no right answer is a false positive: it counts in the exact set, Jaccard and
micro F1. Macro F1 is the mean over the labels that are right somewhere. An answer that cannot be
read has no labels and is never right, not even where the right set is empty. Where a row has
several right sets, the one that is nearest to the answer by Jaccard counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunesmith.data.templates.label_cells import read_set
from tunesmith.evaluate.metrics.base import Answers, Metric, of_sums, per_example
from tunesmith.evaluate.parse import parse
from tunesmith.evaluate.statistics import Floats
from tunesmith.records import ClassScores

Labels = frozenset[str]


def right_sets(answers: Answers) -> list[list[Labels]]:
    """The right sets of each example."""
    return [[read_set(text) for text in references] for references in answers.references]


def label_sets(answers: Answers) -> tuple[list[Labels | None], list[Labels]]:
    """(the set in each answer, None where it cannot be read; the right one nearest to it)."""
    found = [_read(text, answers) for text in answers.texts]
    nearest = [
        max(sets, key=lambda one: jaccard_of(labels, one))
        for labels, sets in zip(found, right_sets(answers), strict=True)
    ]
    return found, nearest


def _read(text: str, answers: Answers) -> Labels | None:
    labels = parse(text, "labels", answers.labels)
    return frozenset(str(label) for label in labels) if isinstance(labels, list) else None


def jaccard_of(labels: Labels | None, right: Labels) -> float:
    """Labels in both for each label in either (Jaccard 1912); 1 for two empty sets, 0 for an answer
    that cannot be read.
    """
    if labels is None:
        return 0.0
    return len(labels & right) / len(labels | right) if labels or right else 1.0


def exact_set(answers: Answers) -> list[float]:
    """1 where the answer has exactly the right labels, in any order."""
    return [float(found == right) for found, right in zip(*label_sets(answers), strict=True)]


def jaccard(answers: Answers) -> list[float]:
    """The Jaccard index of each answer with its right set, the best of several."""
    return [jaccard_of(found, right) for found, right in zip(*label_sets(answers), strict=True)]


def _counts(answers: Answers) -> Floats:
    """rows_ND, D = 3: labels that are right, given, and wanted."""
    pairs = zip(*label_sets(answers), strict=True)
    return np.array(
        [[len((f or Labels()) & r), len(f or Labels()), len(r)] for f, r in pairs], dtype=float
    )


def _counts_by_label(answers: Answers) -> Floats:
    """rows_ND, D = 3 K: the same of each of the K labels that are right somewhere."""
    found, right = label_sets(answers)
    names = label_names(answers)
    given_NK, wanted_NK = (_indicators(sets, names) for sets in (found, right))
    return np.hstack([given_NK * wanted_NK, given_NK, wanted_NK])


def label_names(answers: Answers) -> list[str]:
    """The K labels that are right somewhere, sorted."""
    return sorted({label for sets in right_sets(answers) for one in sets for label in one})


def label_scores(answers: Answers) -> list[ClassScores]:
    """Precision, recall and F1 of each label, and the rows in which it is right."""
    parts = np.split(_counts_by_label(answers).sum(axis=0), 3)
    table = zip(label_names(answers), *(part.tolist() for part in parts), strict=True)
    return [
        {
            "label": name,
            "precision": right / max(given, 1),
            "recall": right / max(wanted, 1),
            "f1": 2 * right / max(given + wanted, 1),
            "n": int(wanted),
        }
        for name, right, given, wanted in table
    ]


def _indicators(sets: Sequence[Labels | None], names: Sequence[str]) -> Floats:
    place = {name: k for k, name in enumerate(names)}
    indicators_NK = np.zeros((len(sets), len(names)))
    for i, labels in enumerate(sets):
        indicators_NK[i, [place[label] for label in labels or () if label in place]] = 1
    return indicators_NK


def _micro_f1(sums_RD: Floats) -> Floats:
    """2 right / (given + wanted), over all labels; 0 where nothing was given and nothing wanted."""
    right_R, given_R, wanted_R = sums_RD.T
    micro: Floats = 2 * right_R / np.maximum(given_R + wanted_R, 1)
    return micro


def _macro_f1(sums_RD: Floats) -> Floats:
    """The mean F1 of the labels that are wanted in the rows drawn, 0 where none is.

    A label that a resample does not draw is no failure: counting it as 0, as scikit-learn would
    with its column there, pulls the interval of a faultless system far below 1.
    """
    right_RK, given_RK, wanted_RK = np.split(sums_RD, 3, axis=1)
    f1_RK = 2 * right_RK / np.maximum(given_RK + wanted_RK, 1)
    drawn_RK = wanted_RK > 0
    macro: Floats = (f1_RK * drawn_RK).sum(axis=1) / np.maximum(drawn_RK.sum(axis=1), 1)
    return macro


def _row_f1(rows_ND: Floats) -> Floats:
    """F1 of each row's own counts; 1 where nothing was given and nothing wanted."""
    parts = np.split(rows_ND, 3, axis=1)
    right_N, given_N, wanted_N = (part.sum(axis=1) for part in parts)
    either_N = given_N + wanted_N
    return np.where(either_N > 0, 2 * right_N / np.maximum(either_N, 1), 1.0)


METRICS: dict[str, Metric] = {
    "exact_set": Metric("Exact set", per_example(exact_set), binary=True, parsers=("labels",)),
    "jaccard": Metric("Jaccard", per_example(jaccard), parsers=("labels",)),
    "multilabel_micro_f1": Metric(
        "Micro F1 of labels", _counts, of_sums(_micro_f1), quality=_row_f1, parsers=("labels",)
    ),
    "multilabel_macro_f1": Metric(
        "Macro F1 of labels",
        _counts_by_label,
        of_sums(_macro_f1),
        quality=_row_f1,
        parsers=("labels",),
        per_class=label_scores,
    ),
}
