"""Rows to a csv or a jsonl file, which appears when all of them are written."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tunesmith.errors import InputError
from tunesmith.rundir import appearing

Write = Callable[[Mapping[str, Any]], None]


def check_new_table(path: Path) -> None:
    """InputError unless it is a file to be made, of a form that can be written."""
    if path.exists():
        raise InputError(f"{path}: exists already", hint="name another file")
    if path.suffix.lower() not in WRITERS:
        raise InputError(
            f"{path}: not a form that is written", hint=f"name it {' or '.join(WRITERS)}"
        )
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}", hint="make it first")


@contextmanager
def table_writer(path: Path, columns: Sequence[str]) -> Iterator[Write]:
    """Writes one row at a time, with these columns in this order; None is an empty cell or null."""
    with appearing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        write = WRITERS[path.suffix.lower()](file, columns)
        yield lambda row: write({column: row.get(column) for column in columns})


def _csv(file: IO[str], columns: Sequence[str]) -> Write:
    writer = csv.DictWriter(file, columns)
    writer.writeheader()
    return lambda row: writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _json(value) if isinstance(value, list | dict) else value


def _jsonl(file: IO[str], columns: Sequence[str]) -> Write:
    return lambda row: print(_json(row), file=file)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)  # dates and such as they are printed


WRITERS = {".csv": _csv, ".jsonl": _jsonl}
