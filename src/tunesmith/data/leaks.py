"""Overlap between two splits: test texts that stand, whole or in part, in the training texts.

A text counts when it shares a run of 13 words (case, punctuation and spacing aside) with a training text; a shorter one
when it is equal to a training text. Give the user's text, not the rendered prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.words import Block, Words, run_hashes, text_hashes

GRAM_WORDS = 13
MAX_TEXTS_OF_GRAM = 10  # a run of words in more test texts than this is boilerplate and no leak
MAX_GRAMS = 1 << 21  # in memory at a time; of a test split with more, so many parts are searched one after the other

Hashes = NDArray[np.uint64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Overlap:
    """`pairs` are (test row, train row): each test text that overlaps, and the first training text it was found in.

    `num_equal` of them are equal to that or another training text after normalisation.
    """

    num_test: int
    num_equal: int
    pairs: list[tuple[int, int]]

    @property
    def num_overlapping(self) -> int:
        return len(self.pairs)


def overlap(words: Words, train: NDArray[np.bool_], test: NDArray[np.bool_], n: int = GRAM_WORDS) -> Overlap:
    """Which of the test rows share a run of n words with, or are equal to, one of the training rows.

    `train` and `test` say of each row of `words` whether it is one. The memory depends on MAX_GRAMS and the number of
    test rows, not on the size of train.
    """
    found_in: dict[int, int] = {}  # by test row: the first training row
    equal: set[int] = set()
    for test_row, train_row in _matches(words, train, *_texts(words, test)):
        equal.add(test_row)
        found_in[test_row] = min(train_row, found_in.get(test_row, train_row))
    num_parts = 1 + int(words.lengths[test].sum()) // MAX_GRAMS
    for part in range(num_parts):
        grams, owners = _without_boilerplate(*_runs(words, test, n, part, num_parts))
        for test_row, train_row in _matches(words, train, grams, owners, n):
            found_in[test_row] = min(train_row, found_in.get(test_row, train_row))
    return Overlap(int(test.sum()), len(equal), sorted(found_in.items()))


def _blocks(words: Words, wanted: NDArray[np.bool_]) -> Iterator[tuple[Block, Rows]]:
    """The words of these rows, and the rows' numbers."""
    for block in words.blocks():
        chosen, rows = block.select(wanted[block.first_row : block.first_row + len(block.lengths)])
        if len(chosen.words):
            yield chosen, rows


def _texts(words: Words, wanted: NDArray[np.bool_]) -> tuple[Hashes, Rows]:
    """The hash of each whole text that has words, and its row."""
    found = [(text_hashes(block)[block.lengths > 0], rows[block.lengths > 0]) for block, rows in _blocks(words, wanted)]
    return _joined(found)


def _runs(words: Words, wanted: NDArray[np.bool_], n: int, part: int, num_parts: int) -> tuple[Hashes, Rows]:
    """The distinct runs of n words of each row, and the row; of `num_parts` parts, by their hash, only one."""
    found = []
    for block, rows in _blocks(words, wanted):
        grams, texts = run_hashes(block, n)
        own = (grams >> np.uint64(8)) % np.uint64(num_parts) == part
        grams, texts = grams[own], texts[own]
        order = np.lexsort((texts, grams))
        grams, texts = grams[order], texts[order]
        new = np.ones(len(grams), dtype=np.bool_)
        new[1:] = (grams[1:] != grams[:-1]) | (texts[1:] != texts[:-1])
        found.append((grams[new], rows[texts[new]]))
    return _joined(found)


def _joined(parts: list[tuple[Hashes, Rows]]) -> tuple[Hashes, Rows]:
    """All hashes, sorted, and their rows."""
    hashes = np.concatenate([np.zeros(0, dtype=np.uint64), *(part[0] for part in parts)])
    rows = np.concatenate([np.zeros(0, dtype=np.int64), *(part[1] for part in parts)])
    order = np.argsort(hashes, kind="stable")
    return hashes[order], rows[order]


def _without_boilerplate(grams: Hashes, rows: Rows) -> tuple[Hashes, Rows]:
    """Without the runs that stand in more than MAX_TEXTS_OF_GRAM rows."""
    counts = np.searchsorted(grams, grams, side="right") - np.searchsorted(grams, grams, side="left")
    kept = counts <= MAX_TEXTS_OF_GRAM
    return grams[kept], rows[kept]


def _matches(
    words: Words, train: NDArray[np.bool_], hashes: Hashes, owners: Rows, n: int | None = None
) -> Iterator[tuple[int, int]]:
    """(test row, train row) for each run of n words (without n: each whole text) of train that is among the hashes."""
    if not len(hashes):
        return
    for block, rows in _blocks(words, train):
        if n is None:
            keys, texts = text_hashes(block), np.arange(len(block.lengths))
        else:
            keys, texts = run_hashes(block, n)
        start = np.searchsorted(hashes, keys, side="left")
        found = np.flatnonzero((start < len(hashes)) & (hashes[np.minimum(start, len(hashes) - 1)] == keys))
        stop = np.searchsorted(hashes, keys[found], side="right")
        for key, first, last in zip(found.tolist(), start[found].tolist(), stop.tolist(), strict=True):
            if n is not None or block.lengths[key]:
                for owner in owners[first:last].tolist():
                    yield owner, int(rows[texts[key]])
