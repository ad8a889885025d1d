"""The messages of a conversation: role and text, the other keys that a chat template may read, and
what is trained.

Texts are kept byte for byte: some chat templates trim them and some do not, and the template
decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tunesmith.data.sources.cells import is_missing
from tunesmith.errors import DataError, did_you_mean
from tunesmith.records import Turn

ROLES = {
    "messages": {
        "system": "system",
        "developer": "system",
        "user": "user",
        "assistant": "assistant",
        "tool": "tool",
        "function": "function",
        "ipython": "ipython",
    },
    "sharegpt": {
        "system": "system",
        "human": "user",
        "user": "user",
        "gpt": "assistant",
        "assistant": "assistant",
        "function_call": "assistant",
        "observation": "tool",
        "tool": "tool",
    },
}
KEYS = {"messages": ("role", "content"), "sharegpt": ("from", "value")}
CALLS = ("tool_calls", "function_call")  # the second is the older name, of one call
CARRIED = (
    "name",
    "reasoning",
    "reasoning_content",
    "thinking",
    "tool_call_id",
)  # with tool_calls, what templates read
WEIGHTS = ("weight", "train", "training")
NOT_TEXT = ("audio", "audios", "image", "images", "video", "videos")
_LIST_OF_OBJECTS = re.compile(r"\s*\[\s*\{")
TEXT_PARTS = (None, "text", "input_text", "output_text")


class Message(NamedTuple):
    """A turn, and whether it may be an example's answer: the assistant's, unless of weight 0."""

    turn: Turn
    trained: bool


def is_empty(value: object) -> bool:
    """None, NaN (which tables write for None), and an empty text, list or object: what says
    nothing.
    """
    return is_missing(value) or value in ("", [], {})


def parse_json(cell: object, what: str, expected: str) -> Any:
    """A cell of csv holds lists as JSON; DataError where a text is not JSON. Other values are given
    back.
    """
    if not isinstance(cell, str):
        return cell
    try:
        return json.loads(cell)
    except json.JSONDecodeError as error:
        is_python = cell[error.pos : error.pos + 1] == "'"
        hint = (
            f"{expected}; this is how Python prints one: write it with json.dumps"
            if is_python
            else expected
        )
        raise DataError(
            f"{what} is not JSON: {error.msg} at character {error.pos}", hint=hint
        ) from error


def as_json(value: object) -> str:
    """In the order it came in, as templates print it."""
    return json.dumps(value, ensure_ascii=False, default=str)


def read_messages(fmt: str, cell: object, column: str, source: str) -> list[Message]:
    """A column's messages; DataError naming file:line and the turn where one cannot be read."""
    expected = f"a list of {_shape(fmt)}"
    cell = parse_json(cell, f"{source}: {column}", expected)
    if not isinstance(cell, list) or not cell:
        found = "an empty list" if cell == [] else type(cell).__name__
        raise DataError(f"{source}: {column} is {found}", hint=expected)
    return [
        _message(fmt, item, f"{source}: turn {number} of {column}")
        for number, item in enumerate(cell, start=1)
    ]


def _message(fmt: str, item: object, where: str) -> Message:
    role_key, content_key = KEYS[fmt]
    if not isinstance(item, dict) or role_key not in item:
        raise _misshapen(fmt, item, where)
    name = str(item[role_key])
    role = ROLES[fmt].get(name)
    if role is None:
        raise DataError(
            f"{where}: unknown role {item[role_key]!r}", hint=did_you_mean(name, ROLES[fmt])
        )
    content, others = item.get(content_key), {}
    if len(item) > 2 or content_key not in item:
        others = {
            key: value
            for key, value in item.items()
            if key not in KEYS[fmt] and not is_empty(value)
        }
    if fmt == "sharegpt" and name == "function_call" and not is_empty(content):
        content, others = "", {**others, "tool_calls": content}
    if content_key not in item and not any(key in others for key in CALLS):
        raise _misshapen(fmt, item, where)
    text = "" if role == "assistant" and is_empty(content) else _text(content, where)
    turn = Turn(role, text, _carried(others, where) if others else "")
    return Message(turn, role == "assistant" and _is_trained(others, where))


def _carried(others: dict[str, object], where: str) -> str:
    """JSON of the keys that go to the chat template."""
    for key in NOT_TEXT:
        if key in others:
            raise DataError(
                f"{where}: the message has {key}", hint="only text is trained: leave the row out"
            )
    keys = {key: others[key] for key in CARRIED if key in others}
    for key in CALLS:
        if key in others:
            keys.setdefault("tool_calls", _calls(others[key], where))
    return as_json(dict(sorted(keys.items()))) if keys else ""


def _text(content: object, where: str) -> str:
    """Text, or OpenAI's list of parts where all of them are text."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind not in TEXT_PARTS or not isinstance(part.get("text"), str):
            raise DataError(
                f"{where}: the content has a part of type {kind}", hint="only text is trained"
            )
    if not parts:
        raise DataError(
            f"{where}: the content is {type(content).__name__}, expected text",
            hint="only text is trained",
        )
    return "".join(part["text"] for part in parts)


def _calls(value: Any, where: str) -> list[dict[str, Any]]:
    """Calls as transformers documents them: {"type": "function", "function": {"name": ...,
    "arguments": {...}}}.
    """
    expected = '{"name": ..., "arguments": {...}}'
    value = parse_json(value, f"{where}: the tool call", expected)
    calls = []
    for call in value if isinstance(value, list) else [value]:
        function = call.get("function", call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise DataError(f"{where}: a tool call without a name: {str(call)[:60]}", hint=expected)
        function = {**function, **_parsed_arguments(function)}
        calls.append(
            {**(call if "function" in call else {"type": "function"}), "function": function}
        )
    return calls


def _parsed_arguments(function: dict[str, Any]) -> dict[str, Any]:
    """OpenAI writes the arguments as JSON text; templates write them as JSON, which would quote a
    text once more.
    """
    try:
        arguments = json.loads(function["arguments"])
    except (KeyError, TypeError, json.JSONDecodeError):
        return {}
    return {"arguments": arguments} if isinstance(arguments, dict) else {}


def read_tools(cell: object, source: str) -> str:
    """A tools column as JSON in OpenAI's form, {"type": "function", "function": {...}}; "" where it
    is empty.
    """
    if is_empty(cell):
        return ""
    expected = 'a list of {"type": "function", "function": {"name": ..., "parameters": {...}}}'
    tools = parse_json(cell, f"{source}: tools", expected)
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise DataError(f"{source}: tools is {str(tools)[:60]}", hint=expected)
    bare = [tool for tool in tools if "name" in tool and "function" not in tool]
    wrapped = [{"type": "function", "function": tool} if tool in bare else tool for tool in tools]
    return as_json(wrapped) if wrapped else ""


def _is_trained(others: dict[str, object], where: str) -> bool:
    given = [(key, others[key]) for key in WEIGHTS if key in others]
    for key, value in given:
        if value not in (0, 1):
            raise DataError(
                f"{where}: {key} is {value!r}, expected 0 or 1",
                hint="0: the answer is context only, 1: it is trained",
            )
    return all(value for _, value in given)


def is_message_list(cell: object) -> bool:
    """Whether a cell is a list, or the JSON text of a list of objects that all have a role."""
    if not isinstance(cell, str):
        return isinstance(cell, list)
    if not _LIST_OF_OBJECTS.match(cell):
        return False
    return all("role" in item for item in _dictionaries(cell) or [{}])


def unused_keys(fmt: str, cell: object) -> Iterator[str]:
    """Keys of a column's messages that nothing reads, for a note; what is malformed is passed over
    here.
    """
    known = {*KEYS[fmt], *CALLS, *CARRIED, *WEIGHTS, *NOT_TEXT}
    for item in _dictionaries(cell):
        yield from (
            str(key) for key, value in item.items() if key not in known and not is_empty(value)
        )


def has_text_arguments(cell: object) -> bool:
    """Whether a call in a column's messages has its arguments as JSON text, which is read as an
    object.
    """
    calls = (
        call
        for item in _dictionaries(cell)
        for key in CALLS
        for call in _dictionaries(item.get(key))
    )
    functions = (call.get("function", call) for call in calls)
    return any(isinstance(function, dict) and _parsed_arguments(function) for function in functions)


def _dictionaries(cell: object) -> list[dict[Any, Any]]:
    """Those that a list, or its JSON text, holds; one alone is a list of one."""
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except json.JSONDecodeError:
            return []
    return [item for item in (cell if isinstance(cell, list) else [cell]) if isinstance(item, dict)]


def _misshapen(fmt: str, item: object, where: str) -> DataError:
    return DataError(
        f"{where} is not {_shape(fmt)}: {str(item)[:60]}", hint=f"keys: {', '.join(KEYS[fmt])}"
    )


def _shape(fmt: str) -> str:
    role, content = KEYS[fmt]
    return f'{{"{role}": ..., "{content}": ...}}'
