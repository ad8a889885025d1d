"""Tables that need no template: prompt/completion, messages, ShareGPT and Alpaca columns.

The same data in each of these forms gives the same prompt, completion and history.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Literal, NamedTuple

from tunesmith.data.templates import Excluded
from tunesmith.errors import DataError, did_you_mean
from tunesmith.records import Example, Row

Format = Literal["prompt_completion", "messages", "sharegpt", "alpaca"]

COLUMNS: dict[Format, tuple[str, ...]] = {
    "prompt_completion": ("prompt", "completion"),
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "alpaca": ("instruction", "output"),
}
ROLES = {
    "messages": {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"},
    "sharegpt": {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"},
}
KEYS = {"messages": ("role", "content"), "sharegpt": ("from", "value")}


class Turn(NamedTuple):
    role: str
    content: str


def detect_format(columns: Collection[str]) -> Format | None:
    """The form whose columns are all there, in the order of `COLUMNS`; None when the table needs a template."""
    for name, needed in COLUMNS.items():
        if all(column in columns for column in needed):
            return name
    return None


def format_examples(fmt: str, row: Row) -> list[Example | Excluded]:
    """One example for each answer in the row: a conversation with k assistant turns gives k.

    An example's `history` holds the turns before its prompt. All have the row's id as `group`. An empty answer is
    Excluded. Raises DataError naming file:line for bad cells, unknown roles and turns out of order.
    """
    if fmt == "prompt_completion":
        turns = [Turn("user", _text(row, "prompt")), Turn("assistant", _text(row, "completion"))]
    elif fmt == "alpaca":
        turns = _alpaca_turns(row)
    else:
        turns = _conversation(fmt, row)
    answers = [i for i, turn in enumerate(turns) if turn.role == "assistant"]
    return [
        _example(fmt, row, turns[: i + 1], f"{row.id}/{k}" if len(answers) > 1 else row.id)
        for k, i in enumerate(answers, start=1)
    ]


def _example(fmt: str, row: Row, turns: list[Turn], example_id: str) -> Example | Excluded:
    *history, prompt, answer = turns
    if not answer.content:
        return Excluded(row.id, fmt, "the completion is empty", row.source)
    return Example(
        id=example_id,
        row_id=row.id,
        template=fmt,
        prompt=prompt.content,
        completion=answer.content,
        references=(answer.content,),
        history=tuple((turn.role, turn.content) for turn in history),
        group=row.id,
        source=row.source,
    )


def _alpaca_turns(row: Row) -> list[Turn]:
    instruction = _text(row, "instruction")
    extra = "" if row.values.get("input") is None else _text(row, "input")
    prompt = f"{instruction}\n\n{extra}" if extra else instruction
    return [Turn("user", prompt), Turn("assistant", _text(row, "output"))]


def _conversation(fmt: str, row: Row) -> list[Turn]:
    column = COLUMNS[fmt][0]  # type: ignore[index]
    cell = row.values.get(column)
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{row.source}: {column} is not JSON: {error.msg} at character {error.pos}",
                hint=f"a list of {_shape(fmt)}",
            ) from error
    if not isinstance(cell, list) or not cell:
        found = "an empty list" if cell == [] else type(cell).__name__
        raise DataError(f"{row.source}: {column} is {found}", hint=f"a list of {_shape(fmt)}")
    turns = [_turn(fmt, row, number, item) for number, item in enumerate(cell, start=1)]
    _check_order(row, column, turns)
    return turns


def _turn(fmt: str, row: Row, number: int, item: Any) -> Turn:
    role_key, content_key = KEYS[fmt]
    where = f"{row.source}: turn {number}"
    if not isinstance(item, dict) or role_key not in item or content_key not in item:
        raise DataError(f"{where} is not {_shape(fmt)}: {str(item)[:60]}", hint=f"keys: {role_key}, {content_key}")
    role = ROLES[fmt].get(str(item[role_key]))
    if role is None:
        raise DataError(f"{where}: unknown role {item[role_key]!r}", hint=did_you_mean(str(item[role_key]), ROLES[fmt]))
    return Turn(role, _content(item[content_key], where))


def _content(value: Any, where: str) -> str:
    """Text, or OpenAI's list of parts where all of them are text."""
    if isinstance(value, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in value):
        value = "".join(part["text"] for part in value)
    if not isinstance(value, str):
        raise DataError(f"{where}: the content is {type(value).__name__}, expected text", hint="only text is trained")
    return value.strip()


def _check_order(row: Row, column: str, turns: list[Turn]) -> None:
    """An optional system turn, then user and assistant in turn, ending with the assistant."""
    start = 1 if turns[0].role == "system" else 0
    for i, turn in enumerate(turns[start:]):
        expected = "assistant" if i % 2 else "user"
        if turn.role != expected:
            raise DataError(
                f"{row.source}: turn {start + i + 1} of {column} is {turn.role}, expected {expected}",
                hint="an optional system turn, then user and assistant alternate",
            )
    if turns[-1].role != "assistant":
        raise DataError(
            f"{row.source}: {column} ends with a {turns[-1].role} turn", hint="the last turn is the answer to train on"
        )


def _shape(fmt: str) -> str:
    role, content = KEYS[fmt]
    return f'{{"{role}": ..., "{content}": ...}}'


def _text(row: Row, column: str) -> str:
    value = row.values.get(column)
    if isinstance(value, list | dict):
        raise DataError(
            f"{row.source}: {column} is a {type(value).__name__}, expected text",
            hint="a conversation belongs in a column named messages",
        )
    if value is None or value != value:  # NaN, the missing value of some tables, differs from itself
        raise DataError(f"{row.source}: {column} has no value", hint="fill it, or drop the row")
    return str(value).strip()
