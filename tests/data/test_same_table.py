"""The same table as csv, JSON, JSON lines and Parquet gives the same examples, classes, splits and
scores.
"""

from __future__ import annotations

import csv
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.data.build import render_source_row
from tunesmith.data.plan import build_index, plan_sources
from tunesmith.data.sources.members import SourceRows
from tunesmith.data.templates.resolve import Excluded
from tunesmith.evaluate.score_file import score_file
from tunesmith.recipe import build_recipe

KINDS = ("csv", "json", "jsonl", "parquet")
Table = list[dict[str, Any]]

WORDS = st.text("abcXYZ ,.'-é1", min_size=1, max_size=8).filter(
    lambda text: text.strip() not in ("", "-1")
)
FLOATS = st.floats(-1e9, 1e9).filter(lambda x: x != -1)  # as a label it marks a missing one
CELLS = {
    "truths": st.booleans(),
    "integers": st.integers(0, 3),
    "whole floats": st.integers(0, 6).map(float),
    "floats": FLOATS,
    "words": WORDS,
    "numbers as text": st.sampled_from(["1", "1.0", "0", "0.0", "2.50"]),
    "null words": st.sampled_from(["NaN", "None", "null", "N/A", "sad", "glad"]),
}


def write(folder: Path, kind: str, table: Table) -> Path:
    """The table as each tool writes it; a missing value is "" in csv and null or NaN elsewhere."""
    path = folder / f"rows.{kind}"
    if kind == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(table[0])
            writer.writerows([["" if missing(v) else v for v in row.values()] for row in table])
    elif kind == "json":
        path.write_text(json.dumps(table), encoding="utf-8")
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, table)), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(table), path)
    return path


def missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def prepared(path: Path, **data: Any) -> dict[str, Any]:
    """All that a table becomes before it is tokenised, or the words with which it is refused."""
    values = {"data": {"source": str(path), "near_duplicates": False, **data}, "output_dir": "x"}
    config = build_recipe(values)[0].data
    sources = plan_sources(config, SourceRows(config))
    index = build_index(sources, config, SourceRows(config), path.parent)
    outcomes = [
        outcome
        for row in SourceRows(config).read(0)
        for outcome in render_source_row(sources[0], row, "train", config)
    ]
    examples = [o.example for o in outcomes if not isinstance(o, Excluded)]
    return {
        "choices": sources[0].choices,
        "examples": [(e.id, e.prompt, e.completion, e.references, e.group) for e in examples],
        "excluded": [(o.row_id, o.reason) for o in outcomes if isinstance(o, Excluded)],
        "splits": index.splits.tolist(),
        "dropped": index.dropped.tolist(),
        "conflicting": index.conflicting.tolist(),
    }


def same_in_all(table: Table, **data: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        found = [prepared(write(Path(folder), kind, table), **data) for kind in KINDS]
    for kind, other in zip(KINDS, found, strict=True):
        assert other == found[0], kind
    return found[0]


def table_of(cells: Sequence[Any]) -> Table:
    return [{"text": f"text {i // 2}", "label": cell} for i, cell in enumerate(cells)]


@pytest.mark.parametrize("kind", CELLS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_labels_are_the_same_classes_and_examples(kind: str, data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.one_of(CELLS[kind], st.none()), min_size=12, max_size=24))
    cells += [data.draw(CELLS[kind])]
    same_in_all(table_of(cells), task="classify")


@pytest.mark.parametrize("kind", CELLS)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_answers_are_the_same_texts(kind: str, data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.one_of(CELLS[kind], st.none()), min_size=8, max_size=16))
    cells += [data.draw(CELLS[kind])]
    same_in_all(table_of(cells), template="{{ text }} ||| {{ label }}")
    same_in_all(table_of(cells), task="answer", columns={"question": "text", "target": "label"})


@settings(max_examples=10, deadline=None)
@given(st.lists(st.one_of(CELLS["integers"], FLOATS, st.just(math.nan)), min_size=8, max_size=16))
def test_numbers_are_the_same_numbers(cells: list[float]) -> None:
    cells = [float(cell) for cell in [*cells, 1.0]]  # a column of Parquet has one type
    same_in_all(table_of(cells), task="score", columns={"number": "label"})


@settings(max_examples=10, deadline=None)
@given(st.lists(st.one_of(CELLS["whole floats"], st.none()), min_size=12, max_size=24))
def test_groups_ids_and_strata_are_the_same(cells: list[float | None]) -> None:
    table = [
        {"text": f"text {i}", "label": "ab"[i % 2], "who": cell, "n": float(i)}
        for i, cell in enumerate([*cells, 1.0])
    ]
    found = same_in_all(
        table, task="classify", id="n", columns={"group": "who"}, split={"group": "who"}
    )
    assert found["examples"][1][0] == "1"


def test_a_list_of_labels_and_of_words_is_the_same_in_all() -> None:
    table = [{"text": ["red", f"lamp {i}"], "labels": ["joy", "fear"][: i % 3]} for i in range(24)]
    as_text = [
        row | {"text": json.dumps(row["text"]), "labels": json.dumps(row["labels"])}
        for row in table
    ]
    as_python = [row | {"text": str(row["text"]), "labels": str(row["labels"])} for row in table]
    with tempfile.TemporaryDirectory() as folder:
        found = [
            prepared(write(Path(folder), kind, rows), task="multi_label_classify")
            for kind, rows in [
                ("json", table), ("jsonl", table), ("parquet", table), ("csv", as_text),
                ("csv", as_python),
            ]
        ]  # fmt: skip
    assert found[0]["choices"] == ("fear", "joy")
    assert "red, lamp 0" in found[0]["examples"][0][1]
    assert all(other == found[0] for other in found)


@pytest.mark.parametrize("kind", CELLS)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_scores_are_the_same(kind: str, data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.tuples(CELLS[kind], CELLS[kind]), min_size=6, max_size=10))
    table = [{"gold": gold, "right": gold, "other": other} for gold, other in pairs]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for file_kind in KINDS:
            path = write(Path(folder), file_kind, table)
            systems = {"right": "right", "other": "other"}
            result = score_file(path, "gold", systems, resamples=20) | {"file": ""}
            found.append(json.dumps(result).replace(f".{file_kind}", ""))
    assert found == [found[0]] * len(KINDS)
    metrics = json.loads(found[0])["metrics"]["right"]
    assert metrics[next(iter(metrics))]["mean"] == 1.0


def test_whole_floats_and_integers_score_alike_as_numbers_and_as_text(tmp_path: Path) -> None:
    table = [{"gold": i, "p": float(i)} for i in range(12)]
    for kind in KINDS:
        path = write(tmp_path, kind, table)
        result = score_file(path, "gold", {"p": "p"}, ["exact_match", "number"], resamples=20)
        assert [result["metrics"]["p"][m]["mean"] for m in ("exact_match", "number")] == [1.0, 1.0]
