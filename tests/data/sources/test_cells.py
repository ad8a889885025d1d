"""One value, one reading: what a csv file has as text is what JSON and Parquet have as values."""

from __future__ import annotations

import math
from datetime import date
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.data.sources.cells import (
    integer,
    is_blank,
    is_missing,
    json_text,
    key_text,
    label_text,
    number,
    plain_text,
    truth,
)


@pytest.mark.parametrize("value", [None, math.nan, Decimal("NaN"), pd.NaT, pd.NA])
def test_null_and_nan_are_missing(value: object) -> None:
    assert is_missing(value)
    assert is_blank(value)
    assert key_text(value) is None


@pytest.mark.parametrize("value", ["", " ", "nan", "None", 0, False, [], 0.0])
def test_words_zero_and_false_are_not_missing(value: object) -> None:
    assert not is_missing(value)
    assert is_blank(value) == (value in ("", " "))


@pytest.mark.parametrize(
    "value, text, label",
    [
        (True, "True", "True"),
        ("True", "True", "True"),
        (1, "1", "1"),
        (1.0, "1.0", "1"),
        ("1.0", "1.0", "1"),
        (" 1.000 ", " 1.000 ", "1"),
        (-0.0, "-0.0", "0"),
        ("-1.0", "-1.0", "-1"),
        (Decimal("2.00"), "2.00", "2"),
        (1e15, "1000000000000000.0", "1000000000000000"),
        (1e16, "1e+16", "1e+16"),
        ("1.50", "1.50", "1.50"),
        ("007", "007", "007"),
        ("1,0", "1,0", "1,0"),
        ("v1.0", "v1.0", "v1.0"),
        (" Sad ", " Sad ", "Sad"),
        (b"pos", "pos", "pos"),
        (date(2021, 3, 5), "2021-03-05", "2021-03-05"),
        (["a", 1, None, True], '["a", 1, null, true]', '["a", 1, null, true]'),
        ({"b": ["ä"]}, '{"b": ["ä"]}', '{"b": ["ä"]}'),
        ({"a"}, '["a"]', '["a"]'),
    ],
)
def test_a_value_as_text_and_as_a_label(value: object, text: str, label: str) -> None:
    assert plain_text(value) == text
    assert label_text(value) == label
    assert key_text(value) == label


def test_bytes_that_are_no_text_are_refused_but_can_be_keys() -> None:
    with pytest.raises(ValueError, match="holds bytes that are no text in UTF-8"):
        plain_text(b"\xff")
    assert key_text(b"\xff") == "ff"


@pytest.mark.parametrize(
    "value, expected",
    [
        ("4.0", 4),
        (" 1e3 ", 1000),
        (3.75, 3.75),
        ("-7", -7),
        (12345678901234567890, 12345678901234567890),
        ("12345678901234567891", 12345678901234567891),
        (1e300, 1e300),
        (Decimal("1.5"), 1.5),
        (True, None),
        ("True", None),
        ("1,5", None),
        ("1_000", None),
        ("nan", None),
        ("inf", None),
        (math.inf, None),
        pytest.param(10**5000, None, id="thousands of digits"),
        pytest.param("9" * 5000, None, id="the same as text"),
        ("", None),
        (None, None),
        ([1], None),
    ],
)
def test_a_value_as_a_number(value: Any, expected: float | None) -> None:
    assert number(value) == expected
    assert type(number(value)) is type(expected)


@pytest.mark.parametrize("text", ["²", "--1", "1.0", "", "one", "1_0", "9" * 5000])
def test_what_python_might_take_for_digits_is_no_integer(text: str) -> None:
    assert integer(text) is None


def test_truth_is_a_word_in_any_case() -> None:
    assert [truth(word) for word in ("true", "TRUE", "False", "yes", "1")] == [
        True,
        True,
        False,
        None,
        None,
    ]


def test_json_text_keeps_a_text_and_writes_a_value() -> None:
    assert [json_text(value) for value in (True, 1.0, ["a"], '{"a":1}')] == [
        "true",
        "1.0",
        '["a"]',
        '{"a":1}',
    ]


@given(
    st.one_of(
        st.booleans(),
        st.integers(-(2**62), 2**62),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    )
)
def test_the_text_that_a_csv_file_has_for_a_value_is_the_same_label_and_number(value: Any) -> None:
    assert plain_text(str(value)) == plain_text(value)
    assert label_text(str(value)) == label_text(value)
    assert key_text(str(value)) == key_text(value)
    if not isinstance(value, bool):
        assert number(str(value)) == number(value)
