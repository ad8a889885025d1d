"""Pairs of near-duplicates: MinHash LSH over 5-word shingles proposes them, and each is verified.

Broder, "On the resemblance and containment of documents" (1997); banding as in Leskovec,
Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3.

Two pitfalls. Short texts (for which there is short.py) or those in a script without spaces have few
shingles, so only those that are all but equal are found. Texts that share long boilerplate are
clustered though the few words that matter differ, which a split survives. Give the user's text, not
the rendered prompt: a template is boilerplate.

Most rows need no sketch. Two texts with a Jaccard similarity of t share at least t of each one's
shingles (|A and B| >= t |A or B| >= t |A|), so a text of which fewer than t occur in any other text
has no near-duplicate. Shingles are counted first, in a table of one byte for each value of the top
bits of their hash. Two shingles that collide there can only let a text through to the sketches,
never keep one out.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.dedup.exact import starts_of_runs
from tunesmith.data.dedup.forest import Forest
from tunesmith.data.dedup.shingles import MULTIPLIER, Block, Words, run_hashes

SHINGLE_WORDS = 5
THRESHOLD = 0.8
NUM_PERM = 128
MAX_KEPT_SHINGLES = 512  # a row's smallest hashes, 2 KB, however long the text
# of one row in one band; more means boilerplate, where comparing all pairs is quadratic
MAX_CANDIDATES = 32
FEW = 4
MAX_TABLE_BITS = 28  # 256 MB, from four million rows on

Link = tuple[int, int, float]


def near_duplicate_links(
    words: Words,
    first: NDArray[np.int32],
    folder: Path | None = None,
    *,
    threshold: float = THRESHOLD,
) -> Iterator[Link]:
    """Verified pairs (i, j, Jaccard similarity), i < j, one for each row that joins a cluster.

    The similarity is exact up to 512 distinct shingles a text, beyond that it is the bottom-512
    estimate.
    """
    # scipy, which datasketch imports, is slow to start
    from datasketch import MinHashLSH  # noqa: PLC0415

    # used for its choice of b bands of r values, not as an index: that would be 1 KB a row
    lsh = MinHashLSH(threshold=threshold, num_perm=NUM_PERM)
    found = _Candidates(lsh.b, folder)
    common = _common_shingles(words, first)
    for block, rows in _distinct(words, first):
        hashes, sizes = _shingles(block)
        num_common = _per_text(common[_slot(hashes, common)] > 1, sizes)
        # the margin is for rounding: 0.8 * 5 must not ask for more than 4
        chosen = (sizes > 0) & (num_common >= threshold * sizes - 1e-9)
        if chosen.any():
            found.add(rows[chosen], hashes[np.repeat(chosen, sizes)], sizes[chosen], lsh.r)
    del common  # up to 256 MB
    forest = Forest()
    for band in range(lsh.b):
        for members in found.groups(band):
            yield from _links_of_group(found, members, forest, threshold)


def _links_of_group(
    found: _Candidates, members: list[int], forest: Forest, threshold: float
) -> Iterator[Link]:
    """Links each member to the earlier ones it resembles, unless they are in one cluster already.

    A group is the rows that agree in one band. Within it a row is compared with the first
    MAX_CANDIDATES before it: enough to join a cluster, whose members resemble each other.
    """
    for place, member in enumerate(members[1:], start=1):
        row = found.rows[member]
        others = members[: min(place, MAX_CANDIDATES)]
        # One of the first few is usually a match; the rest then shares its root and is skipped.
        for part in (others[:FEW], others[FEW:]):
            apart = [other for other in part if forest.root(found.rows[other]) != forest.root(row)]
            for other, similarity in zip(apart, found.similarities(member, apart), strict=True):
                if similarity >= threshold and forest.root(found.rows[other]) != forest.root(row):
                    forest.join(found.rows[other], row)
                    yield found.rows[other], row, similarity


def _distinct(words: Words, first: NDArray[np.int32]) -> Iterator[tuple[Block, NDArray[np.int64]]]:
    """The rows that are the first with their input, and their numbers."""
    for block in words.blocks():
        numbers = np.arange(block.first_row, block.first_row + len(block.lengths))
        yield block.select(first[numbers] == numbers)


def _shingles(block: Block) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The distinct shingles of each text, sorted, text after text, and the number in each text."""
    runs, texts = run_hashes(block, SHINGLE_WORDS)
    # text number above, upper half of the hash below: one sort orders both at once
    keys = (texts.astype(np.uint64) << np.uint64(32)) | (runs >> np.uint64(32))
    keys.sort()
    # np.unique goes through a hash table and takes ten times as long
    keys = keys[starts_of_runs(keys)]
    sizes = np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=len(block.lengths))
    return keys.astype(np.uint32), sizes


def _common_shingles(words: Words, first: NDArray[np.int32]) -> NDArray[np.uint8]:
    """For each slot: 0, 1 or 2 for none, one, or more than one text with a shingle there."""
    bits = min(MAX_TABLE_BITS, max(16, (64 * len(words)).bit_length()))
    table = np.zeros(1 << bits, dtype=np.uint8)
    for block, _ in _distinct(words, first):
        hashes, _ = _shingles(block)
        slots = np.sort(_slot(hashes, table))
        # Several slots of a block may be equal, and numpy adds to each index once: those that
        # repeat are set to 2 by themselves.
        is_first = starts_of_runs(slots)
        once = slots[is_first]
        table[once] = np.minimum(table[once] + 1, 2)
        table[slots[~is_first]] = 2
    return table


def _slot(hashes: NDArray[np.uint32], table: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The top bits of each hash; a table of 2**bits bytes has a bit_length of bits + 1."""
    return hashes >> np.uint32(33 - len(table).bit_length())


def _per_text(marks: NDArray[np.bool_], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many are marked in each text."""
    sums = np.concatenate([[0], np.cumsum(marks)])
    ends = sizes.cumsum()
    return np.asarray(sums[ends] - sums[ends - sizes])


class _Candidates:
    """Rows that may have a near-duplicate: their shingles and their sketch's bands in temporary
    files.
    """

    def __init__(self, num_bands: int, folder: Path | None) -> None:
        self.rows = array("i")
        self._ends = array("q", [0])
        self._shingles = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        self._bands = [tempfile.TemporaryFile(dir=folder) for _ in range(num_bands)]  # noqa: SIM115

    def add(
        self,
        rows: NDArray[np.int64],
        hashes: NDArray[np.uint32],
        sizes: NDArray[np.int64],
        band_size: int,
    ) -> None:
        """Rows with their shingles, one row after the other."""
        starts = sizes.cumsum() - sizes
        sketches = _sketches(np.split(hashes, starts[1:]))
        for band, file in enumerate(self._bands):
            file.write(_band_keys(sketches[:, band * band_size : (band + 1) * band_size]).tobytes())
        kept = np.arange(len(hashes)) - np.repeat(starts, sizes) < MAX_KEPT_SHINGLES
        self._shingles.write(hashes[kept].tobytes())
        self.rows.extend(rows.tolist())
        self._ends.extend((self._ends[-1] + np.minimum(sizes, MAX_KEPT_SHINGLES).cumsum()).tolist())

    def groups(self, band: int) -> Iterator[list[int]]:
        """Sets of two or more candidates with the same band, each in the order of rows."""
        file = self._bands[band]
        file.seek(0)
        keys = np.frombuffer(file.read(), dtype=np.uint64)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        edges = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1], [True]]))
        for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if stop - start > 1:
                yield order[start:stop].tolist()

    def similarities(self, candidate: int, others: list[int]) -> list[float]:
        """The Jaccard similarity of a candidate with each of the others.

        All at once, since calling numpy costs more than the work it does.
        """
        if not others:
            return []
        own, sets = self.shingles(candidate), [self.shingles(other) for other in others]
        sizes = np.array([len(one) for one in sets])
        if max(len(own), sizes.max()) >= MAX_KEPT_SHINGLES:
            return [_jaccard(one, own) for one in sets]
        together = np.concatenate(sets)
        is_shared = own[np.minimum(np.searchsorted(own, together), len(own) - 1)] == together
        shared = np.add.reduceat(is_shared, sizes.cumsum() - sizes, dtype=np.int64)
        return list((shared / (len(own) + sizes - shared)).tolist())

    def shingles(self, candidate: int) -> NDArray[np.uint32]:
        """Sorted; the smallest MAX_KEPT_SHINGLES."""
        start, stop = self._ends[candidate], self._ends[candidate + 1]
        return np.frombuffer(
            os.pread(self._shingles.fileno(), 4 * (stop - start), 4 * start), dtype=np.uint32
        )


def _sketches(shingles: list[NDArray[np.uint32]]) -> NDArray[np.uint64]:
    """The MinHash values of each set of shingles, NUM_PERM a row."""
    from datasketch import MinHash  # noqa: PLC0415 - as above

    # one for all of them: making one takes as long as filling it
    sketch = MinHash(num_perm=NUM_PERM, hashfunc=int)
    found = np.empty((len(shingles), NUM_PERM), dtype=np.uint64)
    for values, own in zip(found, shingles, strict=True):
        sketch.clear()
        sketch.update_batch(own.tolist())
        values[:] = sketch.hashvalues
    return found


def _band_keys(band: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Equal bands have equal keys; others by a chance of 2**-64."""
    keys = np.zeros(len(band), dtype=np.uint64)
    for column in band.T:
        keys = (keys ^ column) * MULTIPLIER
        keys ^= keys >> np.uint64(32)
    return keys


def _jaccard(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> float:
    """|a and b| / |a or b|, estimated from the smallest 512 of the union (Broder's bottom-k).

    For sets of which one was cut to its 512 smallest; those are enough to tell which of the
    smallest 512 of the union are in both.
    """
    union = np.union1d(a, b)[:MAX_KEPT_SHINGLES]
    shared = np.intersect1d(a, b, assume_unique=True)
    return float(np.isin(union, shared, assume_unique=True).sum() / len(union))
