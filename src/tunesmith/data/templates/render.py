"""From a row to an example: a template rendered on a user's own columns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tunesmith.data.templates import slots
from tunesmith.data.templates.environment import draw_keys, render_parts
from tunesmith.data.templates.families import Slot
from tunesmith.data.templates.resolve import Excluded, PromptTemplate
from tunesmith.data.templates.slots import Cell, Labels
from tunesmith.errors import TemplateError, did_you_mean
from tunesmith.records import Example, Row

MAX_CHOICES = 1000  # more different labels than this are free text
GROUP = Slot(type="group")


def render_row(
    template: PromptTemplate,
    row: Row,
    *,
    columns: Mapping[str, str],
    label_names: Labels = None,
    choices: Sequence[str] = (),
    seed: int = 0,
    several: bool = False,
    fit_to: int | None = None,
) -> Example | Excluded:
    """One example of one row, or why there is none.

    `choices` are the labels that rows without their own choices may take (`declared_choices`,
    `collect_choices`). `several`: the row is rendered by several templates, so the example's id
    names this one. `fit_to`: characters left in a field marked `fit`. Raises TemplateError naming
    file:line for a value that cannot be used.
    """
    values = _values(template, row, columns, label_names, choices)
    for name, slot in template.slots:
        if slot.required and slot.type != "any" and values[name] in ("", (), []):
            return Excluded(row.id, template.name, f"the slot {name!r} is empty", row.source)
    targets = values["target"] if isinstance(values.get("target"), tuple) else ()
    if targets:
        values["target"] = targets[0]
    where, keys = (
        f"{row.source}: {template.name}",
        draw_keys(seed, template.id or template.name, row.id),
    )
    own = values.get("choices", ())
    if template.answer_choices:
        own = values["answer_choices"] = render_parts(
            template.answer_choices, values, rng_key=keys.choices, where=where
        )
    prompt, *completions = render_parts(
        template.source, values, rng_key=keys.body, where=where, fit_to=fit_to
    )
    if not completions or not all(completions):  # an empty one would make an empty answer right
        reason = "the completion is empty" if completions else "the template leaves the row out"
        return Excluded(row.id, template.name, reason, row.source)
    if (
        targets and completions[0] == targets[0].strip()
    ):  # the blanks around a template's parts are not the answer's
        completions[0] = targets[0]
    if template.parser == "choice":
        _check_choice(completions[0], own, where)
    return Example(
        id=f"{row.id}/{template.name}" if several else row.id,
        row_id=row.id,
        template=template.name,
        prompt=prompt,
        completion=completions[0],
        references=tuple(
            dict.fromkeys([*completions, *(targets if completions[0] in targets else ())])
        ),
        choices=tuple(own) if template.parser == "choice" else (),
        group=slots.convert(GROUP, _cell(template, row, "group", GROUP, columns))
        if "group" in columns
        else row.id,
        source=row.source,
    )


def _check_choice(completion: str, choices: Sequence[str], where: str) -> None:
    if completion not in choices:
        raise TemplateError(
            f"{where}: the completion {completion!r} is not among the {len(choices)} choices",
            hint=did_you_mean(completion, choices) if choices else "declare them in data.labels",
        )


def _cell(
    template: PromptTemplate, row: Row, name: str, slot: Slot, columns: Mapping[str, str]
) -> Cell:
    """The row's value for a slot; None, so its default, where an optional slot has no column."""
    column = columns.get(name, name)
    if column in row.values:
        return Cell(row.values[column], column, row.source)
    if slot.required or name in columns:
        raise TemplateError(
            f"{row.source}: {template.name}: no column {column!r} in the row",
            hint=did_you_mean(column, row.values),
        )
    return Cell(None, column, row.source)


def _values(
    template: PromptTemplate,
    row: Row,
    columns: Mapping[str, str],
    labels: Labels,
    choices: Sequence[str],
) -> dict[str, Any]:
    """What the template's variables are. Choices come first, since a row's own choices give its
    label.
    """
    values: dict[str, Any] = {}
    own = None
    for name, slot in sorted(template.slots, key=lambda pair: pair[1].type != "choices"):
        cell = _cell(template, row, name, slot, columns)
        if slot.type == "choices":
            own = slots.convert(slot, cell) or None
            values[name] = list(own.texts) if own else list(choices)
        elif slot.type == "label" and own and not slots.is_missing(cell.value):
            values[name] = slots.pick_choice(cell, own)
        else:
            values[name] = slots.convert(slot, cell, labels)
    return values


def collect_choices(
    rows: Iterable[Row],
    template: PromptTemplate,
    *,
    columns: Mapping[str, str],
    label_names: Labels = None,
) -> tuple[str, ...]:
    """The sorted set of labels: the declared one, else what the rows hold.

    It is empty where the template has no label, and where each row brings its own choices.
    Raises TemplateError above MAX_CHOICES different labels.
    """
    if label_names is not None:
        return slots.declared_choices(label_names)
    slot = dict(template.slots).get("label")
    if slot is None or slot.type != "label":
        return ()
    found: set[str] = set()
    for row in rows:
        if columns.get("choices", "choices") in row.values:
            return ()
        cell = _cell(template, row, "label", slot, columns)
        found.add(slots.convert(slot, cell))
        if len(found) > MAX_CHOICES:
            raise TemplateError(
                f"{row.source}: the column {cell.column!r} "
                f"has more than {MAX_CHOICES} different labels",
                hint="is it free text? then use the family answer or free",
            )
    return tuple(sorted(found - {""}))


def assign_wording(row_id: str, n: int, seed: int) -> int:
    """Which of n wordings a row gets: a hash, so that other rows coming or going change nothing."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{row_id}".encode()).digest()[:8], "big") % n


def few_shot_prompt(exemplars: Sequence[Example], prompt: str) -> str:
    """Solved examples before a prompt: `prompt completion`, a blank line between them."""
    return "\n\n".join(
        [*(f"{example.prompt} {example.completion}" for example in exemplars), prompt]
    )
