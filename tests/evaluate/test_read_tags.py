"""Tags read from answers of several forms, and laid beside the words that they belong to."""

from __future__ import annotations

import pytest

from tunesmith.evaluate.parse import parse
from tunesmith.evaluate.reading.tags import align, parse_tags

RIGHT = ("Ada B-PER\nlives O\nin O\nNew B-LOC\nYork I-LOC", "I O\nslept O")
WORDS = [["Ada", "B-PER"], ["lives", "O"]]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Ada B-PER\nlives O", WORDS),
        ("Ada\tB-PER\nlives\tO", WORDS),
        ("- Ada B-PER\n- lives O", WORDS),
        ("Ada/B-PER lives/O", WORDS),
        ("Ada/B-PER\nlives/O", WORDS),
        ("Ada B-PER\nlives O\n\nText: something else B-LOC", WORDS),
        ('[["Ada", "B-PER"], ["lives", "O"]]', WORDS),
        ("B-PER O", [["", "B-PER"], ["", "O"]]),
        ("B-PER\nO", [["", "B-PER"], ["", "O"]]),
        ("['B-PER', 'O']", [["", "B-PER"], ["", "O"]]),
        ("O", [["", "O"]]),
        ("I O\nslept O", [["I", "O"], ["slept", "O"]]),
        ("Cork B-LOC", [["Cork", "B-LOC"]]),
        ("I O", [["I", "O"]]),
        ("Ada person\nlives O", [["", "O"], ["", "O"], ["lives", "O"]]),
        ("", None),
        ("Ada lives there.", None),
    ],
)
def test_an_answer_is_read_as_words_and_tags(text: str, expected: list[list[str]] | None) -> None:
    assert parse_tags(text, RIGHT) == expected
    assert parse(text, "tags", RIGHT) == expected


def test_tags_that_are_no_bio_tags_are_known_from_the_right_answers() -> None:
    assert parse_tags("runs VERB\nfast ADV", ("dogs NOUN\nrun VERB", "slowly ADV")) == [
        ["runs", "VERB"],
        ["fast", "ADV"],
    ]
    assert parse_tags("runs VERB", RIGHT) is None


def pairs(text: str) -> list[tuple[str, str]]:
    return [(word, tag) for word, tag in (item.split("/") for item in text.split())]


@pytest.mark.parametrize(
    "answer, expected",
    [
        ("a/B-X b/O c/B-Y d/I-Y", "B-X O B-Y I-Y"),
        ("a/B-X c/B-Y d/I-Y", "B-X O B-Y I-Y"),
        ("a/B-X b/O b/O c/B-Y d/I-Y", "B-X O B-Y I-Y"),
        ("A/B-X bee/O c/B-Y d/I-Y", "B-X O B-Y I-Y"),
        ("a/B-X", "B-X O O O"),
        ("e/B-X", "O O O O"),
        ("/B-X /O", "B-X O O O"),
        ("/B-X /O /O /O /B-Y", "B-X O O O"),
    ],
)
def test_a_skipped_or_repeated_word_does_not_shift_the_tags_after_it(
    answer: str, expected: str
) -> None:
    right = pairs("a/B-X b/O c/B-Y d/I-Y")
    assert align(pairs(answer), right) == expected.split()
