"""A run's copy of its rows: the same rows, in the same order, whatever happens to the source."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunesmith.data.sources import stored
from tunesmith.data.sources.members import SourceRows
from tunesmith.data.sources.stored import StoredRows, source_hash, store_rows
from tunesmith.errors import DataError
from tunesmith.recipe import DataConfig
from tunesmith.records import Row


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def kept(path: Path, **data: Any) -> StoredRows:
    file = path.with_name("stored.arrow")
    store_rows(DataConfig(source=str(path), **data), file)
    return StoredRows(file)


def test_rows_come_back_when_the_source_is_gone(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", [{"n": 1, "x": [1.0, None]}, {"n": "1", "y": {}}])
    rows = kept(path)
    path.unlink()
    assert list(rows.read(0)) == [
        Row("1", {"n": 1, "x": [1.0, None]}, f"{path}:1"),
        Row("2", {"n": "1", "y": {}}, f"{path}:2"),
    ]


def test_parquet_rows_come_back_as_they_are_read(tmp_path: Path) -> None:
    columns = {"day": [date(2024, 1, 1), None], "raw": [b"\xff", b""], "n": [2**60, 1]}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    rows = list(kept(tmp_path / "rows.parquet").read(0))
    assert rows == list(SourceRows(DataConfig(source=str(tmp_path / "rows.parquet"))).read(0))
    assert rows[0].values == {"day": date(2024, 1, 1), "raw": b"\xff", "n": 2**60}


def test_unreadable_lines_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('[]\n{"a": 1}\nx\n{"a": 2}\n3\n')
    told: list[str] = []
    for row in kept(path).read(0, lambda where, problem: told.append(f"{where} {problem}")):
        told.append(row.source)
    assert told == [
        f"{path}:1 a JSON list, expected an object",
        f"{path}:2",
        f"{path}:3 bad json at column 1: Expecting value",
        f"{path}:4",
        f"{path}:5 a JSON int, expected an object",
    ]
    assert [row.id for row in kept(path).read(0)] == ["1", "2"]


def test_each_member_has_its_own_rows_and_ids(tmp_path: Path) -> None:
    paths = [jsonl(tmp_path / f"{name}.jsonl", [{"a": name}]) for name in ("one", "two", "test")]
    config = DataConfig(source=[str(path) for path in paths[:2]], test_source=str(paths[2]))
    store_rows(config, tmp_path / "stored.arrow")
    rows = StoredRows(tmp_path / "stored.arrow")
    found = [[(row.id, row.values["a"]) for row in rows.read(i)] for i in range(3)]
    assert found == [[("1:1", "one")], [("test:1", "test")], [("2:1", "two")]]


def test_rows_are_found_by_id_without_decoding_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = kept(jsonl(tmp_path / "rows.jsonl", [{"a": i} for i in range(2500)]))
    decoded: list[bytes] = []
    decode = stored.decode_values
    monkeypatch.setattr(
        stored, "decode_values", lambda data: (decoded.append(data), decode(data))[1]
    )
    assert [row.values["a"] for row in rows.find(0, {"7", "2001"})] == [6, 2000]
    assert len(decoded) == 2


def test_max_rows_limits_what_is_kept_and_not_what_is_hashed(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", [{"a": i} for i in range(9)])
    hashes = store_rows(DataConfig(source=str(path), max_rows=2), tmp_path / "stored.arrow")
    assert len(list(StoredRows(tmp_path / "stored.arrow").read(0))) == 2
    assert hashes == {str(path): source_hash(str(path))}


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet", "a.feather"])
def test_the_hash_taken_while_reading_is_that_of_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    table = pa.table({"a": ["x" * 100] * 3000})
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".feather":
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    elif path.suffix == ".json":
        path.write_text(json.dumps(table.to_pylist()))
    elif path.suffix == ".jsonl":
        jsonl(path, table.to_pylist())
    else:
        path.write_text("a\n" + f"{'x' * 100}\n" * 3000)
    hashes = store_rows(DataConfig(source=str(path)), tmp_path / "stored.arrow")
    assert hashes == {str(path): source_hash(str(path))}
    assert len(list(StoredRows(tmp_path / "stored.arrow").read(0))) == 3000


def test_other_files_of_a_folder_are_hashed_too(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    jsonl(tmp_path / "rows" / "a.jsonl", [{"a": 1}])
    (tmp_path / "rows" / "notes.txt").write_text("one")
    config = DataConfig(source=str(tmp_path / "rows"))
    before = store_rows(config, tmp_path / "stored.arrow")
    assert before == {str(tmp_path / "rows"): source_hash(str(tmp_path / "rows"))}
    (tmp_path / "rows" / "notes.txt").write_text("two")
    assert store_rows(config, tmp_path / "stored.arrow") != before


def replaced(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.write_text('{"a": 1}\n')


def added_beside(path: Path) -> None:
    jsonl(path.with_name("b.jsonl"), [{"a": 3}])


@pytest.mark.parametrize("change", [replaced, added_beside, Path.unlink])
def test_a_change_while_reading_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    (tmp_path / "rows").mkdir()
    path = jsonl(tmp_path / "rows" / "a.jsonl", [{"a": 1}])
    encode = stored.encode_values

    def change_and_encode(values: Any) -> bytes:
        change(path)
        return encode(values)

    monkeypatch.setattr(stored, "encode_values", change_and_encode)
    with pytest.raises(DataError, match=r"\.jsonl: changed while it was read"):
        store_rows(DataConfig(source=str(tmp_path / "rows")), tmp_path / "stored.arrow")


def test_a_source_without_a_row_is_refused_with_its_first_bad_line(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("[]\n{\n")
    with pytest.raises(DataError, match=r"bad.jsonl:1: a JSON list, expected an object\nhint: {"):
        kept(tmp_path / "bad.jsonl")
    (tmp_path / "none.csv").write_text("a,b\n")
    with pytest.raises(DataError, match=r"none.csv: no rows\nhint: the first line of a csv"):
        kept(tmp_path / "none.csv")


def test_reading_allocates_a_few_rows_and_not_the_file(tmp_path: Path) -> None:
    rows = kept(jsonl(tmp_path / "rows.jsonl", [{"a": "x" * 1000} for _ in range(20_000)]))
    assert rows.path.stat().st_size > 20_000_000
    in_arrow = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        most = max(pa.total_allocated_bytes() - in_arrow for _ in rows.read(0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most == 0, "Arrow copies nothing: the file is mapped into memory"
    assert peak < 8_000_000
