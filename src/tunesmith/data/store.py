"""Prepared examples on disk: one parquet file a split, with text and token ids side by side."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from operator import attrgetter
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tunesmith.data.columns import RowIds
from tunesmith.records import Example, TokenizedExample, Turn

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("row_id", pa.string()),
        ("template", pa.string()),
        ("prompt", pa.string()),
        ("completion", pa.string()),
        ("references", pa.list_(pa.string())),
        ("choices", pa.list_(pa.string())),
        ("history", pa.string()),  # JSON: [[role, content, keys], ...]
        ("group", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("asked_by", pa.string()),
        ("prompt_keys", pa.string()),
        ("answer_keys", pa.string()),
        ("tools", pa.string()),
        ("task", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("num_prompt_tokens", pa.int32()),
    ]
)
EXAMPLE_FIELDS = [name for name in SCHEMA.names if name not in ("input_ids", "num_prompt_tokens")]
BATCH_ROWS = 10_000
MOST_IN_MEMORY = 1 << 28
"""Tokens of a split, 1 GiB of them; more stay on disk."""
_fields = attrgetter(*EXAMPLE_FIELDS)


class ExampleWriter:
    """Appends examples to a split's parquet file; the file takes its name when it is closed."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.temporary = path.with_name(f".{path.name}.tmp")
        self.writer = pq.ParquetWriter(self.temporary, SCHEMA, compression="zstd")
        self.waiting: list[pa.RecordBatch] = []

    def write(self, pairs: Sequence[tuple[Example, TokenizedExample]]) -> None:
        """Append examples with their tokens; labels follow from `num_prompt_tokens`."""
        if pairs:
            self.waiting.append(
                _batch([example for example, _ in pairs], [tokens for _, tokens in pairs])
            )
        if sum(batch.num_rows for batch in self.waiting) >= BATCH_ROWS:
            self._flush()

    def close(self) -> None:
        """Write what is left, and give the file its name."""
        self._flush()
        self.writer.close()
        self.temporary.replace(self.path)

    def _flush(self) -> None:
        """One row group of some size: small ones are slow to write and to read."""
        if self.waiting:
            self.writer.write_table(pa.Table.from_batches(self.waiting))
        self.waiting = []


def _batch(examples: Sequence[Example], tokens: Sequence[TokenizedExample]) -> pa.RecordBatch:
    """Column by column: twice as fast as a dict for each row."""
    columns: dict[str, Sequence[object]] = dict(
        zip(EXAMPLE_FIELDS, zip(*map(_fields, examples), strict=True), strict=True)
    )
    columns["history"] = [
        json.dumps(e.history, ensure_ascii=False) if e.history else "" for e in examples
    ]
    columns["input_ids"] = [token.input_ids for token in tokens]
    columns["num_prompt_tokens"] = [token.num_prompt_tokens for token in tokens]
    return pa.record_batch(
        [pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA
    )


def read_examples(path: Path) -> list[Example]:
    """The examples of a split, without their token ids. Equal choices are one object, however many
    rows have them. Files of an older tunesmith lack the newest columns, which then have their
    defaults.
    """
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    return [
        _example(record, shared)
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=EXAMPLE_FIELDS)
        for record in batch.to_pylist()
    ]


def sample_examples(path: Path, n: int, seed: int = 0) -> list[Example]:
    """At most n examples of a split, drawn at random and in its order; the others are not made."""
    rows = num_examples(path)
    drawn = np.sort(np.random.default_rng(seed).choice(rows, min(n, rows), replace=False))
    examples: list[Example] = []
    begin = 0
    for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=EXAMPLE_FIELDS):
        here: NDArray[np.int64] = drawn[(drawn >= begin) & (drawn < begin + batch.num_rows)] - begin
        examples += [_example(record, {}) for record in batch.take(here).to_pylist()]
        begin += batch.num_rows
    return examples


def _example(record: dict[str, Any], shared: dict[tuple[str, ...], tuple[str, ...]]) -> Example:
    """`shared` holds the choices that were seen before."""
    choices = tuple(record["choices"])
    record["choices"] = shared.setdefault(choices, choices)
    record["references"] = tuple(record["references"])
    record["history"] = tuple(Turn(*turn) for turn in json.loads(record["history"] or "[]"))
    return Example(**record)


def only_answer(path: Path) -> str | None:
    """The completion that all examples of a split have; None where there are two, or one example
    only.

    Answers with the same completion and other tool calls are two.
    """
    found: set[tuple[str, str]] = set()
    for batch in pq.ParquetFile(path).iter_batches(
        BATCH_ROWS, columns=["completion", "answer_keys"]
    ):
        pairs = pa.Table.from_batches([batch]).group_by(["completion", "answer_keys"]).aggregate([])
        found.update(zip(_texts(pairs, "completion"), _texts(pairs, "answer_keys"), strict=True))
        if len(found) > 1:
            return None
    return found.pop()[0] if num_examples(path) > 1 else None


def read_token_arrays(
    path: Path,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32], Sequence[str]]:
    """A split's tokens as flat arrays: row r is input_ids[offsets[r]:offsets[r + 1]].

    Returns (input_ids, offsets, num_prompt_tokens, ids): what
    `train.packing.plan.TrainingData.from_arrays` takes. A token takes 4 bytes, since no Python
    object is made of it. More than MOST_IN_MEMORY tokens are mapped from a file without a name,
    beside `path`, which goes with the array; so do the ids.
    """
    tokens: list[NDArray[np.int32]] = []
    lengths: list[NDArray[np.int32]] = []
    prompts: list[NDArray[np.int32]] = []
    ids: list[str] = []
    large = _most_tokens(path) > MOST_IN_MEMORY
    ids_on_disk = RowIds(path.parent) if large else None
    with tempfile.TemporaryFile(dir=path.parent) if large else nullcontext() as file:
        for batch in pq.ParquetFile(path).iter_batches(
            BATCH_ROWS, columns=["id", "input_ids", "num_prompt_tokens"]
        ):
            rows = cast("pa.ListArray[pa.Int32Scalar]", batch["input_ids"])
            lengths.append(np.diff(rows.offsets.to_numpy()))
            prompts.append(batch["num_prompt_tokens"].to_numpy())
            if file is None or ids_on_disk is None:
                tokens.append(rows.flatten().to_numpy())
                ids += _texts(batch, "id")
            else:
                file.write(rows.flatten().to_numpy().data)
                ids_on_disk.append(_texts(batch, "id"))
        none = np.zeros(0, dtype=np.int32)
        input_ids = np.concatenate([none, *tokens]) if file is None else _mapped(file)
    offsets = np.concatenate([[0], *lengths]).cumsum(dtype=np.int64)
    return input_ids, offsets, np.concatenate([none, *prompts]), ids_on_disk or ids


def _most_tokens(path: Path) -> int:
    """The tokens of a split, or a few more, from the file's footer alone."""
    footer = pq.read_metadata(path)
    columns = [
        footer.row_group(group).column(column)
        for group in range(footer.num_row_groups)
        for column in range(footer.num_columns)
    ]
    return sum(c.num_values for c in columns if c.path_in_schema.startswith("input_ids."))


def _mapped(file: IO[bytes]) -> NDArray[np.int32]:
    """What was written to a file, read from there when it is used; the file may be closed."""
    file.flush()
    return np.memmap(file, dtype=np.int32, mode="r")


def task_counts(path: Path) -> dict[str, int]:
    """The number of a split's examples of each task; one entry with an empty name where the run has
    a single task.
    """
    if "task" not in pq.read_schema(path).names:
        return {"": num_examples(path)}
    return dict(Counter(_texts(pq.read_table(path, columns=["task"]), "task")))


def num_examples(path: Path) -> int:
    """Of a split, from the file's footer alone."""
    return int(pq.read_metadata(path).num_rows)


def example_ids(path: Path) -> Iterable[str]:
    """Of a split, in its order."""
    return _texts(pq.read_table(path, columns=["id"]), "id")


def _texts(table: pa.Table | pa.RecordBatch, column: str) -> list[str]:
    """A column of texts, none of them missing."""
    return cast("list[str]", table[column].to_pylist())
