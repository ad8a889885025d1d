"""Rows without an answer, put into the prompt that a run's rows were put into.

A template renders prompt and answer together, and a metric may need the answer's type. So a row
without labels borrows an answer: that of a training row. A row that has labels gets the same, and
no prediction can depend on them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.data.build import Rendering, render_source_row
from tunesmith.data.plan import Source, plan_sources
from tunesmith.data.sources.cells import is_blank
from tunesmith.data.sources.formats import COLUMNS
from tunesmith.data.sources.members import Rows
from tunesmith.data.sources.messages import KEYS, ROLES
from tunesmith.data.templates.resolve import Excluded
from tunesmith.data.templates.slots import Cell, as_choices, read_cell
from tunesmith.data.templates.tag_cells import words_in
from tunesmith.errors import DataError, did_you_mean
from tunesmith.recipe import DataConfig
from tunesmith.records import Row


@dataclass(frozen=True)
class Asking:
    """How rows of one task become prompts: as the rows of `source` did, in its first wording.
    `borrowed` are the answer's columns of a row that was trained on.
    """

    source: Source
    data: DataConfig
    borrowed: Mapping[str, Any]


def asking(data: DataConfig, rows: Rows, task: str | None) -> Asking:
    """How a run asks. `rows` are those that it was prepared from; `task` names one of a mixture.

    Raises DataError where a mixture's task is not named, or is not one of the run's.
    """
    numbered = [(n, s) for n, s in enumerate(plan_sources(data, rows)) if not s.is_replay]
    first_of = {source.task: (number, source) for number, source in reversed(numbered)}
    if task is None and len(first_of) > 1:
        raise DataError(
            f"the run has {len(first_of)} tasks: {', '.join(sorted(first_of))}",
            hint="say with --task which one the rows are of",
        )
    name = next(iter(first_of)) if task is None else task
    if name not in first_of:
        raise DataError(f"the run has no task {name!r}", hint=did_you_mean(name, first_of))
    number, source = first_of[name]
    seen = next(rows.read(number)).values
    wording = next((t for t in source.templates if not t.held_out), None)
    one = source.templates[:1] if wording is None else (wording,)
    how = Asking(replace(source, templates=one, split="train"), data, {})
    answers = {*source.targets} - {*_slot_columns(how, "choices")}
    return replace(how, borrowed={name: seen[name] for name in seen if name in answers})


def question(how: Asking, row: Row) -> Rendering | Excluded:
    """The prompt of a row; Excluded where a text that it needs is empty.

    Raises TemplateError or DataError naming file:line for values that cannot be used.
    """
    _check_there(how, row)
    values = {**row.values, **how.borrowed, **_own_choice(how, row), **_as_many_tags(how, row)}
    values |= _with_reply(how, row)
    # of a conversation with several answers, the last is the one that is asked for
    return render_source_row(how.source, replace(row, values=values), "train", how.data)[-1]


def _check_there(how: Asking, row: Row) -> None:
    slots = how.source.templates[0].slots if how.source.templates else ()
    for name, slot in slots:
        column = how.source.columns.get(name, name)
        if slot.required and column in how.source.inputs and column not in row.values:
            raise DataError(
                f"{row.source}: no column {column!r}, which the prompt is made of",
                hint=did_you_mean(column, row.values),
            )


def _slot_columns(how: Asking, *types: str) -> list[str]:
    slots = how.source.templates[0].slots if how.source.templates else ()
    return [how.source.columns.get(name, name) for name, slot in slots if slot.type in types]


def _own_choice(how: Asking, row: Row) -> dict[str, Any]:
    """The first of the row's own choices as its answer, where rows bring them along."""
    labels = _slot_columns(how, "label", "labels")
    for column in _slot_columns(how, "choices"):
        if labels and not is_blank(row.values.get(column)):
            options = as_choices(Cell(row.values[column], column, row.source))
            return {labels[0]: options.texts[0]}
    return {}


def _as_many_tags(how: Asking, row: Row) -> dict[str, Any]:
    """A tag for each word: any will do, but there must be as many."""
    words, tags = _slot_columns(how, "tokens"), _slot_columns(how, "tags")
    if not words or not tags or is_blank(row.values.get(words[0])):
        return {}
    cell = Cell(row.values[words[0]], words[0], row.source)
    return {tags[0]: [how.source.choices[0]] * len(read_cell(cell, words_in))}


def _with_reply(how: Asking, row: Row) -> dict[str, Any]:
    """The conversation with an answer at its end, where it ends with a question."""
    fmt = how.source.fmt
    if fmt not in ("messages", "sharegpt"):
        return {}
    column, (role, text) = COLUMNS[fmt][0], KEYS[fmt]
    cell = row.values.get(column)
    try:
        turns = json.loads(cell) if isinstance(cell, str) else cell
    except ValueError:
        return {}  # whoever reads the row says what is wrong with it
    if not isinstance(turns, list) or not turns or not isinstance(turns[-1], dict):
        return {}
    if ROLES[fmt].get(str(turns[-1].get(role))) == "assistant":
        return {}
    return {column: [*turns, {role: "assistant", text: "-"}]}
