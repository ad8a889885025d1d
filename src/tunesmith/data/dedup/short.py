"""Near-twins among short texts, of which shingles see little: one word more or less spoils five of
a dozen runs of five words.

Two texts of at most 17 words are twins where

* they have the same words, in whatever order and however often, or
* the Jaccard similarity of their sets of words is at least 0.9, or
* they have the same words, three or more, once the light ones are left out: articles, pronouns,
  auxiliary verbs, politeness. "how do i close my account" and "how can i close the account" are
  twins, "cancel my card" and "activate my card" are not, nor is a sentence that of its negation.

All pairs are found, without comparing texts: among sets of at most 17 words a similarity of 0.9
means that they are equal, or that one is the other, of nine words or more, and one word beside.
(Sets of n <= m words that share s have s / (n + m - s). With s < n this is at most (m - 1) /
(m + 1), below 0.9 up to m = 18; with s = n it is n / m, which is 0.9 or more only for m = n, and
for m = n + 1 from n = 9 on.) So a set is looked up as a whole and without each of its words in
turn, as in the deletion neighbourhoods of fuzzy search (Bocek, Hunt, Stiller, "Fast similarity
search in large dictionaries", 2007).

The light words are English. In other languages the first two rules hold; in a script without spaces
a text is one word, and only equal texts are twins.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.dedup.exact import first_with_same, hash64
from tunesmith.data.dedup.shingles import Words

SHORT_WORDS = 17  # up to here the two cases above are all; see the proof there
THRESHOLD = 0.9
MIN_WORDS_TO_LACK_ONE = 9  # n / (n + 1) >= 0.9
MIN_HEAVY_WORDS = 3
# None of them turns a sentence into its opposite or into another question: no negations, no
# question words, no prepositions of direction or time. Texts come without apostrophes: "i d like".
LIGHT_WORDS = (
    "a", "an", "the", "this", "that", "these", "those", "some", "any", "my", "our", "your",
    "i", "me", "we", "us", "you", "it", "its", "there", "is", "are", "am", "was", "were",
    "be", "been", "do", "does", "did", "have", "has", "had", "can", "could", "will", "would",
    "may", "to", "of", "for", "just", "so", "please", "pls", "hi", "hello", "hey", "thanks",
    "d", "s", "m", "ve", "ll", "re",
)  # fmt: skip

Hashes = NDArray[np.uint64]
Rows = NDArray[np.int32]
NONE = np.uint64(0)


def short_links(words: Words, first: NDArray[np.int32]) -> Iterator[tuple[int, int]]:
    """Pairs of twins, enough of them to join all texts that twins connect.

    `first[i]` is the first row with the same input as row i; only those rows are looked at.
    """
    whole, heavy = np.zeros((2, len(words)), dtype=np.uint64)
    for rows, sets in _short_sets(words, first):
        whole[rows], heavy[rows] = _sums(sets), _heavy_sums(sets)
    for keys in (whole, heavy):
        yield from _with_same(keys)
    known = np.flatnonzero(whole).astype(np.int32)
    known = known[np.argsort(whole[known], kind="stable")]
    keys = whole[known]
    for rows, sets in _short_sets(words, first):
        yield from _lacking_one(rows, sets, keys, known)


def _short_sets(words: Words, first: NDArray[np.int32]) -> Iterator[tuple[Rows, Hashes]]:
    """The rows with 1 to SHORT_WORDS words, and the sets of their words, one a line: sorted, each
    once, NONE elsewhere. Shape (rows, SHORT_WORDS).
    """
    for block in words.blocks():
        numbers = np.arange(block.first_row, block.first_row + len(block.lengths), dtype=np.int32)
        short = (block.lengths > 0) & (block.lengths <= SHORT_WORDS) & (first[numbers] == numbers)
        if not short.any():
            continue
        chosen, _ = block.select(short)
        table = np.zeros((len(chosen.lengths), SHORT_WORDS), dtype=np.uint64)
        table[np.arange(SHORT_WORDS) < chosen.lengths[:, None]] = chosen.words
        table.sort(axis=1)
        table[:, 1:][table[:, 1:] == table[:, :-1]] = NONE
        yield numbers[short], table


def _sums(sets: Hashes) -> Hashes:
    """One key for each set: the sum of its words' hashes, whatever their order."""
    return np.asarray(sets.sum(axis=1, dtype=np.uint64))


def _heavy_sums(sets: Hashes) -> Hashes:
    """The same without the light words; NONE where fewer than MIN_HEAVY_WORDS are left."""
    place = np.minimum(np.searchsorted(_LIGHT, sets), len(_LIGHT) - 1)
    heavy = np.where(_LIGHT[place] == sets, NONE, sets)
    return np.where((heavy != NONE).sum(axis=1) >= MIN_HEAVY_WORDS, _sums(heavy), NONE)


def _with_same(keys: Hashes) -> Iterator[tuple[int, int]]:
    """Each row with the first that has the same key."""
    rows = np.flatnonzero(keys)
    same = rows[first_with_same(keys[rows])]
    later = same != rows
    yield from zip(same[later].tolist(), rows[later].tolist(), strict=True)


def _lacking_one(rows: Rows, sets: Hashes, keys: Hashes, owners: Rows) -> Iterator[tuple[int, int]]:
    """Each row with the first whose set is its own without one word; `keys` are sorted."""
    long_enough = (sets != NONE).sum(axis=1) > MIN_WORDS_TO_LACK_ONE
    rows, sets = rows[long_enough], sets[long_enough]
    line, column = np.nonzero(sets)
    lacking = _sums(sets)[line] - sets[line, column]
    place = np.minimum(np.searchsorted(keys, lacking), len(keys) - 1)
    found = keys[place] == lacking
    yield from zip(owners[place[found]].tolist(), rows[line[found]].tolist(), strict=True)


_LIGHT: Hashes = np.sort(np.array([hash64(word) for word in LIGHT_WORDS], dtype=np.uint64))
