"""Sets of labels read from answers of many forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.data.templates.label_cells import NONE, read_set, write_set
from tunesmith.evaluate.parse import parse
from tunesmith.evaluate.reading.labels import parse_labels, text_after_labels

SETS = (
    "joy\nanger",
    "Re: bills",
    "Health and safety\nsport",
    "food, drink\nC++",
    "-1",
    "none",
    "C",
)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("joy\nanger", ["anger", "joy"]),
        ("joy, anger", ["anger", "joy"]),
        ("Joy; ANGER.", ["anger", "joy"]),
        ("joy | anger", ["anger", "joy"]),
        ("joy and anger", ["anger", "joy"]),
        ("joy, anger, and sport", ["anger", "joy", "sport"]),
        ("- joy\n- anger", ["anger", "joy"]),
        ("1. joy\n2) anger", ["anger", "joy"]),
        ('["joy", "anger"]', ["anger", "joy"]),
        ("['joy', 'anger']", ["anger", "joy"]),
        ('```json\n["joy"]\n```', ["joy"]),
        ("Labels: joy, anger", ["anger", "joy"]),
        ("The labels that fit are:\n\n* joy\n* anger", ["anger", "joy"]),
        ("joy\n\nText: another one, with commas", ["joy"]),
        ("joy (strongly), anger: he shouts", ["anger", "joy"]),
        ("joy anger", ["anger", "joy"]),
        ("#joy #anger", ["anger", "joy"]),
        ("joy / anger/sport", ["anger", "joy", "sport"]),
        ("joy\u3001anger", ["anger", "joy"]),
        ("Re: bills, joy", ["Re: bills", "joy"]),
        ("**joy** and `anger`", ["anger", "joy"]),
        ("health and safety and sport", ["Health and safety", "sport"]),
        ("Food, drink, sport", ["food, drink", "sport"]),
        ("food, drink\nsport", ["food, drink", "sport"]),
        ("C++", ["C++"]),
        ("C", ["C"]),
        ("-1", ["-1"]),
        ("none", []),
        ("None.", []),
        ("[]", []),
        ("no labels", []),
        ("joy, joy", ["joy"]),
        ("", None),
        (" \n ", None),
    ],
)
def test_a_set_is_read_in_each_form_in_which_models_write_it(
    text: str, expected: list[str] | None
) -> None:
    assert parse_labels(text, SETS) == expected
    assert parse(text, "labels", SETS) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("joy, pride", ["joy", "pride"]),
        ("not joy", ["not joy"]),
        ("joyful", ["joyful"]),
        ("I think that this text is about somebody who is very happy", None),
    ],
)
def test_an_unknown_label_is_a_wrong_one_and_prose_is_none(
    text: str, expected: list[str] | None
) -> None:
    assert parse_labels(text, SETS) == expected


def test_what_follows_the_set_is_more_than_the_answer() -> None:
    assert text_after_labels("joy\nanger\n\nText: more") == "Text: more"
    assert text_after_labels("Labels:\n\njoy") == ""
    assert text_after_labels("joy") == ""


LABELS = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="\n"), min_size=1
).filter(lambda label: label.strip().casefold() != NONE)


@given(st.lists(LABELS, unique=True), st.lists(LABELS, unique=True))
def test_every_set_that_is_written_is_read_again(labels: list[str], others: list[str]) -> None:
    text = write_set(labels)
    assert read_set(text) == frozenset(labels)


@pytest.mark.parametrize("labels", [["a, b", "c"], ["a", "b; c", "d and e"], ["A", "a"], []])
def test_a_right_answer_with_separators_in_its_labels_is_read_as_right(labels: list[str]) -> None:
    text = write_set(labels)
    assert parse_labels(text, (text, "x\ny")) == sorted(labels)
