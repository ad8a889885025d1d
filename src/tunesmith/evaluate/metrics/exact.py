"""Exact match, final number, valid JSON and fields of JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tunesmith.evaluate.metrics.base import (
    Answers,
    Metric,
    best_over_references,
    per_example,
)
from tunesmith.evaluate.parse import Json, has_json, is_json, parse_json, parse_number


def exact_match(answers: Answers) -> list[float]:
    """1 where the answer is one of the references, letter by letter, both stripped."""
    return best_over_references(answers, lambda text, reference: float(text == reference))


def number(answers: Answers) -> list[float]:
    """1 where the final number of the answer is that of a reference."""
    references = answers.parsed_references("number")
    return [
        float(parse_number(text) in wanted)
        for text, wanted in zip(answers.texts, references, strict=True)
    ]


def valid_json(answers: Answers) -> list[float]:
    """1 where the whole answer is one JSON value, a code fence around it allowed.

    Stricter than the reader of answers, which `json_f1` uses and which also finds JSON between
    other words: a program that is given the answer would fail on these.
    """
    return [float(is_json(text)) for text in answers.texts]


def json_f1(answers: Answers) -> list[float]:
    """F1 of the two multisets of fields, (path, value) at the leaves; the best of the references.

    0 where no JSON can be read in the answer.
    """
    references = answers.parsed_references("json")
    return [
        max(_field_f1(text, r) for r in row)
        for text, row in zip(answers.texts, references, strict=True)
    ]


def _field_f1(text: str, reference: Json) -> float:
    if not has_json(text):
        return 0.0
    found, wanted = Counter(_fields(parse_json(text))), Counter(_fields(reference))
    return 2 * (found & wanted).total() / (found.total() + wanted.total())


def _fields(value: Json, path: str = "") -> Iterator[tuple[str, str, str | float]]:
    """(path, kind, value) of every leaf; the kind tells true from 1.

    Plain values in a list have no order, objects in a list keep their position. Strings are
    stripped; an empty object or list is a leaf.
    """
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _fields(inner, f"{path}.{key}")
    elif isinstance(value, list) and value:
        for place, inner in enumerate(value):
            yield from _fields(inner, f"{path}[{place if isinstance(inner, (dict, list)) else ''}]")
    elif isinstance(value, str):
        yield path, "text", value.strip()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, "number", value
    else:
        yield path, "other", repr(value)


METRICS: dict[str, Metric] = {
    "exact_match": Metric(
        "Exact match",
        per_example(exact_match),
        binary=True,
        parsers=("text", "choice", "number", "json"),
    ),
    "number": Metric("Final number right", per_example(number), binary=True, parsers=("number",)),
    "valid_json": Metric(
        "Valid JSON",
        per_example(valid_json),
        binary=True,
        parsers=("json",),
        uses_reference=False,
    ),
    "json_f1": Metric("Field F1", per_example(json_f1), parsers=("json",)),
}
