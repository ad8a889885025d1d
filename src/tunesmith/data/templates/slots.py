"""What a cell of a table becomes in a template, by the type of the slot it fills.

Text is stripped; a row with a missing or blank value in a required slot is left out, and counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeVar

from tunesmith.data.sources.answers import alternatives, printed_text, read_list, read_written
from tunesmith.data.sources.cells import (
    integer,
    is_blank,
    is_missing,
    json_text,
    label_text,
    number,
    plain_text,
    truth,
)
from tunesmith.data.templates.families import Slot
from tunesmith.data.templates.label_cells import split_labels
from tunesmith.data.templates.tag_cells import tags_in, words_in
from tunesmith.errors import TemplateError, did_you_mean

Labels = Sequence[str] | Mapping[str, str] | None
"""`data.labels`: the names of the integers 0..k-1, or raw value -> name.

None where the column holds the names.
"""

Read = TypeVar("Read")
YAML_TRUTHS = ("yes", "no", "on", "off", "y", "n")
"""Words that are truth values in YAML 1.1 where nobody quotes them."""
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

    A missing or blank value fills an optional slot with its default; in a required slot it is "".
    `choices` give RowChoices, `target` a tuple of texts (all the right answers), `labels` a
    tuple of label names, `tokens` and `tags` tuples, everything else what the template prints.
    """
    if slot.type == "any":  # a None is the template's business: it may test for it
        return cell.value
    if is_blank(cell.value):
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
    return read_cell(cell, printed_text).strip()


def as_key(cell: Cell) -> str:
    """What an id or a group is called: 1, 1.0 and "1.0" are the same one."""
    return read_cell(cell, label_text)


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
    are_truths = len(found) > 1 and all(isinstance(item, bool) for item in found)
    is_one_each = labels is not None and len(found) == len(labels) > 2
    if are_truths or (is_one_each and set(map(label_text, found)) <= {*"01"}):
        raise cell.error(
            f"has {len(found)} zeros and ones, one for each label",
            hint="list the labels that apply instead, by name or by position",
        )
    return _parts(cell, found)


def _parts(cell: Cell, values: Sequence[Any]) -> list[Cell]:
    return [Cell(value, cell.column, cell.source) for value in values]


def as_number(cell: Cell) -> int | float:
    """A finite number; whole ones as int, so that 4.0 prints as 4."""
    found = number(cell.value)
    if found is None:
        comma = isinstance(cell.value, str) and number(cell.value.replace(",", ".")) is not None
        raise cell.error(
            f"is {cell.value!r}, which is no number",
            hint="write decimals with a point, and nothing between thousands"
            if comma
            else "correct it, or use the family classify",
        )
    return found


def as_json(cell: Cell) -> str:
    """JSON text: a string must hold valid JSON and stays as it is, other values are written."""
    if not isinstance(cell.value, str):
        return read_cell(cell, json_text)
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
    """A list of texts, or {"text": [...], "label": [...]} as some data sets have; either also as
    JSON or Python text.
    """
    value: Any = read_written(cell.value) if isinstance(cell.value, str) else cell.value
    keys: list[Any] = []
    if isinstance(value, dict):
        value, keys = value.get("text"), value.get("label") or []
    value = list(value) if isinstance(value, tuple) else value
    if not isinstance(value, list) or len(value) < 2 or any(is_missing(item) for item in value):
        raise cell.error(
            f"is no list of choices: {str(cell.value)[:60]!r}",
            hint='two or more, e.g. ["tea", "milk"]',
        )
    return RowChoices(tuple(map(label_text, value)), tuple(map(label_text, keys)))


CONVERSIONS = {
    "text": as_text,
    "question": as_text,
    "context": as_text,
    "id": as_key,
    "group": as_key,
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
    digits = next((name for name in names if integer(label_text(name)) is not None), None)
    if digits is not None:
        raise TemplateError(
            f"labels is a list with the number {digits!r}: "
            f"is a {digits} in the table a name or a position?",
            hint=f'map them instead, for example labels: {{"{digits}": "{digits}"}}',
        )


def declared_choices(labels: Labels) -> tuple[str, ...]:
    """The declared set of label names, sorted; empty where none is declared."""
    return tuple(sorted(set(labels.values() if isinstance(labels, Mapping) else labels or ())))


def label_name(cell: Cell, labels: Labels) -> str:
    """The name of a raw label. With a list: a position from 0, or one of its names; with a mapping:
    one of its keys. Numbers and truth values are equal in every spelling (`label_text`, `truth`).

    TemplateError for -1 (unless it is declared), a position out of range, a value that is not
    declared, and a list.
    """
    if isinstance(labels, Mapping):
        return _mapped(cell, {label_text(key): name for key, name in labels.items()})
    if labels is not None:
        return _listed(cell, labels)
    raw = _raw_label(cell)
    if raw == "-1":
        raise _unlabelled(cell)
    return raw


def _raw_label(cell: Cell, declared: Collection[str] = ()) -> str:
    """The label's text; TemplateError for a list or an object, unless that text is declared."""
    value = cell.value
    if isinstance(value, str) and value.strip() in declared:
        return value.strip()
    kind = _kind_of_several(value)
    if kind:
        raise cell.error(
            f"holds a {kind}, {plain_text(value)[:60]}, where one label is wanted",
            hint="several labels a row are the family multi_label_classify",
        )
    return read_cell(cell, label_text)


def _kind_of_several(value: object) -> str:
    """What holds several values: a list, an object, or nothing (""), also where it is text."""
    if isinstance(value, str) and value.lstrip()[:1] not in ("[", "{"):
        return ""  # nearly all labels, and the next two are slow
    if read_list(value) is not None:
        return "list"
    written = read_written(value) if isinstance(value, str) else value
    return "object" if isinstance(written, Mapping) else ""


def _unlabelled(cell: Cell) -> TemplateError:
    return cell.error(
        "is -1, which marks a row without a label",
        hint="drop the row, or map -1 to a name in labels",
    )


def _mapped(cell: Cell, names: Mapping[str, str]) -> str:
    raw = _raw_label(cell, names)
    if raw in names:
        return names[raw]
    is_true = truth(raw)
    # true is 1, but never the other way round: a 1 in the table may be anything
    same = [key for key in names if is_true is not None and truth(key) is is_true]
    if is_true is not None and (same or str(int(is_true)) in names):
        return names[(same or [str(int(is_true))])[0]]
    unquoted = raw.lower() in YAML_TRUTHS and any(truth(key) is not None for key in names)
    raise cell.error(
        f"is {raw!r}, which labels does not map",
        hint="quote yes and no in labels: without quotes they are true and false in YAML"
        if unquoted
        else did_you_mean(raw, names),
    )


def _listed(cell: Cell, labels: Sequence[str]) -> str:
    raw = _raw_label(cell, labels)
    if raw in labels:
        return raw
    is_true = truth(raw)
    if is_true is not None:
        same = [name for name in labels if truth(name) is is_true]
        if same:
            return same[0]
        raise cell.error(
            f"is {raw}, and labels is a list, which names the integers 0, 1, 2 ... in order",
            hint="map them instead: labels: {true: NAME, false: NAME}",
        )
    position = integer(raw)
    if position == -1:
        raise _unlabelled(cell)
    if position is None:
        raise cell.error(
            f"is {raw!r}, which is not one of the labels", hint=did_you_mean(raw, labels)
        )
    if not 0 <= position < len(labels):
        raise cell.error(
            f"is {position}, outside 0 to {len(labels) - 1}",
            hint=f"labels names {len(labels)} integers",
        )
    return labels[position]


def pick_choice(cell: Cell, choices: RowChoices) -> str:
    """The right one of a row's own choices, given by its text, its key, its position from 0, or its
    letter.
    """
    raw = _raw_label(cell, (*choices.texts, *choices.keys))
    if raw in choices.texts:
        return raw
    if raw in choices.keys:
        return choices.texts[choices.keys.index(raw)]
    number_of = integer(raw)
    position = number_of if number_of is not None else LETTERS.find(raw) if len(raw) == 1 else -1
    if not 0 <= position < len(choices.texts):
        raise cell.error(
            f"is {raw!r}, which is none of the row's {len(choices.texts)} choices: "
            f"{', '.join(choices.texts)[:80]}",
            hint="give the choice's text, its position from 0, or its letter",
        )
    return choices.texts[position]
