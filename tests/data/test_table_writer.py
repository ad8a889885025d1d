"""A table that is written reads back as it was, and appears whole or not at all."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from tunesmith.data.sources.rows import read_rows
from tunesmith.data.table_writer import check_new_table, table_writer
from tunesmith.errors import InputError

ROWS = [{"text": 'a "b"\nc, d', "n": 0.5, "yes": True}, {"text": "ü", "n": None, "yes": False}]


@pytest.mark.parametrize(
    "name, cells",
    [
        ("a.jsonl", ROWS),
        ("a.csv", [{"text": 'a "b"\nc, d', "n": "0.5", "yes": "true"},
                   {"text": "ü", "n": "", "yes": "false"}]),
    ],
)  # fmt: skip
def test_what_is_written_reads_back(tmp_path: Path, name: str, cells: list[object]) -> None:
    with table_writer(tmp_path / name, ["text", "n", "yes"]) as write:
        for row in ROWS:
            write(row)
    assert [dict(row.values) for row in read_rows(tmp_path / name)] == cells


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt), table_writer(tmp_path / "a.csv", ["text"]) as write:
        write(ROWS[0])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_another_ending_and_a_file_that_exists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.txt: not a form.*\nhint: name it .csv or .jsonl"):
        check_new_table(tmp_path / "a.txt")
    (tmp_path / "a.csv").touch()
    with pytest.raises(InputError, match="exists already"):
        check_new_table(tmp_path / "a.csv")
    with pytest.raises(InputError, match="there is no folder"):
        check_new_table(tmp_path / "b" / "a.csv")
