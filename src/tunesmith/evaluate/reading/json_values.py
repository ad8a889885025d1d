"""JSON in a text: the whole of it, in a code fence, or between a model's own words."""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn, TypeAlias

from tunesmith.evaluate.reading.characters import after_thinking

Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | bool | None"
"""A JSON value; whole numbers are covered by float."""

_FENCE = "```"
# Where this stands, JSON has begun: if it cannot be read, the answer is broken JSON, and a value
# inside it is not the answer. Other brackets ("[see above]", "{placeholder}") are words.
_BEGUN = re.compile(r"\{\s*(?:[\"'}]|\Z)|\[\s*(?:[\[{\"'\]\d-]|true\b|false\b|null\b|\Z)")
_OPENING = re.compile(r"[\[{]")
# A value that goes on like this was closed too early: {"a": 1}, "b": 2}
_GOES_ON = re.compile(r"\s*(?:[\]}:]|,\s*(?:[\"'\[{\]}]|\Z))")


def load_json(text: str) -> Json:
    """The JSON value that the whole text is, with or without a code fence around it.

    Raises:
        ValueError: the text is something else, holds NaN or Infinity, or is nested too deeply.
    """
    try:
        value: Json = _DECODER.decode(_without_fence(text.strip()))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def find_json(text: str) -> tuple[Json, str]:
    """The answer that the text gives as JSON, and what follows it.

    Either the whole text, or the one object or list between other words. Several that differ leave
    open which is the answer, and a bare scalar between words is no JSON.

    Raises:
        ValueError: there is none, several, or one that is broken.
    """
    text = after_thinking(text)
    try:
        return load_json(text), ""
    except ValueError:
        found = _values(text)
    if not found or any(value != found[0][0] for value, _ in found):
        raise ValueError("there is not one JSON value") from None
    return found[0][0], text[found[0][1] :]


def _values(text: str) -> list[tuple[Json, int]]:
    """The objects and lists that stand in the text, each with its end.

    Raises:
        ValueError: one of them is broken.
    """
    found: list[tuple[Json, int]] = []
    place = 0
    while match := _OPENING.search(text, place):
        place = match.start()
        if not _BEGUN.match(text, place):
            place += 1
            continue
        try:
            value, place = _DECODER.raw_decode(text, place)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        if _GOES_ON.match(text, place):
            raise ValueError("broken JSON")
        found.append((value, place))
    return found


def _without_fence(text: str) -> str:
    if not (text.startswith(_FENCE) and text.endswith(_FENCE) and "\n" in text):
        return text
    language, _, inner = text.removesuffix(_FENCE).partition("\n")
    return inner if re.fullmatch(r"```[a-zA-Z]*\s*", language) else text


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse(digits)


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
