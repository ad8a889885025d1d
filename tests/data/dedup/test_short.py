"""Near-twins of short texts: the pairs that a comparison of all pairs finds, and no others."""

from __future__ import annotations

import csv
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.data.dedup.clusters import near_duplicate_clusters
from tunesmith.data.dedup.exact import first_with_same, hash64, normalise
from tunesmith.data.dedup.forest import Forest
from tunesmith.data.dedup.shingles import Words
from tunesmith.data.dedup.short import LIGHT_WORDS, SHORT_WORDS, short_links

SHARED = Path(os.environ.get("TUNESMITH_SHARED", Path(__file__).resolve().parents[3] / "../shared"))
BANKING = SHARED / "data/banking77"


def table(texts: list[str]) -> tuple[Words, np.ndarray]:
    texts = [normalise(text) for text in texts]
    return Words.of(texts), first_with_same(
        np.array([hash64(text) for text in texts], dtype=np.uint64)
    )


def joined(texts: list[str]) -> list[int]:
    """The smallest row number that short twins connect each row with."""
    words, first = table(texts)
    forest = Forest()
    for a, b in short_links(words, first):
        forest.join(a, b)
    return [forest.root(int(row)) for row in first]


def jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b)


def are_twins(a: str, b: str) -> bool:
    """The rule, word for word."""
    one, other = set(a.split()), set(b.split())
    heavy, also = one - set(LIGHT_WORDS), other - set(LIGHT_WORDS)
    return jaccard(one, other) >= 0.9 or (heavy == also and len(heavy) >= 3)


def joined_by_all_pairs(texts: list[str]) -> list[int]:
    texts, forest = [normalise(text) for text in texts], Forest()
    is_short = [0 < len(text.split()) <= SHORT_WORDS for text in texts]
    for a, b in itertools.combinations(range(len(texts)), 2):
        equal = texts[a] == texts[b]
        if equal or (is_short[a] and is_short[b] and are_twins(texts[a], texts[b])):
            forest.join(a, b)
    return [forest.root(row) for row in range(len(texts))]


@st.composite
def families(draw: st.DrawFn) -> list[str]:
    """Texts of 0 to 20 words, and copies of them with words taken out, put in, or moved."""
    word = st.sampled_from([f"w{i}" for i in range(24)] + ["the", "my", "please", "not"])
    texts = draw(st.lists(st.lists(word, max_size=20), min_size=1, max_size=6))
    for _ in range(draw(st.integers(0, 14))):
        copy = list(draw(st.sampled_from(texts)))
        if copy and draw(st.booleans()):
            del copy[draw(st.integers(0, len(copy) - 1))]
        if draw(st.booleans()):
            copy.insert(draw(st.integers(0, len(copy))), draw(word))
        texts.append(draw(st.permutations(copy)) if draw(st.booleans()) else copy)
    return [" ".join(text) for text in texts]


@settings(deadline=None, max_examples=300)
@given(families())
def test_the_twins_are_those_of_a_comparison_of_all_pairs(texts: list[str]) -> None:
    assert joined(texts) == joined_by_all_pairs(texts)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"one two three four five six seven {i % 5} {i % 7} nine ten" for i in range(40)]
    expected = joined(texts)
    assert expected == joined_by_all_pairs(texts)
    monkeypatch.setattr("tunesmith.data.dedup.shingles.BLOCK_ROWS", 3)
    assert joined(texts) == expected


@pytest.mark.parametrize(
    "a, b",
    [
        ("How do I close my account?", "how can I close the account"),
        ("Where is my new card", "my new card, where is it?"),
        ("card payment still pending", "my card payment is still pending"),
        ("Please tell me why my transfer failed", "tell me why my transfer failed"),
        # nine words, and one of its own beside: 9 / 10
        ("w1 w2 w3 w4 w5 w6 w7 w8 w9", "w1 w2 w3 w4 w5 extra w6 w7 w8 w9"),
    ],
)
def test_texts_that_say_the_same_in_nearly_the_same_words_are_twins(a: str, b: str) -> None:
    assert joined([a, "something else altogether", b]) == [0, 1, 0]


@pytest.mark.parametrize(
    "a, b",
    [
        ("cancel my card", "activate my card"),
        ("I got my card today", "I never got my card today"),
        ("I did get the cash I asked for", "I didn't get the cash I asked for"),
        ("When will my card arrive", "where will my card arrive"),
        ("transfer money to my account", "transfer money from my account"),
        ("pay 20 euros to Ann", "pay 50 euros to Ann"),
        ("yes I do", "yes you are"),  # one word that is not light
        # eight words, and one of its own beside: 8 / 9 is under 0.9
        ("w1 w2 w3 w4 w5 w6 w7 w8", "w1 w2 w3 w4 w5 extra w6 w7 w8"),
        # one of twelve words is another: 11 / 13
        ("w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 w12", "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11 other"),
        (" ".join(f"w{i}" for i in range(18)), " ".join(f"w{17 - i}" for i in range(18))),  # long
        ("银行卡丢了怎么办", "银行卡丢了我怎么办"),  # one word each, by spaces
    ],
)
def test_texts_that_differ_in_a_word_that_matters_are_no_twins(a: str, b: str) -> None:
    assert joined([a, b]) == [0, 1]


def test_twins_and_near_duplicates_by_shingles_are_one_cluster() -> None:
    long = [f"word{i}" for i in range(30)]
    texts = [
        " ".join(long),
        " ".join([*long, "more"]),  # 26 of 27 shingles
        "why is my top up pending",
        "why was the top up pending",
        "an end",
    ]
    found = near_duplicate_clusters(*table(texts))
    assert found.clusters.tolist() == [0, 0, 2, 2, 4]
    assert found.num_clusters == 2


def texts_of(name: str) -> list[str]:
    with (BANKING / name).open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


@pytest.mark.skipif(not BANKING.is_dir(), reason="needs ../shared/data/banking77")
def test_every_short_twin_of_banking77s_test_rows_is_found() -> None:
    train, test = texts_of("train.csv"), texts_of("test.csv")
    words, first = table([*train, *test])
    clusters = near_duplicate_clusters(words, first).clusters
    in_train = set(clusters[: len(train)].tolist())
    found = {row for row in range(len(test)) if int(clusters[len(train) + row]) in in_train}
    by_pairs = similar_rows([normalise(t) for t in train], [normalise(t) for t in test])
    assert len(by_pairs) == 112
    assert by_pairs <= found
    assert len(found) == 402  # with those that differ in light words


def similar_rows(train: list[str], test: list[str]) -> set[int]:
    """The short test texts that have the words of a short training text, by Jaccard >= 0.9."""
    owners: dict[str, list[int]] = {}
    sets = [set(text.split()) for text in train]
    for row, text in enumerate(train):
        if len(text.split()) <= SHORT_WORDS:
            for word in sets[row]:
                owners.setdefault(word, []).append(row)
    found = set()
    for row, text in enumerate(test):
        own = set(text.split())
        # a text of that similarity has the rarest or the second rarest of up to 17 words
        rare = sorted(own, key=lambda word: len(owners.get(word, ())))[:2]
        near = {other for word in rare for other in owners.get(word, ())}
        if len(text.split()) <= SHORT_WORDS and any(jaccard(own, sets[o]) >= 0.9 for o in near):
            found.add(row)
    return found
