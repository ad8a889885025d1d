"""Clusters of near-duplicates: texts that share most of their 5-word shingles (minhash.py), and
short texts that say the same in nearly the same words (short.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.dedup.forest import Forest
from tunesmith.data.dedup.minhash import THRESHOLD, near_duplicate_links
from tunesmith.data.dedup.shingles import Words
from tunesmith.data.dedup.short import short_links

MAX_NEAR_DUPLICATE_ROWS = 10_000_000  # of which each takes 20 us, with much boilerplate 1 ms


@dataclass(frozen=True)
class NearDuplicates:
    """`clusters[i]` is the smallest row number of row i's cluster (i itself when alone).

    `num_clusters` counts clusters of two or more different texts. `note` says why the search was
    skipped, and is empty otherwise.
    """

    clusters: NDArray[np.int32]
    num_clusters: int
    note: str = ""


def near_duplicate_clusters(
    words: Words,
    first: NDArray[np.int32],
    folder: Path | None = None,
    *,
    threshold: float = THRESHOLD,
    max_rows: int = MAX_NEAR_DUPLICATE_ROWS,
) -> NearDuplicates:
    """Clusters of rows whose 5-word shingles have a Jaccard similarity of at least `threshold`, or
    that are twins by the rule for short texts.

    `first[i]` is the first row with the same input as row i, and in the same cluster. Above
    `max_rows` nothing is searched and the note says so.
    """
    if len(words) > max_rows:
        note = f"near-duplicates were not searched: {len(words):,} rows, the limit is {max_rows:,}"
        return NearDuplicates(first, 0, note)
    forest = Forest()
    for a, b, _ in near_duplicate_links(words, first, folder, threshold=threshold):
        forest.join(a, b)
    for a, b in short_links(words, first):
        forest.join(a, b)
    clusters = np.arange(len(first), dtype=np.int32)
    for row in forest.parent:
        clusters[row] = forest.root(row)
    return NearDuplicates(clusters[first], len({forest.root(row) for row in forest.parent}))
