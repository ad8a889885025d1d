"""Facts about columns, counted by hand, and the roles that they give."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pytest

from tunesmith.init import facts
from tunesmith.init.facts import ColumnFacts, kind_of_cell, look
from tunesmith.init.files import look_beside
from tunesmith.init.roles import role_of, words_of


def column(values: list[Any], name: str = "c") -> ColumnFacts:
    return look("t", [{name: value} for value in values]).columns[0]


def test_what_a_column_counts() -> None:
    found = column(["good", "bad", " good ", "", None, "good"])
    assert (found.kind, found.rows, found.filled, found.missing) == ("text", 6, 4, 2)
    assert (found.distinct, found.common) == (2, (("good", 3), ("bad", 1)))
    assert (found.words, found.longest) == (1, 4)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "truth"),
        ("false", "truth"),
        (3, "whole"),
        ("3.0", "whole"),
        ("2.5", "number"),
        ("1,5", "comma"),
        ("2024-02-03", "date"),
        ("03/02/2024", "date"),
        ({"a": 1}, "object"),
        ('{"a": 1}', "object"),
        (["a"], "list"),
        ("['a', 'b']", "list"),
        ("[a]", "text"),
        ("fine", "text"),
    ],
)
def test_a_cell_is_the_same_in_csv_and_in_json(value: object, kind: str) -> None:
    assert kind_of_cell(value) == kind


def test_a_word_for_no_value_among_numbers_leaves_them_numbers() -> None:
    assert column(["1.5", "N/A", "2.5"]).kind == "number"
    assert column(["1.5", "many", "2.5"]).kind == "text"


def test_a_long_value_has_the_same_name_in_every_process() -> None:
    found = column(["x" * 61] * 2 + ["x" * 62])
    assert found.values == tuple(
        f"{'x' * 60}\N{HORIZONTAL ELLIPSIS} {zlib.crc32(b'x' * n):08x}" for n in (61, 62)
    )


def test_1_and_1_0_are_one_value() -> None:
    assert column([1, "1.0", 1.0, 2]).common == (("1", 3), ("2", 1))


def test_parts_of_cells_and_how_often_each_comes() -> None:
    found = column(["a;b", "b", "a;b;c", "c;a"] * 3)
    assert found.separator == ";"
    assert sorted(found.parts) == ["a", "b", "c"]
    assert found.repeats == (9 + 9 + 6) / 3
    assert role_of(found) == "labels"


def test_a_comma_in_sentences_separates_nothing() -> None:
    found = column([f"well, the thing number {i} is not bad, on the whole" for i in range(30)])
    assert (found.separator, role_of(found)) == ("", "text")


def test_values_repeat_like_labels_in_three_rows_each_or_five_where_they_are_many() -> None:
    assert column([f"v{i % 20}" for i in range(60)]).has_few_values
    assert not column([f"v{i % 20}" for i in range(59)]).has_few_values
    assert not column([f"v{i % 21}" for i in range(63)]).has_few_values
    assert column([f"v{i % 21}" for i in range(105)]).has_few_values


@pytest.mark.parametrize(
    ("name", "values", "role"),
    [
        ("user_id", [f"u{i % 10}" for i in range(60)], "group"),
        ("user_id", [f"u{i}" for i in range(60)], "id"),
        ("nr", list(range(60)), "id"),
        ("x", list(range(60)), "id"),
        ("x", [f"AB-{i}" for i in range(60)], "id"),
        ("input", list(range(60)), "text"),
        ("word", [f"w{'abcdef'[i % 6] * (i // 6 + 1)}" for i in range(60)], "text"),
        ("customer_type", [("old", "new")[i % 2] for i in range(60)], "label"),
        ("rating", [i % 5 + 1 for i in range(60)], "number"),
        ("label", [i % 5 for i in range(60)], "label"),
        ("x", [i / 7 for i in range(60)], "number"),
        ("x", [("train", "dev", "test")[i % 3] for i in range(60)], "split"),
        ("x", ["same"] * 60, "unused"),
        ("x", [None] * 60, "unused"),
        ("x", [{"a": i} for i in range(60)], "object"),
    ],
)
def test_the_role_of_a_column(name: str, values: list[Any], role: str) -> None:
    assert role_of(column(values, name)) == role


def test_a_long_table_is_looked_at_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "MOST_ROWS", 5)
    assert look("t", [{"a": i} for i in range(5)]).is_whole
    found = look("t", [{"a": i} for i in range(6)])
    assert (found.rows, found.is_whole) == (5, False)


def test_words_of_names() -> None:
    assert words_of("userId") == ["user", "id"]
    assert words_of("section_header") == ["section", "header"]
    assert words_of("  Free text ") == ["free", "text"]


def test_files_beside_have_the_same_columns_and_a_name_that_differs_in_the_split(
    tmp_path: Path,
) -> None:
    for name in ("a_train.csv", "a_test.csv", "a_dev.csv", "b_test.csv", "a_test.jsonl", "a.txt"):
        (tmp_path / name).touch()

    def columns(path: Path) -> frozenset[str]:
        return frozenset({"other"} if path.name == "a_dev.csv" else {"text"})

    found = look_beside(tmp_path / "a_train.csv", columns)
    assert (found.own, found.others) == ("train", {"test": tmp_path / "a_test.csv"})
    assert look_beside(tmp_path / "b_test.csv", columns).own == "test"
    assert look_beside(tmp_path, columns).others == {}
