"""Text files without a separator: told by their first lines, and the same rows as in a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tunesmith.data.sources.rows import read_rows
from tunesmith.errors import DataError

ROWS = [(f"note {i} about a mug", "good" if i % 2 else "bad") for i in range(30)]
VALUES = [{"text": text, "label": label} for text, label in ROWS]


def read(path: Path, text: str, **options: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """(values of the rows, notes without the path)."""
    path.write_text(text)
    notes: list[str] = []
    rows = [dict(row.values) for row in read_rows(path, notes=notes, **options)]
    return rows, [note.removeprefix(f"{path}: ") for note in notes]


@pytest.mark.parametrize("name", ["a.txt", "a.train", "a", "a.ft"])
def test_fasttexts_lines_are_texts_and_labels(tmp_path: Path, name: str) -> None:
    rows, notes = read(tmp_path / name, "".join(f"__label__{y} {t}\n" for t, y in ROWS))
    assert (rows, notes) == (VALUES, ["fastText's lines, read as text and label"])


def test_several_labels_a_line_are_a_list_in_every_row(tmp_path: Path) -> None:
    rows, notes = read(tmp_path / "a.txt", "__label__a One.\n__label__a __label__b Two.\n")
    assert rows == [{"text": "One.", "labels": ["a"]}, {"text": "Two.", "labels": ["a", "b"]}]
    assert notes == ["fastText's lines, read as text and labels"]


def test_a_second_label_that_comes_late_refuses_its_row(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    text = "__label__a One.\n" * 300 + "__label__a __label__b Two.\nThree.\n"
    rows, _ = read(tmp_path / "a.txt", text, unreadable=lambda *line: told.append(line))
    assert len(rows) == 300
    assert told == [
        (f"{tmp_path / 'a.txt'}:301", "2 labels, the first lines have one each"),
        (f"{tmp_path / 'a.txt'}:302", "no __label__ at its beginning"),
    ]


def test_a_label_before_each_text_is_seen_by_its_repetition(tmp_path: Path) -> None:
    rows, notes = read(tmp_path / "a.txt", "".join(f"{y} {t}\n" for t, y in ROWS))
    assert (rows, notes) == (
        VALUES,
        ["the first word of each line is its label, the rest its text"],
    )


def test_a_table_without_a_suffix_is_seen_by_its_separator(tmp_path: Path) -> None:
    rows, _ = read(tmp_path / "SMSSpam", "".join(f"{y}\t{t}\n" for t, y in ROWS))
    assert rows == [{"label": y, "text": t} for t, y in ROWS]


PROSE = """It was late when we came to the house, and nobody was there.
The door stood open. Somebody had left a lamp on the table, and beside it a letter.
We read it twice before we understood what it said.
"""


@pytest.mark.parametrize("text", [PROSE, PROSE * 20, "one\ntwo\nthree\n"])
def test_prose_is_no_table(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"a text file without rows that could be recognised\nhint"):
        read(tmp_path / "a.txt", text)


CONLL = """-DOCSTART- -X- O O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

Peter NNP B-NP B-PER
"""


@pytest.mark.parametrize("name", ["eng.conll", "train.txt", "a"])
@pytest.mark.parametrize("separator", [" ", "\t"])
def test_words_in_columns_are_tokens_and_tags(tmp_path: Path, name: str, separator: str) -> None:
    path = tmp_path / name
    rows, notes = read(path, CONLL.replace(" ", separator))
    assert rows == [
        {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]},
        {"tokens": ["Peter"], "tags": ["B-PER"]},
    ]
    assert [row.source for row in read_rows(path)] == [f"{path}:3", f"{path}:6"]
    assert notes == ["words in 4 columns, as CoNLL has them: tokens are column 1, tags column 4"]


def test_a_line_with_other_columns_refuses_its_sentence_and_no_other(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    text = "a O\nb O\n\n" * 100 + "c O\nd\ne O\n\nf B-PER\n"
    rows, _ = read(tmp_path / "a.conll", text, unreadable=lambda *line: told.append(line))
    assert (len(rows), rows[-1]) == (101, {"tokens": ["f"], "tags": ["B-PER"]})
    path = tmp_path / "a.conll"
    assert told == [(f"{path}:301", "line 302 has 1 fields, the first 2")]


def test_conllus_words_are_its_second_column_and_contractions_are_no_words(tmp_path: Path) -> None:
    lines = ["1-2\tdu\t_\t_", "1\tde\tde\tADP", "2\tle\tle\tDET", "3\tpain\tpain\tNOUN"]
    text = "# sent_id = 1\n" + "".join(line + "\t_" * 6 + "\n" for line in lines) + "\n"
    rows, _ = read(tmp_path / "a.conllu", text.replace("1-2\tdu", "1\tdu", 1) + text)
    assert rows[1] == {"tokens": ["de", "le", "pain"], "tags": ["ADP", "DET", "NOUN"]}


def parallel(folder: Path, **sides: list[str]) -> None:
    folder.mkdir(exist_ok=True)
    for end, lines in sides.items():
        (folder / f"train.{end}").write_text("".join(line + "\n" for line in lines))


@pytest.mark.parametrize(
    "ends, columns", [(("de", "en"), ("de", "en")), (("src", "tgt"), ("text", "target"))]
)
def test_parallel_files_are_rows_line_by_line(
    tmp_path: Path, ends: tuple[str, str], columns: tuple[str, str]
) -> None:
    parallel(tmp_path / "p", **dict(zip(ends, [["eins", "zwei"], ["one", "two"]], strict=True)))
    notes: list[str] = []
    rows = list(read_rows(tmp_path / "p", notes=notes))
    assert [tuple(row.values.items()) for row in rows] == [
        ((columns[0], "eins"), (columns[1], "one")),
        ((columns[0], "zwei"), (columns[1], "two")),
    ]
    assert notes == [
        f"{tmp_path / 'p'}: train.{ends[0]}, train.{ends[1]}: parallel files, line by line; "
        f"the columns are {columns[0]} and {columns[1]}"
    ]


def test_parallel_files_of_different_length_are_an_error_with_both_counts(tmp_path: Path) -> None:
    parallel(tmp_path / "p", de=["eins", "zwei", "drei", "vier"], en=["one", "two"])
    with pytest.raises(DataError) as caught:
        list(read_rows(tmp_path / "p"))
    folder = tmp_path / "p"
    assert str(caught.value) == (
        f"{folder / 'train.de'}: 4 lines; {folder / 'train.en'}: 2 lines\n"
        "hint: parallel files have the same number of lines"
    )
