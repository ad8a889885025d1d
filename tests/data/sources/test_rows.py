"""Rows: every format gives the same values, and whatever cannot be read is named by file:line."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunesmith.data.sources.rows import read_rows
from tunesmith.errors import DataError

VALUES = [{"text": "good, really", "label": "yes"}, {"text": 'two\nlines "quoted"', "label": "no"}]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def all_formats(folder: Path) -> list[Path]:
    table = pa.Table.from_pylist(VALUES)
    pq.write_table(table, folder / "a.parquet")
    with (
        pa.OSFile(str(folder / "a.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    with (
        pa.OSFile(str(folder / "b.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    return [
        write(folder / "a.csv", 'text,label\n"good, really",yes\n"two\nlines ""quoted""",no\n'),
        write(folder / "a.tsv", 'text\tlabel\ngood, really\tyes\n"two\nlines ""quoted"""\tno\n'),
        write(folder / "a.json", json.dumps(VALUES)),
        write(folder / "b.json", json.dumps({"version": 1, "data": VALUES})),
        write(folder / "a.jsonl", "\n".join(json.dumps(v) for v in VALUES)),
        folder / "a.parquet",
        folder / "a.arrow",
        folder / "b.arrow",
    ]


def test_every_format_gives_the_same_values(tmp_path: Path) -> None:
    for path in all_formats(tmp_path):
        assert [dict(row.values) for row in read_rows(path)] == VALUES, path


def test_csv_rows_know_the_line_they_start_on(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,label\n"one\ntwo",x\n\nthree,y\n')
    assert [row.source for row in read_rows(path)] == [f"{path}:2", f"{path}:5"]


def test_crlf_and_a_utf8_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "\ufefftext,label\r\ngood,yes\r\n")
    assert [dict(row.values) for row in read_rows(path)] == [{"text": "good", "label": "yes"}]


def test_a_folder_is_read_in_the_order_of_its_names_with_distinct_ids(tmp_path: Path) -> None:
    write(tmp_path / "b.csv", "text\ntwo\n")
    write(tmp_path / "a.csv", "text\none\n")
    rows = list(read_rows(tmp_path))
    assert [row.values["text"] for row in rows] == ["one", "two"]
    assert len({row.id for row in rows}) == 2


def test_ids_come_from_the_id_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "key,text\nk7,one\n")
    assert [row.id for row in read_rows(path, id_column="key")] == ["k7"]
    with pytest.raises(DataError, match="did you mean 'key'"):
        list(read_rows(path, id_column="keys"))


def test_a_hub_id_is_loaded_by_datasets_from_a_local_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.DatasetDict({"train": datasets.Dataset.from_list(VALUES)}).save_to_disk(
        tmp_path / "saved"
    )
    assert [dict(row.values) for row in read_rows(tmp_path / "saved")] == VALUES


def test_a_name_that_is_neither_file_nor_loadable_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    datasets = pytest.importorskip("datasets")

    def offline(name: str) -> None:
        raise ConnectionError(f"cannot reach the hub for {name}")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(
        DataError,
        match="neither a file here nor a data set that could be loaded: cannot reach the hub",
    ):
        list(read_rows("nobody/nothing"))


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", b"text,label\ngood,yes\nbad\n", "a.csv:3: 1 fields, the header has 2"),
        ("a.csv", b"text,text\na,b\n", "a.csv:1: the column 'text' stands twice"),
        ("a.csv", b'text,label\n"good,yes\n', "a.csv:2: a quote opens in this line"),
        ("a.csv", b'text,label\n"good" one,yes\n', "a.csv:2: bad csv"),
        (
            "a.csv",
            b"text,label\nth\xc3\xa9,yes\ncaf\xe9,no\n",
            "a.csv:3: not utf-8: byte 0xe9",
        ),
        ("a.csv", b"", "a.csv: the file is empty"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "a.jsonl:2: bad json at column"),
        ("a.jsonl", b"[1]\n", "a.jsonl:1: a JSON list, expected an object"),
        ("a.json", b'[{"a": 1},\n {"a": }]', "a.json:2: bad json"),
        ("a.json", b'{"a": [], "b": []}', "a JSON object with 2 lists"),
        ("a.parquet", b"nonsense", "a.parquet: not a parquet file"),
        ("a.arrow", b"nonsense", "a.arrow: not an arrow file"),
        (
            "a.csv",
            b"text,label\n\0\0\0\0a\0\0b,c\n",
            "a.csv: zero bytes near the beginning: this is no text in utf-8",
        ),
        ("a.csv", b"text,label\na\0b,c\n", "a.csv:2: a NUL character in a text"),
        ("a.zip", b"PK", "unknown kind of file '.zip'"),
        ("a.xls", b"PK", "hint: save it as xlsx or csv"),
    ],
)
def test_what_cannot_be_read_is_one_error_with_file_and_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_rows(path))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "name, content, problems",
    [
        ("a.csv", "text,label\ngood,yes\nbad\n\nfine,no\n", [("3", "1 fields, the header has 2")]),
        (
            "a.jsonl",
            '{"text": "good"}\n{"text":\n[1]\n{"text": "fine"}\n',
            [
                ("2", "bad json at column 1: Expecting value"),
                ("3", "a JSON list, expected an object"),
            ],
        ),
    ],
)
def test_lines_that_cannot_be_read_are_told_and_passed_over_when_asked(
    tmp_path: Path, name: str, content: str, problems: list[tuple[str, str]]
) -> None:
    path = write(tmp_path / name, content)
    told: list[tuple[str, str]] = []
    rows = list(read_rows(path, unreadable=lambda where, problem: told.append((where, problem))))
    assert [row.values["text"] for row in rows] == ["good", "fine"]
    assert [where for where, _ in told] == [f"{path}:{line}" for line, _ in problems]
    assert all(problem in found for (_, problem), (_, found) in zip(problems, told, strict=True))


def test_another_encoding_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\ncafé\n", encoding="latin-1")
    assert next(read_rows(path, encoding="latin-1")).values["text"] == "café"


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path / "reviews.csv", "text\none\n")
    with pytest.raises(DataError, match=r"no such file\nhint: did you mean 'reviews.csv'"):
        list(read_rows(tmp_path / "review.csv"))
