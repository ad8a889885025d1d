"""Overlap between two splits: test texts that stand, whole or in part, in the training texts.

A text counts when it shares a run of 13 words (case, punctuation and spacing aside) with a training text; a shorter one
when it is equal to a training text. Give the user's text, not the rendered prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.duplicates import gram_hashes, gram_hashes_of_texts, hash64, normalise

GRAM_WORDS = 13
BATCH_TEXTS = 1000
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
    texts = iter(train)
    while batch := list(islice(texts, BATCH_TEXTS)):
        wholes = [normalise(text) for _, text in batch]
        same = [(number, row) for number, whole in enumerate(wholes) for row in rows_of_text.get(hash64(whole), ())]
        equal.update(row for _, row in same)
        for number, row in sorted(same + _shared_runs(wholes, n, grams, owners)):
            train_id_of.setdefault(row, batch[number][0])
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


def _shared_runs(
    texts: Sequence[str], n: int, grams: NDArray[np.uint64], owners: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """(number of the text, row of the test) for each run of n words of a text that is among the grams.

    All texts at once: a text has few runs, and numpy's calls would cost more than its work.
    """
    runs, numbers = gram_hashes_of_texts([text.split() for text in texts], n)
    first = np.searchsorted(grams, runs, side="left")
    found = np.zeros(len(runs), dtype=np.bool_)
    inside = first < len(grams)
    found[inside] = grams[first[inside]] == runs[inside]
    stops = np.searchsorted(grams, runs[found], side="right")
    hits = zip(numbers[found].tolist(), first[found].tolist(), stops.tolist(), strict=True)
    return [(number, row) for number, start, stop in hits for row in owners[start:stop].tolist()]
