"""Near-duplicates: what datasketch's MinHash LSH proposes and an exact comparison confirms, found
faster.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasketch import MinHash, MinHashLSH
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.data.dedup import minhash as near_duplicates
from tunesmith.data.dedup.clusters import NearDuplicates, near_duplicate_clusters
from tunesmith.data.dedup.exact import first_with_same, hash64, normalise
from tunesmith.data.dedup.forest import Forest
from tunesmith.data.dedup.minhash import (
    MAX_KEPT_SHINGLES,
    NUM_PERM,
    Link,
    near_duplicate_links,
)
from tunesmith.data.dedup.shingles import Words, run_hashes

SHARED = Path(os.environ.get("TUNESMITH_SHARED", Path(__file__).resolve().parents[3] / "../shared"))
DIALOGSUM = SHARED / "data/dialogsum/dev.jsonl"
TEN_WORDS = "the lamp on the left desk is too bright today"


def table(texts: list[str]) -> tuple[Words, np.ndarray]:
    texts = [normalise(text) for text in texts]
    return Words.of(texts), first_with_same(
        np.array([hash64(text) for text in texts], dtype=np.uint64)
    )


def clusters(texts: list[str], **options: Any) -> NearDuplicates:
    """By both rules; the texts here are none of the short ones, or differ in more than they may."""
    return near_duplicate_clusters(*table(texts), **options)


def links(texts: list[str], **options: Any) -> list[Link]:
    return list(near_duplicate_links(*table(texts), **options))


def joined(texts: list[str], **options: Any) -> list[int]:
    """The clusters of the links alone."""
    forest = Forest()
    for a, b, _ in links(texts, **options):
        forest.join(a, b)
    return [forest.root(int(row)) for row in table(texts)[1]]


def clusters_by_datasketch(texts: list[str], threshold: float) -> list[int]:
    """Row by row through datasketch's sketches and index, each proposed pair compared as sets."""
    lsh, forest = MinHashLSH(threshold=threshold, num_perm=NUM_PERM), Forest()
    sets: list[set[int]] = []
    for row, text in enumerate(texts):
        runs, _ = run_hashes(next(Words.of([normalise(text)]).blocks()), 5)
        sets.append({run >> 32 for run in runs.tolist()})
        if sets[row]:
            sketch = MinHash(num_perm=NUM_PERM, hashfunc=int)
            sketch.update_batch(list(sets[row]))
            for other in lsh.query(sketch):
                if len(sets[other] & sets[row]) / len(sets[other] | sets[row]) >= threshold:
                    forest.join(other, row)
            lsh.insert(row, sketch)
    return [forest.root(row) for row in range(len(texts))]


def copies_with_changes(seed: int, n: int) -> list[str]:
    """Texts that are copies of earlier ones with some words changed, dropped or added, or new."""
    draw = random.Random(seed)
    texts: list[list[str]] = []
    for _ in range(n):
        if texts and draw.random() < 0.7:
            words = list(draw.choice(texts))
            for _ in range(draw.randrange(4)):
                words[draw.randrange(len(words)) :][:1] = []
                words[draw.randrange(len(words))] = f"v{draw.randrange(1000)}"
            words += [f"u{draw.randrange(1000)}"] * draw.randrange(2)
        else:
            words = [f"w{draw.randrange(300)}" for _ in range(draw.randrange(1, 80))]
        texts.append(words)
    return [" ".join(words) for words in texts]


@pytest.mark.parametrize("threshold", [0.5, 0.8])
@pytest.mark.parametrize("seed", range(6))
def test_clusters_are_those_of_datasketch_and_an_exact_comparison(
    seed: int, threshold: float
) -> None:
    texts = copies_with_changes(seed, 150)
    expected = clusters_by_datasketch(texts, threshold)
    assert 10 < len(set(expected)) < 140  # some are joined and some are not
    assert joined(texts, threshold=threshold) == expected


def test_blocks_and_a_crowded_table_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = copies_with_changes(9, 120)
    expected = clusters(texts).clusters.tolist()
    monkeypatch.setattr("tunesmith.data.dedup.shingles.BLOCK_ROWS", 7)
    assert clusters(texts).clusters.tolist() == expected
    monkeypatch.setattr(
        near_duplicates, "MAX_TABLE_BITS", 4
    )  # 16 slots: every shingle seems common
    assert clusters(texts).clusters.tolist() == expected


def test_a_text_of_which_little_stands_elsewhere_needs_no_sketch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = []
    sketches = near_duplicates._sketches
    monkeypatch.setattr(
        near_duplicates, "_sketches", lambda sets: (drawn.append(len(sets)), sketches(sets))[1]
    )
    words = [f"w{i}" for i in range(30)]
    # 26 shingles each; the third shares the first 20 of them (24 words): 20 / 26 < 0.8
    texts = [" ".join(words), " ".join([*words, "more"]), " ".join([*words[:24], *"abcdef"])]
    assert clusters(texts).clusters.tolist() == [0, 0, 2]
    assert sum(drawn) == 2


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60))
def test_the_root_of_a_set_is_its_smallest_member(pairs: list[tuple[int, int]]) -> None:
    forest = Forest()
    sets = [{i} for i in range(31)]
    for a, b in pairs:
        forest.join(a, b)
        merged = sets[a] | sets[b]
        for i in merged:
            sets[i] = merged
    assert [forest.root(i) for i in range(31)] == [min(own) for own in sets]


def test_a_changed_last_word_of_a_long_text_is_a_near_duplicate() -> None:
    long = " ".join(f"word{i}" for i in range(30))
    texts = [long, "something else altogether", long + " more", TEN_WORDS]
    # 30 words have 26 shingles, 31 words have 27, all 26 shared
    assert links(texts) == [(0, 2, pytest.approx(26 / 27))]
    found = clusters(texts)
    assert (found.clusters.tolist(), found.num_clusters) == ([0, 1, 0, 3], 1)


def test_pairs_under_the_threshold_are_not_joined_whatever_the_sketch_says() -> None:
    # ten words: 6 shingles; with another last word 5 are shared, 5 / 7 = 0.71
    texts = [TEN_WORDS, TEN_WORDS.replace("today", "now")]
    assert links(texts) == []
    assert links(texts, threshold=0.5) == [(0, 1, pytest.approx(5 / 7))]


def test_near_duplicates_chain_into_one_cluster() -> None:
    words = [f"w{i}" for i in range(44)]
    texts = [
        " ".join(words[start : start + 40]) for start in (0, 2, 4)
    ]  # 36 shingles, neighbours share 34
    assert clusters(texts).clusters.tolist() == [0, 0, 0]


def test_texts_under_five_words_are_joined_only_when_equal() -> None:
    found = clusters(["thank you", "Thank you!", "thank you very much", "", "an end"])
    assert (found.clusters.tolist(), found.num_clusters) == (
        [0, 0, 2, 3, 4],
        0,
    )  # equal is not nearly the same


def test_an_equal_row_is_in_the_cluster_of_its_near_duplicate() -> None:
    long = " ".join(f"word{i}" for i in range(30))
    found = clusters(["another", long + " more", long, long + " more"])
    assert (found.clusters.tolist(), found.num_clusters) == ([0, 1, 1, 1], 1)


def test_texts_longer_than_the_kept_shingles_are_still_joined() -> None:
    words = [f"w{i}" for i in range(2 * MAX_KEPT_SHINGLES)]
    other = [f"v{i}" for i in range(2 * MAX_KEPT_SHINGLES)]
    texts = [" ".join(words), " ".join([*words[:-20], "end"]), " ".join(other)]
    assert clusters(texts).clusters.tolist() == [0, 0, 2]
    assert links(texts) == [(0, 1, pytest.approx(1000 / 1021, abs=0.03))]


def test_above_the_row_limit_the_search_is_skipped_and_says_so() -> None:
    long = " ".join(f"word{i}" for i in range(30))
    found = clusters([long, long + " more", long], max_rows=2)
    assert found.clusters.tolist() == [0, 1, 0]
    assert found.note == "near-duplicates were not searched: 3 rows, the limit is 2"


def test_repeated_boilerplate_is_joined_without_comparing_all_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []
    similarities = near_duplicates._Candidates.similarities
    monkeypatch.setattr(
        near_duplicates._Candidates,
        "similarities",
        lambda self, row, others: (compared.extend(others), similarities(self, row, others))[1],
    )
    long = " ".join(f"word{i}" for i in range(40))
    found = clusters([f"{long} {i}" for i in range(500)])
    assert (found.num_clusters, set(found.clusters.tolist())) == (1, {0})
    assert len(compared) < 5 * 500  # all pairs are 124,750


SETS = st.lists(st.integers(0, 40), min_size=1, unique=True)


@settings(deadline=None, max_examples=60)
@given(SETS, st.lists(SETS, max_size=4), st.sampled_from([5, 99]))
def test_similarities_are_those_of_the_sets_or_of_the_smallest_of_their_union(
    own: list[int], others: list[list[int]], kept: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "MAX_KEPT_SHINGLES", kept)
        found = near_duplicates._Candidates(9, None)
        for row, values in enumerate([own, *others]):
            found.add(
                np.array([row]),
                np.array(sorted(values), dtype=np.uint32),
                np.array([len(values)]),
                13,
            )
        similarities = found.similarities(0, list(range(1, len(others) + 1)))
    cut = max(map(len, [own, *others])) >= kept
    for similarity, other in zip(similarities, others, strict=True):
        union = sorted({*own, *other})[:kept] if cut else sorted({*own, *other})
        assert similarity == len({*own} & {*other} & {*union}) / len(union)


@pytest.mark.skipif(not DIALOGSUM.exists(), reason="needs ../shared/data/dialogsum")
def test_dialogsum_dev_holds_near_duplicates() -> None:
    rows = [json.loads(line) for line in DIALOGSUM.read_text(encoding="utf-8").splitlines()]
    found = links([row["dialogue"] for row in rows])
    for i, j, similarity in found:
        print(
            f"{rows[i]['fname']} {rows[j]['fname']} {similarity:.2f}  {rows[i]['dialogue'][:60]!r}"
        )
    assert len(found) > 0
    assert all(similarity >= 0.8 for _, _, similarity in found)
