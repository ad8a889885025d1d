"""A row without an answer gets the prompt and the choices that it would have with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith.data.build import Rendering, render_source_row
from tunesmith.data.plan import plan_sources
from tunesmith.data.sources.members import SourceRows
from tunesmith.data.templates.resolve import Excluded
from tunesmith.data.unlabelled import asking, question
from tunesmith.errors import DataError
from tunesmith.recipe import DataConfig
from tunesmith.records import Row

CHOICES = [["tea", "milk", "water"], ["red", "blue"], ["cat", "dog", "hen", "cow"]]
TABLES: dict[str, tuple[dict[str, Any], list[dict[str, Any]], tuple[str, ...]]] = {
    "labels": (
        {"task": "classify"},
        [{"text": f"row {i}", "label": "ab"[i % 2]} for i in range(4)],
        ("label",),
    ),
    "numbers with names": (
        {"task": "classify/terse", "labels": ["no", "yes"]},
        [{"text": f"row {i}", "label": i % 2} for i in range(4)],
        ("label",),
    ),
    "several labels": (
        {"task": "multi_label_classify"},
        [{"text": f"row {i}", "labels": ["a", "b"][: i % 3]} for i in range(4)],
        ("labels",),
    ),
    "tags": (
        {"task": "tag"},
        [{"tokens": ["w"] * n, "tags": ["O", "B-X"] + ["O"] * (n - 2)} for n in (2, 5, 3)],
        ("tags",),
    ),
    "own choices": (
        {"task": "multiple_choice"},
        [{"question": f"q {i}", "choices": c, "label": i} for i, c in enumerate(CHOICES[:2])]
        + [{"question": "q 2", "choices": CHOICES[2], "label": 3}],
        ("label",),
    ),
    "free text": (
        {"template": "Say {{a}} and {{b}}. ||| {{c}}"},
        [{"a": f"x{i}", "b": i, "c": f"answer {i}"} for i in range(3)],
        ("c",),
    ),
    "prompt and completion": (
        {},
        [{"prompt": f"p {i}", "completion": f"c {i}"} for i in range(3)],
        ("completion",),
    ),
    "alpaca": (
        {},
        [{"instruction": f"do {i}", "input": "x" * i, "output": f"o {i}"} for i in range(3)],
        ("output",),
    ),
}


def written(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.mark.parametrize("table", TABLES)
def test_a_row_without_its_answer_is_asked_as_with_it(tmp_path: Path, table: str) -> None:
    keys, rows, answers = TABLES[table]
    data = DataConfig.model_validate({"source": written(tmp_path, rows), **keys})
    how = asking(data, SourceRows(data), None)
    for i, values in enumerate(rows):
        (known,) = render_source_row(how.source, Row(str(i), values, f"f:{i}"), "train", data)
        without = {name: value for name, value in values.items() if name not in answers}
        for asked in (values, without):
            found = question(how, Row(str(i), asked, f"f:{i}"))
            assert isinstance(known, Rendering)
            assert isinstance(found, Rendering)
            assert found.example.prompt == known.example.prompt
            assert found.example.choices == known.example.choices


@pytest.mark.parametrize(
    "column, user, reply",
    [
        ("messages", {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}),
        ("conversations", {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}),
    ],
)
def test_of_a_conversation_the_last_question_is_asked(
    tmp_path: Path, column: str, user: dict[str, str], reply: dict[str, str]
) -> None:
    data = DataConfig.model_validate({"source": written(tmp_path, [{column: [user, reply]}])})
    how = asking(data, SourceRows(data), None)
    for turns in ([user, reply, user], [user, reply, user, reply]):
        found = question(how, Row("1", {column: turns}, "f:1"))
        assert isinstance(found, Rendering)
        assert [turn.content for turn in found.example.history] == ["q", "a"]
        assert found.example.prompt == "q"


def test_a_call_of_a_function_is_an_answer_and_no_question(tmp_path: Path) -> None:
    user, reply = {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}
    call = {"from": "function_call", "value": '{"name": "look", "arguments": {}}'}
    data = DataConfig.model_validate(
        {"source": written(tmp_path, [{"conversations": [user, reply]}])}
    )
    how = asking(data, SourceRows(data), None)
    found = question(how, Row("1", {"conversations": [user, call]}, "f:1"))
    assert isinstance(found, Rendering)
    assert (found.example.asked_by, found.example.prompt) == ("user", "q")


def test_an_answer_in_the_row_changes_no_prompt(tmp_path: Path) -> None:
    keys, rows, _ = TABLES["labels"]
    data = DataConfig.model_validate({"source": written(tmp_path, rows), **keys})
    how = asking(data, SourceRows(data), None)
    found = question(how, Row("1", {"text": "row", "label": "never seen"}, "f:1"))
    assert isinstance(found, Rendering)
    assert found.example.choices == ("a", "b")


def test_a_missing_column_is_named_and_an_empty_text_gives_no_question(tmp_path: Path) -> None:
    keys, rows, _ = TABLES["labels"]
    data = DataConfig.model_validate({"source": written(tmp_path, rows), **keys})
    how = asking(data, SourceRows(data), None)
    with pytest.raises(DataError) as caught:
        question(how, Row("1", {"txt": "row"}, "new.csv:2"))
    assert str(caught.value) == (
        "new.csv:2: no column 'text', which the prompt is made of\nhint: did you mean 'txt'?"
    )
    assert isinstance(question(how, Row("1", {"text": " "}, "new.csv:2")), Excluded)


def test_of_a_mixture_the_task_is_named(tmp_path: Path) -> None:
    _keys, rows, _ = TABLES["labels"]
    named = [
        {"source": written(tmp_path, rows), "name": name, "task": f"classify/{wording}"}
        for name, wording in (("first", "terse"), ("second", "question"))
    ]
    data = DataConfig.model_validate({"source": named})
    rows_of = SourceRows(data)
    assert [source.task for source in plan_sources(data, rows_of)] == ["first", "second"]
    assert asking(data, rows_of, "second").source.templates[0].name == "classify/question"
    with pytest.raises(DataError, match="2 tasks: first, second\nhint: say with --task"):
        asking(data, rows_of, None)
    with pytest.raises(DataError, match="no task 'secnd'\nhint: did you mean 'second'"):
        asking(data, rows_of, "secnd")
