"""Workbooks: the sheet that is read is said, and its rows are those of the same table as csv."""

from __future__ import annotations

import gc
import sys
import zipfile
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tunesmith.data.sources.rows import read_rows
from tunesmith.errors import DataError

TABLE: list[list[Any]] = [
    ["text", "label", "day", None],
    ["one", 1, datetime(2024, 5, 1), None],
    [None, None, None, None],
    ["two", 0.5, None, None],
]
ROWS = [
    {"text": "one", "label": 1, "day": datetime(2024, 5, 1)},
    {"text": "two", "label": 0.5, "day": None},
]


def workbook(path: Path, **sheets: list[list[Any]]) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_a_sheet_is_a_table_and_its_rows_are_numbered_as_it_shows_them(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", Data=TABLE)
    notes: list[str] = []
    hashes: dict[Path, str] = {}
    rows = list(read_rows(path, notes=notes, hashes=hashes))
    assert [dict(row.values) for row in rows] == ROWS
    assert [row.source for row in rows] == [f"{path}:2", f"{path}:4"]
    assert notes == []
    assert hashes == {path: sha256(path.read_bytes()).hexdigest()}
    assert type(rows[0].values["label"]) is int


def test_the_first_sheet_with_cells_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", Cover=[], Data=TABLE, More=[["text"], ["three"]])
    notes: list[str] = []
    assert len(list(read_rows(path, notes=notes))) == 2
    assert notes == [f"{path}: sheet 'Data' is read, not 'More' (data.sheet names another)"]
    assert [dict(row.values) for row in read_rows(path, sheet="More")] == [{"text": "three"}]
    with pytest.raises(DataError, match=r"a.xlsx: no sheet 'Mor'\nhint: did you mean 'More'"):
        list(read_rows(path, sheet="Mor"))


def test_no_error_leaves_the_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workbook(tmp_path / "a.xlsx", Data=TABLE)
    archive = tmp_path / "b.xlsx"  # a zip file, and no workbook
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "a")
    left_open: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: left_open.append(unraisable))
    for wrong, sheet in [(path, "Mor"), (archive, None)]:
        with pytest.raises(DataError):
            list(read_rows(wrong, sheet=sheet))
    next(iter(read_rows(path)))  # not read to the end
    gc.collect()  # a file that is still open warns now, and warnings are errors here
    assert left_open == []


def test_a_cell_in_a_column_without_a_name_refuses_its_row(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", Data=[["text", None], ["one", None], ["two", "x"]])
    with pytest.raises(DataError, match=r"a\.xlsx:3: 2 cells, the header has 1"):
        list(read_rows(path))


def test_an_empty_workbook_and_what_is_none_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.xlsx: no sheet has a filled cell"):
        list(read_rows(workbook(tmp_path / "a.xlsx", Data=[])))
    (tmp_path / "b.xlsx").write_bytes(b"PK nonsense")
    with pytest.raises(DataError, match=r"b.xlsx: not a workbook that can be read: .*\nhint: open"):
        list(read_rows(tmp_path / "b.xlsx"))


@pytest.mark.parametrize("suffix, package", [("xlsx", "openpyxl"), ("ods", "python_calamine")])
def test_without_the_package_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"PK")
    with pytest.raises(DataError) as caught:
        list(read_rows(path))
    assert str(caught.value) == (
        f"{path}: {package.replace('_', '-')} is needed to read .{suffix} files\n"
        f"hint: pip install 'tunesmith[{suffix}]', or save the sheet as csv"
    )


ODS = """<?xml version="1.0" encoding="UTF-8"?>
<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" office:version="1.2"><office:body>
<office:spreadsheet><table:table table:name="Data">{rows}</table:table></office:spreadsheet>
</office:body></office:document-content>"""

MANIFEST = """<?xml version="1.0" encoding="UTF-8"?>
<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">
<manifest:file-entry manifest:full-path="/"
 manifest:media-type="application/vnd.oasis.opendocument.spreadsheet"/>
</manifest:manifest>"""


def ods(path: Path, rows: list[list[Any]]) -> Path:
    def cell(value: Any) -> str:
        if isinstance(value, str):
            return (
                '<table:table-cell office:value-type="string">'
                f"<text:p>{value}</text:p></table:table-cell>"
            )
        return (
            f'<table:table-cell office:value-type="float" office:value="{value}">'
            f"<text:p>{value}</text:p></table:table-cell>"
        )

    text = "".join(f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in rows)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        file.writestr("META-INF/manifest.xml", MANIFEST)
        file.writestr("content.xml", ODS.format(rows=text))
    return path


def test_an_ods_sheet_is_a_table(tmp_path: Path) -> None:
    pytest.importorskip("python_calamine")
    path = ods(tmp_path / "a.ods", [["text", "label"], ["one", 1], ["two", 0.5]])
    rows = [dict(row.values) for row in read_rows(path)]
    assert rows == [{"text": "one", "label": 1}, {"text": "two", "label": 0.5}]
    assert type(rows[0]["label"]) is int
