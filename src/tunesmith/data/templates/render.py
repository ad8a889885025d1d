"""From a row to an example: a template rendered on a user's own columns."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tunesmith.data.sources.answers import is_missing, read_list
from tunesmith.data.templates import slots
from tunesmith.data.templates.environment import SEPARATOR, draw_keys, render_parts
from tunesmith.data.templates.families import Slot
from tunesmith.data.templates.label_cells import write_set
from tunesmith.data.templates.resolve import INLINE, Excluded, PromptTemplate
from tunesmith.data.templates.slots import Cell, Labels, RowChoices
from tunesmith.data.templates.tag_cells import write_tagged
from tunesmith.errors import TemplateError, did_you_mean
from tunesmith.records import Example, Row

MAX_CHOICES = 1000  # more different labels than this are free text
GROUP = Slot(type="group")
ONE_VARIABLE = re.compile(r"\s*\{\{\s*(\w+)\s*\}\}\s*")
LABEL_TYPES = ("label", "labels", "tags")
FIRST = {"choices": 0, "tokens": 1}  # a row's own choices give its labels, its words are tagged


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
    answers = _answers(template, values)
    values |= {name: texts[0] for name, texts in answers.items()}
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
    others = _other_completions(template, values, answers, keys.body, where)
    # the blanks around a template's parts are not the answer's
    exact = {text.strip(): text for texts in answers.values() for text in texts}
    references = [exact.get(text, text) for text in (*completions, *others)]
    if template.parser == "choice":
        _check_choice(references[0], own, where)
    return Example(
        id=f"{row.id}/{template.name}" if several else row.id,
        row_id=row.id,
        template=template.name,
        prompt=prompt,
        completion=references[0],
        references=tuple(dict.fromkeys(text for text in references if text)),
        choices=tuple(own) if template.parser == "choice" else (),
        group=slots.convert(GROUP, _cell(template, row, "group", GROUP, columns))
        if "group" in columns
        else row.id,
        source=row.source,
    )


def _answers(template: PromptTemplate, values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The right answers of each slot that holds any, by its name, the one to train first."""
    whole = _whole_completion(template)
    found = {
        name: values[name]
        for name, slot in template.slots
        if slot.type == "target" or name == whole
    }
    return {name: texts for name, texts in found.items() if isinstance(texts, tuple) and texts}


def _whole_completion(template: PromptTemplate) -> str:
    """The column that alone is the completion of an inline template: a list in it is alternatives,
    of which the template would write brackets and quotes.
    """
    found = ONE_VARIABLE.fullmatch(template.source.partition(SEPARATOR)[2])
    is_plain = found and dict(template.slots)[found[1]].type == "any"
    return found[1] if found and is_plain and template.name == INLINE else ""


def _other_completions(
    template: PromptTemplate,
    values: Mapping[str, Any],
    answers: Mapping[str, Sequence[str]],
    rng_key: str,
    where: str,
) -> list[str]:
    """What the template would have written with each right answer after the first in its place."""
    found: list[str] = []
    for name, texts in answers.items():
        for text in texts[1:]:
            other = {**values, name: text}
            found += render_parts(template.source, other, rng_key=rng_key, where=where)[1:]
    return found


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
    """What the template's variables are."""
    values: dict[str, Any] = {}
    own, words, whole = None, (), _whole_completion(template)
    for name, slot in sorted(template.slots, key=lambda pair: FIRST.get(pair[1].type, 2)):
        cell = _cell(template, row, name, slot, columns)
        if slot.type == "choices":
            own = slots.convert(slot, cell) or None
            values[name] = list(own.texts) if own else list(choices)
        elif own and slot.type in ("label", "labels") and not is_missing(cell.value):
            values[name] = _picked(slot, cell, own)
        elif name == whole and _is_list(cell.value):
            values[name] = slots.as_targets(cell) or ""
        else:
            values[name] = slots.convert(slot, cell, labels)
        if slot.type == "tokens":
            words = values[name]
        values[name] = _printed(slot, cell, values[name], own.texts if own else choices, words)
    return values


def _picked(slot: Slot, cell: Cell, own: RowChoices) -> str | tuple[str, ...]:
    """The right one of a row's own choices, or for `labels` all the right ones."""
    if slot.type == "label":
        return slots.pick_choice(cell, own)
    return tuple(slots.pick_choice(one, own) for one in slots.label_cells(slot, cell))


def _is_list(value: object) -> bool:
    """Whether a cell holds a list or SQuAD's answers, not a text of them."""
    return not isinstance(value, str) and read_list(value) is not None


def _printed(slot: Slot, cell: Cell, value: Any, order: Sequence[str], words: Sequence[str]) -> Any:
    """Labels, words and tags as the text that a template prints; other values as they are."""
    if not isinstance(value, tuple) or slot.type not in ("labels", "tokens", "tags"):
        return value
    try:
        if slot.type == "labels":
            return write_set(value, order)
        return write_tagged(words, value) if slot.type == "tags" else " ".join(value)
    except ValueError as error:
        raise cell.error(str(error), hint="correct it, or drop the row") from error


def collect_choices(
    rows: Iterable[Row],
    template: PromptTemplate,
    *,
    columns: Mapping[str, str],
    label_names: Labels = None,
) -> tuple[str, ...]:
    """The sorted set of labels, or of tags: the declared one, else what the rows hold.

    It is empty where the template has no label, and where each row brings its own choices.
    Raises TemplateError above MAX_CHOICES different labels.
    """
    if label_names is not None:
        return slots.declared_choices(label_names)
    labelled = ((name, slot) for name, slot in template.slots if slot.type in LABEL_TYPES)
    name, slot = next(labelled, ("", GROUP))
    if not name:
        return ()
    found: set[str] = set()
    for row in rows:
        if columns.get("choices", "choices") in row.values:
            return ()
        cell = _cell(template, row, name, slot, columns)
        value = slots.convert(slot, cell)
        found.update(value if isinstance(value, tuple) else (value,))
        if len(found) > MAX_CHOICES:
            raise TemplateError(
                f"{row.source}: the column {cell.column!r} "
                f"has more than {MAX_CHOICES} different labels",
                hint="is it free text? then use the family answer or free",
            )
    if slot.type == "tags" and found and all(tag.isdigit() for tag in found):
        raise TemplateError(
            f"{template.name}: the tags are numbers, {', '.join(sorted(found)[:3])}",
            hint="name them in data.labels, in order: [O, B-PER, I-PER]",
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
