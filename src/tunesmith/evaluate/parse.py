"""From a model's text to an answer, one parser for each kind of task; None where it cannot."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NoReturn, TypeAlias, get_args

from tunesmith.data.templates.families import Parser
from tunesmith.evaluate.parse_labels import parse_labels, text_after_labels
from tunesmith.evaluate.parse_tags import parse_tags

PARSERS: tuple[Parser, ...] = get_args(Parser)

Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | bool | None"
"""A JSON value; whole numbers are covered by float."""

# A minus counts only where no word or bracket stands before it ("10-5" ends in 5); commas only
# between threes.
_NUMBER = re.compile(
    r"(?P<minus>(?<![\w)\]])[-\u2212]\$?)?"
    r"(?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\d.])\.\d+)"
    r"(?P<exponent>[eE][-+]?\d+)?"
)
_FENCE = re.compile(r"\A```[a-zA-Z]*\s*\n(.*?)\n?\s*```\Z", re.DOTALL)
_FINAL = "####"


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
    """The choice that the first non-empty line equals, or that it begins with as a whole word.

    Longer choices are tried first; case and surrounding punctuation do not count. A line that
    names a choice further on is not an answer: "not good" is not "good".
    """
    found = _find_choice(text, choices)
    return found[0] if found else None


def _find_choice(text: str, choices: Sequence[str]) -> tuple[str, str] | None:
    """The choice and what follows it on its line."""
    line = _first_line(text)
    if line in choices:
        return line, ""
    for fold in (_fold, _bare):
        folded = fold(line)
        for key, choice in _folded_choices(tuple(choices), fold):
            if folded.startswith(key) and _ends_a_word(folded, len(key)):
                return choice, folded[len(key) :]
    return None


@lru_cache(maxsize=256)
def _folded_choices(choices: tuple[str, ...], fold: Callable[[str], str]) -> list[tuple[str, str]]:
    """(folded, choice) pairs, the longest first; of two that fold alike the shorter one is kept,
    from which less was dropped.
    """
    named: dict[str, str] = {}
    for choice in sorted(choices, key=len):
        named.setdefault(fold(choice), choice)
    return sorted(
        ((key, choice) for key, choice in named.items() if key), key=lambda pair: -len(pair[0])
    )


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip().casefold())


def _bare(text: str) -> str:
    """Folded, without surrounding punctuation; a sign before a digit stays, or -1 would be 1."""
    folded = _fold(text)
    start, end = 0, len(folded)
    while start < end and not _is_word(folded[start]) and not re.match(r"[-+]\d", folded[start:]):
        start += 1
    while end > start and not _is_word(folded[end - 1]):
        end -= 1
    return folded[start:end]


def _is_word(character: str) -> bool:
    # marks too: str.isalnum is False for the vowel signs of Devanagari, Thai and others
    return character == "_" or unicodedata.category(character)[0] in "LMN"


def _ends_a_word(text: str, end: int) -> bool:
    if end == len(text):
        return True
    # 1.5 is not the choice 1
    decimals = text[end - 1].isdigit() and re.match(r"[.,]\d", text[end:])
    return not decimals and not _is_word(text[end])


def parse_number(text: str) -> float | None:
    """The first number after `####`, or without that mark the last number of the text.

    Thousands separators and $ are dropped. This is the answer format of GSM8K (Cobbe et al. 2021).
    5 and 5.0 are the same answer.
    """
    found = _find_number(text)
    return found[0] if found else None


def _find_number(text: str) -> tuple[float, str] | None:
    """The number and the text after it."""
    before, mark, after = text.partition(_FINAL)
    matches = list(_NUMBER.finditer(after if mark else before))
    if not matches:
        return None
    match = matches[0 if mark else -1]
    value = float(match["digits"].replace(",", "") + (match["exponent"] or ""))
    if math.isinf(value):
        return None
    return (-value if match["minus"] else value), match.string[match.end() :]


def load_json(text: str) -> Json:
    """The JSON value that the whole text is, with or without a code fence around it.

    Raises:
        ValueError: the text is something else, holds NaN or Infinity, or is nested too deeply.
    """
    fenced = _FENCE.match(text.strip())
    try:
        value: Json = json.loads(
            fenced.group(1) if fenced else text, parse_constant=_refuse_constant
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def is_json(text: str) -> bool:
    """Whether `load_json` can read the text."""
    try:
        load_json(text)
    except ValueError:
        return False
    return True


def parse_json(text: str) -> Json:
    """The JSON value, or None where the text is not JSON (a bare null reads the same)."""
    try:
        return load_json(text)
    except ValueError:
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


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
    return _bare(rest(text, choices))


def _after_choice(text: str, choices: Sequence[str]) -> str:
    found = _find_choice(text, choices)
    return found[1] + " " + _after_first_line(text, choices) if found else ""


def _after_number(text: str, _: Sequence[str]) -> str:
    found = _find_number(text)
    return found[1] if found else ""


def _after_json(text: str, _: Sequence[str]) -> str:
    if _FENCE.match(text.strip()):
        return ""
    start = next((match.start() for match in re.finditer(r"[\[{]", text)), None)
    if start is None:
        return ""
    try:
        return text[json.JSONDecoder().raw_decode(text, start)[1] :]
    except (ValueError, RecursionError):
        return ""


def _after_first_line(text: str, _: Sequence[str]) -> str:
    return text.strip().partition("\n")[2]


def _nothing(text: str, _: Sequence[str]) -> str:
    return ""
