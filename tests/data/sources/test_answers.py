"""One cell, all right answers in it: lists in each of the ways in which tables write them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.data.sources.answers import alternatives, read_list

SQUAD = {"text": ["Cork", "in Cork", "Cork"], "answer_start": [3, 0, 3]}
TEXTS = st.lists(st.text(min_size=1).filter(str.strip), min_size=1, unique=True)


@pytest.mark.parametrize(
    "value, expected",
    [
        (" yes ", (" yes ",)),
        (4, ("4",)),
        (4.0, ("4",)),
        (["one", 1.0, "one", " "], ("one", "1")),
        (("a", "b"), ("a", "b")),
        ([], ()),
        (None, ()),
        (math.nan, ()),
        (SQUAD, ("Cork", "in Cork")),
        ({"text": "Cork"}, ("Cork",)),
        ('["a", "b"]', ("a", "b")),
        ("['a', 'b']", ("a", "b")),
        ("""["it's", 'b']""", ("it's", "b")),
        ("['a' 'b'\n 'c, d']", ("a", "b", "c, d")),
        (r"['\d']", (r"\d",)),
        (str(SQUAD), ("Cork", "in Cork")),
        (
            "{'text': array(['Cork', 'in Cork'], dtype=object), "
            "'answer_start': array([3, 0], dtype=int32)}",
            ("Cork", "in Cork"),
        ),
        ("[1, 2]", ("[1, 2]",)),
        ("[UNK]", ("[UNK]",)),
        ("[1] Smith 2010", ("[1] Smith 2010",)),
        ("['a', __import__('os').getcwd()]", ("['a', __import__('os').getcwd()]",)),
        ("[" * 5000 + "]" * 5000, ("[" * 5000 + "]" * 5000,)),
        ('{"name": "Ada"}', ('{"name": "Ada"}',)),
        ("['a'", ("['a'",)),
        ("['" + "a" * 100_000 + "']", ("['" + "a" * 100_000 + "']",)),
    ],
)
def test_a_cell_gives_its_right_answers(value: Any, expected: tuple[str, ...]) -> None:
    assert alternatives(value) == expected


@pytest.mark.parametrize("value", [["a", None], ["a", math.nan], '["a", null]', "['a', None]"])
def test_a_missing_answer_in_a_list_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="has a list with a missing answer"):
        alternatives(value)


@given(TEXTS)
def test_a_python_list_written_as_text_gives_the_same_answers(texts: list[str]) -> None:
    assert alternatives(str(texts)) == alternatives(texts) == tuple(texts)


def test_numbers_written_as_a_list_are_items_where_a_list_is_asked_for() -> None:
    assert read_list("[0, 3]") == [0, 3]
    assert read_list("[-1.5, nan]")[0] == -1.5  # type: ignore[index]
    assert read_list("0, 3") is None
