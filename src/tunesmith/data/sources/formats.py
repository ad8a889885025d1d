"""Tables that need no template: prompt/completion, messages, ShareGPT and Alpaca columns.

The same data in each of these forms gives the same prompt, completion and history, byte for byte.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Literal

from tunesmith.data.sources.answers import alternatives, read_list
from tunesmith.data.sources.cells import is_missing, plain_text
from tunesmith.data.sources.messages import (
    NOT_TEXT,
    Message,
    has_text_arguments,
    is_empty,
    is_message_list,
    parse_json,
    read_messages,
    read_tools,
    unused_keys,
)
from tunesmith.data.templates.resolve import Excluded
from tunesmith.errors import DataError
from tunesmith.records import Example, Row, Turn

Format = Literal["prompt_completion", "messages", "sharegpt", "alpaca"]

COLUMNS: dict[Format, tuple[str, ...]] = {
    "prompt_completion": ("prompt", "completion"),
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "alpaca": ("instruction", "output"),
}
ANSWERS = ("completion", "output")
OPTIONAL: dict[Format, tuple[str, ...]] = {
    "prompt_completion": ("history", "system", "tools"),
    "messages": ("system", "tools"),
    "sharegpt": ("system", "tools"),
    "alpaca": ("input", "history", "system", "tools"),
}
SAME_IN_MANY_ROWS = ("system", "tools")  # their words make no two rows near-duplicates
PREFERENCES = ("chosen", "rejected")
NOT_TRAINED = (*NOT_TEXT, *PREFERENCES)


def detect_format(columns: Collection[str]) -> Format | None:
    """The form whose columns are all there, in the order of `COLUMNS`; None when the table needs a
    template.
    """
    for name, needed in COLUMNS.items():
        if all(column in columns for column in needed):
            return name
    return None


def question_columns(fmt: Format) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(columns that make two rows the same question, columns that make them the same answer)."""
    columns = (*COLUMNS[fmt], *OPTIONAL[fmt])
    return tuple(c for c in columns if c not in ANSWERS), tuple(c for c in columns if c in ANSWERS)


def format_examples(fmt: Format, row: Row) -> list[Example | Excluded]:
    """One example for each answer in the row: a conversation with k assistant turns gives k, those
    of weight 0 aside.

    An example's `history` holds the turns before its prompt. All have the row's id as `group`. An
    empty answer is Excluded, and so is a row without an answer to train. Raises DataError naming
    file:line for what cannot be read, and for what would mean something else without the columns
    that are not trained on.
    """
    _check_meaning(fmt, row)
    column = COLUMNS[fmt][-1]
    if column in ANSWERS and is_missing(row.values.get(column)):
        if is_empty(row.values.get("history")):
            return [Excluded(row.id, fmt, "the completion is empty", row.source)]
        row = replace(row, values={**row.values, column: ""})  # the turns before it have answers
    row, references = _one_answer(fmt, row)
    messages = _with_system(row, _messages(fmt, row))
    turns = [message.turn for message in messages]
    if turns[-1].role != "assistant":
        raise DataError(
            f"{row.source}: {column} ends with a {turns[-1].role} turn",
            hint="the last turn is the answer to train on",
        )
    answers = [i for i, turn in enumerate(turns) if turn.role == "assistant"]
    trained = [i for i in answers if messages[i].trained]
    asked = [
        i for i in trained if any(turn.role not in ("system", "assistant") for turn in turns[:i])
    ]
    if not asked:
        reason = (
            "no answer has a question before it"
            if trained
            else "every answer is marked not to be trained (weight 0)"
        )
        return [Excluded(row.id, fmt, reason, row.source)]
    tools = read_tools(row.values.get("tools"), row.source)
    ids = {
        i: f"{row.id}/{k}" if len(answers) > 1 else row.id for k, i in enumerate(answers, start=1)
    }
    return [
        _example(fmt, row, turns[: i + 1], ids[i], tools, references if i == answers[-1] else ())
        for i in asked
    ]


def _one_answer(fmt: Format, row: Row) -> tuple[Row, tuple[str, ...]]:
    """The row with the first of its right answers, and all of them, where `completion` or `output`
    is a list of texts.
    """
    column = COLUMNS[fmt][-1]
    value = row.values.get(column)
    items = None if isinstance(value, str) or column not in ANSWERS else read_list(value)
    in_messages = isinstance(row.values.get("prompt"), list)
    if items is None or in_messages or not all(isinstance(item, str) for item in items):
        return row, ()
    texts = alternatives(value)
    return replace(row, values={**row.values, column: texts[0] if texts else ""}), texts


def _example(
    fmt: str,
    row: Row,
    turns: list[Turn],
    example_id: str,
    tools: str,
    references: tuple[str, ...],
) -> Example | Excluded:
    *history, prompt, answer = turns
    if _is_blank(answer.content) and '"tool_calls":' not in answer.keys:
        return Excluded(row.id, fmt, "the completion is empty", row.source)
    return Example(
        id=example_id,
        row_id=row.id,
        template=fmt,
        prompt=prompt.content,
        completion=answer.content,
        references=references or (answer.content,),
        history=tuple(history),
        group=row.id,
        source=row.source,
        asked_by=prompt.role,
        prompt_keys=prompt.keys,
        answer_keys=answer.keys,
        tools=tools,
    )


# ---- the columns of each form


def _messages(fmt: Format, row: Row) -> list[Message]:
    if fmt == "messages" or fmt == "sharegpt":
        column = COLUMNS[fmt][0]
        return read_messages(fmt, row.values.get(column), column, row.source)
    if fmt == "alpaca":
        return [*_history(row), *_pair(_alpaca_prompt(row), _text(row, "output"))]
    prompt, completion = row.values.get("prompt"), row.values.get("completion")
    if is_message_list(prompt) and is_message_list(completion):
        before = read_messages("messages", prompt, "prompt", row.source)
        answers = read_messages("messages", completion, "completion", row.source)
        return [*(message._replace(trained=False) for message in before), *answers]
    return [*_history(row), *_pair(_text(row, "prompt"), _text(row, "completion"))]


def _pair(prompt: str, answer: str) -> list[Message]:
    return [
        Message(Turn("user", prompt), trained=False),
        Message(Turn("assistant", answer), trained=True),
    ]


def _alpaca_prompt(row: Row) -> str:
    instruction = _text(row, "instruction")
    extra = "" if is_empty(row.values.get("input")) else _text(row, "input")
    return instruction if _is_blank(extra) else f"{instruction}\n\n{extra}"


def _history(row: Row) -> list[Message]:
    """The turns before a single one: a list of [instruction, answer], whose answers are trained
    like any other.
    """
    cell = row.values.get("history")
    if is_empty(cell):
        return []
    expected = "a list of [instruction, answer]"
    pairs = parse_json(cell, f"{row.source}: history", expected)
    for pair in pairs if isinstance(pairs, list) else [pairs]:
        if not (
            isinstance(pair, list)
            and len(pair) == 2
            and all(isinstance(text, str) for text in pair)
        ):
            raise DataError(
                f"{row.source}: history has {str(pair)[:60]}, no pair of texts", hint=expected
            )
    return [message for prompt, answer in pairs for message in _pair(prompt, answer)]


def _with_system(row: Row, messages: list[Message]) -> list[Message]:
    """The messages after what a `system` column says."""
    if is_empty(row.values.get("system")) or _is_blank(system := _text(row, "system")):
        return messages
    first = messages[0].turn
    if first.role != "system":
        return [Message(Turn("system", system), trained=False), *messages]
    if first.content != system:
        raise DataError(
            f"{row.source}: the column system has {system[:40]!r}, "
            f"the system turn {first.content[:40]!r}",
            hint="the conversation can have one of them: drop the column, or the turn",
        )
    return messages


def _text(row: Row, column: str) -> str:
    value = row.values.get(column)
    if isinstance(value, list | dict):
        raise DataError(
            f"{row.source}: {column} is a {type(value).__name__}, expected text",
            hint="a conversation belongs in a column named messages, "
            "or as lists in both prompt and completion",
        )
    if is_missing(value):
        raise DataError(f"{row.source}: {column} has no value", hint="fill it, or drop the row")
    try:
        return plain_text(value)
    except ValueError as error:
        raise DataError(
            f"{row.source}: {column} {error}", hint="correct it, or drop the row"
        ) from error


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


# ---- columns that no form uses


def _check_meaning(fmt: Format, row: Row) -> None:
    """DataError for columns that make a row something else than a text to learn."""
    for column in NOT_TRAINED:
        if column in row.values and not is_empty(row.values[column]):
            what = "preferences are" if column in PREFERENCES else f"{column} is"
            raise DataError(
                f"{row.source}: the table has the column {column!r}, and {what} not trained",
                hint="only text is trained, answer by answer: "
                "drop the column if the rest says all there is to learn",
            )
    if fmt == "prompt_completion" and _verdict(row.values.get("label")) is False:
        raise DataError(
            f"{row.source}: label is false: the completion is an answer not to give",
            hint="every completion is trained: leave out the rows whose label is false",
        )


def _verdict(label: object) -> bool | None:
    """Of a table for KTO, where a label says whether the completion is a good one; None where it is
    something else.
    """
    return {"true": True, "false": False}.get(str(label).lower())


def unused_columns(fmt: Format, row: Row, used: Collection[str]) -> set[str]:
    """The row's columns that have a value, are none of the form's, and not in `used`, those the
    recipe names.
    """
    known = {*COLUMNS[fmt], *OPTIONAL[fmt], *used}
    if fmt == "prompt_completion" and _verdict(row.values.get("label")) is not None:
        known.add("label")
    return {
        column
        for column, value in row.values.items()
        if column not in known and not is_empty(value)
    }


def format_notes(fmt: Format, rows: Iterable[Row], used: Collection[str], path: str) -> list[str]:
    """What of these rows of a source is not used, and what is read as something else."""
    columns, keys, has_text = set[str](), set[str](), False
    for row in rows:
        columns |= unused_columns(fmt, row, used)
        for cell in (row.values.get(column) for column in COLUMNS[fmt]):
            if fmt in ("messages", "sharegpt") or is_message_list(cell):
                keys.update(unused_keys(fmt if fmt == "sharegpt" else "messages", cell))
                has_text = has_text or has_text_arguments(cell)
    notes = []
    if columns:
        notes.append(f"{path}: columns not used: {', '.join(sorted(columns))}")
    if keys:
        notes.append(f"{path}: message keys not used: {', '.join(sorted(keys))}")
    if has_text:
        notes.append(
            f"{path}: arguments of tool calls that are JSON text are read as objects, "
            "as chat templates expect"
        )
    return notes
