"""Leaks: which test texts stand in the training texts."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.data.dedup import contamination as leaks
from tunesmith.data.dedup import shingles as words_of_rows
from tunesmith.data.dedup.contamination import MAX_TEXTS_OF_GRAM, Overlap, overlap
from tunesmith.data.dedup.exact import normalise
from tunesmith.data.dedup.shingles import Words

SHARED = Path(os.environ.get("TUNESMITH_SHARED", Path(__file__).resolve().parents[3] / "../shared"))
TREC = SHARED / "data/trec"


def words(start: int, stop: int) -> str:
    return " ".join(f"w{i}" for i in range(start, stop))


def compared(train: list[str], test: list[str], n: int = 13) -> Overlap:
    """The overlap, with rows numbered from 0 in each split."""
    texts = Words.of(map(normalise, [*train, *test]))
    is_test = np.arange(len(texts)) >= len(train)
    found = overlap(texts, ~is_test, is_test, n)
    pairs = [(test_row - len(train), train_row) for test_row, train_row in found.pairs]
    return Overlap(found.num_test, found.num_equal, pairs)


def test_thirteen_shared_words_are_an_overlap_and_twelve_are_not() -> None:
    test = ["new " + words(20, 33) + " new", "new " + words(20, 32) + " new"]
    assert compared([words(0, 50)], test) == Overlap(num_test=2, num_equal=0, pairs=[(0, 0)])


def test_a_short_text_overlaps_only_when_it_is_equal() -> None:
    found = compared(
        ["What is love?", "and what is love in the end"], ["what is  LOVE", "love in the end"]
    )
    assert found == Overlap(num_test=2, num_equal=1, pairs=[(0, 0)])
    assert found.num_overlapping == 1


def test_the_first_training_text_is_named_and_each_test_text_counts_once() -> None:
    found = compared(["other", words(0, 20), words(0, 30), words(0, 30)], [words(0, 30)])
    assert found == Overlap(num_test=1, num_equal=1, pairs=[(0, 1)])


def test_blocks_and_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    train = ["a b", words(0, 30), "equal", words(10, 40), "", words(0, 13), words(12, 25)]
    test = [words(5, 25), "equal", words(12, 25)]
    whole = compared(train, test)
    assert whole.pairs == [(0, 1), (1, 2), (2, 1)]
    for size in (1, 2, 3):
        monkeypatch.setattr(words_of_rows, "BLOCK_ROWS", size)
        assert compared(train, test) == whole
    for size in (1, 7, 20):
        monkeypatch.setattr(leaks, "MAX_GRAMS", size)
        assert compared(train, test) == whole


def test_a_run_that_many_test_texts_share_is_boilerplate() -> None:
    texts = [f"{words(0, 20)} ending {i}" for i in range(MAX_TEXTS_OF_GRAM + 1)]
    train = [words(0, 20) + " another ending"]
    assert compared(train, texts).num_overlapping == 0
    assert compared(train, texts[1:]).num_overlapping == MAX_TEXTS_OF_GRAM


def test_a_run_that_one_text_repeats_is_no_boilerplate() -> None:
    assert (
        compared(
            [words(0, 13)], [" ".join([words(0, 13)] * (MAX_TEXTS_OF_GRAM + 1))]
        ).num_overlapping
        == 1
    )


def test_empty_texts_and_empty_splits_do_not_overlap() -> None:
    assert compared([""], [" "]) == Overlap(1, 0, [])
    assert compared([], ["text"]) == Overlap(1, 0, [])
    assert compared(["text"], []) == Overlap(0, 0, [])


@settings(deadline=None, max_examples=60)
@given(*[st.lists(st.text("ab", min_size=0, max_size=8), max_size=6)] * 2)
def test_overlap_agrees_with_comparing_every_pair(train: list[str], test: list[str]) -> None:
    def runs(text: str) -> set[str]:
        return {text} if len(text) < 3 else {text[i : i + 3] for i in range(len(text) - 2)}

    expected = {}
    for i, text in enumerate(test):
        shared = [j for j, other in enumerate(train) if text and other and runs(text) & runs(other)]
        if shared:
            expected[i] = shared[0]
    found = compared([" ".join(text) for text in train], [" ".join(text) for text in test], n=3)
    assert dict(found.pairs) == expected
    assert found.num_equal == sum(bool(text) and text in train for text in test)


@pytest.mark.skipif(not TREC.exists(), reason="needs ../shared/data/trec")
def test_trec_has_eleven_test_questions_in_its_train() -> None:
    splits = {}
    for name in ("train", "test"):
        with (TREC / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            splits[name] = [row["question"] for row in csv.DictReader(file)]
    train = {normalise(text) for text in splits["train"]}
    found = compared(splits["train"], splits["test"])
    print(found)
    assert found.num_equal == sum(normalise(text) in train for text in splits["test"]) == 11
    assert found.num_overlapping >= 11
