"""From a model's text to an answer, one reader for each kind of task; None where it cannot.

The rules, and why, are at the head of the files in `reading/`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

from tunesmith.data.templates.families import Parser
from tunesmith.evaluate.reading.characters import bare, fold
from tunesmith.evaluate.reading.choices import find_choice
from tunesmith.evaluate.reading.json_values import Json, find_json, load_json
from tunesmith.evaluate.reading.labels import parse_labels, text_after_labels
from tunesmith.evaluate.reading.numbers import find_number, is_bare_number
from tunesmith.evaluate.reading.tags import parse_tags

__all__ = [
    "PARSERS",
    "Json",
    "has_json",
    "is_bare_number",
    "is_json",
    "load_json",
    "parse",
    "parse_choice",
    "parse_json",
    "parse_number",
    "parse_text",
    "text_after_answer",
]

PARSERS: tuple[Parser, ...] = get_args(Parser)


def parse(text: str, parser: str, choices: Sequence[str] = ()) -> Json:
    """The answer in `text` as `parser` (one of PARSERS) reads it; None where it cannot.

    `choices` are what the answer may be: for labels and tags the right answers of all examples.
    """
    if parser == "choice":
        return parse_choice(text, choices)
    if parser == "labels":
        labels = parse_labels(text, choices)
        return None if labels is None else [*labels]
    if parser == "tags":
        tagged = parse_tags(text, choices)
        return None if tagged is None else [[*pair] for pair in tagged]
    if parser == "number":
        return parse_number(text)
    return parse_json(text) if parser == "json" else parse_text(text)


def parse_text(text: str) -> str:
    """The text without the white space around it."""
    return text.strip()


def parse_choice(text: str, choices: Sequence[str]) -> str | None:
    """The choice that the text gives as its answer, by the rules of `reading/choices.py`."""
    found = find_choice(text, choices)
    return found[0] if found else None


def parse_number(text: str) -> float | None:
    """The number that the text gives as its answer, by the rules of `reading/numbers.py`."""
    found = find_number(text)
    return found[0] if found else None


def is_json(text: str) -> bool:
    """Whether the whole text is one JSON value, a code fence around it allowed."""
    try:
        load_json(text)
    except ValueError:
        return False
    return True


def has_json(text: str) -> bool:
    """Whether `parse_json` can read the text: JSON alone, or one object or list between words."""
    try:
        find_json(text)
    except ValueError:
        return False
    return True


def parse_json(text: str) -> Json:
    """The JSON value that the text gives, by the rules of `reading/json_values.py`.

    None where there is none (a bare null reads the same).
    """
    try:
        return find_json(text)[0]
    except ValueError:
        return None


def text_after_answer(
    text: str, parser: str, choices: Sequence[str] = (), one_line: bool = False
) -> str:
    """What the model went on to write after its answer, without surrounding punctuation.

    Empty where the model stopped in time, or where no answer can be read. With `one_line` every
    right answer is a single line, so that a second line of free text is more than the answer.
    """
    rest: Callable[[str, Sequence[str]], str] = {
        "choice": _after_choice,
        "number": _after_number,
        "json": _after_json,
        "text": _after_first_line if one_line else _nothing,
        "labels": lambda text, _: text_after_labels(text),
        "tags": _nothing,
    }[parser]
    return bare(fold(rest(text, choices)))


def _after_choice(text: str, choices: Sequence[str]) -> str:
    found = find_choice(text, choices)
    return found[1] if found else ""


def _after_number(text: str, _: Sequence[str]) -> str:
    found = find_number(text)
    return found[1] if found else ""


def _after_json(text: str, _: Sequence[str]) -> str:
    try:
        return find_json(text)[1]
    except ValueError:
        return ""


def _after_first_line(text: str, _: Sequence[str]) -> str:
    return text.strip().partition("\n")[2]


def _nothing(text: str, _: Sequence[str]) -> str:
    return ""
