"""The words of every row's input as 64-bit hashes, in a temporary file.

Near-duplicates and leaks are found from them without decoding a row again. In memory a row takes 4
bytes, on disk 8 for each word.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.dedup.exact import hash64

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying modulo 2**64 loses nothing
BLOCK_ROWS = 1000
BLOCK_WORDS = 1 << 18  # of long texts fewer rows make a block

_word_hash = lru_cache(maxsize=1 << 17)(hash64)


class Block(NamedTuple):
    """Rows `first_row`, `first_row` + 1, ...: the words of all of them, and how many each has."""

    first_row: int
    words: NDArray[np.uint64]
    lengths: NDArray[np.int64]

    def select(self, rows: NDArray[np.bool_]) -> tuple[Block, NDArray[np.int64]]:
        """The block with the words of these rows only, and their row numbers."""
        numbers = self.first_row + np.flatnonzero(rows)
        if rows.all():
            return self, numbers
        words = self.words[np.repeat(rows, self.lengths)]
        return Block(self.first_row, words, self.lengths[rows]), numbers


class Words:
    """Texts are appended in the order of the rows and read in blocks, as often as needed."""

    def __init__(self, folder: Path | None = None) -> None:
        """The file is in `folder` (else where the system has its temporary files) and goes with
        this object.
        """
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it is closed when it is collected
        self._lengths = array("I")

    @classmethod
    def of(cls, texts: Iterable[str]) -> Words:
        """The words of normalised texts, one a row."""
        words = cls()
        for text in texts:
            words.append([text])
        return words

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def lengths(self) -> NDArray[np.uint32]:
        """How many words each row has."""
        return np.frombuffer(self._lengths, dtype=np.uint32)

    def append(self, texts: Sequence[str]) -> None:
        """One more row for each text, which is normalised (`exact.normalise`)."""
        split = [text.split() for text in texts]
        lengths = [len(words) for words in split]
        hashes = np.fromiter(
            map(_word_hash, chain.from_iterable(split)), dtype=np.uint64, count=sum(lengths)
        )
        self._file.write(hashes.tobytes())
        self._lengths.extend(lengths)

    def blocks(self) -> Iterator[Block]:
        """All rows in their order, at most BLOCK_ROWS and, unless one row has more, BLOCK_WORDS."""
        self._file.seek(0)
        row, lengths = 0, self.lengths
        while row < len(lengths):
            own = lengths[row : row + BLOCK_ROWS].astype(np.int64)
            ends = own.cumsum()
            own = own[: max(1, int(np.searchsorted(ends, BLOCK_WORDS, side="right")))]
            words = np.frombuffer(self._file.read(8 * int(own.sum())), dtype=np.uint64)
            yield Block(row, words, own)
            row += len(own)


def text_hashes(block: Block) -> NDArray[np.uint64]:
    """One hash for each text of the block: of all its words in their order; 0 where it has none."""
    hashes = np.zeros(len(block.lengths), dtype=np.uint64)
    if not len(block.words):
        return hashes
    longest = int(block.lengths.max())
    powers = np.cumprod(np.full(longest, MULTIPLIER), dtype=np.uint64) * _inverse_multiplier()
    starts = block.lengths.cumsum() - block.lengths
    place_from_end = np.repeat(starts + block.lengths - 1, block.lengths) - np.arange(
        len(block.words)
    )
    weighted = block.words * powers[place_from_end]
    some = block.lengths > 0
    hashes[some] = np.add.reduceat(weighted, starts[some])
    return hashes


def _inverse_multiplier() -> np.uint64:
    """So that the powers begin with one."""
    return np.uint64(pow(int(MULTIPLIER), -1, 1 << 64))


def run_hashes(block: Block, n: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The hash of each run of n words inside a text, and the number of the text in the block.

    A text of fewer words is one run of all of them, a text without words has none.
    """
    runs = _rolled(block.words, n)
    text_of_word = np.repeat(np.arange(len(block.lengths)), block.lengths)
    first, last = text_of_word[: len(runs)], text_of_word[n - 1 : n - 1 + len(runs)]
    inside = first == last
    short = np.flatnonzero((block.lengths < n) & (block.lengths > 0))
    if not len(short):
        return runs[inside], first[inside]
    whole = text_hashes(block)[short]
    return np.concatenate([runs[inside], whole]), np.concatenate([first[inside], short])


def _rolled(hashes: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    """One hash for each n in a row, wherever a text ends."""
    runs = np.zeros(max(0, len(hashes) - n + 1), dtype=np.uint64)
    for start in range(n):
        runs *= MULTIPLIER
        runs += hashes[start : start + len(runs)]
    return runs
