"""Duplicates: what counts as the same input, what is dropped, what conflicts, what is nearly the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.data.duplicates import (
    MAX_KEPT_SHINGLES,
    find_duplicates,
    gram_hashes,
    input_hash,
    near_duplicate_clusters,
    normalise,
    target_hash,
)

SHARED = Path(os.environ.get("TUNESMITH_SHARED", Path(__file__).resolve().parents[2] / "../shared"))
DIALOGSUM = SHARED / "data/dialogsum/dev.jsonl"
TEN_WORDS = "the lamp on the left desk is too bright today"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Where is it?", "where is it"),
        ("don't", "don ' t"),
        ("a\n b\tc", "a b c"),
        ("ﬁne", "fine"),
        ("STRASSE", "straße"),
        ("ＡＢＣ １２", "abc 12"),
        ("cafe\u0301", "café"),
        ("ß\u0301", "sś"),
    ],
)
def test_these_inputs_are_the_same(a: str, b: str) -> None:
    assert input_hash(a) == input_hash(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (":)", ":("),
        ("is it -5", "is it 5"),
        ("3.5 cups", "3 5 cups"),
        ("1/2", "12"),
        ("C++", "C"),
        ("का", "की"),
        ("2 + 3", "2 * 3"),
    ],
)
def test_these_inputs_are_not_the_same(a: str, b: str) -> None:
    assert input_hash(a) != input_hash(b)


@settings(deadline=None, max_examples=100)
@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text)
    assert once == " ".join(once.split())
    assert normalise(once) == once


def test_input_hash_of_columns_ignores_their_order_but_not_their_names() -> None:
    assert input_hash({"a": "x", "b": "y"}) == input_hash({"b": "Y!", "a": "X"})
    assert input_hash({"a": "x", "b": "y"}) != input_hash({"a": "y", "b": "x"})
    assert input_hash({"a": 1}) != input_hash({"a": 2})


def test_hashes_are_the_same_in_another_process() -> None:
    code = "from tunesmith.data.duplicates import *; print(input_hash('A b'), target_hash(3), gram_hashes('ab', 2)[0])"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert printed.stdout.split() == [str(input_hash("a B")), str(target_hash(3)), str(gram_hashes("ab", 2)[0])]


def test_targets_that_differ_in_case_are_different() -> None:
    assert target_hash("Yes") != target_hash("yes")
    assert target_hash("yes\n") == target_hash("yes")
    assert target_hash(1) != target_hash(0)


def test_a_repeated_row_is_dropped_and_a_conflict_is_kept() -> None:
    inputs = np.array([7, 8, 7, 7, 9, 8], dtype=np.uint64)
    targets = np.array([1, 1, 1, 2, 1, 1], dtype=np.uint64)
    found = find_duplicates(inputs, targets)
    assert found.first.tolist() == [0, 1, 0, 3, 4, 1]
    assert found.dropped.tolist() == [False, False, True, False, False, True]
    assert found.conflicting.tolist() == [True, False, True, True, False, False]


def test_no_rows_have_no_duplicates() -> None:
    empty = np.array([], dtype=np.uint64)
    assert find_duplicates(empty, empty).dropped.tolist() == []


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=30))
def test_duplicates_agree_with_a_dictionary(rows: list[tuple[int, int]]) -> None:
    found = find_duplicates(*np.array(rows, dtype=np.uint64).reshape(-1, 2).T)
    assert found.first.tolist() == [rows.index(row) for row in rows]
    assert found.conflicting.tolist() == [len({t for i, t in rows if i == row[0]}) > 1 for row in rows]


def test_gram_hashes_counts_distinct_runs_and_a_short_text_is_one_run() -> None:
    assert len(gram_hashes("abcdef", 5)) == 2
    assert len(gram_hashes("aaaaaaa", 5)) == 1
    assert len(gram_hashes("ab", 5)) == 1
    assert len(gram_hashes("", 5)) == 0
    assert gram_hashes("ab", 5)[0] != gram_hashes("ba", 5)[0]
    assert set(gram_hashes("xabcde", 5)) & set(gram_hashes("abcde", 5))


def test_a_changed_last_word_of_a_long_text_is_a_near_duplicate() -> None:
    long = " ".join(f"word{i}" for i in range(30))
    texts = [long, "something else altogether", long + " more", TEN_WORDS]
    found = near_duplicate_clusters(texts, len(texts))
    # 30 words have 26 shingles, 31 words have 27, all 26 shared
    assert found.links == [(0, 2, pytest.approx(26 / 27))]
    assert found.clusters.tolist() == [0, 1, 0, 3]
    assert found.num_clusters == 1


def test_pairs_under_the_threshold_are_not_joined_whatever_the_sketch_says() -> None:
    # ten words: 6 shingles; with another last word 5 are shared, 5 / 7 = 0.71
    texts = [TEN_WORDS, TEN_WORDS.replace("today", "now")]
    assert near_duplicate_clusters(texts, 2).links == []
    assert near_duplicate_clusters(texts, 2, threshold=0.5).links == [(0, 1, pytest.approx(5 / 7))]


def test_near_duplicates_chain_into_one_cluster() -> None:
    words = [f"w{i}" for i in range(44)]
    texts = [" ".join(words[start : start + 40]) for start in (0, 2, 4)]  # 36 shingles, neighbours share 34
    assert near_duplicate_clusters(texts, 3).clusters.tolist() == [0, 0, 0]


def test_texts_under_five_words_are_joined_only_when_equal() -> None:
    texts = ["thank you", "Thank you!", "thank you very much", "", "  "]
    assert near_duplicate_clusters(texts, 5).clusters.tolist() == [0, 0, 2, 3, 4]


def test_texts_longer_than_the_kept_shingles_are_still_joined() -> None:
    words = [f"w{i}" for i in range(2 * MAX_KEPT_SHINGLES)]
    other = [f"v{i}" for i in range(2 * MAX_KEPT_SHINGLES)]
    texts = [" ".join(words), " ".join([*words[:-20], "end"]), " ".join(other)]
    found = near_duplicate_clusters(texts, 3)
    assert found.clusters.tolist() == [0, 0, 2]
    assert found.links[0][2] == pytest.approx(1000 / 1021, abs=0.03)


def test_above_the_row_limit_the_search_is_skipped_and_says_so() -> None:
    def unread() -> str:
        raise AssertionError("a text was read")

    found = near_duplicate_clusters((unread() for _ in range(3)), 3, max_rows=2)
    assert found.clusters.tolist() == [0, 1, 2]
    assert found.note == "near-duplicates were not searched: 3 rows, the limit is 2"


def test_repeated_boilerplate_is_joined_without_comparing_all_pairs() -> None:
    texts = ["please find attached the minutes of the meeting held on monday"] * 3000
    found = near_duplicate_clusters(texts, len(texts))
    assert found.num_clusters == 1
    assert len(found.links) == len(texts) - 1


@pytest.mark.skipif(not DIALOGSUM.exists(), reason="needs ../shared/data/dialogsum")
def test_dialogsum_dev_holds_near_duplicates() -> None:
    rows = [json.loads(line) for line in DIALOGSUM.read_text(encoding="utf-8").splitlines()]
    found = near_duplicate_clusters((row["dialogue"] for row in rows), len(rows))
    for i, j, similarity in found.links:
        print(f"{rows[i]['fname']} {rows[j]['fname']} {similarity:.2f}  {rows[i]['dialogue'][:60]!r}")
    assert len(found.links) > 0
    assert all(similarity >= 0.8 for _, _, similarity in found.links)
