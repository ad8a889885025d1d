"""Rows from files, folders of files and `datasets` hub ids; each row knows its `file:line`.

Reading streams: a few rows are in memory at a time, except for .json (one document), .ods and hub
data sets. A file is opened once, and hashed as it is read: the hash is that of the bytes the rows
came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from tunesmith.data.sources.cells import key_text
from tunesmith.data.sources.delimited import read_delimited
from tunesmith.data.sources.folders import (
    PACKED,
    SUFFIXES,
    TEXTS,
    Unit,
    is_known,
    is_saved,
    kind_of,
    saved_splits,
    splits_in,
    units_in,
)
from tunesmith.data.sources.json_rows import read_json, read_jsonl
from tunesmith.data.sources.line_formats import read_parallel, read_text
from tunesmith.data.sources.reading import Placed, Reading, Unreadable, Values
from tunesmith.data.sources.workbooks import SUFFIXES as WORKBOOKS
from tunesmith.data.sources.workbooks import read_workbook
from tunesmith.errors import DataError, did_you_mean
from tunesmith.records import Row, Split

BATCH_ROWS = 1024


def read_rows(
    source: str | Path,
    encoding: str | None = None,
    id_column: str | None = None,
    unreadable: Unreadable | None = None,
    hashes: dict[Path, str] | None = None,
    notes: list[str] | None = None,
    names: Iterable[str] = (),
    sheet: str | None = None,
    split: Split | None = None,
) -> Iterator[Row]:
    """Every row of a file, a folder of files, a `save_to_disk` folder or a hub id (`org/name` or
    `org/name:split`); of a source that has splits inside, those of `split`.

    Row ids come from `id_column`; without one they are the record's number, with the file's name
    before it where several files are read. Raises DataError naming file:line for what cannot be
    read. With `unreadable`, a line that is no row is passed to it as (file:line, problem), and
    reading goes on. `hashes` receives the SHA-256 (hex) of each file that was read to its end,
    `notes` what was recognised. `encoding`, `names` and `sheet`: see `Reading`.
    """
    reading = Reading(
        encoding,
        tuple(names),
        sheet,
        unreadable,
        {} if hashes is None else hashes,
        [] if notes is None else notes,
    )
    for number, (prefix, values, where) in enumerate(
        _records(str(source), reading, split), start=1
    ):
        if problem := _unfit(values):
            reading.refuse(where, problem, "no tokenizer and no file can hold it: repair the text")
        elif id_column is None:
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


def _unfit(value: object) -> str:
    """What is in a text, at any depth, that is no character; "" where nothing is."""
    if isinstance(value, str):
        if "\0" in value:
            return "a NUL character in a text"
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            return "half of a surrogate pair in a text"
        return ""
    if isinstance(value, dict):
        return _unfit(list(value)) or _unfit(list(value.values()))
    if isinstance(value, list):
        return next(filter(None, map(_unfit, value)), "")
    return ""


def _records(
    source: str, reading: Reading, split: Split | None
) -> Iterator[tuple[str, Values, str]]:
    """(prefix of the row's id, values, file:line) of each record."""
    path = Path(source)
    if path.is_dir() and is_saved(path):
        yield from _from_datasets(source, True, saved_splits(path).get(split) if split else None)
    elif path.is_dir():
        units = splits_in(path)[split] if split else units_in(path)
        if split == "train":
            _note_splits(path, reading)
        for unit in units:
            prefix = f"{unit[0].relative_to(path)}:" if len(units) > 1 else ""
            for values, where in _read_unit(unit, reading):
                yield prefix, values, where
    elif path.is_file():
        for values, where in _read_file(path, reading, split):
            yield "", values, where
    else:
        check_exists(source)
        yield from _from_datasets(source, on_disk=False)


def _note_splits(folder: Path, reading: Reading) -> None:
    """Say which files are which split, and which are none."""
    found = splits_in(folder)
    used = [unit for units in found.values() for unit in units]
    shown = "; ".join(f"{split}: {_shown(folder, units)}" for split, units in found.items())
    reading.note(f"{folder}: the files are the splits ({shown})")
    left = [unit for unit in units_in(folder) if unit not in used]
    if left:
        reading.note(f"{folder}: not read, of no split by their names: {_shown(folder, left)}")


def _shown(folder: Path, units: list[Unit]) -> str:
    names = [str(file.relative_to(folder)) for unit in units for file in unit]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def check_exists(source: str) -> None:
    """DataError for what can only be a file or folder, and is not there. A hub id passes."""
    path = Path(source)
    local = is_known(path) or source.startswith((".", "/", "~"))
    if local and not path.exists():
        there = path.parent.iterdir() if path.parent.is_dir() else []
        data_files = [file.name for file in there if is_known(file)]
        raise DataError(f"{source}: no such file", hint=did_you_mean(path.name, data_files))


def _read_unit(unit: Unit, reading: Reading) -> Iterator[Placed]:
    return read_parallel(unit, reading) if len(unit) > 1 else _read_file(unit[0], reading, None)


def _read_file(path: Path, reading: Reading, split: Split | None) -> Iterator[Placed]:
    kind = kind_of(path)
    packed = path.suffix.lower() == ".gz"
    if (kind and kind not in SUFFIXES) or (packed and kind not in (*PACKED, *TEXTS)):
        raise DataError(
            f"{path}: unknown kind of file {''.join(path.suffixes[-2:]) if packed else kind!r}",
            hint="save it as xlsx or csv" if kind == ".xls" else f"known: {', '.join(SUFFIXES)}",
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    if kind == ".json":
        return read_json(path, reading, split)
    if kind in WORKBOOKS:
        return _hashed(path, read_workbook, reading)
    readers: dict[str, Callable[[Path, Reading], Iterator[Placed]]] = {
        ".parquet": _read_parquet,
        ".arrow": _read_arrow,
        ".feather": _read_arrow,
        ".jsonl": read_jsonl,
        ".ndjson": read_jsonl,
    }
    if kind in (".csv", ".tsv"):
        return read_delimited(path, reading, "\t" if kind == ".tsv" else ",")
    return readers.get(kind, read_text)(path, reading)


def _hashed(
    path: Path, read: Callable[[Path, Reading], Iterator[Placed]], reading: Reading
) -> Iterator[Placed]:
    """For formats whose library opens the file itself; stored.py refuses one that changed."""
    with path.open("rb") as file:
        found = _hash_whole(file)
    yield from read(path, reading)
    reading.hashes[path] = found


def _hash_whole(file: IO[bytes] | pa.MemoryMappedFile) -> str:
    """For formats that are not read from front to back; the file is at its beginning again."""
    digest = sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    file.seek(0)
    return digest.hexdigest()


def _read_parquet(path: Path, reading: Reading) -> Iterator[Placed]:
    with path.open("rb") as file:
        found = _hash_whole(file)
        try:
            batches = pq.ParquetFile(file).iter_batches(batch_size=BATCH_ROWS)
            yield from _from_batches(path, batches)
        except pa.ArrowInvalid as error:
            raise DataError(f"{path}: not a parquet file: {error}") from error
    reading.hashes[path] = found


def _read_arrow(path: Path, reading: Reading) -> Iterator[Placed]:
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


def _from_batches(path: Path, batches: Iterable[pa.RecordBatch]) -> Iterator[Placed]:
    # an Arrow file may be one batch: as Python objects it would be ten times its size
    parts = (
        batch.slice(start, BATCH_ROWS)
        for batch in batches
        for start in range(0, batch.num_rows, BATCH_ROWS)
    )
    rows = (values for part in parts for values in part.to_pylist())
    for number, values in enumerate(rows, start=1):
        yield values, f"{path}:{number}"


def _from_datasets(
    source: str, on_disk: bool, wanted: str | None = None
) -> Iterator[tuple[str, Values, str]]:
    """`datasets` reads what it knows; `name:split` picks a split, else train, else the only one."""
    import datasets  # noqa: PLC0415 - a second to import, for the sources that need it

    name, wanted = (source, wanted or "") if on_disk else source.partition(":")[::2]
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
