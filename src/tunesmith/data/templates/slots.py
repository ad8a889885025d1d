"""What a cell of a table becomes in a template, by the type of the slot it fills.

Text is stripped; a missing value (None, NaN) in a required slot is an error, a blank one excludes
the row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeVar

from tunesmith.data.sources.answers import alternatives, is_missing
from tunesmith.data.templates.families import Slot
from tunesmith.data.templates.label_cells import split_labels
from tunesmith.data.templates.tag_cells import tags_in, words_in
from tunesmith.errors import TemplateError, did_you_mean

Labels = Sequence[str] | Mapping[str, str] | None
"""`data.labels`: the names of the integers 0..k-1, or raw value -> name.

None where the column holds the names.
"""

Read = TypeVar("Read")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a table and where it comes from; `source` is `file:line`."""

    value: Any
    column: str
    source: str

    def error(self, problem: str, hint: str) -> TemplateError:
        """A TemplateError that names the place and the column before the problem."""
        return TemplateError(f"{self.source}: the column {self.column!r} {problem}", hint=hint)


@dataclass(frozen=True, slots=True)
class RowChoices:
    """The possible answers a row brings along; `keys` are the letters or numbers its data set knows
    them by.
    """

    texts: tuple[str, ...]
    keys: tuple[str, ...] = ()


def convert(slot: Slot, cell: Cell, labels: Labels = None) -> Any:
    """The cell's value for a slot of this type: see `library.SlotType`. TemplateError naming
    file:line and column.

    A missing or blank value fills an optional slot with its default; a blank one in a required slot
    is "". `choices` give RowChoices, `target` a tuple of texts (all the right answers), `labels` a
    tuple of label names, `tokens` and `tags` tuples, everything else what the template prints.
    """
    if slot.type == "any":  # a None is the template's business: it may test for it
        return cell.value
    blank = isinstance(cell.value, str) and not cell.value.strip()
    if is_missing(cell.value) and slot.required:
        empty = "write [] or none where no label applies, " if slot.type == "labels" else ""
        raise cell.error("has no value", hint=f"{empty}fill it, or drop the row")
    if blank or is_missing(cell.value):
        return "" if slot.required else slot.default
    if slot.type == "label":
        return label_name(cell, labels)
    if slot.type == "position":
        return [*(labels or ())].index(label_name(cell, labels))
    if slot.type == "labels":
        return tuple(label_name(one, labels) for one in label_cells(slot, cell, labels))
    if slot.type == "tags":
        return tuple(label_name(one, labels) for one in _parts(cell, read_cell(cell, tags_in)))
    return CONVERSIONS[slot.type](cell)


def as_text(cell: Cell) -> str:
    """Text, stripped. A list of plain values is joined by commas; other lists and objects are
    written as JSON.
    """
    value = cell.value
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list) and not any(
        isinstance(item, list | dict) or is_missing(item) for item in value
    ):
        return ", ".join(str(item).strip() for item in value)
    return (
        json.dumps(value, ensure_ascii=False, default=str)
        if isinstance(value, list | dict)
        else str(value)
    )


def read_cell(cell: Cell, read: Callable[[Any], Read]) -> Read:
    """What `read` makes of the value; its ValueError as an error that names file:line."""
    try:
        return read(cell.value)
    except ValueError as error:
        raise cell.error(str(error), hint="correct it, or drop the row") from error


def as_targets(cell: Cell) -> tuple[str, ...]:
    """All right answers, the one to train first (`alternatives`). A text is kept byte for byte, as
    it is trained.
    """
    return read_cell(cell, alternatives)


def as_words(cell: Cell) -> tuple[str, ...]:
    """The words of a list or a text (`words_in`)."""
    return tuple(read_cell(cell, words_in))


def label_cells(slot: Slot, cell: Cell, labels: Labels = None) -> list[Cell]:
    """Each of the labels in a cell as a cell of its own, for `label_name` and `pick_choice`."""
    if isinstance(cell.value, str) and cell.value.strip() in declared_choices(labels):
        return [cell]
    found = read_cell(cell, lambda value: split_labels(value, slot.separator))
    if labels is not None and len(found) == len(labels) > 2 and set(map(_plain, found)) <= {*"01"}:
        raise cell.error(
            f"has {len(found)} zeros and ones, one for each label",
            hint="list the labels that apply instead, by name or by position",
        )
    return _parts(cell, found)


def _parts(cell: Cell, values: Sequence[Any]) -> list[Cell]:
    return [Cell(value, cell.column, cell.source) for value in values]


def as_number(cell: Cell) -> int | float:
    """A finite number; whole ones as int, so that 4.0 prints as 4."""
    try:
        number = float(cell.value) if not isinstance(cell.value, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise cell.error(
            f"is {cell.value!r}, which is no number", hint="correct it, or use the family classify"
        )
    return int(number) if number.is_integer() else number


def as_json(cell: Cell) -> str:
    """JSON text: a string must hold valid JSON and stays as it is, other values are written."""
    if not isinstance(cell.value, str):
        return json.dumps(cell.value, ensure_ascii=False, default=str)
    try:
        json.loads(cell.value)
    except json.JSONDecodeError as error:
        raise cell.error(
            f"is not JSON: {error.msg} at character {error.pos}",
            hint='for example {"name": "Ada"}; text has quotes',
        ) from error
    return cell.value.strip()


def as_date(cell: Cell) -> str:
    """An ISO 8601 date or time; 05/03/2021 is refused, since it is two dates."""
    if isinstance(cell.value, date | datetime):
        return cell.value.isoformat()
    text = str(cell.value).strip()
    try:
        datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise cell.error(
            f"is {text!r}, which is no ISO date", hint="for example 2021-03-05"
        ) from error
    return text


def as_choices(cell: Cell) -> RowChoices:
    """A list of texts, the same as JSON in a cell, or {"text": [...], "label": [...]} as some data
    sets have.
    """
    value: Any = cell.value
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = None
    keys: list[Any] = []
    if isinstance(value, dict):
        value, keys = value.get("text"), value.get("label") or []
    if not isinstance(value, list) or len(value) < 2 or any(is_missing(item) for item in value):
        raise cell.error(
            f"is no list of choices: {str(cell.value)[:60]!r}",
            hint='two or more, e.g. ["tea", "milk"]',
        )
    return RowChoices(
        tuple(str(item).strip() for item in value), tuple(str(key).strip() for key in keys)
    )


CONVERSIONS = {
    "text": as_text,
    "question": as_text,
    "context": as_text,
    "id": as_text,
    "group": as_text,
    "target": as_targets,
    "tokens": as_words,
    "number": as_number,
    "json": as_json,
    "date": as_date,
    "choices": as_choices,
}


# ---- labels


def check_label_names(labels: Labels) -> None:
    """TemplateError where declared labels are empty, repeated, or integers that could be names or
    positions.
    """
    names = list(labels.values()) if isinstance(labels, Mapping) else list(labels or [])
    if labels is not None and len(set(names)) < 2:
        raise TemplateError(
            f"labels names {len(set(names))} label, expected two or more", hint="list all of them"
        )
    if isinstance(labels, Mapping):
        return
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TemplateError(
            f"labels names {twice!r} twice", hint="a list names the integers 0, 1, 2 ... in order"
        )
    number = next((name for name in names if name.lstrip("-").isdigit()), None)
    if number is not None:
        raise TemplateError(
            f"labels is a list with the number {number!r}: "
            f"is a {number} in the table a name or a position?",
            hint=f'map them instead, for example labels: {{"{number}": "{number}"}}',
        )


def declared_choices(labels: Labels) -> tuple[str, ...]:
    """The declared set of label names, sorted; empty where none is declared."""
    return tuple(sorted(set(labels.values() if isinstance(labels, Mapping) else labels or ())))


def label_name(cell: Cell, labels: Labels) -> str:
    """The name of a raw label. With a list: a position from 0, or one of its names; with a mapping:
    one of its keys.

    TemplateError for -1 (unless it is declared), a position out of range, a value that is not
    declared, and a list.
    """
    if isinstance(cell.value, list | tuple):
        raise cell.error(
            f"holds a list, {str(cell.value)[:60]}, where one label is wanted",
            hint="several labels a row are the family multi_label_classify",
        )
    raw = _plain(cell.value)
    if isinstance(labels, Mapping):
        names = {str(key): name for key, name in labels.items()}
        if raw not in names:
            raise cell.error(
                f"is {raw!r}, which labels does not map", hint=did_you_mean(raw, names)
            )
        return names[raw]
    if labels is not None and raw in labels:
        return raw
    number = int(raw) if raw.lstrip("-").isdigit() else None
    if number == -1:
        raise cell.error(
            "is -1, which marks a row without a label",
            hint="drop the row, or map -1 to a name in labels",
        )
    if labels is None:
        return raw
    if number is not None and not 0 <= number < len(labels):
        raise cell.error(
            f"is {number}, outside 0 to {len(labels) - 1}",
            hint=f"labels names {len(labels)} integers",
        )
    if number is None:
        raise cell.error(
            f"is {raw!r}, which is not one of the labels", hint=did_you_mean(raw, labels)
        )
    return labels[number]


def pick_choice(cell: Cell, choices: RowChoices) -> str:
    """The right one of a row's own choices, given by its text, its key, its position from 0, or its
    letter.
    """
    raw = _plain(cell.value)
    if raw in choices.texts:
        return raw
    if raw in choices.keys:
        return choices.texts[choices.keys.index(raw)]
    position = int(raw) if raw.isdigit() else LETTERS.find(raw) if len(raw) == 1 else -1
    if not 0 <= position < len(choices.texts):
        raise cell.error(
            f"is {raw!r}, which is none of the row's {len(choices.texts)} choices: "
            f"{', '.join(choices.texts)[:80]}",
            hint="give the choice's text, its position from 0, or its letter",
        )
    return choices.texts[position]


def _plain(value: Any) -> str:
    """A label as text: 1, 1.0 and "1" are the same label, True is 1."""
    if isinstance(value, bool | int | float) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()
