"""Rows from JSON: documents of many shapes, and a value a line; each row knows its line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.data.sources.header import find_header, looks_like_labels
from tunesmith.data.sources.reading import Placed, Reading, Values
from tunesmith.data.sources.splits import split_named
from tunesmith.data.sources.text_lines import read_lines
from tunesmith.errors import DataError
from tunesmith.records import Split

_BLANKS = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
LIST_SAMPLE = 200
ONE_OBJECT = '{"column": value, ...}'


class Item(NamedTuple):
    """A value and the line it begins on."""

    value: Any
    line: int


class Document(NamedTuple):
    """A JSON text. `lists` has each list of the outermost object by its key, or that of the text
    itself under ""; `value` is the whole, with these lists in it.
    """

    value: Any
    lists: Mapping[str, list[Item]]


def read_jsonl(path: Path, reading: Reading) -> Iterator[Placed]:
    """A JSON value a line: objects, or lists of as many cells as the first.

    A document over several lines, under a name that promises lines, is read as one.
    """
    lines = read_lines(path, reading)
    before = _first_two(lines)
    if _opens_document([line for line in before if line.strip()]):
        reading.note(f"{path}: one JSON document over several lines, not one value a line")
        yield from _rows_of_text(path, "".join(chain(before, lines)), reading, None)
        return
    yield from _rows(path, _items_of_lines(path, chain(before, lines), reading), reading)


def _first_two(lines: Iterator[str]) -> list[str]:
    """The lines up to the second one that is not blank."""
    found, filled = list[str](), 0
    for line in lines:
        found.append(line)
        filled += bool(line.strip())
        if filled == 2:
            break
    return found


def _opens_document(lines: Sequence[str]) -> bool:
    """Whether the first of two lines is the beginning of a list or object that the second goes on
    with.
    """
    first, second = (*(line.strip() for line in lines), "", "")[:2]
    return (
        (first == "{" and second.startswith('"'))
        or (first == "[" and second != "")
        or (first.startswith("[{") and first.endswith((",", "{")))
    )


def _items_of_lines(path: Path, lines: Iterator[str], reading: Reading) -> Iterator[Item]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield Item(json.loads(line), number)
            except json.JSONDecodeError as error:
                problem = f"bad json at column {error.colno}: {error.msg}"
                reading.refuse(f"{path}:{number}", problem, "one JSON object a line")
            except RecursionError:
                reading.refuse(f"{path}:{number}", "JSON nested too deeply", ONE_OBJECT)


def read_json(path: Path, reading: Reading, split: Split | None = None) -> Iterator[Placed]:
    """The rows of a document; of one whose keys are splits, those of `split`.

    Known are a list of objects, a list of lists, an object that holds one, columns, pandas'
    `orient`s, SQuAD's nested form, several lists under the names of splits or sources, and objects
    one after the other. Raises DataError for other shapes, and for what is no JSON.
    """
    yield from _rows_of_text(path, "".join(read_lines(path, reading)), reading, split)


def json_splits(path: Path) -> tuple[Split, ...]:
    """The splits that a document's keys name; () where it is of another shape, or no JSON."""
    try:
        lines = read_lines(path, Reading())
        before = _first_two(lines)
        if not "".join(before).lstrip("\ufeff \t\r\n").startswith("{"):
            return ()  # a list, as most are, need not be read twice
        document = _parse(path, "".join(chain(before, lines)))
    except DataError:  # said when it is read
        return ()
    return tuple(dict.fromkeys(_split_keys(document.lists).values()))


def _split_keys(lists: Mapping[str, list[Item]]) -> dict[str, Split]:
    """The keys that name splits, if two splits or more have lists of rows."""
    rows = [key for key, items in lists.items() if items and _are_rows(items)]
    found = {key: split for key in rows if (split := split_named(key, rows))}
    return found if len(set(found.values())) > 1 else {}


def _are_rows(items: Sequence[Item]) -> bool:
    return isinstance(items[0].value, (dict, list))


# ---- a document and the lines of its items


def _parse(path: Path, text: str) -> Document:
    try:
        start = _after_blanks(text, text.startswith("\ufeff"))
        if text[start : start + 1] == "[":
            items, end = _list(text, start, Lined(text))
            document = Document([item.value for item in items], {"": items})
        elif text[start : start + 1] == "{":
            document, end = _object(text, start)
        else:
            value, end = _DECODER.raw_decode(text, start)
            document = Document(value, {})
        rest = _after_blanks(text, end)
        if rest < len(text):
            return _several(text, start)
        return document
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: bad json at column {error.colno}: {error.msg}",
            hint="a list of objects, or one object a line",
        ) from error
    except RecursionError as error:
        raise DataError(f"{path}: JSON nested too deeply", hint="a list of objects") from error


class Lined:
    """Counts lines while a text is gone through from front to back."""

    def __init__(self, text: str) -> None:
        self.text, self.place, self.number = text, 0, 1

    def at(self, place: int) -> int:
        """The line of a place behind the last one."""
        self.number += self.text.count("\n", self.place, place)
        self.place = place
        return self.number


def _after_blanks(text: str, place: int) -> int:
    found = _BLANKS.match(text, place)
    return found.end() if found else place


def _list(text: str, start: int, lines: Lined) -> tuple[list[Item], int]:
    """The items of the list at `start`, and where it ends."""
    items = list[Item]()
    place = _after_blanks(text, start + 1)
    if text[place : place + 1] == "]":
        return items, place + 1
    while True:
        value, end = _DECODER.raw_decode(text, place)
        items.append(Item(value, lines.at(place)))
        place = _after_blanks(text, end)
        if text[place : place + 1] == "]":
            return items, place + 1
        if text[place : place + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, place)
        place = _after_blanks(text, place + 1)


def _object(text: str, start: int) -> tuple[Document, int]:
    values, lists, lines = dict[str, Any](), dict[str, list[Item]](), Lined(text)
    place = _after_blanks(text, start + 1)
    if text[place : place + 1] == "}":
        return Document(values, lists), place + 1
    while True:
        if text[place : place + 1] != '"':
            message = "Expecting property name enclosed in double quotes"
            raise json.JSONDecodeError(message, text, place)
        key, end = _DECODER.raw_decode(text, place)
        place = _after_blanks(text, end)
        if text[place : place + 1] != ":":
            raise json.JSONDecodeError("Expecting ':' delimiter", text, place)
        place = _after_blanks(text, place + 1)
        if text[place : place + 1] == "[":
            lists[key], end = _list(text, place, lines)
            values[key] = [item.value for item in lists[key]]
        else:
            values[key], end = _DECODER.raw_decode(text, place)
        place = _after_blanks(text, end)
        if text[place : place + 1] == "}":
            return Document(values, lists), place + 1
        if text[place : place + 1] != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, place)
        place = _after_blanks(text, place + 1)


def _several(text: str, start: int) -> Document:
    """Values one after the other, as they stand in files of lines."""
    items, lines, place = list[Item](), Lined(text), start
    while place < len(text):
        value, end = _DECODER.raw_decode(text, place)
        items.append(Item(value, lines.at(place)))
        place = _after_blanks(text, end)
    return Document(None, {"": items})


# ---- the shapes of a document


def _rows_of_text(path: Path, text: str, reading: Reading, split: Split | None) -> Iterator[Placed]:
    document = _parse(path, text)
    if "" in document.lists and not isinstance(document.value, dict):
        if document.value is None:
            reading.note(f"{path}: JSON values one after the other, read as one row each")
        yield from _rows(path, document.lists[""], reading)
        return
    if not isinstance(document.value, dict):
        raise DataError(
            f"{path}: a JSON {_kind(document.value)}, expected a list of objects", hint=ONE_OBJECT
        )
    yield from _rows(path, _items_of_object(path, document, reading, split), reading)


def _items_of_object(
    path: Path, document: Document, reading: Reading, split: Split | None
) -> Iterator[Item]:
    value, lists = document.value, document.lists
    with_rows = {key: items for key, items in lists.items() if items and _are_rows(items)}
    if _is_squad(lists.get("data", [])):
        reading.note(f"{path}: SQuAD's nested form: one row for each question")
        return chain.from_iterable(_squad(path, article) for article in lists["data"])
    if "columns" in lists and "data" in lists:
        reading.note(f"{path}: pandas' form with columns and data apart")
        names = [str(item.value) for item in lists["columns"]]
        return (Item(_zipped(path, names, item), item.line) for item in lists["data"])
    if splits := _split_keys(lists):
        return _of_split(path, lists, splits, reading, split)
    if _are_columns(lists):
        reading.note(f"{path}: lists of equal length: the columns {', '.join(lists)}")
        return _from_columns(lists, list(zip(*lists.values(), strict=True)))
    if len(with_rows) == 1 and not all(value == [] for value in lists.values()):
        key, items = next(iter(with_rows.items()))
        others = [name for name in lists if name != key and lists[name]]
        if others:
            reading.note(f"{path}: the rows are under {key!r}; not read: {', '.join(others)}")
        return iter(items)
    if len(with_rows) > 1 and all(isinstance(i[0].value, dict) for i in with_rows.values()):
        return _of_sources(path, with_rows, reading)
    return _of_objects(path, value, lists, reading)


def _is_squad(items: Sequence[Item]) -> bool:
    first = items[0].value if items else None
    return isinstance(first, dict) and isinstance(first.get("paragraphs"), list)


def _squad(path: Path, article: Item) -> Iterator[Item]:
    """The columns are those of the data set `squad` on the hub."""
    try:
        for paragraph in article.value["paragraphs"]:
            for asked in paragraph["qas"]:
                answers = asked.get("answers") or []
                row = {
                    "id": asked.get("id"),
                    "title": article.value.get("title"),
                    "context": paragraph["context"],
                    "question": asked["question"],
                    "answers": {
                        "text": [answer["text"] for answer in answers],
                        "answer_start": [answer.get("answer_start") for answer in answers],
                    },
                }
                if "is_impossible" in asked:
                    row["is_impossible"] = asked["is_impossible"]
                yield Item(row, article.line)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}:{article.line}: not SQuAD's form: {type(error).__name__} {error}",
            hint="paragraphs with context and qas, each with question and answers",
        ) from error


def _zipped(path: Path, names: Sequence[str], item: Item) -> Values:
    if not isinstance(item.value, list) or len(item.value) != len(names):
        raise DataError(
            f"{path}:{item.line}: {_kind(item.value)} for {len(names)} columns",
            hint="each row of data has a cell for each name in columns",
        )
    return dict(zip(names, item.value, strict=True))


def _of_split(
    path: Path,
    lists: Mapping[str, list[Item]],
    splits: Mapping[str, Split],
    reading: Reading,
    wanted: Split | None,
) -> Iterator[Item]:
    """The rows of one split, or all of them with their split as a column."""
    others = [key for key in lists if key not in splits and lists[key]]
    if others:
        reading.note(f"{path}: not read, since they are no splits: {', '.join(others)}")
    reading.note(f"{path}: the splits are its keys: {', '.join(splits)}")
    for key, split in splits.items():
        if wanted in (split, None):
            yield from lists[key] if wanted else _with_column(lists[key], "split", key)


def _of_sources(path: Path, lists: Mapping[str, list[Item]], reading: Reading) -> Iterator[Item]:
    taken = any("source" in items[0].value for items in lists.values())
    name = "key" if taken else "source"
    reading.note(
        f"{path}: {len(lists)} lists, read one after the other: {', '.join(lists)}; "
        f"the column {name!r} says which"
    )
    for key, items in lists.items():
        yield from _with_column(items, name, key)


def _with_column(items: Sequence[Item], name: str, value: str) -> Iterator[Item]:
    for item in items:
        is_object = isinstance(item.value, dict) and name not in item.value
        yield item._replace(value={**item.value, name: value}) if is_object else item


def _are_columns(lists: Mapping[str, list[Item]]) -> bool:
    lengths = {len(items) for items in lists.values()}
    cells = [items[0].value for items in lists.values() if items]
    return (
        len(lengths) == 1
        and bool(cells)
        and (len(lists) > 1 or not isinstance(cells[0], (dict, list)))
        and not all(isinstance(cell, dict) for cell in cells)
    )


def _from_columns(names: Mapping[str, object], rows: Sequence[tuple[Item, ...]]) -> Iterator[Item]:
    for row in rows:
        yield Item({n: cell.value for n, cell in zip(names, row, strict=True)}, row[0].line)


def _of_objects(
    path: Path, value: Mapping[str, Any], lists: Mapping[str, object], reading: Reading
) -> Iterator[Item]:
    """pandas' columns, {"text": {"0": ..., "1": ...}}, and rows by a key, {"0": {"text": ...}}."""
    inner = [cell for cell in value.values() if isinstance(cell, dict)]
    if not _are_alike(list(value.values())):
        tables = [k for k, v in value.items() if isinstance(v, dict) and _are_alike([*v.values()])]
        if len(tables) == 1:
            reading.note(f"{path}: the rows are under {tables[0]!r}")
            return _of_objects(path, value[tables[0]], {}, reading)
        raise DataError(
            f"{path}: a JSON object with {len(lists)} lists, none of them of rows"
            if lists
            else f"{path}: a JSON object without a list of rows",
            hint="give a list of objects, or an object that holds one",
        )
    counted = all(key.isdecimal() for cell in inner for key in cell)
    if counted and len({tuple(cell) for cell in inner}) == 1:
        reading.note(f"{path}: pandas' columns: {', '.join(value)}")
        return (Item({name: value[name][key] for name in value}, 1) for key in inner[0])
    if all(key.isdecimal() for key in value):
        reading.note(f"{path}: objects by their number, one row each")
        return (Item(cell, 1) for cell in inner)
    name = "key" if any("id" in cell for cell in inner) else "id"
    reading.note(f"{path}: objects by a key, which is the column {name!r}")
    return (Item({name: key, **cell}, 1) for key, cell in value.items())


def _are_alike(cells: Sequence[object]) -> bool:
    """Whether all are objects with a key in common, as the rows of a table and its columns are."""
    keys = [set(cell) for cell in cells if isinstance(cell, dict)]
    return bool(keys) and len(keys) == len(cells) and bool(set.intersection(*keys))


# ---- from items to rows


def _rows(path: Path, items: Iterator[Item] | Sequence[Item], reading: Reading) -> Iterator[Placed]:
    """Objects as they are; lists of cells with names as in a table without a header."""
    items = iter(items)
    sample = list(islice(items, 1))
    names, in_file = list[str](), False
    if sample and _is_row_of_cells(sample[0].value):
        sample += islice(items, LIST_SAMPLE)
        lists = [item.value for item in sample if isinstance(item.value, list)]
        names, in_file = _names(path, lists, reading)
    for item in chain(sample[int(in_file) :], items):
        where = f"{path}:{item.line}"
        if isinstance(item.value, dict) and not names:
            yield item.value, where
        elif isinstance(item.value, list) and names:
            if len(item.value) == len(names):
                yield dict(zip(names, item.value, strict=True)), where
            else:
                problem = f"{len(item.value)} cells, the first row has {len(names)}"
                reading.refuse(where, problem, "each list has a cell for each column")
        else:
            expected = "a list, as before" if names else "an object"
            reading.refuse(where, f"a JSON {_kind(item.value)}, expected {expected}", ONE_OBJECT)


def _is_row_of_cells(value: object) -> bool:
    return isinstance(value, list) and len(value) > 1 and not isinstance(value[0], (dict, list))


def _names(path: Path, rows: Sequence[list[Any]], reading: Reading) -> tuple[list[str], bool]:
    """The columns of lists of cells, and whether the first list is their names."""
    if not reading.names and len(rows[0]) == 2 and _are_text_and_label(rows):
        reading.note(f"{path}: pairs, read as text and label (data.names gives other names)")
        return ["text", "label"], False
    header = find_header(path, [[_as_text(cell) for cell in row] for row in rows], reading)
    return header.names, header.in_file


def _are_text_and_label(rows: Sequence[list[Any]]) -> bool:
    pairs = [row for row in rows if len(row) == 2]
    first = [str(cell).lower() for cell in rows[0]]
    labels = [_as_text(label) for _, label in pairs]
    return (
        all(isinstance(text, str) for text, _ in pairs)
        and labels.count(labels[0]) > 1
        and looks_like_labels(labels)
        and first != ["text", "label"]
    )


def _as_text(cell: object) -> str:
    return cell if isinstance(cell, str) else json.dumps(cell)


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__
