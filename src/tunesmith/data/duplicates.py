"""Rows that say the same: exact duplicates and conflicts after normalisation, and clusters of near-duplicates.

Two pitfalls of near-duplicates, both on the safe side of a split: texts under ten words or in a script without spaces
have few shingles, so only those that are all but equal are found; and texts that share long boilerplate are clustered
though their few own words differ. Give the user's text, not the rendered prompt: a template is boilerplate.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHINGLE_WORDS = 5
MAX_NEAR_DUPLICATE_ROWS = 100_000  # at 4,000 to 10,000 rows/s and 4.5 KB a row: under half a minute and 0.5 GB
MAX_KEPT_SHINGLES = 512  # a row's smallest hashes, 2 KB, however long the text
MAX_CANDIDATES = 100  # of one row; more means boilerplate, where comparing all pairs is quadratic

_NUMBER_MARK = re.compile(r"([-.,:/](?=\d))")
_WORD_HASH_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying modulo 2**64 loses nothing


class _PunctuationToSpace(dict[int, int]):
    """A table for str.translate, filled as characters are met."""

    def __missing__(self, codepoint: int) -> int:
        is_punctuation = unicodedata.category(chr(codepoint)).startswith("P")
        self[codepoint] = ord(" ") if is_punctuation else codepoint
        return self[codepoint]


_TABLE = _PunctuationToSpace()


def normalise(text: str) -> str:
    """NFKC, case folded, punctuation dropped, whitespace collapsed.

    Marks directly before a digit stay (-5 is not 5, 3.5 is not 3 5), and so does a text of punctuation only, as
    otherwise ":)" and ":(" would be the same input.

    >>> normalise("  Don't PANIC -- it's -3.5!")
    'don t panic it s -3.5'
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())  # folding may undo it
    parts = _NUMBER_MARK.split(folded)
    parts[::2] = [part.translate(_TABLE) for part in parts[::2]]
    return " ".join("".join(parts).split()) or " ".join(folded.split())


def input_hash(values: str | Mapping[str, Any]) -> int:
    """64 bits of the normalised input, a text or the input columns of a row; the same on every machine.

    The order of columns does not matter; values that are not text are compared as JSON.
    """
    if isinstance(values, str):
        return hash64(normalise(values))
    # normalised text holds no control characters, so these separators are unambiguous
    return hash64("\x1e".join(f"{name}\x1f{_normalised_value(values[name])}" for name in sorted(values)))


def target_hash(value: Any) -> int:
    """64 bits of a target. Not normalised: "Yes" and "yes" are different answers to the same input."""
    return hash64(value.strip() if isinstance(value, str) else _as_json(value))


def _normalised_value(value: Any) -> str:
    return normalise(value) if isinstance(value, str) else _as_json(value)


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def hash64(text: str) -> int:
    """64 bits of a text, the same on every machine."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


_word_hash = lru_cache(maxsize=1 << 17)(hash64)


def gram_hashes(words: Sequence[str], n: int) -> NDArray[np.uint64]:
    """Sorted distinct 64-bit hashes of the runs of n words; fewer words than n are one run, none have none."""
    return np.unique(_rolled(_word_hashes(words, len(words)), min(n, len(words))))


def gram_hashes_of_texts(texts: Sequence[Sequence[str]], n: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The hashes of all runs of exactly n words inside a text, and the number of the text of each."""
    lengths = [len(words) for words in texts]
    grams = _rolled(_word_hashes(chain.from_iterable(texts), sum(lengths)), n)
    text_of_word = np.repeat(np.arange(len(texts)), lengths)
    first, last = text_of_word[: len(grams)], text_of_word[n - 1 : n - 1 + len(grams)]
    return grams[first == last], first[first == last]


def _word_hashes(words: Iterable[str], count: int) -> NDArray[np.uint64]:
    return np.fromiter(map(_word_hash, words), dtype=np.uint64, count=count)


def _rolled(hashes: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    """One hash for each n in a row."""
    grams = np.zeros(max(0, len(hashes) - n + 1) if len(hashes) else 0, dtype=np.uint64)
    for start in range(n):
        grams = grams * _WORD_HASH_MULTIPLIER + hashes[start : start + len(grams)]
    return grams


@dataclass(frozen=True)
class Duplicates:
    """Per row i: `first[i]` is the first row with the same input and target (i itself when it is kept);
    `conflicting[i]` is True where the same input stands with another target too."""

    first: NDArray[np.int64]
    conflicting: NDArray[np.bool_]

    @property
    def dropped(self) -> NDArray[np.bool_]:
        """Rows that repeat an earlier row's input and target. Conflicting rows are kept, on one side of the split."""
        return np.asarray(self.first != np.arange(len(self.first)))


def find_duplicates(input_hashes: NDArray[np.uint64], target_hashes: NDArray[np.uint64]) -> Duplicates:
    """Exact duplicates (same input, same target) and conflicts (same input, another target)."""
    order = np.lexsort((target_hashes, input_hashes))  # rows that say the same are neighbours, in their order
    new_input = _starts(input_hashes[order])
    new_pair = new_input | _starts(target_hashes[order])
    first = np.empty(len(order), dtype=np.int64)
    first[order] = order[np.flatnonzero(new_pair)][np.cumsum(new_pair) - 1]
    input_number = np.cumsum(new_input) - 1
    conflicting = np.empty(len(order), dtype=np.bool_)
    conflicting[order] = (np.bincount(input_number[new_pair], minlength=1) > 1)[input_number]
    return Duplicates(first, conflicting)


def _starts(values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """True where a value differs from the one before it."""
    starts = np.ones(len(values), dtype=np.bool_)
    starts[1:] = values[1:] != values[:-1]
    return starts


@dataclass(frozen=True)
class NearDuplicates:
    """`clusters[i]` is the smallest row number of row i's cluster (i itself when alone).

    `links` are verified pairs (i, j, Jaccard similarity), i < j, one for each row that joined a cluster. `note` says
    why the search was skipped, else is empty.
    """

    clusters: NDArray[np.int64]
    links: list[tuple[int, int, float]]
    note: str = ""

    @property
    def num_clusters(self) -> int:
        """Clusters of two rows or more."""
        return int((np.unique(self.clusters, return_counts=True)[1] > 1).sum())


def near_duplicate_clusters(
    texts: Iterable[str],
    num_texts: int,
    *,
    threshold: float = 0.8,
    num_perm: int = 128,
    max_rows: int = MAX_NEAR_DUPLICATE_ROWS,
) -> NearDuplicates:
    """Clusters of texts whose 5-word shingles have a Jaccard similarity of at least `threshold`.

    Candidates come from MinHash LSH and are verified, exactly up to 512 distinct shingles a text, beyond that by the
    bottom-512 estimate. Texts are read once. Above `max_rows` nothing is read and the note says so.
    """
    if num_texts > max_rows:
        note = f"near-duplicates were not searched: {num_texts:,} rows, the limit is {max_rows:,}"
        return NearDuplicates(np.arange(num_texts), [], note)
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=num_perm)
    blank = MinHash(num_perm=num_perm, hashfunc=int)
    forest = _Forest()
    shingles: list[NDArray[np.uint32]] = []
    seen: dict[bytes, int] = {}
    links: list[tuple[int, int, float]] = []
    for row, text in enumerate(texts):
        all_shingles = _shingles(text)
        shingles.append(all_shingles[:MAX_KEPT_SHINGLES])
        forest.add()
        if not len(all_shingles):
            continue
        same = seen.setdefault(blake2b(all_shingles.tobytes(), digest_size=16).digest(), row)
        if same != row:  # its twin is in the index already; a second entry would only fill the buckets
            forest.join(same, row)
            links.append((same, row, 1.0))
            continue
        sketch = blank.copy()
        sketch.update_batch(all_shingles.tolist())
        for other in islice(sorted(index.query(sketch)), MAX_CANDIDATES):
            if forest.root(other) != forest.root(row):
                similarity = _jaccard(shingles[other], shingles[row])
                if similarity >= threshold:
                    forest.join(other, row)
                    links.append((other, row, similarity))
        index.insert(row, sketch, check_duplication=False)
    return NearDuplicates(forest.roots(), links)


def _shingles(text: str) -> NDArray[np.uint32]:
    return np.unique((gram_hashes(normalise(text).split(), SHINGLE_WORDS) >> np.uint64(32)).astype(np.uint32))


def _jaccard(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> float:
    """|a and b| / |a or b|; from the smallest 512 of the union where one of them was cut to its 512 smallest."""
    union = np.union1d(a, b)
    if max(len(a), len(b)) == MAX_KEPT_SHINGLES:
        union = union[:MAX_KEPT_SHINGLES]
    shared = np.intersect1d(a, b, assume_unique=True)
    return float(np.isin(union, shared, assume_unique=True).sum() / len(union))


class _Forest:
    """Disjoint sets of row numbers; the root of a set is its smallest member."""

    def __init__(self) -> None:
        self.parent: list[int] = []

    def add(self) -> None:
        self.parent.append(len(self.parent))

    def root(self, row: int) -> int:
        while self.parent[row] != row:
            self.parent[row] = self.parent[self.parent[row]]
            row = self.parent[row]
        return row

    def join(self, a: int, b: int) -> None:
        low, high = sorted((self.root(a), self.root(b)))
        self.parent[high] = low

    def roots(self) -> NDArray[np.int64]:
        return np.array([self.root(row) for row in range(len(self.parent))], dtype=np.int64)
