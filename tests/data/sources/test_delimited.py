"""Tables with a separator: found out by their first lines, and never two rows in one."""

from __future__ import annotations

import csv
import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import shared

from tunesmith.data.sources.delimited import SEPARATORS, find_separator
from tunesmith.data.sources.rows import read_rows
from tunesmith.errors import DataError

ROWS = [
    (f"the {'red lamp' if i % 2 else 'old mug'} {i}", "good" if i % 3 else "bad") for i in range(60)
]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def read(path: Path, **options: object) -> tuple[list[dict[str, object]], list[str]]:
    """(values of the rows, notes without the folder)."""
    notes: list[str] = []
    rows = [dict(row.values) for row in read_rows(path, notes=notes, **options)]  # type: ignore[arg-type]
    return rows, [note.replace(f"{path.parent}/", "") for note in notes]


def table(separator: str = ",", header: str = "text,label", more: str = "") -> str:
    lines = [header.replace(",", separator), *(separator.join(row) + more for row in ROWS)]
    return "\n".join(lines) + "\n"


VALUES = [{"text": text, "label": label} for text, label in ROWS]


# ---- separators


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_separator_other_than_the_names_is_read_and_said(
    tmp_path: Path, separator: str, name: str
) -> None:
    rows, notes = read(write(tmp_path / name, table(separator)))
    assert rows == VALUES
    usual = "," if name == "a.csv" else "\t"
    assert notes == ([] if separator == usual else [f"{name}: read with {SEPARATORS[separator]}"])


NAMES = st.lists(st.from_regex("[a-z_]{2,12}", fullmatch=True), min_size=2, max_size=5, unique=True)
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=30)


@given(names=NAMES, separator=st.sampled_from(list(SEPARATORS)), data=st.data())
def test_what_csv_writes_with_any_separator_is_found_again(
    names: list[str], separator: str, data: st.DataObject
) -> None:
    row = st.lists(CELLS, min_size=len(names), max_size=len(names))
    rows = data.draw(st.lists(row, min_size=1, max_size=20))
    written = io.StringIO()
    csv.writer(written, delimiter=separator, lineterminator="\n").writerows([names, *rows])
    lines = written.getvalue().splitlines(keepends=True)
    for usual in (",", "\t"):
        assert find_separator(lines, usual) == separator


def test_a_comma_before_a_blank_is_punctuation_where_another_separator_fits(tmp_path: Path) -> None:
    text = "Text, short;Label\n" + "".join(f"Well, {text};{label}\n" for text, label in ROWS)
    rows, notes = read(write(tmp_path / "a.csv", text))
    assert rows[0] == {"Text, short": f"Well, {ROWS[0][0]}", "Label": "bad"}
    assert notes == ["a.csv: read with semicolons"]


def test_the_line_that_spreadsheets_write_names_the_separator(tmp_path: Path) -> None:
    rows, notes = read(write(tmp_path / "a.csv", "sep=|\n" + table("|")))
    assert (rows, notes) == (VALUES, ["a.csv: read with bars"])


def test_blanks_after_every_separator_are_no_part_of_the_cells(tmp_path: Path) -> None:
    text = "text, label\n" + "".join(f'"{text}, so", {label}\n' for text, label in ROWS)
    rows, _ = read(write(tmp_path / "a.csv", text))
    assert rows[1] == {"text": f"{ROWS[1][0]}, so", "label": "good"}


# ---- names of columns


def test_marks_and_blanks_around_column_names_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", table(header="\ufeff\ufeff text , label "))
    assert read(path) == (
        VALUES,
        ["a.csv: blanks around column names left out: text, label"],
    )


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_file_without_a_header_is_seen_by_its_first_row(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    lines = [f"{row[order[0]]},{row[order[1]]}\n" for row in ROWS]
    rows, notes = read(write(tmp_path / "a.csv", "".join(lines)))
    assert rows == VALUES
    names = ["text", "label"]
    assert notes == [
        "a.csv: no header: the first line is a row like the others; the columns are called "
        f"{names[order[0]]}, {names[order[1]]} (data.names gives other names)"
    ]


def test_names_given_for_a_file_without_a_header_are_used(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "".join(f"{i},{t},{y}\n" for i, (t, y) in enumerate(ROWS)))
    rows, notes = read(path, names=["n", "text", "label"])
    assert (rows[0], len(rows), notes) == ({"n": "0", **VALUES[0]}, 60, [])
    with pytest.raises(DataError) as caught:
        read(path, names=["text", "label"])
    assert caught.value.message == f"{path}:1: 3 columns, data.names has 2: text, label"


def test_names_that_the_first_line_has_are_its_header(tmp_path: Path) -> None:
    text = table(header="good,bad")  # words that are labels further down
    assert read(write(tmp_path / "a.csv", text), names=["good", "bad"])[0][0] == {
        "good": ROWS[0][0],
        "bad": "bad",
    }


@pytest.mark.parametrize(
    "header",
    [
        "text,label",
        "comment,sentiment_of_it",
        "0,1",
        "How old are you?,What did you like about it?",
        "v1,v2",
    ],
)
def test_a_header_stays_a_header(tmp_path: Path, header: str) -> None:
    rows, notes = read(write(tmp_path / "a.csv", table(header=header)))
    assert (list(rows[0]), len(rows), notes) == (header.split(","), 60, [])


def test_an_index_and_empty_columns_are_named_in_notes(tmp_path: Path) -> None:
    lines = [",text,label,,\n", *(f"{i},{t},{y},,\n" for i, (t, y) in enumerate(ROWS))]
    rows, notes = read(write(tmp_path / "a.csv", "".join(lines)))
    assert rows[2] == {"Unnamed: 0": "2", **VALUES[2]}
    assert notes == [
        "a.csv: 2 columns at the end without a name not read",
        "a.csv: the first column has no name: an index, called 'Unnamed: 0'",
    ]


def test_empty_cells_beyond_the_header_are_not_read_and_others_refuse_the_row(
    tmp_path: Path,
) -> None:
    rows, notes = read(write(tmp_path / "a.csv", table(more=",,")))
    assert (rows, notes) == (VALUES, ["a.csv: empty cells after the last column not read"])
    path = write(tmp_path / "b.csv", "text,label,\none,good,\ntwo,bad,left\n")
    with pytest.raises(DataError, match=r"b.csv:3: 3 fields, the header has 2\nhint: quote values"):
        read(path)


def test_a_header_in_the_middle_is_no_row(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    path = write(tmp_path / "a.csv", table() + table())
    rows, _ = read(path, unreadable=lambda *line: told.append(line))
    assert (len(rows), told) == (120, [(f"{path}:62", "the header again")])


# ---- quotes


def one_row_with(text: str, separator: str = ",", at: int = 10) -> str:
    lines = table(separator).splitlines(keepends=True)
    return "".join([*lines[:at], text, *lines[at:]])


@pytest.mark.parametrize("at", [1, 10, 61])
def test_a_quote_that_never_closes_is_an_error_where_it_opens(tmp_path: Path, at: int) -> None:
    path = write(tmp_path / "a.csv", one_row_with('"Best thing,bad\n', at=at))
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}:{at + 1}: a quote opens in this line, and is not closed before other rows follow\n"
        'hint: close it or delete it; quotes inside a value are doubled: ""'
    )


@pytest.mark.parametrize("rows_between", [0, 1, 5])
@pytest.mark.parametrize("label_first", [True, False])
def test_a_quote_that_closes_in_a_later_row_merges_nothing(
    tmp_path: Path, rows_between: int, label_first: bool
) -> None:
    def line(text: str, label: str) -> str:
        return f"{label},{text}\n" if label_first else f"{text},{label}\n"

    rows = [("text", "label"), *ROWS]
    rows[11], rows[12 + rows_between] = ('"Best thing', "bad"), ('they said so"', "good")
    path = write(tmp_path / "a.csv", "".join(line(*row) for row in rows))
    with pytest.raises(DataError, match=r"a\.csv:12: (a quote opens in this line|bad csv)"):
        read(path)


def test_without_labels_several_whole_rows_in_one_cell_are_an_error(tmp_path: Path) -> None:
    rows = [f"question {i},answer {i}\n" for i in range(40)]
    rows[10], rows[14] = '"question 10,answer 10\n', 'question 14",answer 14\n'
    path = write(tmp_path / "a.csv", "prompt,completion\n" + "".join(rows))
    with pytest.raises(DataError, match=r"a\.csv:12: a quote opens"):
        read(path)


@pytest.mark.parametrize(
    "cell",
    [
        "two\nlines",
        "a letter, say\n\nwith a comma, here and there\nRegards,\nbad, as ever",
        'he said "no"\nand left, then came, again',
        "x = f(a, b)\ny = g(a, b)\nreturn x, y",
    ],
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("label_first", [True, False])
def test_a_cell_of_several_lines_is_one_cell(
    tmp_path: Path, cell: str, separator: str, label_first: bool
) -> None:
    rows = [{"text": f"{cell} {i}", "label": ROWS[i][1]} for i in range(60)]
    names = ["label", "text"] if label_first else ["text", "label"]
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)
    assert read(tmp_path / "a.csv")[0] == rows


@pytest.mark.parametrize(
    "text", ['"Best thing', '"Best" thing', 'a 5" pipe', '"so" and "so"', 'an "open one']
)
def test_in_a_tsv_quotes_that_do_not_balance_are_text(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.tsv", one_row_with(f"{text}\tbad\n", "\t"))
    rows, notes = read(path)
    assert rows == [*VALUES[:9], {"text": text, "label": "bad"}, *VALUES[9:]]
    opened = text.startswith('"')
    said = "a.tsv:11: quotes do not balance: from here on they are read as text"
    assert notes == ([said] if opened else [])


def test_the_shared_tables_with_stray_quotes() -> None:
    folder = shared("cases", "07-tsv-quotes")
    for name in ("q.tsv", "open.tsv", "merge.tsv"):
        rows, notes = read(folder / name)
        assert len(rows) == 60, name
        assert {row["label"] for row in rows} == {"good", "bad"}
        assert str(rows[5]["text"]).startswith('"Best the cheap desk 5')
        assert notes == [f"{name}:7: quotes do not balance: from here on they are read as text"]
    with pytest.raises(DataError, match=r"merge.csv:7: a quote opens in this line"):
        read(folder / "merge.csv")


def test_the_shared_tables_of_spreadsheets() -> None:
    folder = shared("cases", "27-excel-semicolon")
    rows, notes = read(folder / "de.csv")
    assert (len(rows), rows[0]) == (60, {"Text": "Die Tür 0, schön", "Label": "schlecht"})
    assert notes == [
        "de.csv: not utf-8, read as cp1252: 'Die Tür 0, schön;schlecht' "
        "(data.encoding names another)",
        "de.csv: read with semicolons",
    ]
    for name in ("de2.csv", "de3.csv"):
        rows, notes = read(folder / name)
        assert (len(rows), list(rows[0].values())) == (60, ["Die Tür 0, schön", "schlecht"])
        assert notes == [f"{name}: read with semicolons"]


def test_reading_keeps_a_few_rows_in_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text,label\n" + f'"{"x" * 1000}, so",good\n' * 20_000)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_rows(path)) == 20_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000 < path.stat().st_size
