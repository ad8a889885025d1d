"""Duplicates: what counts as the same input, what is dropped, what conflicts."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.data.dedup.exact import (
    find_duplicates,
    first_with_same,
    hash_of_normalised,
    normalise,
    normalised_value,
    target_hash,
)


def input_hash(values: dict[str, object]) -> int:
    return hash_of_normalised({name: normalised_value(value) for name, value in values.items()})


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
    assert input_hash({"x": a}) == input_hash({"x": b})


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
    assert input_hash({"x": a}) != input_hash({"x": b})


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
    code = (
        "from tunesmith.data.dedup.exact import *; "
        "print(hash_of_normalised({'x': normalise('A b')}), target_hash(3))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert printed.stdout.split() == [str(input_hash({"x": "a B"})), str(target_hash(3))]


def test_targets_that_differ_in_case_are_different() -> None:
    assert target_hash("Yes") != target_hash("yes")
    assert target_hash("yes\n") == target_hash("yes")
    assert target_hash(1) != target_hash(0)


def test_a_repeated_row_is_dropped_and_a_conflict_is_kept() -> None:
    inputs = np.array([7, 8, 7, 7, 9, 8], dtype=np.uint64)
    targets = np.array([1, 1, 1, 2, 1, 1], dtype=np.uint64)
    found = find_duplicates(first_with_same(inputs), inputs, targets)
    assert found.first.tolist() == [0, 1, 0, 3, 4, 1]
    assert found.dropped.tolist() == [False, False, True, False, False, True]
    assert found.conflicting.tolist() == [True, False, True, True, False, False]


def test_no_rows_have_no_duplicates() -> None:
    empty = np.array([], dtype=np.uint64)
    assert find_duplicates(first_with_same(empty), empty, empty).dropped.tolist() == []


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=30))
def test_duplicates_agree_with_a_dictionary(rows: list[tuple[int, int]]) -> None:
    inputs, targets = np.array(rows, dtype=np.uint64).reshape(-1, 2).T
    found = find_duplicates(first_with_same(inputs), inputs, targets)
    assert found.first.tolist() == [rows.index(row) for row in rows]
    assert found.conflicting.tolist() == [
        len({t for i, t in rows if i == row[0]}) > 1 for row in rows
    ]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 9), max_size=40))
def test_the_first_row_with_the_same_key_is_found(values: list[int]) -> None:
    keys = np.array(values, dtype=np.uint64) * np.uint64(
        2**61
    )  # the largest does not fit into a signed number
    expected = [int(np.flatnonzero(keys == key)[0]) for key in keys]
    assert first_with_same(keys).tolist() == expected
