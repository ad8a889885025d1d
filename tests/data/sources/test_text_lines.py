"""Text files in the encodings they come in: found out and said, or refused with their line."""

from __future__ import annotations

import gzip
from hashlib import sha256
from pathlib import Path

import pytest

from tunesmith.data.sources.rows import read_rows
from tunesmith.data.sources.text_lines import guess_encoding
from tunesmith.errors import DataError

TEXTS = {
    "cp1252": [
        "Die Tür ist schön, größer als früher",
        "une soirée très réussie, à l'hôtel",
        "el niño comió piñata mañana en el jardín",
        "“quoted” — he didn’t",
        "café",
        "æbler og grød på bordet",
        "não são irmãos, são maçãs",
    ],
    "cp1250": ["Zażółć gęślą jaźń, która była dłuższa"],
    "cp1251": ["Привет, как дела сегодня"],
    "koi8_r": ["Это очень длинная строка о погоде и людях"],
    "gb18030": ["今天天气很好,我们去公园散步"],
    "big5": ["今天天氣很好,我們去公園散步"],
    "shift_jis": ["今日はとてもいい天気です"],
    "euc_kr": ["오늘은 날씨가 아주 좋습니다"],
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_an_encoding_is_guessed_from_a_page_of_its_texts(encoding: str) -> None:
    for text in TEXTS[encoding]:
        sample = "".join(f"row {i},{text}\n" for i in range(20)).encode(encoding)
        assert sample.decode(guess_encoding(sample) or "ascii") == sample.decode(encoding), text


@pytest.mark.parametrize("line", [1, 3, 5000])
def test_the_first_line_that_is_not_utf8_decides_for_the_rest(tmp_path: Path, line: int) -> None:
    lines = ["a cafe\n"] * 6000
    lines[line - 1] = lines[-1] = "a café\n"
    path = tmp_path / "a.csv"
    path.write_bytes(("text\n" + "".join(lines)).encode("cp1252"))
    notes: list[str] = []
    hashes: dict[Path, str] = {}
    rows = list(read_rows(path, notes=notes, hashes=hashes))
    assert [row.values["text"] + "\n" for row in rows] == lines
    assert notes == [f"{path}: not utf-8, read as cp1252: 'a café' (data.encoding names another)"]
    assert hashes == {path: sha256(path.read_bytes()).hexdigest()}


def test_two_encodings_in_one_file_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text\ncafé\n".encode() + "café\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"a.csv:3: not utf-8: byte 0xe9 cannot be read\nhint: set"):
        list(read_rows(path))


def test_a_named_encoding_is_not_overruled(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text\ncafé\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"a\.csv:2: not utf-8: byte 0xe9"):
        list(read_rows(path, encoding="utf-8"))
    path.write_bytes("text\ncafé\n".encode("utf-16"))
    with pytest.raises(DataError, match="starts with the byte order mark of utf-16, read as utf-8"):
        list(read_rows(path, encoding="utf-8"))
    path.write_bytes(b"text\none\n")
    with pytest.raises(DataError, match="unknown encoding 'klingon'\nhint: for example utf-8"):
        list(read_rows(path, encoding="klingon"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_are_seen_by_their_first_bytes(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\nthe café is nice,good\n".encode(encoding))
    notes: list[str] = []
    rows = list(read_rows(path, notes=notes))
    assert [dict(row.values) for row in rows] == [{"text": "the café is nice", "label": "good"}]
    assert notes == [f"{path}: read as {encoding}"]


def test_lines_that_end_as_on_old_macs_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\rone,good\rtwo,bad\r")
    assert [(row.values["text"], row.source) for row in read_rows(path)] == [
        ("one", f"{path}:2"),
        ("two", f"{path}:3"),
    ]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz", "a.json.gz"])
def test_a_gzip_file_is_read_and_its_own_bytes_hashed(tmp_path: Path, name: str) -> None:
    text = "text\none\n" if "csv" in name else '{"text": "one"}\n' * 2
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()))
    hashes: dict[Path, str] = {}
    assert [dict(row.values) for row in read_rows(path, hashes=hashes)][-1] == {"text": "one"}
    assert hashes == {path: sha256(path.read_bytes()).hexdigest()}


def test_a_gzip_file_that_was_cut_off_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text\n" + b"one\n" * 1000)[:-9])
    with pytest.raises(DataError, match=r"a.csv.gz: cannot be unpacked: .*\nhint: is the file"):
        list(read_rows(path))


@pytest.mark.parametrize(
    "name, content, problem",
    [
        ("a.csv", b"text,label\na fine day,good\nan od\0d one,bad\n", "a NUL character in a text"),
        ("a.jsonl", b'{"text": "one"}\n\n{"text": "a\\u0000b"}\n', "a NUL character in a text"),
        (
            "a.jsonl",
            b'{"text": "one"}\n\n{"m": [{"c": "x \\ud83d y"}]}\n',
            "half of a surrogate pair in a text",
        ),
        (
            "a.json",
            b'[{"text": "one"},\n\n{"\\udc00": 1}]\n',
            "half of a surrogate pair in a text",
        ),
    ],
)
def test_what_is_no_character_refuses_its_row_and_no_other(
    tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    told: list[tuple[str, str]] = []
    rows = list(read_rows(path, unreadable=lambda *line: told.append(line)))
    assert (len(rows), told) == (1, [(f"{path}:3", problem)])
    with pytest.raises(DataError) as caught:
        list(read_rows(path))
    assert str(caught.value) == (
        f"{path}:3: {problem}\nhint: no tokenizer and no file can hold it: repair the text"
    )


def test_a_whole_surrogate_pair_is_a_character(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "\\ud83d\\ude00"}\n')
    assert [row.values["text"] for row in read_rows(path)] == ["\U0001f600"]
