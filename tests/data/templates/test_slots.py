"""Cells to values: what each type of slot takes, and the words for what it refuses."""

from __future__ import annotations

import math
from datetime import date, datetime
from typing import Any

import pytest

from tunesmith.data.templates.families import Slot
from tunesmith.data.templates.slots import (
    Cell,
    Labels,
    RowChoices,
    convert,
    declared_choices,
    pick_choice,
)
from tunesmith.errors import TemplateError


def value(kind: Any, raw: Any, labels: Labels = None, **slot: Any) -> Any:
    return convert(Slot(type=kind, **slot), Cell(raw, "column", "a.csv:3"), labels)


def refusal(kind: Any, raw: Any, labels: Labels = None) -> str:
    with pytest.raises(TemplateError) as caught:
        value(kind, raw, labels)
    return str(caught.value)


@pytest.mark.parametrize(
    "kind, raw, expected",
    [
        ("text", "  two words\n", "two words"),
        ("text", 4, "4"),
        ("text", True, "True"),
        ("text", ["a", " b"], "a, b"),
        ("text", {"naïve": [1, 2]}, '{"naïve": [1, 2]}'),
        ("target", " yes ", (" yes ",)),
        ("target", ["one", "1", "one", " "], ("one", "1")),
        ("target", {"text": ["Cork"], "answer_start": [3]}, ("Cork",)),
        ("target", [], ()),
        ("number", "4.0", 4),
        ("number", "1e3", 1000),
        ("number", 3.75, 3.75),
        ("json", {"a": [1, None]}, '{"a": [1, null]}'),
        ("json", ' {"b":1,  "a":2}', '{"b":1,  "a":2}'),
        ("date", "2021-03-05T10:00:00Z", "2021-03-05T10:00:00Z"),
        ("date", date(2021, 3, 5), "2021-03-05"),
        ("date", datetime(2021, 3, 5, 9, 30), "2021-03-05T09:30:00"),
        ("choices", ["tea", " milk"], RowChoices(("tea", "milk"))),
        ("choices", '["tea", "milk"]', RowChoices(("tea", "milk"))),
        (
            "choices",
            {"text": ["tea", "milk"], "label": ["A", "B"]},
            RowChoices(("tea", "milk"), ("A", "B")),
        ),
        ("any", None, None),
        ("text", " ", ""),
        ("number", "", ""),
    ],
)
def test_a_cell_becomes_what_its_slot_wants(kind: str, raw: Any, expected: Any) -> None:
    assert value(kind, raw) == expected


def test_an_optional_slot_takes_its_default_for_none_nan_and_blank() -> None:
    assert [
        value("text", raw, required=False, default="tags") for raw in (None, math.nan, " ")
    ] == ["tags"] * 3


@pytest.mark.parametrize("kind", ["text", "target", "label", "number", "json", "date", "choices"])
@pytest.mark.parametrize("raw", [None, math.nan])
def test_a_missing_value_in_a_required_slot_is_refused(kind: str, raw: Any) -> None:
    assert (
        refusal(kind, raw)
        == "a.csv:3: the column 'column' has no value\nhint: fill it, or drop the row"
    )


@pytest.mark.parametrize(
    "kind, raw, message",
    [
        (
            "target",
            ["a", None],
            "has a list with a missing answer\nhint: correct it, or drop the row",
        ),
        (
            "number",
            "four",
            "is 'four', which is no number\nhint: correct it, or use the family classify",
        ),
        (
            "number",
            True,
            "is True, which is no number\nhint: correct it, or use the family classify",
        ),
        (
            "number",
            "inf",
            "is 'inf', which is no number\nhint: correct it, or use the family classify",
        ),
        (
            "json",
            "{name: Ada}",
            "is not JSON: Expecting property name enclosed in double quotes at character 1\n"
            'hint: for example {"name": "Ada"}; text has quotes',
        ),
        (
            "date",
            "05/03/2021",
            "is '05/03/2021', which is no ISO date\nhint: for example 2021-03-05",
        ),
        (
            "choices",
            "tea, milk",
            'is no list of choices: \'tea, milk\'\nhint: two or more, e.g. ["tea", "milk"]',
        ),
        (
            "choices",
            ["tea"],
            'is no list of choices: "[\'tea\']"\nhint: two or more, e.g. ["tea", "milk"]',
        ),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_in_these_words(
    kind: str, raw: Any, message: str
) -> None:
    assert refusal(kind, raw) == f"a.csv:3: the column 'column' {message}"


# ---- labels

NAMES = ["negative", "neutral", "positive"]


@pytest.mark.parametrize("raw", [2, 2.0, "2", " 2 ", "positive"])
def test_a_list_of_labels_takes_positions_and_names(raw: Any) -> None:
    assert value("label", raw, NAMES) == "positive"


@pytest.mark.parametrize("raw, expected", [(1, "good"), ("1", "good"), (True, "good"), (-1, "bad")])
def test_a_mapping_of_labels_takes_its_keys_even_minus_one(raw: Any, expected: str) -> None:
    assert value("label", raw, {"-1": "bad", "1": "good"}) == expected


@pytest.mark.parametrize("raw, expected", [("Sad ", "Sad"), (3, "3"), (3.0, "3"), (True, "1")])
def test_labels_that_are_not_declared_are_their_own_names(raw: Any, expected: str) -> None:
    assert value("label", raw) == expected


@pytest.mark.parametrize(
    "raw, labels, message",
    [
        (
            -1,
            NAMES,
            "is -1, which marks a row without a label\n"
            "hint: drop the row, or map -1 to a name in labels",
        ),
        (
            "-1",
            None,
            "is -1, which marks a row without a label\n"
            "hint: drop the row, or map -1 to a name in labels",
        ),
        (3, NAMES, "is 3, outside 0 to 2\nhint: labels names 3 integers"),
        (-2, NAMES, "is -2, outside 0 to 2\nhint: labels names 3 integers"),
        (
            "postive",
            NAMES,
            "is 'postive', which is not one of the labels\nhint: did you mean 'positive'?",
        ),
        (
            1.5,
            NAMES,
            "is '1.5', which is not one of the labels\nhint: known: negative, neutral, positive",
        ),
        (0, {"1": "good", "2": "bad"}, "is '0', which labels does not map\nhint: known: 1, 2"),
    ],
)
def test_a_label_that_is_not_one_is_refused_in_these_words(
    raw: Any, labels: Labels, message: str
) -> None:
    assert refusal("label", raw, labels) == f"a.csv:3: the column 'column' {message}"


def test_declared_choices_are_the_sorted_names() -> None:
    assert declared_choices(["b", "a"]) == ("a", "b")
    assert declared_choices({"0": "no", "1": "yes", "2": "no"}) == ("no", "yes")
    assert declared_choices(None) == ()


@pytest.mark.parametrize("raw", ["milk", 1, "1", "B"])
def test_a_rows_own_choice_is_given_by_text_position_or_letter(raw: Any) -> None:
    assert pick_choice(Cell(raw, "answer", "a.csv:3"), RowChoices(("tea", "milk"))) == "milk"


def test_keys_of_the_data_set_come_before_positions() -> None:
    """Some rows of ARC number their choices from 1."""
    assert (
        pick_choice(Cell("1", "answer", "a.csv:3"), RowChoices(("tea", "milk"), ("1", "2")))
        == "tea"
    )


@pytest.mark.parametrize("raw", [2, "C", "-1", "coffee", "ab", ""])
def test_a_choice_that_is_not_there_is_refused(raw: Any) -> None:
    with pytest.raises(TemplateError) as caught:
        pick_choice(Cell(raw, "answer", "a.csv:3"), RowChoices(("tea", "milk")))
    assert str(caught.value) == (
        f"a.csv:3: the column 'answer' is '{raw}', "
        "which is none of the row's 2 choices: tea, milk\n"
        "hint: give the choice's text, its position from 0, or its letter"
    )
