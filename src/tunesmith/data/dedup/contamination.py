"""Overlap between two splits: test texts that occur, whole or in part, in the training texts.

A text counts when it shares a run of 13 words (case, punctuation and spacing aside) with a training
text; a shorter one when it is equal to a training text. Give the user's text, not the rendered
prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.dedup.shingles import Block, Words, run_hashes, text_hashes

GRAM_WORDS = 13
MAX_TEXTS_OF_GRAM = 10  # a run of words in more test texts than this is boilerplate and no leak
# in memory at a time; a test split with more is searched in several parts, one after the other
MAX_GRAMS = 1 << 21

NOWHERE = np.iinfo(np.int32).max

Hashes = NDArray[np.uint64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Overlap:
    """`pairs` are (test row, train row): each test text that overlaps, and the first training text
    it was found in.

    `num_equal` of them are equal to that or another training text after normalisation.
    """

    num_test: int
    num_equal: int
    pairs: list[tuple[int, int]]

    @property
    def num_overlapping(self) -> int:
        """Test texts that overlap."""
        return len(self.pairs)


def overlap(
    words: Words, train: NDArray[np.bool_], test: NDArray[np.bool_], n: int = GRAM_WORDS
) -> Overlap:
    """Which of the test rows share a run of n words with, or are equal to, one of the training
    rows.

    `train` and `test` are masks over the rows of `words`. The memory depends on MAX_GRAMS and the
    number of test rows, not on the size of train.
    """
    # for each row of the table the first training row it was found in
    found_in = np.full(len(words), NOWHERE, dtype=np.int32)
    _match(words, train, *_texts(words, test), found_in)
    num_equal = int((found_in != NOWHERE).sum())
    num_parts = 1 + int(words.lengths[test].sum()) // MAX_GRAMS
    for part in range(num_parts):
        grams, owners = _without_boilerplate(*_runs(words, test, n, part, num_parts))
        _match(words, train, grams, owners, found_in, n)
    rows = np.flatnonzero(found_in != NOWHERE)
    return Overlap(
        int(test.sum()), num_equal, list(zip(rows.tolist(), found_in[rows].tolist(), strict=True))
    )


def _blocks(words: Words, wanted: NDArray[np.bool_]) -> Iterator[tuple[Block, Rows]]:
    """The words of these rows, and the rows' numbers."""
    for block in words.blocks():
        chosen, rows = block.select(wanted[block.first_row : block.first_row + len(block.lengths)])
        if len(chosen.words):
            yield chosen, rows


def _texts(words: Words, wanted: NDArray[np.bool_]) -> tuple[Hashes, Rows]:
    """The hash of each whole text that has words, and its row."""
    found = [
        (text_hashes(block)[block.lengths > 0], rows[block.lengths > 0])
        for block, rows in _blocks(words, wanted)
    ]
    return _joined(found)


def _runs(
    words: Words, wanted: NDArray[np.bool_], n: int, part: int, num_parts: int
) -> tuple[Hashes, Rows]:
    """The distinct runs of n words of each row, and the row.

    Only those whose hash falls into `part` of `num_parts`.
    """
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
    """Without the runs that occur in more than MAX_TEXTS_OF_GRAM rows. `grams` are sorted."""
    counts = np.searchsorted(grams, grams, side="right") - np.searchsorted(
        grams, grams, side="left"
    )
    kept = counts <= MAX_TEXTS_OF_GRAM
    return grams[kept], rows[kept]


def _match(
    words: Words,
    train: NDArray[np.bool_],
    hashes: Hashes,
    owners: Rows,
    found_in: NDArray[np.int32],
    n: int | None = None,
) -> None:
    """Write the first training row that has one of the hashes to its owners' places in `found_in`.

    Compared are runs of n words; without n, whole texts.
    """
    if not len(hashes):
        return
    for block, rows in _blocks(words, train):
        keys, texts = (
            run_hashes(block, n) if n else (text_hashes(block), np.arange(len(block.lengths)))
        )
        start = np.searchsorted(hashes, keys)
        is_found = hashes[np.minimum(start, len(hashes) - 1)] == keys
        is_found &= block.lengths[texts] > 0
        # hashes are sorted, so those equal to a key are the places start .. start + count
        start = start[is_found]
        counts = np.searchsorted(hashes, keys[is_found], side="right") - start
        places = np.arange(counts.sum()) + np.repeat(start - (counts.cumsum() - counts), counts)
        np.minimum.at(
            found_in, owners[places], np.repeat(rows[texts[is_found]], counts).astype(np.int32)
        )
