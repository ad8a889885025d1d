"""Cells with several labels, cells with tagged words: how they are read, written and refused."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.data.templates.families import Slot
from tunesmith.data.templates.label_cells import find_separator, read_set, split_labels, write_set
from tunesmith.data.templates.slots import Cell, convert
from tunesmith.data.templates.tag_cells import read_tagged, tags_in, words_in, write_tagged
from tunesmith.errors import TemplateError

NAMES = ["anger", "fear", "joy"]


@pytest.mark.parametrize(
    "value, separator, expected",
    [
        (["joy", "fear"], "", ["joy", "fear"]),
        ('["joy", "a, b"]', ",", ["joy", "a, b"]),
        ("['joy' 'fear']", "", ["joy", "fear"]),
        ("[2, 0]", "", [2, 0]),
        ("joy; fear", ";", ["joy", " fear"]),
        ("joy; fear", "", ["joy; fear"]),
        ("joy;;", ";", ["joy"]),
        (2, "", [2]),
        ([], "", []),
        ("[]", "", []),
        ("None", "", []),
        (["none"], "", []),
        ({"joy": True, "fear": False, "anger": 1}, "", ["joy", "anger"]),
    ],
)
def test_the_labels_of_a_cell(value: Any, separator: str, expected: list[Any]) -> None:
    assert split_labels(value, separator) == expected


@pytest.mark.parametrize(
    "values, expected",
    [
        (["a", "b"], ""),
        (["a", "b, c"], ","),
        (["a, b; c", "d"], ";"),
        (["a;b|c"], "|"),
        (['["a, b"]', ["c, d"], 3, None], ""),
    ],
)
def test_the_separator_is_found_in_the_texts_alone(values: list[Any], expected: str) -> None:
    assert find_separator(values) == expected


def test_a_set_is_written_in_the_order_of_the_label_list_and_empty_as_none() -> None:
    assert write_set(["joy", "anger", "joy"], ["joy", "fear", "anger"]) == "joy\nanger"
    assert write_set([]) == "none"
    assert read_set("none") == frozenset()
    with pytest.raises(ValueError, match="more than one line"):
        write_set(["a\nb"])


def names(kind: Any, value: Any, labels: Any = None, **slot: Any) -> Any:
    return convert(Slot(type=kind, **slot), Cell(value, "column", "a.csv:3"), labels)


def test_declared_labels_name_positions_and_a_text_that_is_one_is_not_cut() -> None:
    assert names("labels", [2, "fear"], NAMES) == ("joy", "fear")
    assert names("labels", "0;2", {"0": "x", "2": "y"}, separator=";") == ("x", "y")
    assert names("labels", "a; b", ["a; b", "c"], separator=";") == ("a; b",)
    assert names("tags", [0, 2], NAMES) == ("anger", "joy")


@pytest.mark.parametrize(
    "kind, value, message",
    [
        ("labels", ["joy", None], "has a list with a missing label"),
        ("labels", ["joy", "none"], "has 'none', which means no label, beside 'joy'"),
        ("labels", {"joy": 0.7}, "is an object and no list of labels: {'joy': 0.7}"),
        ("labels", ["hope"], "is 'hope', which is not one of the labels"),
        ("labels", [0, 1, 0], "has 3 zeros and ones, one for each label"),
        ("labels", None, "has no value\nhint: write [] or none where no label applies"),
        ("tags", [7], "is 7, outside 0 to 2"),
        ("tokens", ["a", None], "has a list with a missing word"),
        ("label", ["joy"], "holds a list, ['joy'], where one label is wanted"),
    ],
)
def test_a_cell_that_cannot_be_labels_or_tags_is_named(kind: str, value: Any, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        names(kind, value, NAMES)
    assert str(caught.value).startswith(f"a.csv:3: the column 'column' {message}")


CONLL = "Ada NNP B-PER\nleft VBD O\n"


def test_words_and_tags_come_from_lists_texts_and_conll_lines() -> None:
    for value in (["Ada", "left"], "Ada left", "['Ada', 'left']", CONLL):
        assert words_in(value) == ["Ada", "left"]
    for value in (["B-PER", "O"], "B-PER O", "B-PER,O", '["B-PER", "O"]', CONLL):
        assert tags_in(value) == ["B-PER", "O"]
    assert words_in(["New York", ""]) == ["New_York", "_"]


def test_tagged_words_are_written_and_read_a_line_each() -> None:
    text = write_tagged(["Ada", "left"], ["B-PER", "O"])
    assert text == "Ada B-PER\nleft O"
    assert read_tagged(text) == [("Ada", "B-PER"), ("left", "O")]
    assert read_tagged(write_tagged([], ["B-PER", "O"])) == [("", "B-PER"), ("", "O")]
    with pytest.raises(ValueError, match="has 1 tags for 2 words"):
        write_tagged(["Ada", "left"], ["O"])
    with pytest.raises(ValueError, match="a tag is one word"):
        write_tagged(["Ada"], ["first name"])


def test_a_slot_without_separator_prints_as_it_did_before_there_was_one() -> None:
    """Older runs hold hashes of it, by which `resume` sees what has changed."""
    assert repr(Slot(type="text")) == "Slot(type='text', about='', required=True, default='')"
    assert "separator=';'" in repr(Slot(type="labels", separator=";"))
