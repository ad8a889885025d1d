"""Facts about a table and its columns, counted in one pass over its rows."""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import islice
from statistics import median
from typing import Any, Literal

from tunesmith.data.preview import spread
from tunesmith.data.sources.answers import read_list, read_written
from tunesmith.data.sources.cells import (
    NULL_WORDS,
    is_blank,
    label_text,
    number,
    plain_text,
    truth,
)
from tunesmith.data.sources.formats import Format, detect_format
from tunesmith.data.sources.splits import WORDS

MOST_ROWS = 200_000
"""Rows that are looked at; a label that comes first after so many is not seen."""
MOST_DISTINCT = 20_000
"""Distinct values of a column that are counted; from there on "many" is enough."""
MOST_LABELS = 1000
"""Classes that a label column may have, as in `classify`."""
SAMPLE = 2000
"""Rows from all over the table by which two columns are compared."""
FEW_LABELS = 20
LABEL_WORDS, LABEL_CHARACTERS = 5, 60
"""The longest label, where most are shorter."""
SEPARATORS = ("|", ";", ",")

Kind = Literal["empty", "whole", "number", "comma", "truth", "date", "list", "object", "text"]
"""What the cells of a column are that have a value. `comma`: numbers with a decimal comma."""

_COMMA_NUMBER = re.compile(r"[-+]?\d{1,6},\d{1,6}")
_DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}(?:[T ].*)?")
_CODE = re.compile(r"[a-z]+|[A-Z]+|[0-9]+")


@dataclass(frozen=True)
class ColumnFacts:
    """What was counted in one column.

    `filled` cells have a value. `distinct` values are counted up to MOST_DISTINCT. `common` are the
    most frequent values with their rows, all of them where they are at most MOST_LABELS. `words`
    is the median number of words of a cell, `longest` its most characters. `parts` are the distinct
    values inside the cells where a cell holds several, the most frequent first: the items of lists,
    or what stands between `separator`; `repeats` says how often each occurs in the mean.
    """

    name: str
    place: int
    kind: Kind
    rows: int
    filled: int
    distinct: int
    common: tuple[tuple[str, int], ...] = ()
    words: float = 0.0
    longest: int = 0
    separator: str = ""
    parts: tuple[str, ...] = ()
    repeats: float = 0.0
    questions: float = 0.0
    numbers_at_end: float = 0.0
    is_sequence: bool = False
    is_iso: bool = False
    has_codes: bool = False
    has_spans: bool = False

    @property
    def missing(self) -> int:
        """Rows without a value."""
        return self.rows - self.filled

    @property
    def is_unique(self) -> bool:
        """Whether no value occurs twice."""
        return self.filled > 1 and self.distinct >= min(self.filled, MOST_DISTINCT)

    @property
    def values(self) -> tuple[str, ...]:
        """The values, the most frequent first."""
        return tuple(value for value, _ in self.common)

    @property
    def has_few_values(self) -> bool:
        """Whether the values repeat like labels: short, and each in three rows or more in the
        mean, in five where there are many.
        """
        least = 3 if self.distinct <= FEW_LABELS else 5
        return (
            2 <= self.distinct <= min(MOST_LABELS, self.filled / least)
            and self.words <= LABEL_WORDS
            and self.longest <= LABEL_CHARACTERS
        )

    @property
    def names_splits(self) -> bool:
        """Whether each value names a split, and one of them the training rows."""
        named = [WORDS.get(value.lower()) for value in self.values]
        return self.distinct == len(named) > 1 and None not in named and "train" in named


@dataclass(frozen=True)
class TableFacts:
    """What was counted in a table. `sample` are rows from all over it, at most SAMPLE.

    `is_whole` is False where the table goes on after MOST_ROWS rows.
    """

    source: str
    rows: int
    columns: tuple[ColumnFacts, ...]
    sample: tuple[Mapping[str, Any], ...]
    is_whole: bool = True
    format: Format | None = None

    def column(self, name: str) -> ColumnFacts | None:
        """The column of that name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)


def look(source: str, rows: Iterable[Mapping[str, Any]]) -> TableFacts:
    """The facts of a table, of at most MOST_ROWS rows. `rows` are values by column."""
    counts: dict[str, _Counts] = {}
    seen = 0

    def counted() -> Iterator[Mapping[str, Any]]:
        nonlocal seen
        for row in islice(rows, MOST_ROWS):
            seen += 1
            for name, value in row.items():
                counts.setdefault(name, _Counts()).add(value)
            yield row

    rows = iter(rows)
    kept = spread(counted(), SAMPLE)
    columns = tuple(
        found.facts(name, place, seen) for place, (name, found) in enumerate(counts.items())
    )
    return TableFacts(
        source, seen, columns, tuple(kept), next(rows, None) is None, detect_format(counts)
    )


@dataclass
class _Counts:
    """One column while its table is read: a Counter of values, and lengths by how often they are.

    Long texts are counted by their start and a checksum, which takes the same memory whatever their
    length.
    """

    values: Counter[str] = field(default_factory=Counter)
    kinds: Counter[Kind] = field(default_factory=Counter)
    parts: dict[str, Counter[str]] = field(default_factory=dict)
    cut: Counter[str] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    part_words: int = 0
    longest: int = 0
    questions: int = 0
    numbers_at_end: int = 0
    iso: int = 0
    patterns: Counter[str] = field(default_factory=Counter)
    spans: int = 0
    least: float = math.inf
    most: float = -math.inf

    def add(self, value: object) -> None:
        if is_blank(value):
            return
        kind = kind_of_cell(value)
        text = plain_text(value) if not isinstance(value, (bytes, bytearray)) else repr(value)
        text = text.strip()
        self.kinds[kind] += 1
        key = label_text(text) if len(text) <= LABEL_CHARACTERS else _short(text)
        if key in self.values or len(self.values) < MOST_DISTINCT:
            self.values[key] += 1
        self.words[len(text.split())] += 1
        self.longest = max(self.longest, len(text))
        if kind in ("whole", "number"):
            found = float(number(value) or 0)
            self.least, self.most = min(self.least, found), max(self.most, found)
        self.iso += kind == "date" and _is_iso(value)
        if kind == "list":
            items = read_list(value) or read_written(text) or []
            self.spans += _are_spans(items)
            self._add_parts("list", [plain_text(item) for item in items if not is_blank(item)])
        elif kind == "text":
            self._add_text(text)

    def _add_text(self, text: str) -> None:
        self.questions += text.rstrip("\"' ").endswith("?")
        self.numbers_at_end += (
            re.search(r"(?:^|\s)[-$\u20ac\u00a3]*\d[\d.,]*%?\.?$", text) is not None
        )
        if len(text) <= LABEL_CHARACTERS and " " not in text:
            self.patterns[_CODE.sub(lambda run: _class_of(run[0]), text)] += 1
        if len(text) > 4 * LABEL_CHARACTERS:
            return
        for separator in SEPARATORS:
            parts = [part.strip() for part in text.split(separator)]
            self.cut[separator] += len(parts) > 1
            self._add_parts(separator, parts)

    def _add_parts(self, separator: str, parts: Iterable[str]) -> None:
        known = self.parts.setdefault(separator, Counter())
        for part in parts:
            if part and (part in known or len(known) <= 2 * MOST_LABELS):
                known[part[: LABEL_CHARACTERS + 1]] += 1

    def facts(self, name: str, place: int, rows: int) -> ColumnFacts:
        filled = self.kinds.total()
        if not filled:
            return ColumnFacts(name, place, "empty", rows, 0, 0)
        kind, distinct = self._kind(), len(self.values)
        separator, parts, repeats = self._several(kind)
        most = MOST_LABELS if distinct <= MOST_LABELS else 20
        digits = [n for pattern, n in self.patterns.items() if "9" in pattern]
        return ColumnFacts(
            name,
            place,
            kind,
            rows,
            filled,
            distinct,
            tuple(self.values.most_common(most)),
            median(self.words.elements()),
            self.longest,
            separator,
            parts,
            repeats,
            self.questions / filled,
            self.numbers_at_end / filled,
            is_sequence=kind == "whole" and self.most - self.least + 1 == filled == distinct,
            is_iso=self.iso == filled,
            has_codes=kind == "text" and max(digits, default=0) >= 0.9 * filled,
            has_spans=self.spans == filled,
        )

    def _kind(self) -> Kind:
        """What all cells are. Words for "no value" among numbers leave them numbers."""
        nulls = sum(n for value, n in self.values.items() if value.casefold() in NULL_WORDS)
        found = {kind for kind in self.kinds if kind != "text" or self.kinds["text"] > nulls}
        if found <= {"whole", "number"} and found:
            return "whole" if found == {"whole"} else "number"
        if found <= {"whole", "number", "comma"} and "comma" in found:
            return "comma"
        return found.pop() if len(found) == 1 else "text"

    def _several(self, kind: Kind) -> tuple[str, tuple[str, ...], float]:
        """(separator, distinct parts, mean number of each) where cells hold several values."""
        if kind == "list":
            parts = self.parts["list"]
            return "", tuple(dict(parts.most_common())), parts.total() / max(1, len(parts))
        for separator in SEPARATORS if kind in ("text", "comma") else ():
            parts = self.parts.get(separator, Counter())
            if not parts or self.cut[separator] < max(2, 0.05 * self.kinds.total()):
                continue
            words = sum(len(part.split()) * n for part, n in parts.items()) / parts.total()
            repeats = parts.total() / len(parts)
            if words <= 3 and max(map(len, parts)) <= LABEL_CHARACTERS:
                return separator, tuple(dict(parts.most_common())), repeats
        return "", (), 0.0


def kind_of_cell(value: object) -> Kind:
    """What one cell with a value is, the same whether it stands in csv or in JSON.

    >>> [kind_of_cell(v) for v in ("3", 2.5, "1,5", "True", "2024-05-01", "['a']", "fine")]
    ['whole', 'number', 'comma', 'truth', 'date', 'list', 'text']
    """
    if isinstance(value, bool) or (isinstance(value, str) and truth(value.strip()) is not None):
        return "truth"
    if (found := number(value)) is not None:
        return "whole" if isinstance(found, int) else "number"
    if isinstance(value, (date, datetime)):
        return "date"
    if isinstance(value, str):
        text = value.strip()
        if text[:1] not in "[{":
            if _COMMA_NUMBER.fullmatch(text):
                return "comma"
            return "date" if _DATE.fullmatch(text) else "text"
        value = read_written(text)
    if isinstance(value, Mapping):
        return "object"
    return "list" if isinstance(value, (list, tuple, set, frozenset)) else "text"


def _short(text: str) -> str:
    """A long text's start and its checksum, the same in every process."""
    checksum = zlib.crc32(text.encode("utf-8", "surrogatepass"))
    return f"{text[:LABEL_CHARACTERS]}\N{HORIZONTAL ELLIPSIS} {checksum:08x}"


def _is_iso(value: object) -> bool:
    if isinstance(value, (date, datetime)):
        return True
    try:
        datetime.fromisoformat(str(value).strip().replace("Z", "+00:00"))
    except ValueError:
        return False
    return True


def _class_of(run: str) -> str:
    return "9" if run[0].isdigit() else "a"


def _are_spans(items: Sequence[Any] | Mapping[str, Any]) -> bool:
    """Pieces of one text in order, some of them named: `[{"text": ...}, {"text": ..., "entity":
    ...}]`.
    """
    return (
        isinstance(items, list)
        and bool(items)
        and all(isinstance(item, Mapping) and set(item) <= {"text", "entity"} for item in items)
        and all(isinstance(item.get("text"), str) for item in items)
    )
