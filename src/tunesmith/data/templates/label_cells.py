"""Cells with any number of labels: how they are read, and how a set of labels is written.

A set is written one label a line, so that labels with commas in them can be told apart, in the
order of the label list. The empty set is the word `none`, which therefore is no label.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tunesmith.data.sources.answers import is_missing, read_list

NONE = "none"
SEPARATORS = ("\n", "|", ";", ",")
"""What may stand between the labels of a text, by preference: the first that occurs in a column."""


def split_labels(value: object, separator: str = "") -> list[Any]:
    """The raw labels in a cell: the items of a list, the parts of a separated text, or the one
    value that the cell is. Blank ones and `none` are left out.

    An object gives the keys whose values are true or 1. Raises ValueError where an item of a list
    is missing, where `none` stands beside a label, and for other objects.
    """
    items = read_list(value)
    if isinstance(value, Mapping) and items is None:
        if any(there not in (0, 1) for there in value.values()):
            raise ValueError(f"is an object and no list of labels: {str(value)[:60]}")
        items = [label for label, there in value.items() if there]
    elif items is None:
        is_separated = isinstance(value, str) and separator
        items = str(value).split(separator) if is_separated else [value]
    elif any(is_missing(item) for item in items):
        raise ValueError("has a list with a missing label")
    kept = [item for item in items if str(item).strip()]
    labels = [item for item in kept if not is_none(item)]
    if labels and len(labels) < len(kept):
        raise ValueError(f"has {NONE!r}, which means no label, beside {str(labels[0])!r}")
    return labels


def is_none(value: object) -> bool:
    """Whether a value is the word for the empty set."""
    return isinstance(value, str) and value.strip().casefold() == NONE


def find_separator(values: Iterable[object]) -> str:
    """The first of SEPARATORS that stands in a text that is no list; "" where none does."""
    found: set[str] = set()
    for value in values:
        if isinstance(value, str) and read_list(value) is None:
            text = value.strip()
            found.update(separator for separator in SEPARATORS if separator in text)
            if SEPARATORS[0] in found:
                break
    return next((separator for separator in SEPARATORS if separator in found), "")


def write_set(labels: Iterable[str], order: Sequence[str] = ()) -> str:
    """One label a line, each once: those in `order` as they stand there, then the others, sorted.

    Raises ValueError for a label of several lines.
    """
    place = {label: i for i, label in enumerate(order)}
    found = sorted(set(labels), key=lambda label: (place.get(label, len(place)), label))
    for label in found:
        if "\n" in label:
            raise ValueError(f"has the label {label!r}, which is more than one line")
    return "\n".join(found) or NONE


def read_set(text: str) -> frozenset[str]:
    """The labels that `write_set` wrote."""
    lines = (line.strip() for line in text.split("\n"))
    return frozenset(line for line in lines if line) if not is_none(text) else frozenset()
