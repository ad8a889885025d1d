"""Columns that take few bytes of memory a row.

Labels and groups have values that recur; ids are kept on disk.
"""

from __future__ import annotations

import json
import os
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Coded(Sequence[Any]):
    """A column with few distinct values: each of them once, and a code of 4 bytes a row."""

    def __init__(self, values: Sequence[Hashable], codes: NDArray[np.int32]) -> None:
        self.values, self.codes = values, codes

    @classmethod
    def of(cls, column: Iterable[Hashable]) -> Coded:
        """Codes 0, 1, 2, ... in the order in which the values first appear."""
        if isinstance(column, Coded):
            return column
        writer = CodedWriter()
        writer.extend(column)
        return writer.column()

    def take(self, rows: NDArray[np.int64]) -> Coded:
        """The column of these rows, without the values that are in none of them."""
        used, codes = np.unique(self.codes[rows], return_inverse=True)
        return Coded([self.values[code] for code in used.tolist()], codes.astype(np.int32))

    def is_missing(self) -> NDArray[np.bool_]:
        """Rows with None or an empty text."""
        return np.asarray(
            np.array([value in (None, "") for value in self.values], dtype=np.bool_)[self.codes]
        )

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, i: Any) -> Any:
        return (
            Coded(self.values, self.codes[i])
            if isinstance(i, slice)
            else self.values[int(self.codes[i])]
        )

    def __iter__(self) -> Iterator[Any]:
        return (self.values[code] for code in self.codes.data)


class CodedWriter:
    """Makes a Coded column, a few rows at a time."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._codes = array("i")

    def __len__(self) -> int:
        return len(self._codes)

    def extend(self, values: Iterable[Hashable]) -> None:
        """One more row for each value."""
        numbers = self._numbers
        self._codes.extend([numbers.setdefault(value, len(numbers)) for value in values])

    def extend_missing(self, length: int) -> None:
        """None in every row up to this length of the column."""
        if missing := length - len(self._codes):
            self._codes.extend(
                array("i", [self._numbers.setdefault(None, len(self._numbers))]) * missing
            )

    def column(self) -> Coded:
        """What was written so far. It shares memory with the writer, which then cannot grow."""
        return Coded(list(self._numbers), np.frombuffer(self._codes, dtype=np.int32))


class RowIds(Sequence[str]):
    """Texts in a temporary file, appended in batches; one batch at a time is in memory."""

    def __init__(self, folder: Path | None = None) -> None:
        """The file is in `folder` (else where the system has its temporary files) and goes with
        this object.
        """
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed when it is collected
        self._starts, self._offsets = (
            [0],
            [0],
        )  # of each batch: its first row, and place in the file
        self._held: tuple[int, list[str]] = (-1, [])

    def append(self, ids: Sequence[str]) -> None:
        """A batch of texts, which later is read as a whole."""
        written = self._file.write(json.dumps(ids).encode())
        self._starts.append(self._starts[-1] + len(ids))
        self._offsets.append(self._offsets[-1] + written)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[row] for row in range(*i.indices(len(self)))]
        if not 0 <= i < len(self):
            raise IndexError(i)
        batch = bisect_right(self._starts, i) - 1
        return self._batch(batch)[i - self._starts[batch]]

    def __iter__(self) -> Iterator[str]:
        for batch in range(len(self._starts) - 1):
            yield from self._batch(batch)

    def _batch(self, batch: int) -> list[str]:
        if self._held[0] != batch:
            start, stop = self._offsets[batch : batch + 2]
            self._held = batch, json.loads(os.pread(self._file.fileno(), stop - start, start))
        return self._held[1]


class TakenIds(Sequence[str]):
    """The ids of some rows, in their order."""

    def __init__(self, ids: Sequence[str], rows: NDArray[np.int64]) -> None:
        self._ids, self._rows = ids, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: Any) -> Any:
        return (
            [self._ids[row] for row in self._rows[i].tolist()]
            if isinstance(i, slice)
            else self._ids[self._rows[i]]
        )
