"""Rows that say the same: exact duplicates and conflicts after normalisation."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.sources.cells import is_missing, plain_text

_NUMBER_MARK = re.compile(r"([-.,:/](?=\d))")


class _PunctuationToSpace(dict[int, int]):
    """A table for str.translate, filled as characters are met."""

    def __missing__(self, codepoint: int) -> int:
        is_punctuation = unicodedata.category(chr(codepoint)).startswith("P")
        self[codepoint] = ord(" ") if is_punctuation else codepoint
        return self[codepoint]


_TABLE = _PunctuationToSpace()


def normalise(text: str) -> str:
    """NFKC, case folded, punctuation dropped, whitespace collapsed.

    Marks directly before a digit stay (-5 is not 5, 3.5 is not 3 5), and so does a text of
    punctuation only, as otherwise ":)" and ":(" would be the same input.

    >>> normalise("  Don't PANIC -- it's -3.5!")
    'don t panic it s -3.5'
    """
    if text.isascii():  # the same, twice as fast
        folded = text.lower()
    else:
        # folding may undo the normalisation, so it is done again
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    parts = _NUMBER_MARK.split(folded)
    parts[::2] = [part.translate(_TABLE) for part in parts[::2]]
    return " ".join("".join(parts).split()) or " ".join(folded.split())


def hash_of_normalised(values: Mapping[str, str]) -> int:
    """64 bits of the input columns of a row, their values normalised (`normalised_value`).

    The order of columns does not matter. The same on every machine.
    """
    # normalised text holds no control characters, so these separators are unambiguous
    return hash64("\x1e".join(f"{name}\x1f{values[name]}" for name in sorted(values)))


def target_hash(value: object) -> int:
    """64 bits of a target, which is not normalised: "Yes" and "yes" are different answers."""
    return hash64(_as_text(value).strip())


def normalised_value(value: object) -> str:
    """A cell as text that can be compared: texts, numbers and truth values normalised as the texts
    that csv files have for them, anything else as JSON.
    """
    is_plain = isinstance(value, (str, int, float))
    return normalise(plain_text(value)) if is_plain else _as_text(value)


def _as_text(value: object) -> str:
    if is_missing(value):  # an empty text, as csv files write it, and not the word None
        return ""
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return value if isinstance(value, str) else str(value)


def hash64(text: str) -> int:
    """64 bits of a text, the same on every machine."""
    return int.from_bytes(
        blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


@dataclass(frozen=True)
class Duplicates:
    """Per row i: `first[i]` is the first row with the same input and target (i itself when it is
    kept); `conflicting[i]` is True where another row has the same input and a different target.
    """

    first: NDArray[np.int32]
    conflicting: NDArray[np.bool_]

    @property
    def dropped(self) -> NDArray[np.bool_]:
        """Rows that repeat an earlier row's input and target. Conflicting rows are kept, on one
        side of the split.
        """
        return np.asarray(self.first != np.arange(len(self.first)))


def find_duplicates(
    first_input: NDArray[np.int32],
    input_hashes: NDArray[np.uint64],
    target_hashes: NDArray[np.uint64],
) -> Duplicates:
    """Exact duplicates (same input, same target) and conflicts (same input, another target).

    `first_input` is `first_with_same(input_hashes)`; only rows whose input is not unique are looked
    at, so that a table without duplicates is not sorted again.
    """
    first = np.arange(len(first_input), dtype=np.int32)
    conflicting = np.zeros(len(first), dtype=np.bool_)
    again = first_input != first
    again[first_input[again]] = True
    rows = np.flatnonzero(again).astype(np.int32)
    # Sorted by input, then target, and stably: equal pairs are neighbours, the earliest row first.
    order = rows[np.lexsort((target_hashes[rows], input_hashes[rows]))]
    new_input = starts_of_runs(input_hashes[order])
    new_pair = new_input | starts_of_runs(target_hashes[order])
    # each row's pair is the one that began last: cumsum numbers the pairs from 1
    first[order] = order[np.flatnonzero(new_pair)][np.cumsum(new_pair) - 1]
    # an input with two pairs or more has two targets
    input_number = np.cumsum(new_input) - 1
    conflicting[order] = (np.bincount(input_number[new_pair], minlength=1) > 1)[input_number]
    return Duplicates(first, conflicting)


def first_with_same(keys: NDArray[np.generic]) -> NDArray[np.int32]:
    """For each row the number of the first row with the same key."""
    order = np.argsort(keys, kind="stable").astype(np.int32)
    starts = starts_of_runs(keys[order])
    # the sort is stable, so a run begins with its first row: carry that position along the run
    leaders = np.maximum.accumulate(
        np.where(starts, np.arange(len(order), dtype=np.int32), np.int32(0))
    )
    first = np.empty(len(order), dtype=np.int32)
    first[order] = order[leaders]
    return first


def starts_of_runs(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """True where a value differs from the one before it."""
    starts = np.ones(len(values), dtype=np.bool_)
    starts[1:] = values[1:] != values[:-1]
    return starts
