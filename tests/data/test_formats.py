"""Tables without a template: the four known forms give the same examples, and crooked conversations are named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tunesmith.data.formats import detect_format, format_examples
from tunesmith.data.templates import Excluded
from tunesmith.errors import DataError
from tunesmith.records import Example, Row

QUESTION, ANSWER = "Name a river.\n\nIn Ireland", "The Shannon"
TURNS = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "See you")]
SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}


def examples(values: dict[str, Any]) -> list[Example | Excluded]:
    fmt = detect_format(values)
    assert fmt is not None
    return format_examples(fmt, Row("r1", values, "a.jsonl:4"))


def openai(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def sharegpt(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"from": SHAREGPT[role], "value": content} for role, content in turns]


@pytest.mark.parametrize(
    "columns, fmt",
    [
        (["id", "prompt", "completion"], "prompt_completion"),
        (["messages"], "messages"),
        (["conversations", "id"], "sharegpt"),
        (["instruction", "input", "output"], "alpaca"),
        (["instruction", "output"], "alpaca"),
        (["messages", "prompt"], "messages"),
        (["prompt", "answer"], None),
        (["text", "label"], None),
    ],
)
def test_a_form_is_known_by_its_columns(columns: list[str], fmt: str | None) -> None:
    assert detect_format(columns) == fmt


def test_the_same_single_turn_in_all_four_forms_is_the_same_example() -> None:
    turns = [("user", f" {QUESTION}\n"), ("assistant", f" {ANSWER} ")]
    tables: list[dict[str, Any]] = [
        {"prompt": f"{QUESTION} ", "completion": f" {ANSWER}"},
        {"instruction": "Name a river.", "input": "In Ireland", "output": ANSWER},
        {"messages": openai(turns)},
        {"messages": json.dumps(openai(turns))},
        {"conversations": sharegpt(turns)},
        {"conversations": json.dumps(sharegpt(turns))},
    ]
    for values in tables:
        [found] = examples(values)
        assert isinstance(found, Example)
        assert (found.id, found.prompt, found.completion, found.history) == ("r1", QUESTION, ANSWER, ())
        assert (found.references, found.choices, found.group, found.source) == ((ANSWER,), (), "r1", "a.jsonl:4")


@pytest.mark.parametrize("extra", [None, "", "  ", "absent"])
def test_alpaca_without_an_input_is_the_instruction_alone(extra: str | None) -> None:
    values = {"instruction": "Name a river.", "output": ANSWER} | ({} if extra == "absent" else {"input": extra})
    [found] = examples(values)
    assert isinstance(found, Example)
    assert found.prompt == "Name a river."


@pytest.mark.parametrize("values", [{"messages": openai(TURNS)}, {"conversations": sharegpt(TURNS)}])
def test_each_assistant_turn_is_an_example_with_the_turns_before_it(values: dict[str, Any]) -> None:
    first, second = examples(values)
    assert isinstance(first, Example)
    assert isinstance(second, Example)
    assert (first.id, first.prompt, first.completion) == ("r1/1", "Hi", "Hello")
    assert first.history == (("system", "Be brief."),)
    assert (second.id, second.prompt, second.completion) == ("r1/2", "Bye", "See you")
    assert second.history == (("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"))
    assert {first.row_id, second.row_id, first.group, second.group} == {"r1"}


def test_openais_developer_role_is_system_and_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}]
    turns = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    [found] = examples({"messages": [*turns, {"role": "assistant", "content": "Hello"}]})
    assert isinstance(found, Example)
    assert (found.history, found.prompt) == ((("system", "Be brief."),), "Hi there")


def test_an_empty_answer_is_left_out_and_the_other_turns_stay() -> None:
    turns = [("user", "Hi"), ("assistant", " "), ("user", "Bye"), ("assistant", "See you")]
    left_out, kept = examples({"messages": openai(turns)})
    assert left_out == Excluded("r1", "messages", "the completion is empty", "a.jsonl:4")
    assert isinstance(kept, Example)
    assert kept.id == "r1/2"
    assert isinstance(examples({"prompt": "a", "completion": ""})[0], Excluded)


ALTERNATE = "an optional system turn, then user and assistant alternate"


@pytest.mark.parametrize(
    "values, message, hint",
    [
        (
            {"messages": openai([("user", "a"), ("user", "b"), ("assistant", "c")])},
            "turn 2 of messages is user, expected assistant",
            ALTERNATE,
        ),
        ({"messages": openai([("assistant", "a")])}, "turn 1 of messages is assistant, expected user", ALTERNATE),
        (
            {"conversations": sharegpt([("user", "a"), ("system", "b"), ("assistant", "c")])},
            "turn 2 of conversations is system, expected assistant",
            ALTERNATE,
        ),
        (
            {"messages": openai([("user", "a"), ("assistant", "b"), ("user", "c")])},
            "messages ends with a user turn",
            "the last turn is the answer to train on",
        ),
        (
            {"messages": openai([("system", "a")])},
            "messages ends with a system turn",
            "the last turn is the answer to train on",
        ),
        (
            {"messages": [{"role": "usr", "content": "a"}]},
            "turn 1: unknown role 'usr'",
            "did you mean 'user'?",
        ),
        (
            {"messages": [{"role": "tool", "content": "a"}]},
            "turn 1: unknown role 'tool'",
            "known: assistant, developer, system, user",
        ),
        (
            {"messages": [{"from": "human", "value": "a"}]},
            "turn 1 is not {\"role\": ..., \"content\": ...}: {'from': 'human', 'value': 'a'}",
            "keys: role, content",
        ),
        (
            {"messages": [{"role": "user", "content": None}]},
            "turn 1: the content is NoneType, expected text",
            "only text is trained",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "turn 1: the content is list, expected text",
            "only text is trained",
        ),
        ({"messages": []}, "messages is an empty list", 'a list of {"role": ..., "content": ...}'),
        ({"messages": None}, "messages is NoneType", 'a list of {"role": ..., "content": ...}'),
        ({"conversations": '{"a": 1}'}, "conversations is dict", 'a list of {"from": ..., "value": ...}'),
        (
            {"messages": "[{'role': 'user'}]"},
            "messages is not JSON: Expecting property name enclosed in double quotes at character 2",
            'a list of {"role": ..., "content": ...}',
        ),
        (
            {"prompt": [{"role": "user"}], "completion": "a"},
            "prompt is a list, expected text",
            "a conversation belongs in a column named messages",
        ),
        ({"prompt": "a", "completion": None}, "completion has no value", "fill it, or drop the row"),
        (
            {"instruction": "a", "input": "", "output": float("nan")},
            "output has no value",
            "fill it, or drop the row",
        ),
    ],
)
def test_a_crooked_row_is_refused_with_its_place(values: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        examples(values)
    assert caught.value.message.replace("a.jsonl:4: ", "") == message
    assert caught.value.message.startswith("a.jsonl:4: ")
    assert caught.value.hint == hint
