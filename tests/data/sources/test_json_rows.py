"""JSON in the shapes it comes in: the same rows, each with the line it begins on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import shared

from tunesmith.data.sources.rows import read_rows
from tunesmith.errors import DataError

ROWS = [{"text": f"note {i} about a mug", "label": "good" if i % 2 else "bad"} for i in range(30)]
PAIRS = [[row["text"], row["label"]] for row in ROWS]


def read(path: Path, value: Any = None, **options: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """(values of the rows, notes without the path)."""
    if value is not None:
        path.write_text(value if isinstance(value, str) else json.dumps(value))
    notes: list[str] = []
    rows = [dict(row.values) for row in read_rows(path, notes=notes, **options)]
    return rows, [note.removeprefix(f"{path}: ") for note in notes]


SHAPES: list[tuple[Any, list[str]]] = [
    (ROWS, []),
    ({"data": ROWS}, []),
    ({"data": ROWS, "classes": ["good", "bad"]}, ["the rows are under 'data'; not read: classes"]),
    (
        {"text": [r["text"] for r in ROWS], "label": [r["label"] for r in ROWS]},
        ["lists of equal length: the columns text, label"],
    ),
    (
        {c: {str(i): r[c] for i, r in enumerate(ROWS)} for c in ("text", "label")},
        ["pandas' columns: text, label"],
    ),
    ({str(i): row for i, row in enumerate(ROWS)}, ["objects by their number, one row each"]),
    (
        {"about": {"n": 30}, "examples": {str(i): row for i, row in enumerate(ROWS)}},
        ["the rows are under 'examples'", "objects by their number, one row each"],
    ),
    (
        {"columns": ["text", "label"], "index": list(range(30)), "data": PAIRS},
        ["pandas' form with columns and data apart"],
    ),
    (PAIRS, ["pairs, read as text and label (data.names gives other names)"]),
    ([["text", "label"], *PAIRS], []),
    (
        "\n".join(map(json.dumps, ROWS)),
        ["JSON values one after the other, read as one row each"],
    ),
]


@pytest.mark.parametrize("value, notes", SHAPES)
def test_a_document_of_any_known_shape_has_the_same_rows(
    tmp_path: Path, value: Any, notes: list[str]
) -> None:
    assert read(tmp_path / "a.json", value) == (ROWS, notes)


@pytest.mark.parametrize(
    "text, notes",
    [
        (
            json.dumps(ROWS, indent=1),
            ["one JSON document over several lines, not one value a line"],
        ),
        (
            "\n".join(json.dumps(row, indent=2) for row in ROWS),
            [
                "one JSON document over several lines, not one value a line",
                "JSON values one after the other, read as one row each",
            ],
        ),
        (
            "\n".join(map(json.dumps, PAIRS)),
            ["pairs, read as text and label (data.names gives other names)"],
        ),
    ],
)
def test_a_file_of_lines_that_is_none_is_read_as_what_it_is(
    tmp_path: Path, text: str, notes: list[str]
) -> None:
    assert read(tmp_path / "a.jsonl", text) == (ROWS, notes)


def test_lists_take_the_names_that_are_given(tmp_path: Path) -> None:
    rows, notes = read(tmp_path / "a.json", [[i, *pair] for i, pair in enumerate(PAIRS)])
    assert (rows[1], len(notes)) == (
        {"column_1": 1, "column_2": PAIRS[1][0], "column_3": "good"},
        1,
    )
    rows, notes = read(tmp_path / "a.json", names=["n", "question", "answer"])
    assert (rows[1], notes) == ({"n": 1, "question": PAIRS[1][0], "answer": "good"}, [])


def test_keys_that_are_sources_become_a_column(tmp_path: Path) -> None:
    rows, notes = read(tmp_path / "a.json", {"shop": ROWS[:10], "film": ROWS[10:]})
    assert rows == [{**row, "source": "shop" if i < 10 else "film"} for i, row in enumerate(ROWS)]
    assert notes == [
        "2 lists, read one after the other: shop, film; the column 'source' says which"
    ]


def test_keys_that_are_splits_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    value = {"train": PAIRS[:20], "val": PAIRS[20:25], "test": PAIRS[25:], "about": "x"}
    for split, found in (("train", ROWS[:20]), ("validation", ROWS[20:25]), ("test", ROWS[25:])):
        rows, notes = read(path, value, split=split, names=["text", "label"])
        assert rows == found
        assert notes[0] == "the splits are its keys: train, val, test"


def test_squads_nested_form_is_one_row_a_question_with_all_its_answers(tmp_path: Path) -> None:
    answers = [{"text": "Cork", "answer_start": 3}, {"text": "in Cork", "answer_start": 0}]
    asked = [
        {"id": "a", "question": "Where?", "answers": answers, "is_impossible": False},
        {"id": "b", "question": "Why?", "answers": [], "is_impossible": True},
    ]
    article = {"title": "Towns", "paragraphs": [{"context": "in Cork", "qas": asked}]}
    rows, notes = read(tmp_path / "a.json", {"version": "v2.0", "data": [article]})
    start = {"title": "Towns", "context": "in Cork"}
    assert rows == [
        {
            "id": "a",
            **start,
            "question": "Where?",
            "answers": {"text": ["Cork", "in Cork"], "answer_start": [3, 0]},
            "is_impossible": False,
        },
        {
            "id": "b",
            **start,
            "question": "Why?",
            "answers": {"text": [], "answer_start": []},
            "is_impossible": True,
        },
    ]
    assert notes == ["SQuAD's nested form: one row for each question"]


def test_the_place_is_the_line_and_not_the_number_of_the_record(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"version": 1,\n "rows": [\n{"a": "x\\ny"}, {"a": 2},\n\n{"a": 3}]}')
    assert [row.source for row in read_rows(path)] == [f"{path}:3", f"{path}:3", f"{path}:5"]


def test_an_item_that_is_no_row_is_named_by_its_line_and_passed_over_when_asked(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([*ROWS[:3], None, *ROWS[3:]], indent=1))
    line = 2 + 3 * 4
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == (
        f'{path}:{line}: a JSON null, expected an object\nhint: {{"column": value, ...}}'
    )
    told: list[tuple[str, str]] = []
    assert read(path, unreadable=lambda *found: told.append(found))[0] == ROWS
    assert told == [(f"{path}:{line}", "a JSON null, expected an object")]


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"a": [], "b": []}', "a JSON object with 2 lists, none of them of rows"),
        ('{"a": 1}', "a JSON object without a list of rows"),
        ('{"a": [1, 2], "b": [1]}', "a JSON object with 2 lists, none of them of rows"),
        ("3", "a JSON int, expected a list of objects"),
        ('{"a": {"x": 1}, "b": {"y": 2}}', "a JSON object without a list of rows"),
        ('[{"a": 1},\n {"a": 2}\n {"a": 3}]', ":3: bad json at column 2: Expecting ',' delimiter"),
        ('{"a": [{"b": 1}],\n}', ":2: bad json at column 1: Expecting property name"),
        ('{"a" [1]}', ":1: bad json at column 6: Expecting ':' delimiter"),
        ('[{"a": 1}', ":1: bad json at column 10: Expecting ',' delimiter"),
        ("[" * 100_000, "JSON nested too deeply"),
    ],
)
def test_other_shapes_and_no_json_are_errors(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.json", text)
    assert message in caught.value.message
    assert caught.value.hint


def test_the_shared_documents() -> None:
    folder = shared("cases", "25-json-shapes")
    for name in ("cols.json", "pandas_cols.json", "pretty.json", "pretty.jsonl"):
        rows, _ = read(folder / name)
        assert (len(rows), rows[0]) == (40, {"text": "note 0 lamp", "label": "a"}), name
    lines = [int(row.source.rpartition(":")[2]) for row in read_rows(folder / "pretty_null.json")]
    assert lines == list(range(2, 162, 4))


def test_the_shared_row_with_half_a_pair_is_refused_and_no_other() -> None:
    path = shared("cases", "09-lone-surrogate", "emoji.jsonl")
    told: list[tuple[str, str]] = []
    rows, _ = read(path, unreadable=lambda *found: told.append(found))
    assert (len(rows), told) == (59, [(f"{path}:8", "half of a surrogate pair in a text")])
