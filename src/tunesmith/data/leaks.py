"""Overlap between two splits: test texts that stand, whole or in part, in the training texts.

A text counts when it shares a run of 13 words (case, punctuation and spacing aside) with a training text; a shorter one
when it is equal to a training text. Give the user's text, not the rendered prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.duplicates import gram_hashes, hash64, normalise

GRAM_WORDS = 13
MAX_TEXTS_OF_GRAM = 10  # a run of words in more test texts than this is boilerplate and no leak


@dataclass(frozen=True)
class Overlap:
    """`pairs` are (test id, train id): each test text that overlaps, and the first training text it was found in.

    `num_equal` of them are equal to that or another training text after normalisation.
    """

    num_test: int
    num_equal: int
    pairs: list[tuple[str, str]]

    @property
    def num_overlapping(self) -> int:
        return len(self.pairs)

    @property
    def ids(self) -> list[str]:
        return [test_id for test_id, _ in self.pairs]


def overlap(train: Iterable[tuple[str, str]], test: Iterable[tuple[str, str]], n: int = GRAM_WORDS) -> Overlap:
    """Which of the test (id, text) share a run of n words with, or are equal to, one of the training (id, text).

    Both are read once; the memory is 24 bytes for each distinct run of the test texts, whatever the size of train.
    """
    test_ids: list[str] = []
    grams_of_test = []
    rows_of_text: dict[int, list[int]] = {}
    for row, (test_id, text) in enumerate(test):
        whole = normalise(text)
        test_ids.append(test_id)
        grams_of_test.append(gram_hashes(whole.split(), n))
        if whole:
            rows_of_text.setdefault(hash64(whole), []).append(row)
    grams, owners = _index(grams_of_test)
    train_id_of: dict[int, str] = {}
    equal: set[int] = set()
    for train_id, text in train:
        whole = normalise(text)
        same = rows_of_text.get(hash64(whole), [])
        equal.update(same)
        for row in (*same, *_owners_of(gram_hashes(whole.split(), n), grams, owners)):
            train_id_of.setdefault(row, train_id)
    pairs = [(test_ids[row], train_id_of[row]) for row in sorted(train_id_of)]
    return Overlap(len(test_ids), len(equal), pairs)


def _index(grams_of_rows: Sequence[NDArray[np.uint64]]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """All grams, sorted, and the row of each; without boilerplate."""
    grams = np.concatenate([np.zeros(0, dtype=np.uint64), *grams_of_rows])
    owners = np.repeat(np.arange(len(grams_of_rows)), [len(own) for own in grams_of_rows])
    _, code, counts = np.unique(grams, return_inverse=True, return_counts=True)
    kept = np.flatnonzero(counts[code] <= MAX_TEXTS_OF_GRAM)
    kept = kept[np.argsort(grams[kept], kind="stable")]
    return grams[kept], owners[kept]


def _owners_of(text: NDArray[np.uint64], grams: NDArray[np.uint64], owners: NDArray[np.int64]) -> list[int]:
    """The rows that hold one of the grams of a text."""
    first = np.searchsorted(grams, text, side="left")
    inside = first < len(grams)
    found = inside.copy()
    found[inside] = grams[first[inside]] == text[inside]
    stops = np.searchsorted(grams, text[found], side="right")
    return [int(row) for start, stop in zip(first[found], stops, strict=True) for row in owners[start:stop]]
