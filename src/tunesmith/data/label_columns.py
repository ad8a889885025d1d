"""A column with several labels a row: what stands between them, and each row's set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tunesmith.data.sources.answers import is_missing
from tunesmith.data.templates.families import Slot
from tunesmith.data.templates.label_cells import find_separator, write_set
from tunesmith.data.templates.resolve import PromptTemplate
from tunesmith.data.templates.slots import Cell, Labels, convert, declared_choices
from tunesmith.records import Row


def labels_slot(templates: Sequence[PromptTemplate]) -> tuple[str, Slot] | None:
    """The name and the slot of the first template's label sets; None for other tasks."""
    found = (pair for pair in (templates[0].slots if templates else ()) if pair[1].type == "labels")
    return next(found, None)


def separator_of(templates: Sequence[PromptTemplate]) -> str:
    """What stands between the labels of a text cell; "" where nothing does."""
    found = labels_slot(templates)
    return found[1].separator if found else ""


def inspect_separator(
    templates: Sequence[PromptTemplate],
    columns: Mapping[str, str],
    labels: Labels,
    rows: Iterable[Row],
) -> tuple[str, str]:
    """What stands between the labels in the rows' text cells, and a note that says so.

    Both are "" for other tasks, for lists, and where the family names its separator. A text that is
    itself a declared label is not cut.
    """
    found = labels_slot(templates)
    if found is None or found[1].separator:
        return "", ""
    column = columns.get(found[0], found[0])
    declared = {*declared_choices(labels)}
    values = (row.values.get(column) for row in rows)
    separator = find_separator(v for v in values if not (isinstance(v, str) and v in declared))
    if not separator:
        return "", ""
    note = (
        f"the labels in {column!r} are taken to be separated by {separator!r}; "
        "data.label_separator names another"
    )
    return separator, note


def with_separator(
    templates: Sequence[PromptTemplate], separator: str
) -> tuple[PromptTemplate, ...]:
    """The templates with this separator in their slots for label sets, where they have none."""

    def changed(slot: Slot) -> Slot:
        is_open = slot.type == "labels" and not slot.separator
        return slot.model_copy(update={"separator": separator}) if is_open else slot

    return tuple(
        replace(template, slots=tuple((name, changed(slot)) for name, slot in template.slots))
        for template in templates
    )


def label_set(
    templates: Sequence[PromptTemplate], column: str, mapped: Mapping[str, str], row: Row,
    labels: Labels,
) -> str | None:  # fmt: skip
    """The row's labels as one text, the same whatever their order; None where `column` holds no
    label sets. Raises TemplateError as `slots.convert`.
    """
    found = labels_slot(templates)
    if found is None or mapped.get(found[0], found[0]) != column:
        return None
    value = row.values.get(column)
    if is_missing(value):
        return ""
    names = convert(found[1], Cell(value, column, row.source), labels)
    return write_set(names) if isinstance(names, tuple) else ""
