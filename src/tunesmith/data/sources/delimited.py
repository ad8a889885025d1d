"""Tables in text files with a separator: csv, tsv, and what spreadsheets call so.

A record is one line, or several where a quoted cell has line breaks. A quote that somebody forgot
to close would make one cell of all the rows up to the next quote, so what looks like that is an
error at the line where it opens. In a tsv, where few programs quote, such a quote is text.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from tunesmith.data.sources.header import find_header, without_empty_end
from tunesmith.data.sources.reading import Placed, Reading
from tunesmith.data.sources.text_lines import read_lines
from tunesmith.errors import DataError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SAMPLE_LINES = 200
SAMPLE_CHARACTERS = 1 << 18
MAX_RECORD = 1 << 24
"""Characters of one record; a quote that is open for longer has been forgotten."""
CONSISTENT = 0.8
LABEL_LENGTH = 40


class Lines:
    """Lines that can be given back, and the number of the last one."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._waiting: deque[str] = deque()
        self.number = 0

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else next(self._lines)
        self.number += 1
        return line

    def give_back(self, lines: Sequence[str]) -> None:
        """Have these read next, in their order."""
        self._waiting.extendleft(reversed(lines))
        self.number -= len(lines)

    def sample(self) -> list[str]:
        """The next lines, which stay where they are."""
        found, size = list[str](), 0
        while len(found) < SAMPLE_LINES and size < SAMPLE_CHARACTERS:
            line = next(self, None)
            if line is None:
                break
            found.append(line)
            size += len(line)
        self.give_back(found)
        return found


def read_delimited(path: Path, reading: Reading, usual: str) -> Iterator[Placed]:
    """The rows of a table in a text file; `usual` is the separator that its name promises.

    Separator, quoting and header are found out by the first lines, and noted where they are not the
    usual ones. Raises DataError for a header that cannot be one and for quotes that do not close.
    """
    yield from rows_of_lines(path, Lines(read_lines(path, reading)), reading, usual)


def rows_of_lines(path: Path, lines: Lines, reading: Reading, usual: str) -> Iterator[Placed]:
    """See `read_delimited`."""
    separator = _announced(lines)
    sample = lines.sample()
    if separator is None:
        separator = find_separator(sample, usual)
    if separator != usual:
        reading.note(f"{path}: read with {SEPARATORS.get(separator, repr(separator))}")
    records = _Records(path, lines, separator, sample, reading)
    first = list(islice(records, SAMPLE_LINES))
    if not first:
        return
    header = find_header(path, [fields for fields, _ in first], reading)
    raw_header = first[0][0] if header.in_file else None
    rows = chain(first[1:] if header.in_file else first, records)
    for fields, line in rows:
        where = f"{path}:{line}"
        if fields == raw_header and len(fields) > 1:
            reading.refuse(where, "the header again", "delete this line")
            continue
        if len(fields) > len(raw_header or header.names) and not fields[-1]:
            reading.note(f"{path}: empty cells after the last column not read")
        fitted = _fit(fields, len(header.names))
        if isinstance(fitted, str):
            hint = 'quote values that contain the separator or a line break with "..."'
            reading.refuse(where, fitted, hint)
        else:
            yield dict(zip(header.names, fitted, strict=True)), where


def _fit(fields: list[str], width: int) -> list[str] | str:
    """A row's cells, the empty ones beyond the header left out; what is wrong where they do not
    fit.
    """
    if len(fields) > width:
        fields = fields[:width] + without_empty_end(fields[width:])
    return fields if len(fields) == width else f"{len(fields)} fields, the header has {width}"


def _announced(lines: Lines) -> str | None:
    """The separator in a first line `sep=;`, which spreadsheets write and read."""
    first = next(lines, None)
    if first is None:
        return None
    found = re.fullmatch(r'"?sep=(.)"?', first.rstrip("\r\n"), flags=re.IGNORECASE)
    if found is None:
        lines.give_back([first])
        return None
    return found[1]


# ---- the separator


def find_separator(sample: Sequence[str], usual: str) -> str:
    """The separator of a table by its first lines: `usual`, or another one that the first line has
    and that gives the same number of cells in the others.

    One that is followed by blanks is punctuation, where another one is not.
    """
    lines = [line for line in sample if line.strip()]
    found = {c: key for c in (usual, *SEPARATORS) if lines and (key := _fitness(lines, c))}
    return max(found, key=lambda c: (*found[c][:2], c == usual, *found[c][2:])) if found else usual


def _fitness(lines: Sequence[str], separator: str) -> tuple[bool, bool, float, int] | None:
    """(consistent, not followed by blanks, share of records with as many cells as the first, cells
    of the first); None where the first line has no such separator.
    """
    records = _try_records(lines, separator)
    width = len(without_empty_end(records[0])) if records else 0
    if width < 2:
        return None
    share = sum(len(without_empty_end(r)) == width for r in records) / len(records)
    after = [cell for record in records for cell in record[1:] if cell]
    spaced = sum(cell.startswith(" ") for cell in after) > len(after) / 2
    return share >= CONSISTENT, not spaced, share, width


def _try_records(lines: Sequence[str], separator: str) -> list[list[str]]:
    csv.field_size_limit(sys.maxsize)
    records = list[list[str]]()
    try:
        for record in csv.reader(iter(lines), delimiter=separator, strict=True):
            records.append(record)
        return records
    except csv.Error:  # an open quote, or the end of the sample inside a cell
        return [line.rstrip("\r\n").split(separator) for line in lines]


# ---- records


@dataclass
class _Records:
    """The cells of each record with the number of its first line; blank lines left out."""

    path: Path
    lines: Lines
    separator: str
    sample: Sequence[str]
    reading: Reading

    def __post_init__(self) -> None:
        csv.field_size_limit(sys.maxsize)
        self.width = 0
        self.quotes_are_text = False
        self.may_be_text = self.separator == "\t"
        self.blank_first = _blank_follows(self.sample, self.separator)
        self.labels = _labels(self.sample, self.separator)

    def __iter__(self) -> Iterator[tuple[list[str], int]]:
        for line in self.lines:
            start = self.lines.number
            text = line.rstrip("\r\n")
            if not text:
                continue
            if self.quotes_are_text or '"' not in text:
                fields = text.split(self.separator)
                if self.blank_first:
                    fields = [field.lstrip(" ") for field in fields]
            else:
                fields = self._quoted(line, start)
            self.width = self.width or len(fields)
            yield fields, start

    def _quoted(self, line: str, start: int) -> list[str]:
        taken = [line]
        reader = csv.reader(
            self._feed(taken),
            delimiter=self.separator,
            strict=True,
            skipinitialspace=self.blank_first,
        )
        try:
            fields = next(reader)
            if not self._looks_merged(taken):
                return fields
            problem = ""
        except csv.Error as error:
            never_closed = "unexpected end" in str(error) or len(taken) > 1
            problem = "" if never_closed else f"bad csv: {error}"
        if self.may_be_text:
            self.lines.give_back(taken[1:])
            self.quotes_are_text = True
            self.reading.note(
                f"{self.path}:{start}: quotes do not balance: from here on they are read as text"
            )
            return line.rstrip("\r\n").split(self.separator)
        opened = "a quote opens in this line, and is not closed before other rows follow"
        raise DataError(
            f"{self.path}:{start}: {problem or opened}",
            hint='close it or delete it; quotes inside a value are doubled: ""',
        )

    def _feed(self, taken: list[str]) -> Iterator[str]:
        yield taken[0]
        size = 0
        for line in self.lines:
            taken.append(line)
            size += len(line)
            if size > MAX_RECORD:
                return
            yield line

    def _looks_merged(self, taken: Sequence[str]) -> bool:
        """Whether lines of one record are rows of this table themselves.

        They are where such a line has a label of the table in the right place, and where all of
        several lines have the right number of cells; in a tsv one of these is enough.
        """
        if len(taken) == 1 or self.width < 2:
            return False
        between = [self._cells(line) for line in taken[1:-1]]
        whole = [cells for cells in between if cells]
        if self.may_be_text:
            return bool(whole)
        opened, closed = self._cells(taken[0]), self._cells(taken[-1])
        parts = [
            *((i, cell) for cells in whole for i, cell in enumerate(cells)),
            *((i, c) for i, c in enumerate(opened) if i > _place_of_quote(opened, last=True)),
            *((i, c) for i, c in enumerate(closed) if i < _place_of_quote(closed, last=False)),
        ]
        has_label = any(cell in self.labels[i] for i, cell in parts if i < len(self.labels))
        return has_label or (len(whole) > 1 and len(whole) == len(between))

    def _cells(self, line: str) -> list[str]:
        """A line as if it were a record, [] where it cannot be one."""
        cells = line.rstrip("\r\n").split(self.separator)
        spaced = any(cell[:1] == " " for cell in cells[1:]) and not self.blank_first
        return cells if len(cells) == self.width and all(cells) and not spaced else []


def _place_of_quote(cells: Sequence[str], last: bool) -> int:
    places = [i for i, cell in enumerate(cells) if '"' in cell]
    return places[-1 if last else 0] if places else (len(cells) if last else 0)


def _blank_follows(sample: Sequence[str], separator: str) -> bool:
    """Whether a blank follows every separator of the header and nearly all others: it is no part of
    the cells, and a quote after it is one.
    """
    lines = [line.rstrip("\r\n") for line in sample if line.strip()]
    if separator == "\t" or not lines or separator not in lines[0]:
        return False
    cells = [cell for line in lines for cell in line.split(separator)[1:]]
    spaced = sum(cell.startswith(" ") for cell in cells)
    return all(
        cell.startswith(" ") for cell in lines[0].split(separator)[1:]
    ) and spaced >= CONSISTENT * len(cells)


def _labels(sample: Sequence[str], separator: str) -> list[set[str]]:
    """The short values that stand several times in each column of the lines without quotes, those
    inside a quoted cell aside.
    """
    rows, inside = list[list[str]](), False
    for line in sample:
        inside ^= line.count('"') % 2 == 1
        if not inside and '"' not in line:
            rows.append(line.rstrip("\r\n").split(separator))
    width = len(rows[0]) if rows else 0
    columns = [Counter(row[i] for row in rows if len(row) == width) for i in range(width)]
    return [
        {value for value, n in column.items() if n > 1 and 0 < len(value) <= LABEL_LENGTH}
        for column in columns
    ]
