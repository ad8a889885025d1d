"""Prepared examples on disk: what is written comes back, as records and as flat arrays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support import read_tokenized

from tunesmith.data import store as examples
from tunesmith.data.store import (
    ExampleWriter,
    example_ids,
    num_examples,
    only_answer,
    read_examples,
    read_token_arrays,
    sample_examples,
    task_counts,
)
from tunesmith.records import IGNORE_INDEX, Example, TokenizedExample, Turn


def pair(i: int, input_ids: list[int], n: int) -> tuple[Example, TokenizedExample]:
    example = Example(
        id=f"r{i}",
        row_id=f"r{i}",
        template="t",
        prompt=f"prompt {i}",
        completion="é",
        references=("é", "e"),
        choices=("e", "é"),
        history=(Turn("system", "Be kind."), Turn("assistant", "", '{"tool_calls": []}'))
        if i == 1
        else (),
        group="g",
        split="test",
        source="a.csv:2",
        asked_by="tool" if i == 1 else "user",
        prompt_keys='{"name": "a"}' if i == 1 else "",
        answer_keys='{"thinking": "é"}' if i == 1 else "",
        tools="[{}]" if i == 1 else "",
        task="sum" if i else "rhymes",
    )
    return example, TokenizedExample(example.id, input_ids, [IGNORE_INDEX] * n + input_ids[n:], n)


PAIRS = [pair(0, [5, 6, 7], 2), pair(1, [5, 8], 1), pair(2, [9, 9, 9, 4], 3)]


def write(path: Path, pairs: list[tuple[Example, TokenizedExample]]) -> Path:
    writer = ExampleWriter(path)
    for one in pairs:
        writer.write([one])
    writer.close()
    return path


def test_examples_and_their_tokens_come_back_as_they_were(tmp_path: Path) -> None:
    path = write(tmp_path / "test.parquet", PAIRS)
    assert read_examples(path) == [example for example, _ in PAIRS]
    assert all(
        isinstance(turn, Turn) for example in read_examples(path) for turn in example.history
    )
    assert read_tokenized(path) == [tokens for _, tokens in PAIRS]
    assert list(example_ids(path)) == ["r0", "r1", "r2"]
    assert num_examples(path) == 3


def test_flat_arrays_hold_the_same_tokens(tmp_path: Path) -> None:
    input_ids, offsets, prompts, ids = read_token_arrays(write(tmp_path / "test.parquet", PAIRS))
    assert (input_ids.dtype, offsets.dtype, prompts.dtype) == (np.int32, np.int64, np.int32)
    assert input_ids.tolist() == [5, 6, 7, 5, 8, 9, 9, 9, 4]
    assert offsets.tolist() == [0, 3, 5, 9]
    assert prompts.tolist() == [2, 1, 3]
    assert ids == ["r0", "r1", "r2"]


def test_the_tokens_of_a_large_split_stay_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "test.parquet", PAIRS)
    in_memory = read_token_arrays(path)
    monkeypatch.setattr(examples, "MOST_IN_MEMORY", sum(len(t.input_ids) for _, t in PAIRS) - 1)
    on_disk = read_token_arrays(path)
    assert isinstance(on_disk[0], np.memmap)
    assert not isinstance(in_memory[0], np.memmap)
    for one, other in zip(in_memory, on_disk, strict=True):
        assert list(one) == list(other)
    assert list(tmp_path.iterdir()) == [path]  # nothing is left if the process is killed


def test_an_empty_split_gives_empty_arrays(tmp_path: Path) -> None:
    input_ids, offsets, prompts, ids = read_token_arrays(write(tmp_path / "test.parquet", []))
    assert (len(input_ids), offsets.tolist(), len(prompts), ids) == (0, [0], 0, [])
    assert (input_ids.dtype, prompts.dtype) == (np.int32, np.int32)


def test_small_writes_become_large_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "BATCH_ROWS", 2)
    path = write(tmp_path / "test.parquet", PAIRS)
    groups = pq.ParquetFile(path).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [2, 1]
    assert read_token_arrays(path)[0].tolist() == [5, 6, 7, 5, 8, 9, 9, 9, 4]
    assert [example.id for example in read_examples(path)] == ["r0", "r1", "r2"]


def test_a_sample_is_of_different_rows_in_their_order_and_always_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "BATCH_ROWS", 4)
    path = write(tmp_path / "test.parquet", [pair(i, [3, 1], 1) for i in range(10)])
    every = read_examples(path)
    drawn = sample_examples(path, 6)
    assert len(drawn) == 6
    assert drawn == [example for example in every if example in drawn]
    assert drawn == sample_examples(path, 6)
    assert drawn != sample_examples(path, 6, seed=1)
    assert sample_examples(path, 100) == every


def test_rows_with_equal_choices_share_them(tmp_path: Path) -> None:
    first, second, _ = read_examples(write(tmp_path / "test.parquet", PAIRS))
    assert first.choices is second.choices


def test_answers_that_differ_in_their_tool_calls_only_are_not_one_answer(tmp_path: Path) -> None:
    (first, tokens), others = PAIRS[0], PAIRS[2:]
    assert only_answer(write(tmp_path / "same.parquet", [PAIRS[0], *others])) == "é"
    called = [(replace(first, answer_keys=f'{{"tool_calls": [{i}]}}'), tokens) for i in range(2)]
    assert only_answer(write(tmp_path / "calls.parquet", called)) is None
    assert only_answer(write(tmp_path / "one.parquet", PAIRS[:1])) is None


def test_a_file_that_is_not_closed_has_not_taken_its_name(tmp_path: Path) -> None:
    writer = ExampleWriter(tmp_path / "test.parquet")
    writer.write(PAIRS)
    assert not (tmp_path / "test.parquet").exists()


def test_the_examples_of_each_task_are_counted(tmp_path: Path) -> None:
    assert task_counts(write(tmp_path / "test.parquet", PAIRS)) == {"rhymes": 1, "sum": 2}


def test_a_file_from_before_there_were_tasks_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "test.parquet", PAIRS)
    pq.write_table(pq.read_table(path).drop_columns(["task"]), path)
    assert read_examples(path) == [replace(e, task="") for e, _ in PAIRS]
    assert task_counts(path) == {"": 3}
