"""What is odd about a column's labels, said before anything is trained.

A label is a class because somebody wrote it, so nothing is merged or left out here: each finding
names what was found and the one line of the recipe that settles it.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import yaml

from tunesmith.data.sources.cells import NULL_WORDS, integer
from tunesmith.records import Finding

MAX_SHOWN = 20
"""Labels that a remedy spells out; of more it shows the beginning."""
_ENDS = " \t.,:;!?\"'`*_-()[]\u00ab\u00bb\u201c\u201d\u201e\u2018\u2019"
MIN_ROWS = 20  # fewer rows may have a class each
TYPO_LIKENESS = 0.85  # of difflib: one letter less or more in four, one other letter in seven
TYPO_SHARE = 0.05  # a typo is at most this part of what was meant
MAX_COMPARED = 300  # labels; of more the pairs are too many


@dataclass
class SeenLabel:
    """How many rows have a label, and where the first of them stands (`file:line`)."""

    first: str
    rows: int = 0


def label_findings(column: str, seen: Mapping[str, SeenLabel], kind: str) -> list[Finding]:
    """What is odd among the labels of a column for which the recipe names none: words for "no
    value", spellings and typing errors of one label, bare numbers, a class for each row.

    `kind` is the type of the slot: label, labels or tags.
    """
    found = [_null_words(column, seen), _spellings(column, seen), _numbers(column, seen)]
    if kind != "tags":  # B-PER and I-PER are no typing error
        found.append(_typos(column, seen))
    if kind == "label":
        found.append(_a_class_a_row(column, seen))
    return [finding for finding in found if finding]


def _null_words(column: str, seen: Mapping[str, SeenLabel]) -> Finding | None:
    nulls = {label: at for label, at in seen.items() if label.casefold() in NULL_WORDS}
    if not nulls:
        return None
    total = sum(at.rows for at in seen.values())
    listed = ", ".join(f"{label!r} ({_count(at, total)})" for label, at in nulls.items())
    return Finding(
        "null_label",
        "warning",
        f"the column {column!r} has the label {listed}, which often means that there is none, and "
        "is trained as a class",
        tuple(at.first for at in nulls.values()),
        "empty the cells of rows without a label, or name it among data.labels",
    )


def _count(at: SeenLabel, total: int) -> str:
    return f"{at.rows:,} of {total:,} rows, {at.rows / total:.1%}, first {at.first}"


def _spellings(column: str, seen: Mapping[str, SeenLabel]) -> Finding | None:
    groups: dict[str, list[str]] = {}
    for label in seen:
        groups.setdefault(same_spelling(label), []).append(label)
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        return None
    listed = "; ".join(
        ", ".join(f"{label!r} ({_rows_at(seen[label])})" for label in group) for group in several
    )
    names = {
        label: max(group, key=lambda one: (seen[one].rows, one))
        for group in groups.values()
        for label in group
    }
    return Finding(
        "label_spelling",
        "warning",
        f"the column {column!r} spells labels in several ways, each of which is a class of its "
        f"own: {listed}",
        tuple(seen[label].first for group in several for label in group),
        f"one name for each: data.labels: {_one_line(names)}",
    )


def _rows_at(at: SeenLabel) -> str:
    return f"{at.rows:,}, first {at.first}"


def same_spelling(label: str) -> str:
    """What the spellings of one label share: no case, accents composed, one kind of space
    (also for `_` and `-` between words), no punctuation at the ends.
    """
    folded = unicodedata.normalize("NFKC", label).casefold()
    if integer(folded) is not None:  # -1 is not 1
        return folded
    return " ".join(re.sub(r"(?<=\w)[-_](?=\w)", " ", folded).strip(_ENDS).split()) or folded


def _typos(column: str, seen: Mapping[str, SeenLabel]) -> Finding | None:
    """Rare labels that are nearly the same as a common one."""
    if len(seen) > MAX_COMPARED:
        return None
    meant = {label: other for label in seen if (other := _meant(label, seen)) is not None}
    if not meant:
        return None
    listed = "; ".join(
        f"{label!r} ({_rows_at(seen[label])}) beside {other!r} ({_rows_at(seen[other])})"
        for label, other in meant.items()
    )
    names = {label: meant.get(label, label) for label in seen}
    return Finding(
        "label_typo",
        "warning",
        f"the column {column!r} has rare labels that are nearly the same as common ones: {listed}",
        tuple(seen[label].first for label in meant),
        f"where they are typing errors: data.labels: {_one_line(names)}",
    )


def _meant(label: str, seen: Mapping[str, SeenLabel]) -> str | None:
    """The label that was meant, where `label` looks like a typing error."""
    likely = [
        other
        for other, at in seen.items()
        if seen[label].rows <= TYPO_SHARE * at.rows
        and _one_slip(label.casefold(), other.casefold())
    ]
    return max(likely, key=lambda other: seen[other].rows, default=None)


def _one_slip(a: str, b: str) -> bool:
    """Whether two labels differ by a slip of the hand. Numbers (`class 1`, `class 2`) and prefixes
    (`known`, `unknown`) tell classes apart, and other spellings are `label_spelling`.
    """
    if re.search(r"\d", a + b) or a.endswith(b) or b.endswith(a):
        return False
    if same_spelling(a) == same_spelling(b):
        return False
    likeness = difflib.SequenceMatcher(None, a, b, autojunk=False)
    return likeness.real_quick_ratio() >= TYPO_LIKENESS and likeness.ratio() >= TYPO_LIKENESS


def _a_class_a_row(column: str, seen: Mapping[str, SeenLabel]) -> Finding | None:
    rows = sum(at.rows for at in seen.values())
    if rows < MIN_ROWS or 2 * len(seen) <= rows:
        return None
    one, other = list(seen.items())[:2]
    return Finding(
        "one_class_per_row",
        "error",
        f"the column {column!r} has {len(seen):,} different labels in {rows:,} rows, for example "
        f"{one[0][:60]!r} at {one[1].first} and {other[0][:60]!r} at {other[1].first}: a class "
        "with one row cannot be learnt",
        (one[1].first, other[1].first),
        "name the column of the labels in data.columns; if the answers are free text, choose "
        "another task",
    )


def _numbers(column: str, seen: Mapping[str, SeenLabel]) -> Finding | None:
    """Labels that are all whole numbers; their names would tell the model what they mean."""
    numbers = sorted(number for label in seen if (number := integer(label)) is not None)
    if not numbers or len(numbers) < len(seen):
        return None
    labels = [str(number) for number in numbers]
    shown = "[" + ", ".join(f"NAME OF {label}" for label in labels) + "]"
    if numbers != list(range(len(numbers))) or len(numbers) > MAX_SHOWN:
        shown = _one_line({label: f"NAME OF {label}" for label in labels})
    return Finding(
        "number_labels",
        "warning",
        f"the labels in {column!r} are {_and(labels)}, which say nothing to a language model",
        tuple(at.first for at in seen.values())[:2],
        f"where they have names, give them: data.labels: {shown}",
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
