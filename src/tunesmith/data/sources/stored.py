"""The rows of a run as they were read: written once, and read from there by everything after it.

Preparation goes over the rows several times (labels, keys, rendering), and evaluation once more.
Were each to read the source again, a file that changes in between would put a row into two splits,
or give the baseline other rows than the model was trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import cast

import pyarrow as pa

from tunesmith.data.sources.members import Member, members, read_member
from tunesmith.data.sources.reading import Unreadable
from tunesmith.data.sources.values import decode_values, encode_values
from tunesmith.errors import DataError
from tunesmith.recipe import DataConfig
from tunesmith.records import Row
from tunesmith.rundir import file_sha256

BATCH_ROWS = 1000
_FIELDS: dict[str, pa.DataType] = {
    "member": pa.int32(),  # the same in all rows of a batch
    "id": pa.string(),
    "source": pa.string(),  # file:line
    "problem": pa.string(),  # why the line is no row; then it has no id and no values
    "values": pa.binary(),  # see values.py
}
SCHEMA = pa.schema(_FIELDS)
_State = tuple[int, int, int]  # of a file: inode, bytes, nanoseconds of its last change


def store_rows(
    data: DataConfig,
    path: Path,
    notes: list[str] | None = None,
    on_rows: Callable[[int], None] = lambda _: None,
) -> dict[str, str]:
    """Read all that the recipe names, once, and write it to `path`, an Arrow IPC file.

    Returns the hash of each source, by its path (see `source_hash`); a hub id has none. `notes`
    receives what was recognised in the files, `on_rows` the number of rows just read. Raises
    DataError for what cannot be read, for a source without rows, and for one that changed while it
    was read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    hashes: dict[str, str] = {}
    of_files: dict[Path, str] = {}  # of all members, as several may be parts of one source
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, SCHEMA) as writer:
        for number, member in enumerate(members(data)):
            with _unchanged(member.path):
                lines = _lines(member, of_files, notes)
                while batch := list(islice(lines, BATCH_ROWS)):
                    writer.write_batch(_batch(number, batch))
                    on_rows(len(batch))
                found = source_hash(member.path, of_files)
            if hashes.get(member.path, found) != found:
                raise _changed(member.path)
            if found is not None:
                hashes[member.path] = found
    return hashes


def source_hash(path: str, hashes: dict[Path, str] | None = None) -> str | None:
    """One hash for all files under a path, which are `path` itself where it is a file.

    `hashes` are those of files that have been read already. None where there is no such path.
    """
    root, known = Path(path), hashes or {}
    if not root.exists():
        return None
    lines = [
        f"{file.relative_to(root)} {known.get(file) or file_sha256(file)}"
        for file in files_in(root)
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def files_in(path: Path) -> list[Path]:
    """The files under a path in a fixed order, without Python's caches."""
    if path.is_file():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return [file for file in files if "__pycache__" not in file.parts]


@contextmanager
def _unchanged(path: str) -> Iterator[None]:
    """DataError where a file under the path is another one at the end.

    The rows before a change and those after it do not belong together, so the hash of what was read
    would be that of no version of the file.
    """
    before = _states(path)
    yield
    after = _states(path)
    changed = sorted(file for file in {*before, *after} if before.get(file) != after.get(file))
    if changed:
        raise _changed(changed[0])


def _changed(path: Path | str) -> DataError:
    return DataError(
        f"{path}: changed while it was read",
        hint="start again when nothing writes to it any more",
    )


def _states(path: str) -> dict[Path, _State]:
    if not Path(path).exists():
        return {}
    stats = {file: file.stat() for file in files_in(Path(path))}
    return {file: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for file, stat in stats.items()}


def _lines(
    member: Member, hashes: dict[Path, str], notes: list[str] | None
) -> Iterator[Row | tuple[str, str]]:
    """Rows and unreadable lines (file:line, problem), in the order of the file."""
    waiting: list[tuple[str, str]] = []
    for row in read_member(member, lambda *line: waiting.append(line), hashes, notes):
        yield from waiting
        waiting.clear()
        yield row
    yield from waiting


def _batch(number: int, lines: Iterable[Row | tuple[str, str]]) -> pa.RecordBatch:
    cells = [
        (number, line.id, line.source, None, encode_values(line.values))
        if isinstance(line, Row)
        else (number, None, *line, None)
        for line in lines
    ]
    columns = zip(*cells, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)


def _rows(batch: pa.RecordBatch, unreadable: Unreadable | None = None) -> Iterator[Row]:
    columns = (batch[name].to_pylist() for name in ("id", "source", "problem", "values"))
    for row_id, source, problem, values in zip(*columns, strict=True):
        if problem is None:
            yield Row(row_id, decode_values(values), source)
        elif unreadable is not None:
            unreadable(source, problem)


class StoredRows:
    """The rows of a run, from the file that `store_rows` wrote. It is mapped into memory."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`; it is mapped anew for each pass, and released after it."""
        self.path = path

    def read(self, number: int, unreadable: Unreadable | None = None) -> Iterator[Row]:
        """The rows of a member, in the order of its source.

        `unreadable` receives (file:line, problem) of each line that is no row, where it stood.
        """
        for batch in self._batches(number):
            yield from _rows(batch, unreadable)

    def stretches(self, number: int, most: int) -> Iterator[list[tuple[int, Row]]]:
        """At most that many stretches of up to BATCH_ROWS rows, from all over a member: each row
        with its place among the member's rows. No values of others are decoded.
        """
        sizes = [batch["problem"].null_count for batch in self._batches(number)]
        n = min(most, len(sizes))
        chosen = {(2 * i + 1) * len(sizes) // (2 * n) for i in range(n)}
        start = 0
        for k, batch in enumerate(self._batches(number)):
            if k in chosen:
                yield list(enumerate(_rows(batch), start))
            start += sizes[k]

    def find(self, number: int, ids: Collection[str]) -> Iterator[Row]:
        """The rows of a member that have these ids. No values of others are decoded."""
        for batch in self._batches(number):
            for i, row_id in enumerate(cast("list[str]", batch["id"].to_pylist())):
                if row_id in ids:
                    values = decode_values(cast("bytes", batch["values"][i].as_py()))
                    yield Row(row_id, values, cast("str", batch["source"][i].as_py()))

    def _batches(self, number: int) -> Iterator[pa.RecordBatch]:
        with pa.memory_map(str(self.path)) as mapped:
            file = pa.ipc.open_file(mapped)
            for batch in map(file.get_batch, range(file.num_record_batches)):
                if batch["member"][0].as_py() == number:
                    yield batch
