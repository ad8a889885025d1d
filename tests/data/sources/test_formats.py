"""Tables without a template: the known forms give the same examples, and crooked conversations are
named.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import shared

from tunesmith.data.plan import Index, build_index, plan_sources
from tunesmith.data.sources.formats import (
    Format,
    detect_format,
    format_examples,
    format_notes,
    question_columns,
)
from tunesmith.data.sources.members import SourceRows
from tunesmith.data.sources.rows import read_rows
from tunesmith.data.templates.resolve import Excluded
from tunesmith.errors import DataError
from tunesmith.recipe import DataConfig, SplitConfig
from tunesmith.records import Example, Row, Turn

QUESTION, ANSWER = " Name a river.\n\nIn Ireland\n", "    The Shannon\n"
TURNS = [
    ("system", "Be brief."),
    ("user", "Hi"),
    ("assistant", "Hello"),
    ("user", "Bye "),
    ("assistant", " See you\n"),
]
SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "stock", "arguments": {"item": "lamp", "all": True}},
}
TOOL = {
    "type": "function",
    "function": {"name": "stock", "parameters": {"type": "object", "properties": {}}},
}


def outcomes(values: dict[str, Any]) -> list[Example | Excluded]:
    return format_examples(form(values), Row("r1", values, "a.jsonl:4"))


def examples(values: dict[str, Any]) -> list[Example]:
    found = outcomes(values)
    assert all(isinstance(one, Example) for one in found)
    return [one for one in found if isinstance(one, Example)]


def form(values: dict[str, Any]) -> Format:
    fmt = detect_format(values)
    assert fmt is not None
    return fmt


def openai(turns: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in turns]


def sharegpt(turns: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"from": SHAREGPT[role], "value": content} for role, content in turns]


def from_case(*parts: str) -> list[list[Example | Excluded]]:
    return [
        format_examples(form(dict(row.values)), row) for row in read_rows(shared("cases", *parts))
    ]


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


def test_the_same_single_turn_in_every_form_is_the_same_example_byte_for_byte() -> None:
    turns = [("user", QUESTION), ("assistant", ANSWER)]
    tables: list[dict[str, Any]] = [
        {"prompt": QUESTION, "completion": ANSWER},
        {"prompt": openai(turns[:1]), "completion": openai(turns[1:])},
        {"prompt": json.dumps(openai(turns[:1])), "completion": json.dumps(openai(turns[1:]))},
        {"instruction": " Name a river.", "input": "In Ireland\n", "output": ANSWER},
        {"messages": openai(turns)},
        {"messages": json.dumps(openai(turns))},
        {"conversations": sharegpt(turns)},
        {"conversations": json.dumps(sharegpt(turns))},
    ]
    for values in tables:
        [found] = examples(values)
        assert (found.id, found.prompt, found.completion, found.history) == (
            "r1",
            QUESTION,
            ANSWER,
            (),
        )
        assert (found.references, found.choices, found.group, found.source) == (
            (ANSWER,),
            (),
            "r1",
            "a.jsonl:4",
        )
        assert (found.asked_by, found.prompt_keys, found.answer_keys, found.tools) == (
            "user",
            "",
            "",
            "",
        )


PAIRS = [["Hi", "Hello"]]
CONVERSATIONS: list[dict[str, Any]] = [
    {"messages": openai(TURNS)},
    {"messages": openai(TURNS[1:]), "system": "Be brief."},
    {"messages": openai(TURNS), "system": "Be brief."},
    {"conversations": sharegpt(TURNS)},
    {"conversations": json.dumps(sharegpt(TURNS[1:])), "system": "Be brief."},
    {"instruction": "Bye ", "output": " See you\n", "history": PAIRS, "system": "Be brief."},
    {
        "instruction": "Bye ",
        "output": " See you\n",
        "history": json.dumps(PAIRS),
        "system": "Be brief.",
    },
    {"prompt": "Bye ", "completion": " See you\n", "history": PAIRS, "system": "Be brief."},
]


@pytest.mark.parametrize("values", CONVERSATIONS)
def test_each_assistant_turn_is_an_example_with_the_turns_before_it(values: dict[str, Any]) -> None:
    first, second = examples(values)
    assert (first.id, first.prompt, first.completion) == ("r1/1", "Hi", "Hello")
    assert first.history == (Turn("system", "Be brief."),)
    assert (second.id, second.prompt, second.completion) == ("r1/2", "Bye ", " See you\n")
    assert second.history == (
        Turn("system", "Be brief."),
        Turn("user", "Hi"),
        Turn("assistant", "Hello"),
    )
    assert {first.row_id, second.row_id, first.group, second.group} == {"r1"}


def test_answers_in_a_conversational_prompt_are_context_and_each_of_the_completion_is_trained() -> (
    None
):
    [found] = examples({"prompt": openai(TURNS[:4]), "completion": openai(TURNS[4:])})
    same = examples({"messages": openai(TURNS)})[1]
    assert found == replace(same, template="prompt_completion")
    first, second = examples({"prompt": openai(TURNS[:2]), "completion": openai(TURNS[2:])})
    assert (first.completion, second.completion) == ("Hello", " See you\n")


def test_json_texts_that_are_no_messages_stay_texts() -> None:
    [found] = examples({"prompt": '[{"a": 1}]', "completion": '[{"role": "user"}]'})
    assert (found.prompt, found.completion) == ('[{"a": 1}]', '[{"role": "user"}]')


@pytest.mark.parametrize("extra", [None, "", "  ", float("nan"), "absent"])
def test_alpaca_without_an_input_is_the_instruction_alone(extra: str | float | None) -> None:
    values = {"instruction": "Name a river.", "output": ANSWER} | (
        {} if extra == "absent" else {"input": extra}
    )
    assert examples(values)[0].prompt == "Name a river."


@pytest.mark.parametrize("nothing", [None, "", float("nan"), [], {}])
def test_an_optional_column_or_key_that_says_nothing_is_the_same_as_none(nothing: Any) -> None:
    optional = dict.fromkeys(["history", "system", "tools", "input", "images", "rejected"], nothing)
    values = {"instruction": "a", "output": "b"}
    assert examples(values | optional) == examples(values)
    keys = dict.fromkeys(["name", "tool_calls", "weight", "reasoning_content", "images"], nothing)
    turns = openai(TURNS)
    assert examples({"messages": [turn | keys for turn in turns]}) == examples({"messages": turns})


# ---- roles and weights


def test_openais_developer_role_is_system_and_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}]
    turns = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    [found] = examples({"messages": [*turns, {"role": "assistant", "content": "Hello"}]})
    assert (found.history, found.prompt) == ((Turn("system", "Be brief."),), "Hi there")


@pytest.mark.parametrize(
    "mark", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"training": False}]
)
def test_an_answer_of_weight_0_is_context_and_never_a_target(mark: dict[str, Any]) -> None:
    turns = openai(TURNS)
    turns[2] |= mark
    turns[4] |= {"weight": 1}
    [found] = examples({"messages": turns})
    assert (found.id, found.completion) == ("r1/2", " See you\n")
    assert found.history[2] == Turn("assistant", "Hello")
    turns[4]["weight"] = 0
    [left_out] = outcomes({"messages": turns})
    reason = "every answer is marked not to be trained (weight 0)"
    assert left_out == Excluded("r1", "messages", reason, "a.jsonl:4")


def test_case_01_only_the_good_answer_is_trained() -> None:
    for row in from_case("01-message-weight", "shop.jsonl"):
        [found] = row
        assert isinstance(found, Example)
        assert found.completion.startswith("Yes, ")
        assert found.history[2].content.startswith("WRONG")


def test_an_answer_before_any_question_is_context() -> None:
    greeting = [("assistant", "Welcome"), *TURNS[1:3]]
    [found] = examples({"messages": openai(greeting)})
    assert (found.prompt, found.completion, found.history) == (
        "Hi",
        "Hello",
        (Turn("assistant", "Welcome"),),
    )
    [left_out] = outcomes({"messages": openai([("system", "a"), ("assistant", "b")])})
    assert left_out == Excluded("r1", "messages", "no answer has a question before it", "a.jsonl:4")


def test_turns_of_one_role_in_a_row_are_passed_on_as_they_are() -> None:
    [found] = examples({"messages": openai([("user", "a"), ("user", "b"), ("assistant", "c")])})
    assert (found.history, found.prompt) == ((Turn("user", "a"),), "b")
    first, second = examples(
        {"messages": openai([("user", "a"), ("assistant", "b"), ("assistant", "c")])}
    )
    assert (first.completion, first.asked_by, second.completion, second.asked_by) == (
        "b",
        "user",
        "c",
        "assistant",
    )


def test_an_empty_answer_is_left_out_and_the_other_turns_stay() -> None:
    turns = [("user", "Hi"), ("assistant", " "), ("user", "Bye"), ("assistant", "See you")]
    left_out, kept = outcomes({"messages": openai(turns)})
    assert left_out == Excluded("r1", "messages", "the completion is empty", "a.jsonl:4")
    assert isinstance(kept, Example)
    assert kept.id == "r1/2"
    assert isinstance(outcomes({"prompt": "a", "completion": ""})[0], Excluded)


@pytest.mark.parametrize("nothing", [None, "", float("nan")])
@pytest.mark.parametrize(
    "values",
    [{"instruction": "Bye", "output": "?"}, {"prompt": "Bye", "completion": "?"}],
    ids=["alpaca", "prompt_completion"],
)
def test_a_missing_answer_is_left_out_as_an_empty_one_and_the_turns_before_it_stay(
    values: dict[str, Any], nothing: Any
) -> None:
    answer = list(values)[1]
    row = {**values, answer: nothing, "history": [["Hi", "Hello"]]}
    kept, left_out = outcomes(row)
    assert isinstance(kept, Example)
    assert (kept.prompt, kept.completion) == ("Hi", "Hello")
    assert left_out == Excluded("r1", form(values), "the completion is empty", "a.jsonl:4")
    null = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": None}]
    assert isinstance(outcomes({"messages": null})[0], Excluded)


# ---- tools and the other keys


@pytest.mark.parametrize(
    "arguments", [{"item": "lamp", "all": True}, '{"item": "lamp", "all": true}']
)
@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("text", [False, True])
def test_tool_calls_and_tools_are_carried_in_one_spelling(
    arguments: Any, bare: bool, text: bool
) -> None:
    function = {"name": "stock", "arguments": arguments}
    calls: Any = [function if bare else {"id": "c1", "type": "function", "function": function}]
    tools: Any = [TOOL["function"] if bare else TOOL]
    values = {
        "messages": [
            {"role": "user", "content": "How many?", "name": "Ann"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": json.dumps(calls) if text else calls,
            },
            {"role": "tool", "content": "5", "tool_call_id": "c1", "name": "stock"},
            {"role": "assistant", "content": "Five", "reasoning_content": "It says 5."},
        ],
        "tools": json.dumps(tools) if text else tools,
    }
    call, answer = examples(values)
    expected = {"type": "function", "function": CALL["function"]} if bare else CALL
    assert (call.completion, call.answer_keys) == ("", json.dumps({"tool_calls": [expected]}))
    assert (call.asked_by, call.prompt_keys) == ("user", '{"name": "Ann"}')
    assert call.tools == answer.tools == json.dumps([TOOL])
    assert answer.history == (
        Turn("user", "How many?", '{"name": "Ann"}'),
        Turn("assistant", "", call.answer_keys),
    )
    assert (answer.asked_by, answer.prompt, answer.completion) == ("tool", "5", "Five")
    assert answer.prompt_keys == '{"name": "stock", "tool_call_id": "c1"}'
    assert answer.answer_keys == '{"reasoning_content": "It says 5."}'


def test_sharegpts_function_call_and_observation_are_the_same_as_openais_tool_messages() -> None:
    function = CALL["function"]
    conversation = [
        {"from": "human", "value": "How many?"},
        {"from": "function_call", "value": json.dumps(function)},
        {"from": "observation", "value": "5"},
        {"from": "gpt", "value": "Five"},
    ]
    messages = [
        {"role": "user", "content": "How many?"},
        {"role": "assistant", "tool_calls": [{"type": "function", "function": function}]},
        {"role": "tool", "content": "5"},
        {"role": "assistant", "content": "Five"},
    ]
    tools = json.dumps([TOOL["function"]])
    ours = examples({"conversations": conversation, "tools": tools})
    theirs = examples({"messages": messages, "tools": tools})
    fields = (
        "id",
        "prompt",
        "completion",
        "history",
        "asked_by",
        "prompt_keys",
        "answer_keys",
        "tools",
    )
    assert [[getattr(e, f) for f in fields] for e in ours] == [
        [getattr(e, f) for f in fields] for e in theirs
    ]


def test_the_older_function_call_is_a_tool_call() -> None:
    function = {"name": "stock", "arguments": "{}"}
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None, "function_call": function},
    ]
    [found] = examples({"messages": turns})
    expected = {"type": "function", "function": {"name": "stock", "arguments": {}}}
    assert json.loads(found.answer_keys) == {"tool_calls": [expected]}


@pytest.mark.parametrize(
    "name, content", [("content", "Let me look."), ("null", ""), ("empty", "")]
)
def test_case_02_a_tool_call_is_carried_whole_with_its_content(name: str, content: str) -> None:
    for row in from_case("02-tool-calls", f"tools_{name}.jsonl"):
        [found] = row
        assert isinstance(found, Example)
        assert found.completion == content
        [call] = json.loads(found.answer_keys)["tool_calls"]
        assert call["function"]["name"] == "stock"
        assert list(call["function"]["arguments"]) == ["item"]
        assert json.loads(found.tools)[0]["function"]["name"] == "stock"


def test_case_25_a_tool_message_is_context_and_the_answer_after_it_is_trained() -> None:
    for number, row in enumerate(from_case("25-json-shapes", "toolrole.jsonl")):
        call, answer = row
        assert isinstance(call, Example)
        assert isinstance(answer, Example)
        assert (call.completion, answer.asked_by, answer.completion) == (
            "",
            "tool",
            f"Five.{number}",
        )
        assert answer.prompt_keys == '{"tool_call_id": "c"}'


# ---- byte for byte


def test_case_04_code_keeps_its_indentation() -> None:
    for number, row in enumerate(from_case("04-code-indent", "code.jsonl")):
        [found] = row
        assert isinstance(found, Example)
        assert found.completion == f"    total = a + b + {number}\n    return total\n"
        assert found.prompt.endswith('sum."""\n')


def test_case_11_nan_in_an_optional_column_is_null() -> None:
    prompts = [
        row[0].prompt
        for row in from_case("11-nan-alpaca", "alp.json")
        if isinstance(row[0], Example)
    ]
    assert prompts[:2] == ["Describe the lamp 0\n\ncolour red", "Describe the kettle 1"]
    assert not any("nan" in prompt.lower() for prompt in prompts)


def test_case_30_all_answers_are_kept() -> None:
    assert all(len(row) == 2 for row in from_case("30-bos-per-turn", "multi.jsonl"))
    assert all(len(row) == 1 for row in from_case("30-bos-per-turn", "pc.jsonl"))


# ---- what is refused


def test_case_25_a_python_list_is_refused_with_its_line_and_the_remedy() -> None:
    with pytest.raises(
        DataError, match=r"repr.csv:2: messages is not JSON: .* at character 2"
    ) as caught:
        from_case("25-json-shapes", "repr.csv")
    assert caught.value.hint.endswith("this is how Python prints one: write it with json.dumps")


MESSAGES, LAST = (
    'a list of {"role": ..., "content": ...}',
    "the last turn is the answer to train on",
)
TEXT = "only text is trained"
ONE_BY_ONE = (
    "only text is trained, answer by answer: drop the column if the rest says all there is to learn"
)


def answered(**keys: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"} | keys]
    }


@pytest.mark.parametrize(
    "values, message, hint",
    [
        (
            {"messages": openai([("user", "a"), ("assistant", "b"), ("user", "c")])},
            "messages ends with a user turn",
            LAST,
        ),
        ({"messages": openai([("system", "a")])}, "messages ends with a system turn", LAST),
        (
            {"prompt": openai(TURNS[:3]), "completion": openai(TURNS[3:4])},
            "completion ends with a user turn",
            LAST,
        ),
        (
            {"messages": [{"role": "usr", "content": "a"}]},
            "turn 1 of messages: unknown role 'usr'",
            "did you mean 'user'?",
        ),
        (
            {"conversations": [{"from": "bing", "value": "a"}]},
            "turn 1 of conversations: unknown role 'bing'",
            "known: assistant, function_call, gpt, human, observation, system, tool, user",
        ),
        (
            {"messages": [{"from": "human", "value": "a"}]},
            'turn 1 of messages is not {"role": ..., "content": ...}: '
            "{'from': 'human', 'value': 'a'}",
            "keys: role, content",
        ),
        (
            {"messages": [{"role": "assistant"}]},
            "turn 1 of messages is not {\"role\": ..., \"content\": ...}: {'role': 'assistant'}",
            "keys: role, content",
        ),
        (
            {"messages": [{"role": "user", "content": None}]},
            "turn 1 of messages: the content is NoneType, expected text",
            TEXT,
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "turn 1 of messages: the content has a part of type image_url",
            TEXT,
        ),
        (
            answered(audio={"id": "x"}),
            "turn 2 of messages: the message has audio",
            f"{TEXT}: leave the row out",
        ),
        (
            answered(weight=0.5),
            "turn 2 of messages: weight is 0.5, expected 0 or 1",
            "0: the answer is context only, 1: it is trained",
        ),
        (
            answered(tool_calls=[{"id": "c"}]),
            "turn 2 of messages: a tool call without a name: {'id': 'c'}",
            '{"name": ..., "arguments": {...}}',
        ),
        (
            {"conversations": [{"from": "function_call", "value": "stock()"}]},
            "turn 1 of conversations: the tool call is not JSON: Expecting value at character 0",
            '{"name": ..., "arguments": {...}}',
        ),
        (
            answered() | {"tools": "stock"},
            "tools is not JSON: Expecting value at character 0",
            'a list of {"type": "function", "function": {"name": ..., "parameters": {...}}}',
        ),
        ({"messages": []}, "messages is an empty list", MESSAGES),
        ({"messages": None}, "messages is NoneType", MESSAGES),
        (
            {"conversations": '{"a": 1}'},
            "conversations is dict",
            'a list of {"from": ..., "value": ...}',
        ),
        (
            {"prompt": [{"role": "user"}], "completion": "a"},
            "prompt is a list, expected text",
            "a conversation belongs in a column named messages, "
            "or as lists in both prompt and completion",
        ),
        ({"prompt": None, "completion": "a"}, "prompt has no value", "fill it, or drop the row"),
        (
            {"instruction": "a", "output": "b", "history": [["c"]]},
            "history has ['c'], no pair of texts",
            "a list of [instruction, answer]",
        ),
        (
            {"messages": openai(TURNS), "system": "Be long."},
            "the column system has 'Be long.', the system turn 'Be brief.'",
            "the conversation can have one of them: drop the column, or the turn",
        ),
        (
            answered() | {"images": ["a.png"]},
            "the table has the column 'images', and images is not trained",
            ONE_BY_ONE,
        ),
        (
            answered() | {"rejected": "x"},
            "the table has the column 'rejected', and preferences are not trained",
            ONE_BY_ONE,
        ),
        (
            {"prompt": "a", "completion": "b", "label": False},
            "label is false: the completion is an answer not to give",
            "every completion is trained: leave out the rows whose label is false",
        ),
    ],
)
def test_a_crooked_row_is_refused_with_its_place(
    values: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(DataError) as caught:
        outcomes(values)
    assert caught.value.message.replace("a.jsonl:4: ", "") == message
    assert caught.value.message.startswith("a.jsonl:4: ")
    assert caught.value.hint == hint


# ---- what is not used is said


def notes(*tables: dict[str, Any], used: tuple[str, ...] = ()) -> list[str]:
    rows = [Row(str(i), values, f"a.jsonl:{i}") for i, values in enumerate(tables)]
    return format_notes(form(tables[0]), rows, used, "a.jsonl")


def test_every_column_and_message_key_that_is_not_used_is_named() -> None:
    plain = {"prompt": "a", "completion": "b"}
    assert notes(
        plain, plain | {"topic": "x", "id": 3, "day": None}, plain | {"source": "web"}, used=("id",)
    ) == ["a.jsonl: columns not used: source, topic"]
    turns = openai(TURNS)
    turns[1] |= {"timestamp": 3, "name": "Ann", "weight": 1, "lang": None}
    expected = ["a.jsonl: message keys not used: timestamp"]
    assert notes({"messages": turns}) == notes({"messages": json.dumps(turns)}) == expected
    assert notes({"prompt": turns[:2], "completion": turns[2:]}) == expected
    assert notes({"conversations": sharegpt(TURNS)}) == []


def test_what_a_form_uses_is_not_named() -> None:
    assert (
        notes(
            {
                "instruction": "a",
                "output": "b",
                "input": "c",
                "history": PAIRS,
                "system": "d",
                "tools": [],
            }
        )
        == []
    )
    assert notes({"prompt": "a", "completion": "b", "label": True}) == []
    assert notes({"prompt": "a", "completion": "b", "label": "river"}) == [
        "a.jsonl: columns not used: label"
    ]
    assert notes({"messages": openai(TURNS), "history": PAIRS}) == [
        "a.jsonl: columns not used: history"
    ]


def test_arguments_read_from_text_are_said() -> None:
    call = {"type": "function", "function": {"name": "stock", "arguments": '{"item": "lamp"}'}}
    expected = (
        "a.jsonl: arguments of tool calls that are JSON text are read as objects, "
        "as chat templates expect"
    )
    assert notes(answered(tool_calls=[call])) == [expected]
    assert notes(answered(tool_calls=[CALL])) == []


def test_notes_pass_over_what_is_crooked() -> None:
    assert notes({"messages": "[{'role"}, {"messages": [3, None]}, {"messages": None}) == []


def test_the_answer_is_no_part_of_the_question_where_it_has_a_column() -> None:
    assert question_columns("prompt_completion") == (
        ("prompt", "history", "system", "tools"),
        ("completion",),
    )
    assert question_columns("alpaca") == (
        ("instruction", "input", "history", "system", "tools"),
        ("output",),
    )
    assert question_columns("messages") == (("messages", "system", "tools"), ())


def test_texts_with_every_kind_of_blank_come_back_as_they_are(tmp_path: Path) -> None:
    text = "\t\u00a0 a \r\n\u2028"
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": text, "completion": text}), encoding="utf-8")
    [found] = format_examples("prompt_completion", next(read_rows(path)))
    assert isinstance(found, Example)
    assert found.prompt == found.completion == text


# ---- in the index


def index_of(tmp_path: Path, records: list[dict[str, Any]]) -> Index:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    data = DataConfig(source=str(path), split=SplitConfig(mode="hash", group="topic"))
    return build_index(plan_sources(data, SourceRows(data)), data, SourceRows(data))


def test_the_notes_are_in_the_index_and_columns_that_the_recipe_names_are_used(
    tmp_path: Path,
) -> None:
    records = [
        {"prompt": f"question {i}", "completion": "b", "topic": str(i), "source": "web"}
        for i in range(20)
    ]
    assert index_of(tmp_path, records).notes == (f"{tmp_path}/a.jsonl: columns not used: source",)


def test_rows_that_differ_in_an_optional_column_are_no_duplicates_and_null_is_no_difference(
    tmp_path: Path,
) -> None:
    plain = {"instruction": "a", "output": "b", "topic": "t"}
    same = [
        plain | {"input": None},
        plain | {"input": float("nan")},
        plain | {"system": "", "tools": []},
    ]
    others = [
        plain | {"input": "c"},
        plain | {"system": "d"},
        plain | {"tools": [TOOL]},
        plain | {"history": PAIRS},
    ]
    padding = [plain | {"instruction": f"question {i}", "topic": str(i)} for i in range(20)]
    found = index_of(tmp_path, [plain, *same, *others, *padding])
    assert found.dropped[:8].tolist() == [False, True, True, True, False, False, False, False]
    assert not found.dropped[8:].any()


def test_questions_under_one_long_list_of_tools_are_no_near_duplicates(tmp_path: Path) -> None:
    tools = [
        {"type": "function", "function": {"name": f"function {i}", "description": "It does."}}
        for i in range(60)
    ]
    words = ["river", "lamp", "kettle", "chair", "moon", "desk", "radio", "tent"]
    records = [
        {
            "prompt": f"Tell me about the {word} that stands in the {word} room "
            f"of the old {word} house",
            "completion": "b",
        }
        | {"topic": word, "tools": tools, "system": "You may call functions. " * 30}
        for word in words
    ]
    assert index_of(tmp_path, records).near_duplicate_clusters == 0


@pytest.mark.parametrize(
    "values",
    [
        {"prompt": "Where?", "completion": ["Cork", "in Cork"]},
        {"instruction": "Where?", "output": ["Cork", "in Cork"]},
        {"prompt": "Where?", "completion": {"text": ["Cork", "in Cork"], "answer_start": [0, 1]}},
    ],
)
def test_a_list_of_completions_is_several_right_answers(values: dict[str, Any]) -> None:
    [found] = examples(values)
    assert (found.completion, found.references) == ("Cork", ("Cork", "in Cork"))
    column = list(values)[1]
    [empty] = outcomes({**values, column: []})
    assert isinstance(empty, Excluded)
    assert empty.reason == "the completion is empty"
    [text] = examples({**values, column: '["Cork", "in Cork"]'})
    assert text.references == ('["Cork", "in Cork"]',)


@pytest.mark.parametrize("missing", [None, float("nan"), "", " \n"])
def test_a_missing_answer_is_counted_like_an_empty_one(missing: object) -> None:
    for values in (
        {"prompt": "a", "completion": missing},
        {"instruction": "a", "input": "", "output": missing},
    ):
        [found] = format_examples(form(values), Row("r1", values, "a.jsonl:4"))
        assert isinstance(found, Excluded)
        assert found.reason == "the completion is empty"
