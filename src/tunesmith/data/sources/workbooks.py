"""Tables in workbooks: xlsx by openpyxl, ods by calamine, which are extras."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from tunesmith.data.sources.header import find_header, without_empty_end
from tunesmith.data.sources.reading import Placed, Reading
from tunesmith.errors import DataError, did_you_mean
from tunesmith.packages import installed

SAMPLE_ROWS = 200
SUFFIXES = {".xlsx": "openpyxl", ".xlsm": "openpyxl", ".ods": "python_calamine"}
Cells = Sequence[Any]


def check_library(path: Path) -> None:
    """DataError where the package that reads such a workbook is not installed."""
    suffix = path.suffix.lower()
    if not installed(SUFFIXES[suffix]):
        extra = "ods" if suffix == ".ods" else "xlsx"
        raise DataError(
            f"{path}: {SUFFIXES[suffix].replace('_', '-')} is needed to read {suffix} files",
            hint=f"pip install 'tunesmith[{extra}]', or save the sheet as csv",
        )


def read_workbook(path: Path, reading: Reading) -> Iterator[Placed]:
    """The rows of one sheet: `reading.sheet`, else the first that is visible and has cells.

    The number in file:line is the sheet's row. Whole numbers are int, as a sheet has one kind of
    number. Raises DataError for what is no workbook, and for a sheet that it does not have.
    """
    check_library(path)
    with path.open("rb") as file:  # opened here, so that no error leaves it open in a library
        yield from _rows(path, _open(path, file), reading)


def _open(path: Path, file: BinaryIO) -> dict[str, Iterator[Cells]]:
    open_ = _ods if path.suffix.lower() == ".ods" else _xlsx
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a workbook has beside its cells
        try:
            return open_(file)
        except Exception as error:  # the libraries raise many kinds for a damaged file
            raise DataError(
                f"{path}: not a workbook that can be read: {error}",
                hint="open it in a spreadsheet program and save it as csv",
            ) from error


def _rows(path: Path, sheets: dict[str, Iterator[Cells]], reading: Reading) -> Iterator[Placed]:
    name, rows = _choose(path, sheets, reading)
    numbered = ((list(cells), number) for number, cells in enumerate(rows, start=1))
    filled = ((c, n) for c, n in numbered if any(cell is not None for cell in c))
    first = list(islice(filled, SAMPLE_ROWS))
    if not first:
        return
    width = max(len(cells) for cells, _ in first)
    texts = [[_as_text(cell) for cell in [*c, *[None] * (width - len(c))]] for c, _ in first]
    header = find_header(path, texts, reading)
    for cells, number in chain(first[1:] if header.in_file else first, filled):
        where = f"{path}:{number}"
        more = without_empty_end([_as_text(cell) for cell in cells[len(header.names) :]])
        if more:
            problem = f"{len(header.names) + len(more)} cells, the header has {len(header.names)}"
            reading.refuse(where, problem, f"sheet {name!r}: name the column")
            continue
        kept = [_plain(cell) for cell in cells[: len(header.names)]]
        kept += [None] * (len(header.names) - len(kept))
        yield dict(zip(header.names, kept, strict=True)), where


def _choose(
    path: Path, sheets: dict[str, Iterator[Cells]], reading: Reading
) -> tuple[str, Iterator[Cells]]:
    if reading.sheet is not None:
        if reading.sheet not in sheets:
            raise DataError(
                f"{path}: no sheet {reading.sheet!r}", hint=did_you_mean(reading.sheet, sheets)
            )
        return reading.sheet, sheets[reading.sheet]
    filled = dict[str, Iterator[Cells]]()
    for name, rows in sheets.items():
        skipped = list[Cells]()
        for cells in rows:
            skipped.append(cells)
            if any(cell is not None for cell in cells):
                filled[name] = chain(skipped, rows)
                break
    if not filled:
        raise DataError(f"{path}: no sheet has a filled cell")
    name = next(iter(filled))
    others = [other for other in filled if other != name]
    if others:
        reading.note(
            f"{path}: sheet {name!r} is read, not {', '.join(map(repr, others))} "
            "(data.sheet names another)"
        )
    return name, filled[name]


def _xlsx(file: BinaryIO) -> dict[str, Iterator[Cells]]:
    import openpyxl  # noqa: PLC0415 - an extra

    book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    sheets = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
    for sheet in sheets:
        sheet.reset_dimensions()  # some programs write wrong ones, which would cut rows off
    return {sheet.title: sheet.iter_rows(values_only=True) for sheet in sheets}


def _ods(file: BinaryIO) -> dict[str, Iterator[Cells]]:
    import python_calamine  # noqa: PLC0415 - an extra

    book = python_calamine.load_workbook(file)
    return {name: _rows_of_ods(book, name) for name in book.sheet_names}


def _rows_of_ods(book: Any, name: str) -> Iterator[Cells]:
    for cells in book.get_sheet_by_name(name).to_python(skip_empty_area=False):
        yield [None if cell == "" else cell for cell in cells]


def _plain(cell: Any) -> Any:
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


def _as_text(cell: Any) -> str:
    return "" if cell is None else str(_plain(cell))
