"""The names of a table's columns: in its first row, in the recipe, or given here.

The rules look at the first rows only, so that reading streams.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tunesmith.data.sources.reading import Reading
from tunesmith.errors import DataError

Fields = Sequence[str]
USUAL = frozenset(
    """
    answer answers article body category choices class completion content context conversations
    data date description document hypothesis id idx index input instruction intent label labels
    language message messages name output premise prompt question references response review
    reviews score sentence sentence1 sentence2 sentiment source split summary tag tags target
    text title tokens topic translation tweet type url utterance words
    """.split()  # noqa: SIM905 - one list item a line would hide the rule below it
)
"""Names that no cell of a first row is likely to be."""
LABEL_LENGTH = 40
LONG_CELL = 150


class Header(NamedTuple):
    """`names` of the columns that are read, the first of `width`; `in_file`: the first row is they.

    A row may have empty cells beyond `names`.
    """

    names: list[str]
    in_file: bool


def find_header(path: Path, rows: Sequence[Fields], reading: Reading) -> Header:
    """The header of a table by its first rows, of which the very first may be it.

    Raises DataError for columns without a name and for a name that stands twice, and where
    `data.names` are more or fewer than the columns.
    """
    first = [_clean(cell) for cell in rows[0]]
    if reading.names:
        return _named(path, first, rows, reading)
    if lacks_header(rows):
        names = _given_names(rows)
        reading.note(
            f"{path}: no header: the first line is a row like the others; the columns are called "
            f"{', '.join(names)} (data.names gives other names)"
        )
        return Header(names, False)
    names = without_empty_end(first)
    if len(names) < len(first):
        reading.note(f"{path}: {_columns(len(first) - len(names))} without a name not read")
    if len(names) > 1 and not names[0] and all(names[1:]):
        names[0] = "Unnamed: 0"  # pandas writes a table's index so, and reads it as this
        reading.note(f"{path}: the first column has no name: an index, called 'Unnamed: 0'")
    _note_cleaned(path, rows[0], first, reading)
    _check(path, names)
    return Header(names, True)


def _columns(n: int) -> str:
    return "1 column at the end" if n == 1 else f"{n} columns at the end"


def _note_cleaned(path: Path, raw: Fields, clean: Fields, reading: Reading) -> None:
    changed = [name for cell, name in zip(raw, clean, strict=True) if cell != name and name]
    if changed:
        reading.note(f"{path}: blanks around column names left out: {', '.join(changed)}")


def _clean(name: str) -> str:
    return name.strip().strip("\ufeff").strip()


def without_empty_end(cells: Sequence[str]) -> list[str]:
    """Cells without the blank ones at the end, which spreadsheets add."""
    kept = list(cells)
    while kept and not kept[-1].strip():
        kept.pop()
    return kept


def _named(path: Path, first: Fields, rows: Sequence[Fields], reading: Reading) -> Header:
    names = list(reading.names)
    width = len(without_empty_end(first))
    if width != len(names):
        raise DataError(
            f"{path}:1: {width} columns, data.names has {len(names)}: {', '.join(names)}",
            hint="name each column, from left to right",
        )
    _check(path, names)
    in_file = without_empty_end(first) == names
    if not in_file and not lacks_header(rows):
        reading.note(
            f"{path}: the first line is read as a row, since data.names differs from it: "
            f"{', '.join(first)[:80]}"
        )
    return Header(names, in_file)


def _check(path: Path, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not name:
            raise DataError(
                f"{path}:1: a column without a name",
                hint="the first line names the columns; without such a line set data.names",
            )
        if name in seen:
            raise DataError(
                f"{path}:1: the column {name!r} stands twice in the header",
                hint="rename one of them",
            )
        seen.add(name)
    if not names:
        raise DataError(f"{path}:1: no column has a name", hint="the first line names the columns")


def lacks_header(rows: Sequence[Fields]) -> bool:
    """Whether the first row is one of the table's rows, and not the names of its columns.

    It is if a cell of it is a label that its column has again, is a number in a column of numbers,
    or is a sentence. It is not where a cell is a usual name, or all are 0, 1, 2 ..., as pandas
    names columns. Without rows to compare with it is a header.
    """
    first = [cell.strip() for cell in rows[0]]
    others = [row for row in rows[1:] if len(row) == len(first) and list(row) != list(rows[0])]
    if not others or len(first) < 2 or any(cell.lower() in USUAL for cell in first):
        return False
    if [cell for cell in first if cell] in (_counted(first, 0), _counted(first, 1)):
        return False
    columns = zip(first, zip(*others, strict=True), strict=True)
    return any(_is_cell_of(cell, [value.strip() for value in column]) for cell, column in columns)


def _counted(first: Sequence[str], start: int) -> list[str]:
    return [str(i) for i in range(start, start + sum(1 for cell in first if cell))]


def _is_cell_of(cell: str, column: Sequence[str]) -> bool:
    if not cell:
        return False
    if _is_number(cell):
        return all(_is_number(value) for value in column if value)
    if len(cell) <= LABEL_LENGTH and column.count(cell) >= max(1, len(column) // 50):
        return True
    return len(cell) > LONG_CELL or bool(re.search(r"(\S+\s+){2}\S+[.!;]['\"”]?$", cell))


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?", text))


def _given_names(rows: Sequence[Fields]) -> list[str]:
    """`text` and `label` where there are two columns and one of them has the few short values that
    labels are, else column_1, column_2 ...
    """
    width = len(without_empty_end(rows[0]))
    if width == 2:
        columns = [[row[i].strip() for row in rows if len(row) > i] for i in (0, 1)]
        labels = [looks_like_labels(column) for column in columns]
        if labels == [True, False]:
            return ["label", "text"]
        if labels == [False, True]:
            return ["text", "label"]
    return [f"column_{i}" for i in range(1, width + 1)]


def looks_like_labels(column: Sequence[str]) -> bool:
    """Few short values, each two times or more on average."""
    values = Counter(column)
    return len(values) <= len(column) / 2 and all(len(value) <= LABEL_LENGTH for value in values)
