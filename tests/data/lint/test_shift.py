"""Labels that stand one row off."""

from __future__ import annotations

import random

import pytest

from tunesmith.data.lint.shift import Placed, shifted_labels

WORDS = {"sport": "goal match team", "money": "bank share price", "food": "salt oven dish"}
RNG = random.Random(0)
TOPICS = [RNG.choice(list(WORDS)) for _ in range(200)]
TEXTS = [f"{RNG.choice(WORDS[topic].split())} number {i}" for i, topic in enumerate(TOPICS)]
THINGS = [f"thing{i} place{i} colour{i}" for i in range(200)]


def placed(texts: list[str], targets: list[str], by: int, step: int = 1) -> list[Placed]:
    """Every `step`th row is a training row; the targets are moved down by `by`."""
    n = len(texts)
    rows = [Placed(i, texts[i], targets[(i - by) % n], f"a.csv:{i + 2}") for i in range(n)]
    return rows[::step]


@pytest.mark.parametrize("by, side", [(1, "after"), (-1, "before")])
def test_classes_one_row_off_are_an_error_that_shows_two_rows(by: int, side: str) -> None:
    finding = shifted_labels(placed(TEXTS, TOPICS, by), classes=True)
    assert finding is not None
    assert (finding.name, finding.severity) == ("shifted_labels", "error")
    assert f"tells the label of the row {side} it, and nothing of its own" in finding.message
    first, second = (2, 3) if by == 1 else (3, 2)
    assert finding.rows == (f"a.csv:{first}", f"a.csv:{second}")
    assert f"{finding.rows[0]} has '{TOPICS[first - 2 - by]}'" in finding.message


@pytest.mark.parametrize("by", [1, -1])
def test_free_answers_one_row_off_are_found_by_the_words_they_share(by: int) -> None:
    answers = [text.split()[1] + " is it" for text in THINGS]
    assert shifted_labels(placed(THINGS, answers, 0), classes=False) is None
    finding = shifted_labels(placed(THINGS, answers, by), classes=False)
    assert finding is not None
    assert finding.name == "shifted_labels"


def test_rows_in_their_places_are_no_finding() -> None:
    assert shifted_labels(placed(TEXTS, TOPICS, 0), classes=True) is None


def test_labels_that_nothing_tells_are_no_finding() -> None:
    labels = TOPICS.copy()
    random.Random(1).shuffle(labels)
    assert shifted_labels(placed(TEXTS, labels, 0), classes=True) is None
    assert shifted_labels(placed(TEXTS, labels, 0), classes=False) is None


def test_a_sorted_file_gives_neighbours_one_label_and_no_finding() -> None:
    order = sorted(range(200), key=lambda i: TOPICS[i])
    texts, labels = [TEXTS[i] for i in order], [TOPICS[i] for i in order]
    assert shifted_labels(placed(texts, labels, 1), classes=True) is None


def test_rows_whose_neighbours_are_in_another_split_say_nothing() -> None:
    assert shifted_labels(placed(TEXTS, TOPICS, 1, step=2), classes=True) is None


@pytest.mark.parametrize("text", ["", "?!"])
def test_texts_without_words_say_nothing(text: str) -> None:
    rows = placed([text] * 200, TOPICS, 1)
    assert shifted_labels(rows, classes=True) is None
    assert shifted_labels(placed([text] * 200, [text] * 200, 1), classes=False) is None
