"""Rows from files, folders of files and `datasets` hub ids; each row knows its `file:line`.

Reading streams: one row is in memory at a time, except for .json (one document) and hub data sets.
A file is opened once, and hashed as it is read: the hash is that of the bytes the rows came from.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tunesmith.data.sources.cells import key_text
from tunesmith.errors import DataError, did_you_mean
from tunesmith.records import Row

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather")
BLOCK_BYTES = 1 << 16
BATCH_ROWS = 1024
Unreadable = Callable[[str, str], None]
Values = dict[str, Any]  # of a row, by column
BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class _Reading:
    """How files are read. `hashes` collects the SHA-256 of each file that was read to its end."""

    encoding: str
    unreadable: Unreadable | None
    hashes: dict[Path, str]


def read_rows(
    source: str | Path,
    encoding: str = "utf-8",
    id_column: str | None = None,
    unreadable: Unreadable | None = None,
    hashes: dict[Path, str] | None = None,
) -> Iterator[Row]:
    """Every row of a file, a folder of files, a `save_to_disk` folder or a hub id (`org/name` or
    `org/name:split`).

    Row ids come from `id_column`; without one they are the record's number, with the file's name
    before it where several files are read. Raises DataError naming file:line for what cannot be
    read. With `unreadable`, a line of jsonl or a record of csv that cannot be read is passed to it
    as (file:line, problem), and reading goes on. `hashes` receives the SHA-256 (hex) of each file
    that was read to its end.
    """
    reading = _Reading(encoding, unreadable, {} if hashes is None else hashes)
    for number, (prefix, values, where) in enumerate(_records(str(source), reading), start=1):
        if id_column is None:
            yield Row(f"{prefix}{number}", values, where)
        elif (row_id := key_text(values.get(id_column))) is None:
            hint = (
                did_you_mean(id_column, values)
                if id_column not in values
                else "each row needs an id, or drop data.id"
            )
            raise DataError(f"{where}: no value in the id column {id_column!r}", hint=hint)
        else:
            yield Row(row_id, values, where)


def _records(source: str, reading: _Reading) -> Iterator[tuple[str, Values, str]]:
    """(prefix of the row's id, values, file:line) of each record."""
    path = Path(source)
    if path.is_dir():
        if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
            yield from _from_datasets(source, on_disk=True)
            return
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not files:
            raise DataError(
                f"{path}: a folder without data files", hint=f"known endings: {', '.join(SUFFIXES)}"
            )
        for file in files:
            prefix = f"{file.relative_to(path)}:" if len(files) > 1 else ""
            for values, where in _read_file(file, reading):
                yield prefix, values, where
    elif path.is_file():
        for values, where in _read_file(path, reading):
            yield "", values, where
    else:
        check_exists(source)
        yield from _from_datasets(source, on_disk=False)


def check_exists(source: str) -> None:
    """DataError for what can only be a file or folder, and is not there. A hub id passes."""
    path = Path(source)
    local = path.suffix.lower() in SUFFIXES or source.startswith((".", "/", "~"))
    if local and not path.exists():
        there = path.parent.iterdir() if path.parent.is_dir() else []
        data_files = [file.name for file in there if file.suffix.lower() in SUFFIXES]
        raise DataError(f"{source}: no such file", hint=did_you_mean(path.name, data_files))


def _read_file(path: Path, reading: _Reading) -> Iterator[tuple[Values, str]]:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path}: unknown kind of file {suffix!r}", hint=f"known endings: {', '.join(SUFFIXES)}"
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    if suffix == ".parquet":
        return _read_parquet(path, reading)
    if suffix in (".arrow", ".feather"):
        return _read_arrow(path, reading)
    if suffix == ".json":
        return _read_json(path, reading)
    if suffix in (".jsonl", ".ndjson"):
        return _read_jsonl(path, reading)
    return _read_csv(path, reading, "\t" if suffix == ".tsv" else ",")


class _Hashed(io.RawIOBase):
    """A file whose bytes also go into a hash, in the order in which they are read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self.file.read(len(buffer))
        self.digest.update(block)
        buffer[: len(block)] = block
        return len(block)


def _lines(path: Path, reading: _Reading) -> Iterator[str]:
    """The lines of a text file, a UTF-8 byte order mark dropped; DataError at the first undecodable
    line.
    """
    encoding = reading.encoding
    name = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    number = 0
    try:
        with path.open("rb", buffering=0) as raw:
            hashed = _Hashed(raw)
            file = io.BufferedReader(hashed, BLOCK_BYTES)
            _check_beginning(path, file.peek(), encoding)
            for line in io.TextIOWrapper(file, encoding=name, newline=""):
                number += 1
                yield line
            reading.hashes[path] = hashed.digest.hexdigest()
    except UnicodeDecodeError as error:
        raise _undecodable(path, encoding, number, error) from error
    except LookupError as error:
        raise DataError(
            f"{path}: unknown encoding {encoding!r}", hint="for example utf-8, latin-1, utf-16"
        ) from error


def _check_beginning(path: Path, start: bytes, encoding: str) -> None:
    """DataError for what no text in this encoding begins with: another's byte order mark, zero
    bytes.
    """
    start = start[: 1 << 12]
    found = BYTE_ORDER_MARKS.get(start[:2])
    if b"\0" in start and not found and not encoding.lower().startswith(("utf-16", "utf-32")):
        raise DataError(
            f"{path}: zero bytes near the beginning: this is no text in {encoding}",
            hint="a spreadsheet or archive? Export it as csv; "
            "for UTF-16 text set data.encoding=utf-16-le",
        )
    if found and not encoding.lower().startswith("utf-16"):
        raise DataError(
            f"{path}:1: the file starts with the byte order mark of {found}, read as {encoding}",
            hint=f"set data.encoding={found}, or save the file as UTF-8",
        )


def _undecodable(
    path: Path, encoding: str, lines_read: int, error: UnicodeDecodeError
) -> DataError:
    line = lines_read + 1
    # the decoder reads ahead in blocks, so the line of the bad bytes has to be looked for
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                raw.decode(encoding)
            except UnicodeDecodeError:
                line = number
                break
    byte = error.object[error.start]
    return DataError(
        f"{path}:{line}: not {encoding}: byte 0x{byte:02x} cannot be read",
        hint="set data.encoding to the file's encoding (often latin-1 or cp1252), "
        "or save it as UTF-8",
    )


def _report(unreadable: Unreadable | None, where: str, problem: str, hint: str) -> None:
    if unreadable is None:
        raise DataError(f"{where}: {problem}", hint=hint)
    unreadable(where, problem)


def _read_csv(path: Path, reading: _Reading, delimiter: str) -> Iterator[tuple[Values, str]]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(_lines(path, reading), delimiter=delimiter, strict=True)
    try:
        header = _with_index(next(reader, []))
        _check_header(path, header, delimiter)
        line = reader.line_num + 1
        for fields in reader:
            if fields and len(fields) != len(header):
                problem = f"{len(fields)} fields, the header has {len(header)}"
                hint = 'quote values that contain the separator or a line break with "..."'
                _report(reading.unreadable, f"{path}:{line}", problem, hint)
            elif fields:
                yield dict(zip(header, fields, strict=True)), f"{path}:{line}"
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}:{reader.line_num}: bad csv: {error}",
            hint='quotes inside a value are doubled: ""',
        ) from error


def _with_index(header: list[str]) -> list[str]:
    """pandas writes a table's index without a name before the others, and reads it as this."""
    if header[:1] == [""] and all(name.strip() for name in header[1:]) and len(header) > 1:
        return ["Unnamed: 0", *header[1:]]
    return header


def _check_header(path: Path, header: list[str], delimiter: str) -> None:
    seen: set[str] = set()
    for name in header:
        if not name.strip():
            raise DataError(
                f"{path}:1: a column without a name", hint="the first line names the columns"
            )
        if name in seen:
            raise DataError(
                f"{path}:1: the column {name!r} stands twice in the header",
                hint="rename one of them",
            )
        seen.add(name)
    if len(header) == 1 and delimiter == "," and any(mark in header[0] for mark in ";\t|"):
        raise DataError(
            f"{path}:1: one column {header[0]!r}: the separator is not a comma",
            hint="save it with commas",
        )


def _read_jsonl(path: Path, reading: _Reading) -> Iterator[tuple[Values, str]]:
    for number, line in enumerate(_lines(path, reading), start=1):
        if line.strip():
            where = f"{path}:{number}"
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                problem = f"bad json at column {error.colno}: {error.msg}"
                _report(reading.unreadable, where, problem, hint="one JSON object a line")
                continue
            if isinstance(value, dict):
                yield value, where
            else:
                _report(reading.unreadable, where, _no_object(value), hint='{"column": value, ...}')


def _read_json(path: Path, reading: _Reading) -> Iterator[tuple[Values, str]]:
    text = "".join(_lines(path, reading))
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        hint = "one object a line? then name the file .jsonl" if error.msg == "Extra data" else ""
        raise DataError(
            f"{path}:{error.lineno}: bad json at column {error.colno}: {error.msg}", hint=hint
        ) from error
    if isinstance(value, dict):
        lists = [inner for inner in value.values() if isinstance(inner, list)]
        if len(lists) != 1:
            raise DataError(
                f"{path}: a JSON object with {len(lists)} lists",
                hint="give a list of objects, or an object that holds one",
            )
        value = lists[0]
    if not isinstance(value, list):
        raise DataError(f"{path}: a JSON {type(value).__name__}, expected a list of objects")
    for number, item in enumerate(value, start=1):
        yield _object(item, f"{path}:{number}"), f"{path}:{number}"


def _object(value: object, where: str) -> Values:
    if not isinstance(value, dict):
        raise DataError(f"{where}: {_no_object(value)}", hint='{"column": value, ...}')
    return value


def _no_object(value: object) -> str:
    return f"a JSON {type(value).__name__}, expected an object"


def _hash_whole(file: IO[bytes] | pa.MemoryMappedFile) -> str:
    """For formats that are not read from front to back; the file is at its beginning again."""
    digest = sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    file.seek(0)
    return digest.hexdigest()


def _read_parquet(path: Path, reading: _Reading) -> Iterator[tuple[Values, str]]:
    with path.open("rb") as file:
        found = _hash_whole(file)
        try:
            batches = pq.ParquetFile(file).iter_batches(batch_size=BATCH_ROWS)
            yield from _from_batches(path, batches)
        except pa.ArrowInvalid as error:
            raise DataError(f"{path}: not a parquet file: {error}") from error
    reading.hashes[path] = found


def _read_arrow(path: Path, reading: _Reading) -> Iterator[tuple[Values, str]]:
    with pa.memory_map(str(path)) as source:
        found = _hash_whole(source)
        try:
            file = pa.ipc.open_file(source)
            batches: Iterable[pa.RecordBatch] = map(file.get_batch, range(file.num_record_batches))
        except pa.ArrowInvalid:
            source.seek(0)
            try:
                batches = pa.ipc.open_stream(source)
            except pa.ArrowInvalid as error:
                raise DataError(f"{path}: not an arrow file: {error}") from error
        yield from _from_batches(path, batches)
    reading.hashes[path] = found


def _from_batches(path: Path, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[Values, str]]:
    # an Arrow file may be one batch: as Python objects it would be ten times its size
    parts = (
        batch.slice(start, BATCH_ROWS)
        for batch in batches
        for start in range(0, batch.num_rows, BATCH_ROWS)
    )
    rows = (values for part in parts for values in part.to_pylist())
    for number, values in enumerate(rows, start=1):
        yield values, f"{path}:{number}"


def _from_datasets(source: str, on_disk: bool) -> Iterator[tuple[str, Values, str]]:
    """`datasets` reads what it knows; `name:split` picks a split, else train, else the only one."""
    import datasets  # noqa: PLC0415 - a second to import, for the sources that need it

    name, _, wanted = source.partition(":")
    try:
        loaded = datasets.load_from_disk(name) if on_disk else datasets.load_dataset(name)
    except Exception as error:  # the library raises many kinds; the user needs one message
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{source}: neither a file here nor a data set that could be loaded: {reason}",
            hint="check the path; a hub id needs a network, or a copy in the local cache",
        ) from error
    if isinstance(loaded, datasets.DatasetDict):
        split = wanted or ("train" if "train" in loaded else next(iter(loaded)))
        if split not in loaded:
            raise DataError(f"{source}: no split {split!r}", hint=did_you_mean(split, loaded))
        loaded = loaded[split]
    for number, values in enumerate(loaded, start=1):
        yield "", dict(values), f"{source}:{number}"
