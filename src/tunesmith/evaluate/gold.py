"""The right answers of a table of outputs, each row read by itself.

A cell, or several columns, may hold several answers. They are alternatives, of which any one is
right, or a set, of which all are right together: which one is said by the metric, by the user, or
by how the answers look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from tunesmith.data.sources.answers import alternatives, is_missing, plain_text, read_list
from tunesmith.data.templates.label_cells import find_separator, read_set, split_labels, write_set
from tunesmith.data.templates.tag_cells import tags_in, write_tagged
from tunesmith.errors import DataError
from tunesmith.evaluate.reading.labels import parse_labels
from tunesmith.records import Row

Meaning = Literal["alternatives", "set"]
Gold = list[tuple[str, ...]]
"""All right answers of each row; a set or a sequence of tags is one answer, written as one text."""

TEXT_PARSERS = ("text", "choice", "number", "json")
"""The parsers whose references are alternatives."""
MAX_LABELS, MAX_LABEL_CHARACTERS = 100, 60


def read_gold(rows: Sequence[Row], columns: Sequence[str], parser: str, as_json: bool) -> Gold:
    """The right answers as `parser` will compare them: sets for `labels`, sequences of tags for
    `tags`, else alternatives. With `as_json` a list is itself the answer.

    Raises DataError naming file:line for a row without an answer, and for a list that cannot be
    used.
    """
    separators = separators_of(rows, columns)
    readers: dict[str, Callable[[object, str], tuple[str, ...]]] = {
        "labels": lambda value, column: (_set(value, separators[column]),),
        "tags": lambda value, _: (write_tagged((), [plain_text(tag) for tag in tags_in(value)]),),
    }
    plain = _whole if as_json else _alternatives
    read = readers.get(parser, plain)
    return [_row_gold(row, columns, read, empty_is_right=parser == "labels") for row in rows]


def _row_gold(
    row: Row,
    columns: Sequence[str],
    read: Callable[[object, str], tuple[str, ...]],
    empty_is_right: bool,
) -> tuple[str, ...]:
    found: list[str] = []
    for column, value in _cells(row, columns):
        try:
            found += read(value, column)
        except ValueError as error:
            raise DataError(
                f"{row.source}: the column {column!r} {error}",
                hint="correct it, or drop the row",
            ) from error
    texts = tuple(dict.fromkeys(text for text in found if text.strip()))
    if not texts:
        hint = "write [] or none where no label is right" if empty_is_right else ""
        raise DataError(
            f"{row.source}: no reference in {' or '.join(map(repr, columns))}",
            hint=hint or "every row needs its right answer",
        )
    return texts


def _cells(row: Row, columns: Sequence[str]) -> Iterator[tuple[str, object]]:
    """The cells that are there."""
    for column in columns:
        value = row.values.get(column)
        if not is_missing(value) and not (isinstance(value, str) and not value.strip()):
            yield column, value


def _alternatives(value: object, _: str) -> tuple[str, ...]:
    return alternatives(value)


def _whole(value: object, _: str) -> tuple[str, ...]:
    return () if value == [] else (plain_text(value),)


def _set(value: object, separator: str) -> str:
    return write_set(plain_text(label).strip() for label in split_labels(value, separator))


def separators_of(rows: Sequence[Row], columns: Sequence[str]) -> dict[str, str]:
    """What stands between the labels of each column's texts, "" where nothing does."""
    return {column: find_separator(row.values.get(column) for row in rows) for column in columns}


# ---- what several answers in a cell are


def has_lists(rows: Sequence[Row], columns: Sequence[str]) -> bool:
    """Whether a cell holds several answers."""
    cells = (value for row in rows for _, value in _cells(row, columns))
    return any(len(read_list(value) or ()) > 1 for value in cells)


def look_like_sets(rows: Sequence[Row], columns: Sequence[str]) -> bool:
    """Whether lists hold labels: at most MAX_LABELS short ones, each twice on average."""
    lists = [read_list(value) for row in rows for _, value in _cells(row, columns)]
    items = [plain_text(item).strip() for found in lists for item in found or ()]
    short = all(len(item) <= MAX_LABEL_CHARACTERS and "\n" not in item for item in items)
    is_list = sum(found is not None for found in lists) > len(lists) / 2
    return is_list and short and len(set(items)) <= min(MAX_LABELS, len(items) // 2)


def say_references(
    rows: Sequence[Row],
    columns: Sequence[str],
    gold: Mapping[str, Gold],
    by_parser: Mapping[str, Sequence[str]],
) -> str:
    """What several right answers in a row are taken for, by metric; "" where no row has any."""
    said = []
    for parser, names in by_parser.items():
        several = any(len(row) > 1 for row in gold[parser])
        if parser == "labels":
            cut = ", ".join(repr(s) for s in separators_of(rows, columns).values() if s)
            between = f" (texts are cut at {cut})" if cut else ""
            said.append(f"a set, all of which is right together{between}, for {', '.join(names)}")
        if several:
            what = "alternatives, any one of which is right"
            kind = {"labels": "several columns are ", "tags": "several columns are "}
            said.append(f"{kind.get(parser, '')}{what}, for {', '.join(names)}")
    return "; ".join(said)


def looks_separated(rows: Sequence[Row], columns: Sequence[str]) -> bool:
    """Whether texts are sets of labels with a separator: cut at it, they have at most half as many
    different parts as there are different texts, and each part stands in two rows on average.
    """
    for column, separator in separators_of(rows, columns).items():
        texts = [value for row in rows for _, value in _cells(row, [column])]
        if not separator or not all(isinstance(text, str) for text in texts):
            continue
        parts = [plain_text(part).strip() for text in texts for part in str(text).split(separator)]
        few = min(MAX_LABELS, len(set(map(str, texts))) // 2, len(parts) // 2)
        if len(set(parts)) <= few and all(len(part) <= MAX_LABEL_CHARACTERS for part in parts):
            return True
    return False


def rows_with_several(gold: Gold, texts: Sequence[str]) -> int:
    """Answers that name two or more of their row's alternatives."""
    sets = [write_set(text.replace("\n", " ") for text in row) for row in gold]
    named = (
        set(parse_labels(text, (right,)) or ()) & read_set(right)
        for text, right in zip(texts, sets, strict=True)
        if "\n" in right
    )
    return sum(len(found) > 1 for found in named)
