"""Exact match, final number, valid JSON and fields of JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tunesmith.evaluate.metrics.base import (
    Answers,
    Metric,
    best_over_references,
    is_json,
    per_example,
)
from tunesmith.evaluate.parse import load_json, parse_number


def exact_match(answers: Answers) -> list[float]:
    """1 where the answer is one of the references, letter by letter; white space around both does
    not count.
    """
    return best_over_references(answers, lambda text, reference: float(text == reference))


def number(answers: Answers) -> list[float]:
    """1 where the final number of the answer is that of a reference."""
    references = answers.parsed_references("number")
    return [
        float(parse_number(text) in wanted)
        for text, wanted in zip(answers.texts, references, strict=True)
    ]


def valid_json(answers: Answers) -> list[float]:
    return [float(is_json(text)) for text in answers.texts]


def json_f1(answers: Answers) -> list[float]:
    """F1 over fields: the pairs (path, value) at the leaves, as multisets; 0 where the answer is
    not JSON.
    """
    references = answers.parsed_references("json")
    return [
        max(_field_f1(text, r) for r in row)
        for text, row in zip(answers.texts, references, strict=True)
    ]


def _field_f1(text: str, reference: Any) -> float:
    if not is_json(text):
        return 0.0
    found, wanted = Counter(_fields(load_json(text))), Counter(_fields(reference))
    return 2 * (found & wanted).total() / (found.total() + wanted.total())


def _fields(value: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """(path, kind, value) of every leaf. Plain values in a list have no order; objects in a list
    keep their place.

    The kind keeps true apart from 1; strings are stripped; an empty object or list is a leaf.
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
    "exact_match": per_example(exact_match, binary=True),
    "number": per_example(number, binary=True),
    "valid_json": per_example(valid_json, binary=True),
    "json_f1": per_example(json_f1),
}
