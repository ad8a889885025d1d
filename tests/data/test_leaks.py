"""Leaks: which test texts stand in the training texts."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.data import leaks
from tunesmith.data.duplicates import normalise
from tunesmith.data.leaks import MAX_TEXTS_OF_GRAM, Overlap, overlap

SHARED = Path(os.environ.get("TUNESMITH_SHARED", Path(__file__).resolve().parents[2] / "../shared"))
TREC = SHARED / "data/trec"


def words(start: int, stop: int) -> str:
    return " ".join(f"w{i}" for i in range(start, stop))


def numbered(texts: list[str], prefix: str) -> list[tuple[str, str]]:
    return [(f"{prefix}{i}", text) for i, text in enumerate(texts)]


def test_thirteen_shared_words_are_an_overlap_and_twelve_are_not() -> None:
    train = numbered([words(0, 50)], "train")
    test = numbered(["new " + words(20, 33) + " new", "new " + words(20, 32) + " new"], "test")
    assert overlap(train, test) == Overlap(num_test=2, num_equal=0, pairs=[("test0", "train0")])


def test_a_short_text_overlaps_only_when_it_is_equal() -> None:
    train = numbered(["What is love?", "and what is love in the end"], "train")
    found = overlap(train, numbered(["what is  LOVE", "love in the end"], "test"))
    assert found == Overlap(num_test=2, num_equal=1, pairs=[("test0", "train0")])
    assert found.ids == ["test0"]
    assert found.num_overlapping == 1


def test_the_first_training_text_is_named_and_each_test_text_counts_once() -> None:
    train = numbered(["other", words(0, 20), words(0, 30), words(0, 30)], "train")
    found = overlap(train, numbered([words(0, 30)], "test"))
    assert found == Overlap(num_test=1, num_equal=1, pairs=[("test0", "train1")])


def test_batches_of_training_texts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a b", words(0, 30), "equal", words(10, 40), "", words(0, 13), words(12, 25)]
    train, test = numbered(texts, "train"), numbered([words(5, 25), "equal", words(12, 25)], "test")
    whole = overlap(train, test)
    assert whole.pairs == [("test0", "train1"), ("test1", "train2"), ("test2", "train1")]
    for size in (1, 2, 3):
        monkeypatch.setattr(leaks, "BATCH_TEXTS", size)
        assert overlap(train, test) == whole


def test_a_run_that_many_test_texts_share_is_boilerplate() -> None:
    texts = [f"{words(0, 20)} ending {i}" for i in range(MAX_TEXTS_OF_GRAM + 1)]
    train = numbered([words(0, 20) + " another ending"], "train")
    assert overlap(train, numbered(texts, "test")).num_overlapping == 0
    assert overlap(train, numbered(texts[1:], "test")).num_overlapping == MAX_TEXTS_OF_GRAM


def test_empty_texts_and_empty_splits_do_not_overlap() -> None:
    assert overlap([("a", "")], [("b", " ")]) == Overlap(1, 0, [])
    assert overlap([], [("b", "text")]) == Overlap(1, 0, [])
    assert overlap([("a", "text")], []) == Overlap(0, 0, [])


def test_training_texts_may_come_from_a_generator() -> None:
    def many() -> Iterator[tuple[str, str]]:
        for i in range(10_000):
            yield str(i), f"training text number {i}"

    assert overlap(many(), [("t", "Training text number 9999!")]).pairs == [("t", "9999")]


@settings(deadline=None, max_examples=60)
@given(*[st.lists(st.text("ab", min_size=0, max_size=8), max_size=6)] * 2)
def test_overlap_agrees_with_comparing_every_pair(train: list[str], test: list[str]) -> None:
    spaced = [[" ".join(text) for text in texts] for texts in (train, test)]

    def runs(text: str) -> set[str]:
        return {text} if len(text) < 3 else {text[i : i + 3] for i in range(len(text) - 2)}

    expected = [i for i, text in enumerate(test) if text and any(runs(text) & runs(other) for other in train if other)]
    found = overlap(numbered(spaced[0], ""), numbered(spaced[1], ""), n=3)
    assert found.ids == [str(i) for i in expected]


@pytest.mark.skipif(not TREC.exists(), reason="needs ../shared/data/trec")
def test_trec_has_eleven_test_questions_in_its_train() -> None:
    splits = {}
    for name in ("train", "test"):
        with (TREC / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            splits[name] = numbered([row["question"] for row in csv.DictReader(file)], name)
    train = {normalise(text) for _, text in splits["train"]}
    found = overlap(splits["train"], splits["test"])
    print(found)
    assert found.num_equal == sum(normalise(text) in train for _, text in splits["test"]) == 11
    assert found.num_overlapping >= 11
