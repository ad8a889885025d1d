"""What is odd about a column's labels, said before anything is trained.

A label is a class because somebody wrote it, so nothing is merged or left out here: each finding
names what was found and the one line of the recipe that settles it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import yaml

from tunesmith.data.sources.cells import NULL_WORDS, integer

MAX_SHOWN = 20
"""Labels that a remedy spells out; of more it shows the beginning."""
_ENDS = " \t.,:;!?\"'`*_-()[]\u00ab\u00bb\u201c\u201d\u201e\u2018\u2019"


@dataclass
class SeenLabel:
    """How many rows have a label, and where the first of them stands (`file:line`)."""

    first: str
    rows: int = 0


def label_notes(column: str, seen: Mapping[str, SeenLabel]) -> list[str]:
    """Words for "no value", spellings of one label, and bare numbers among the labels of a column
    for which the recipe names none.
    """
    found = [_null_note(column, seen), *_spelling_notes(column, seen), _number_note(column, seen)]
    return [note for note in found if note]


def _null_note(column: str, seen: Mapping[str, SeenLabel]) -> str:
    nulls = {label: at for label, at in seen.items() if label.casefold() in NULL_WORDS}
    if not nulls:
        return ""
    total = sum(at.rows for at in seen.values())
    listed = ", ".join(f"{label!r} ({_count(at, total)})" for label, at in nulls.items())
    return (
        f"the column {column!r} has the label {listed}, which often means that there is none, and "
        "is trained as a class: empty the cells of rows without a label, "
        "or name it among data.labels"
    )


def _count(at: SeenLabel, total: int) -> str:
    return f"{at.rows:,} of {total:,} rows, {at.rows / total:.1%}, first {at.first}"


def _spelling_notes(column: str, seen: Mapping[str, SeenLabel]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for label in seen:
        groups.setdefault(same_spelling(label), []).append(label)
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        return []
    listed = "; ".join(
        ", ".join(f"{label!r} ({seen[label].rows:,}, first {seen[label].first})" for label in group)
        for group in several
    )
    names = {
        label: max(group, key=lambda one: (seen[one].rows, one))
        for group in groups.values()
        for label in group
    }
    return [
        f"the column {column!r} spells labels in several ways, each of which is a class of its "
        f"own: {listed}; one name for each: data.labels: {_one_line(names)}"
    ]


def same_spelling(label: str) -> str:
    """What different spellings of one label share: no case, accents composed, one kind of space
    (also for `_` and `-` between words), no punctuation at the ends.
    """
    folded = unicodedata.normalize("NFKC", label).casefold()
    if integer(folded) is not None:  # -1 is not 1
        return folded
    return " ".join(re.sub(r"(?<=\w)[-_](?=\w)", " ", folded).strip(_ENDS).split()) or folded


def _number_note(column: str, seen: Mapping[str, SeenLabel]) -> str:
    """Labels that are all whole numbers; their names would tell the model what they mean."""
    numbers = sorted(number for label in seen if (number := integer(label)) is not None)
    if not numbers or len(numbers) < len(seen):
        return ""
    labels = [str(number) for number in numbers]
    shown = "[" + ", ".join(f"NAME OF {label}" for label in labels) + "]"
    if numbers != list(range(len(numbers))) or len(numbers) > MAX_SHOWN:
        shown = _one_line({label: f"NAME OF {label}" for label in labels})
    return (
        f"the labels in {column!r} are {_and(labels)}, which say nothing to a language model: "
        f"where they have names, give them: data.labels: {shown}"
    )


def _and(labels: list[str]) -> str:
    if len(labels) > MAX_SHOWN:
        return f"{', '.join(labels[:MAX_SHOWN])} and {len(labels) - MAX_SHOWN:,} others"
    return " and ".join([", ".join(labels[:-1]), labels[-1]] if len(labels) > 1 else labels)


def _one_line(names: Mapping[str, str]) -> str:
    """A mapping as YAML in one line, quoted where YAML needs it."""
    shown = dict(list(names.items())[:MAX_SHOWN])
    text = yaml.safe_dump(
        shown, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=True
    ).strip()
    return text if len(shown) == len(names) else f"{text[:-1]}, ...}}"


def joined_labels(files: Iterable[Mapping[str, SeenLabel]]) -> dict[str, SeenLabel]:
    """The labels of all files of one task."""
    found: dict[str, SeenLabel] = {}
    for seen in files:
        for label, at in seen.items():
            found.setdefault(label, SeenLabel(at.first)).rows += at.rows
    return found
