"""Prepared examples on disk: one parquet file a split, with text and token ids beside each other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tunesmith.records import IGNORE_INDEX, Example, TokenizedExample

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("row_id", pa.string()),
        ("template", pa.string()),
        ("prompt", pa.string()),
        ("completion", pa.string()),
        ("references", pa.list_(pa.string())),
        ("choices", pa.list_(pa.string())),
        ("history", pa.string()),  # JSON: [[role, content], ...]
        ("group", pa.string()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("num_prompt_tokens", pa.int32()),
    ]
)


class ExampleWriter:
    """Appends examples to a split's parquet file; the file takes its name when it is closed."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.temporary = path.with_name(f".{path.name}.tmp")
        self.writer = pq.ParquetWriter(self.temporary, SCHEMA, compression="zstd")

    def write(self, pairs: Sequence[tuple[Example, TokenizedExample]]) -> None:
        if pairs:
            self.writer.write_table(pa.Table.from_pylist([_to_record(e, t) for e, t in pairs], schema=SCHEMA))

    def close(self) -> None:
        self.writer.close()
        self.temporary.replace(self.path)


def _to_record(example: Example, tokens: TokenizedExample) -> dict[str, Any]:
    fields = {name: getattr(example, name) for name in SCHEMA.names if hasattr(example, name)}
    return fields | {
        "references": list(example.references),
        "choices": list(example.choices),
        "history": json.dumps(example.history, ensure_ascii=False) if example.history else "",
        "input_ids": tokens.input_ids,
        "num_prompt_tokens": tokens.num_prompt_tokens,
    }


def read_examples(path: Path) -> list[Example]:
    """The examples of a split, without their token ids."""
    columns = [name for name in SCHEMA.names if name not in ("input_ids", "num_prompt_tokens")]
    records = pq.read_table(path, columns=columns).to_pylist()
    return [
        Example(
            **{
                **record,
                "references": tuple(record["references"]),
                "choices": tuple(record["choices"]),
                "history": tuple((role, text) for role, text in json.loads(record["history"] or "[]")),
            }
        )
        for record in records
    ]


def read_tokenized(path: Path) -> Iterator[TokenizedExample]:
    for batch in pq.ParquetFile(path).iter_batches(columns=["id", "input_ids", "num_prompt_tokens"]):
        for record in batch.to_pylist():
            yield labelled(record["id"], record["input_ids"], record["num_prompt_tokens"])


def labelled(example_id: str, input_ids: list[int], num_prompt_tokens: int) -> TokenizedExample:
    """The record with its labels written out again: the prompt masked, everything after it trained."""
    labels = [IGNORE_INDEX] * num_prompt_tokens + input_ids[num_prompt_tokens:]
    return TokenizedExample(example_id, input_ids, labels, num_prompt_tokens)


def example_ids(path: Path) -> Iterable[str]:
    ids: list[str] = pq.read_table(path, columns=["id"])["id"].to_pylist()
    return ids
