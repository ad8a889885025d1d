"""Do the labels belong to the row before or after their own?

A column that was moved by one cell, or a header that was read as a row, leaves every row with its
neighbour's label. Then nothing in a row tells its label, while its neighbour's can be learnt from
it. Looked at are training rows only, in the order of the file; a file that is sorted by its labels
gives neighbours the same label, and no finding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from tunesmith.records import Finding

MIN_ROWS = 60
MOST_CHARACTERS = 2000  # of a text that are looked at
MOST_CLASSES = 200  # the classifier's time grows with them
CLEARLY = 4.0  # standard errors between what the neighbour's labels and the own ones give
NOTHING = 3.0  # standard errors above chance that the own labels may have
FOLDS = 5
FAR = 7  # rows away, where nothing belongs together


@dataclass(frozen=True)
class Placed:
    """A training row: its place in the file, its input and target as text, and `file:line`."""

    place: int
    text: str
    target: str
    source: str


def shifted_labels(rows: Sequence[Placed], classes: bool) -> Finding | None:
    """`rows` are in the order of the file. `classes`: the targets are classes, else free text."""
    if len(rows) < MIN_ROWS or len({row.target for row in rows}) < 2:
        return None
    for by in (1, -1):
        chosen = _with_neighbours(rows, by)
        if len(chosen) < MIN_ROWS:
            continue
        is_shifted = _classes_shifted if classes else _texts_shifted
        texts = [rows[i].text[:MOST_CHARACTERS] for i, _, _ in chosen]
        own, neighbours, far = (
            [rows[i].target[:MOST_CHARACTERS] for i in column]
            for column in zip(*chosen, strict=True)
        )
        if is_shifted(texts, own, neighbours, far):
            one, other, _ = chosen[0]
            return _finding(rows[one], rows[other], by)
    return None


def _with_neighbours(rows: Sequence[Placed], by: int) -> list[tuple[int, int, int]]:
    """(row, its neighbour, a row far away), as positions in `rows`."""
    at = {row.place: i for i, row in enumerate(rows)}
    found = []
    for i, row in enumerate(rows):
        neighbour = at.get(row.place + by)
        if neighbour is not None:
            found.append((i, neighbour, (i + FAR) % len(rows)))
    return found


def _classes_shifted(
    texts: list[str], own: list[str], neighbours: list[str], far: list[str]
) -> bool:
    """Whether a linear classifier finds the neighbours' labels in the texts, and not the own."""
    words = _words(texts)
    if words is None or len(set(own)) > MOST_CLASSES:
        return False
    right_own, right_other = _learnt(words, own), _learnt(words, neighbours)
    n = len(texts)
    chance = max(np.unique(np.array(own), return_counts=True)[1]) / n
    spread = math.sqrt(chance * (1 - chance) / n)
    only_other = int((right_other & ~right_own).sum())
    only_own = int((right_own & ~right_other).sum())
    more = only_other - only_own
    return (
        more > CLEARLY * math.sqrt(max(1, only_other + only_own))
        and right_other.mean() > chance + CLEARLY * spread
        and right_own.mean() < chance + NOTHING * spread
    )


def _learnt(words: csr_matrix, labels: list[str]) -> NDArray[np.bool_]:
    """Of each row, whether a naive Bayes classifier that was fitted on the other folds knows its
    label. Pairs of rows are dealt out to the folds, as neighbours may be alike.
    """
    # a second to import, and only needed here
    from sklearn.model_selection import cross_val_predict  # noqa: PLC0415
    from sklearn.naive_bayes import MultinomialNB  # noqa: PLC0415

    fold = np.arange(len(labels)) // 2 % FOLDS
    folds = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)]
    codes = np.unique(np.array(labels), return_inverse=True)[1]
    return np.asarray(cross_val_predict(MultinomialNB(alpha=0.1), words, codes, cv=folds) == codes)


def _texts_shifted(texts: list[str], own: list[str], neighbours: list[str], far: list[str]) -> bool:
    """Whether the neighbours' answers share more words with the texts than the own answers do, and
    these no more than any answer does.
    """
    words = _words(texts + own + neighbours + far)
    if words is None:
        return False
    n = len(texts)
    parts = [words[k * n : (k + 1) * n] for k in range(4)]
    alike = [np.asarray(parts[0].multiply(part).sum(axis=1)).ravel() for part in parts[1:]]
    return (
        _standard_errors(alike[1] - alike[0]) > CLEARLY
        and _standard_errors(alike[0] - alike[2]) < NOTHING
    )


def _standard_errors(differences: NDArray[np.float64]) -> float:
    """How many of them the mean is above 0."""
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return float(differences.mean()) / error if error else 0.0


def _words(texts: list[str]) -> csr_matrix | None:
    """TF-IDF of the words, shape (texts, words); None where there is no word."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - as above

    try:
        return csr_matrix(TfidfVectorizer(sublinear_tf=True).fit_transform(texts))
    except ValueError:  # no words
        return None


def _finding(row: Placed, neighbour: Placed, by: int) -> Finding:
    side = "after" if by == 1 else "before"
    return Finding(
        "shifted_labels",
        "error",
        f"the labels seem to stand one row off: a row's text tells the label of the row {side} it, "
        f"and nothing of its own, for example {row.source} has {row.target[:60]!r} and "
        f"{neighbour.source} has {neighbour.target[:60]!r}",
        (row.source, neighbour.source),
        "look at the table where the columns were put together",
    )
