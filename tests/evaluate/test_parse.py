"""Answers read from texts, with the traps of each family."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.evaluate.parse import (
    parse,
    parse_choice,
    parse_json,
    parse_number,
    parse_text,
    text_after_answer,
)

YES_NO = ("yes", "no")


@pytest.mark.parametrize(
    ("text", "choices", "wanted"),
    [
        ("yes", YES_NO, "yes"),
        ("  Yes.\n", YES_NO, "yes"),
        ('\n\n"YES"\nbecause', YES_NO, "yes"),
        ("**No**", YES_NO, "no"),
        ("no, it is not", YES_NO, "no"),
        ("nope", YES_NO, None),
        ("not yes", YES_NO, None),
        ("", YES_NO, None),
        (" \n ", YES_NO, None),
        ("no information", ("no", "no information"), "no information"),
        ("no informations", ("no", "no information"), None),
        ("C++", ("C", "C++"), "C++"),
        ("C++.", ("C", "C++"), "C++"),
        ("`C`", ("C++", "C"), "C"),
        ("(b) because", ("(a)", "(b)"), "(b)"),
        ("b", ("(a)", "(b)"), "(b)"),
        ("1.5", ("1", "2"), None),
        ("1.", ("1", "2"), "1"),
        ("10", ("1", "10"), "10"),
        ("-1", ("0", "1"), None),
        ("-1", ("-1", "1"), "-1"),
        ("👍!", ("👍", "👎"), "👍"),
        ("हाँ।", ("हाँ", "नहीं"), "हाँ"),
        ("हाँस", ("हाँ", "नहीं"), None),
        ("「正面」", ("正面", "负面"), "正面"),
        ("STRASSE", ("straße", "weg"), "straße"),
        ("cafe\u0301", ("café", "bar"), "café"),
        ("may", ("May", "may"), "may"),
        ("May", ("May", "may"), "May"),
        ("!", ("", "yes"), None),
    ],
)
def test_a_choice_is_the_first_line_or_its_beginning(
    text: str, choices: tuple[str, ...], wanted: str | None
) -> None:
    assert parse_choice(text, choices) == wanted


@given(
    st.lists(
        st.text(min_size=1).filter(lambda t: t.strip() == t and len(t.splitlines()) == 1),
        min_size=1,
        max_size=5,
    )
)
@settings(deadline=None, max_examples=100)
def test_every_choice_of_one_line_is_read_as_itself(choices: list[str]) -> None:
    assert [parse_choice(choice, choices) for choice in choices] == choices


@given(st.text(), st.lists(st.text(), max_size=4))
@settings(deadline=None, max_examples=100)
def test_a_choice_is_one_of_the_choices_or_none_on_any_text(text: str, choices: list[str]) -> None:
    assert parse_choice(text, choices) in [*choices, None]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The answer is 1,234.50 dollars", 1234.5),
        ("so 3 + 4 = 7", 7.0),
        ("5 apples\n#### 72", 72.0),
        ("#### 1,000\nQuestion: 5", 1000.0),
        ("#### none, 5 before\n", 5.0),
        ("7 ####", None),
        ("$18", 18.0),
        ("-$5", -5.0),
        ("$-5", -5.0),
        ("\u22123", -3.0),
        ("10-5", None),
        ("(2)-3", None),
        ("- 4 items", 4.0),
        ("1,2,3", None),
        ("1,2345", 1.2345),
        ("12,345,678", 12345678.0),
        (".5", 0.5),
        ("version 1.2.3", None),
        ("5.", 5.0),
        ("2e3", 2000.0),
        ("٣", 3.0),
        ("no number", None),
        ("", None),
        ("9" * 400, None),
    ],
)
def test_the_final_number_is_read(text: str, wanted: float | None) -> None:
    assert parse_number(text) == wanted


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=2
    )
)
@settings(deadline=None, max_examples=100)
def test_a_written_number_is_read_back_with_and_without_commas(value: object) -> None:
    assert parse_number(f"it is {value}") == parse_number(f"it is {value:,}") == float(str(value))


@given(st.text())
@settings(deadline=None, max_examples=200)
def test_a_number_is_finite_or_none_on_any_text(text: str) -> None:
    value = parse_number(text)
    assert value is None or math.isfinite(value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"a": [1, null]}', {"a": [1, None]}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('{"a": 1} and more', {"a": 1}),
        ('{"a": 1} and {"a": 2}', None),
        ("{'a': 1}", None),
        ('{"a": NaN}', None),
        ("[" * 100_000, None),
        ("", None),
    ],
)
def test_json_is_the_one_value_of_the_text_or_none(text: str, wanted: object) -> None:
    assert parse_json(text) == wanted


@given(
    st.recursive(
        st.integers() | st.booleans() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
@settings(deadline=None, max_examples=50)
def test_json_reads_what_json_writes(value: object) -> None:
    assert parse_json(json.dumps(value)) == value


def test_text_is_stripped_and_no_more() -> None:
    assert parse_text(" A b \n") == "A b"
    assert parse(" A b \n", "text") == "A b"


@pytest.mark.parametrize(
    ("text", "parser", "one_line", "wanted"),
    [
        ("yes.", "choice", False, ""),
        ("yes. I think", "choice", False, "i think"),
        ("yes\nReview: great", "choice", False, "review: great"),
        ("perhaps", "choice", False, ""),
        ("#### 42", "number", False, ""),
        ("42 apples", "number", False, "apples"),
        ('{"a": 1}', "json", False, ""),
        ('{"a": 1}\nText: next', "json", False, "text: next"),
        ("one\ntwo", "text", False, ""),
        ("one\ntwo", "text", True, "two"),
        ("one", "text", True, ""),
    ],
)
def test_text_after_the_answer_is_what_the_model_wrote_on(
    text: str, parser: str, one_line: bool, wanted: str
) -> None:
    assert text_after_answer(text, parser, YES_NO, one_line) == wanted


@given(st.text(), st.sampled_from(["choice", "number", "json", "text"]), st.booleans())
@settings(deadline=None, max_examples=200)
def test_text_after_the_answer_never_fails(text: str, parser: str, one_line: bool) -> None:
    assert isinstance(text_after_answer(text, parser, YES_NO, one_line), str)
