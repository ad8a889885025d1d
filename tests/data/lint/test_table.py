"""Findings about a table as a whole, from small files that are read as a run reads them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import shared

from tunesmith.data.lint.before import findings_before_training
from tunesmith.data.plan import build_index, plan_sources
from tunesmith.data.sources.stored import StoredRows, store_rows
from tunesmith.errors import DataError
from tunesmith.recipe import build_recipe
from tunesmith.records import Finding, Row

WORDS = ["lamp", "chair", "table", "sofa", "mirror", "carpet", "shelf", "clock", "vase", "candle"]
COLOURS = ["red", "blue", "green", "black", "white", "yellow", "brown", "grey", "pink", "purple"]
# a hundred inputs of which no two are nearly equal
TEXTS = [
    f"{a} {b} {a}{b} made in {i}" for i, (a, b) in enumerate((a, b) for a in WORDS for b in COLOURS)
]
LABELS = [("good", "bad")[(7 * i * i) % 5 % 2] for i in range(100)]
ROWS = list(zip(TEXTS, LABELS, strict=True))


def write(path: Path, rows: list[tuple[str, Any]], **more: Any) -> str:
    lines = [json.dumps({"text": text, "label": label, **more}) for text, label in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def findings(folder: Path, rows: list[tuple[str, Any]] = ROWS, **data: Any) -> list[Finding]:
    source = write(folder / "rows.jsonl", rows)
    values = {"data": {"source": source, "task": "classify", **data}, "output_dir": "x"}
    config = build_recipe(values)[0].data
    store_rows(config, folder / "rows.arrow")
    stored = StoredRows(folder / "rows.arrow")
    index = build_index(plan_sources(config, stored), config, stored)
    return findings_before_training(index, config, stored)


def shown(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.name, finding.severity) for finding in found]


def at(folder: Path, *lines: int, name: str = "rows") -> tuple[str, ...]:
    return tuple(f"{folder / name}.jsonl:{line}" for line in lines)


def test_sound_rows_have_no_finding(tmp_path: Path) -> None:
    assert findings(tmp_path) == []


# ---- conflicts


def test_rows_that_all_conflict_are_an_error_that_shows_two_of_them(tmp_path: Path) -> None:
    other = [(text, "bad" if label == "good" else "good") for text, label in ROWS]
    (finding,) = findings(tmp_path, ROWS + other)
    assert shown([finding]) == [("conflicting_labels", "error")]
    first, second = finding.rows
    assert int(second.rpartition(":")[2]) - int(first.rpartition(":")[2]) == 100
    assert finding.message.startswith(
        "200 of 200 rows (100.0%) have the same input as another row and another label, for "
        f"example {first} 'good' and {second} 'bad'"
    )


@pytest.mark.parametrize(
    "number, expected", [(0, []), (1, []), (2, ["warning"]), (30, ["warning"])]
)
def test_a_few_conflicts_are_a_warning(tmp_path: Path, number: int, expected: list[str]) -> None:
    # each makes two rows conflict: 2 of 101 are less than 2 %, 4 of 102 more, 60 of 130 no half
    other = [(text, "bad" if label == "good" else "good") for text, label in ROWS[:number]]
    assert [finding.severity for finding in findings(tmp_path, ROWS + other)] == expected


def test_free_answers_to_one_question_are_a_warning_where_most_are_so(tmp_path: Path) -> None:
    task = {"task": "free", "columns": {"target": "label"}}
    rows = [(text, f"answer {i}") for i, (text, _) in enumerate(ROWS)]
    again = [(text, f"another {i}") for i, (text, _) in enumerate(ROWS)]
    assert findings(tmp_path, rows + again[:20], **task) == []
    assert shown(findings(tmp_path, rows + again, **task)) == [("conflicting_labels", "warning")]


def test_one_input_in_all_rows_is_an_error(tmp_path: Path) -> None:
    test = write(tmp_path / "test.jsonl", ROWS[:4])
    rows = [("see above", label) for label in ("good", "bad")]
    with pytest.raises(DataError) as caught:
        findings(tmp_path, rows * 20, test_source=test)
    assert str(caught.value) == (
        "2 of 40 rows remain: 38 repeat the input and answer of an earlier row, and 0 have an "
        "input of the test file\n"
        "hint: does data.columns name the columns that differ from row to row?"
    )
    free = {"task": "free", "columns": {"target": "label"}, "split": {"column": "part"}}
    parts = ["train", "validation", "test"]
    lines = [
        json.dumps({"text": "see above", "label": f"a {i}", "part": parts[i % 3]})
        for i in range(30)
    ]
    source = tmp_path / "parts.jsonl"
    source.write_text("\n".join(lines), encoding="utf-8")
    found = findings(tmp_path, source=str(source), **free)
    (finding,) = [one for one in found if one.name == "same_input"]
    assert finding.message == (
        f"all 30 rows of {source} have the same input, for example {source}:1 'see above' and "
        f"{source}:2 'see above': it says nothing of the answer"
    )


# ---- a sorted file


def sorted_rows() -> list[tuple[str, Any]]:
    return sorted(ROWS, key=lambda row: row[1])


def test_the_first_rows_of_a_sorted_file_are_an_error_that_shows_both_ends(tmp_path: Path) -> None:
    (finding,) = findings(tmp_path, sorted_rows(), max_rows=90)
    assert shown([finding]) == [("cut_sorted", "error")]
    assert finding.rows == at(tmp_path, 1, 90)
    assert "data.max_rows = 90 takes its first rows only: 2 labels" in finding.message


def test_a_sorted_file_that_is_read_to_its_end_and_a_mixed_one_are_fine(tmp_path: Path) -> None:
    assert findings(tmp_path, sorted_rows()) == []
    assert findings(tmp_path, sorted_rows(), max_rows=101) == []
    assert findings(tmp_path, ROWS, max_rows=90) == []


# ---- what splits share


def test_a_validation_file_equal_to_the_training_file_is_an_error_of_two_pairs(
    tmp_path: Path,
) -> None:
    same = write(tmp_path / "validation.jsonl", ROWS)
    found = findings(tmp_path, validation_source=same)
    assert shown(found) == [("train_in_validation", "error"), ("validation_in_test", "error")]
    first, second = found[0].rows
    assert (Path(first).name[:11], Path(second).name) == (
        "rows.jsonl:",
        "validation.jsonl:" + first[-1],
    )
    assert f"{found[0].message.split()[0]} of 100 validation inputs are equal" in found[0].message


def new_rows(number: int) -> list[tuple[str, Any]]:
    return [(f"entirely other words {i} {i * 7} about item{i}", LABELS[i]) for i in range(number)]


def test_a_row_that_findings_name_is_looked_up_once_and_no_row_after_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = list[tuple[int, str]]()
    find = StoredRows.find

    def watched(self: StoredRows, number: int, ids: Collection[str]) -> Iterator[Row]:
        looked_up.extend((number, row_id) for row_id in ids)
        yield next(find(self, number, ids))
        pytest.fail("reads on after the row was found")

    monkeypatch.setattr(StoredRows, "find", watched)
    findings(tmp_path, validation_source=write(tmp_path / "validation.jsonl", ROWS))
    assert len(looked_up) == len(set(looked_up)) == 4


@pytest.mark.parametrize(
    "equal, severity", [(0, None), (1, "warning"), (5, "warning"), (10, "error")]
)
def test_some_equal_validation_rows_are_a_warning_and_a_tenth_is_an_error(
    tmp_path: Path, equal: int, severity: str | None
) -> None:
    test = write(
        tmp_path / "test.jsonl", [(f"tested thing{i} {i * 3}", LABELS[i]) for i in range(9)]
    )
    rows = ROWS[:equal] + new_rows(100 - equal)
    given = {"validation_source": write(tmp_path / "validation.jsonl", rows), "test_source": test}
    expected = [] if severity is None else [("train_in_validation", severity)]
    assert shown(findings(tmp_path, **given)) == expected


def test_test_rows_that_are_training_rows_in_other_words_are_an_error(tmp_path: Path) -> None:
    test = write(tmp_path / "test.jsonl", [(text + " please", label) for text, label in ROWS[:40]])
    found = findings(tmp_path, test_source=test)
    error = found[0]
    assert shown([error]) == [("train_in_test", "error")]
    assert error.message.startswith("0 of 40 test inputs are equal to a train input, and ")


def test_most_training_rows_in_the_test_file_are_an_error_and_some_are_not(tmp_path: Path) -> None:
    test = write(tmp_path / "test.jsonl", ROWS[:60])
    (finding,) = findings(tmp_path, test_source=test)
    assert shown([finding]) == [("train_in_test", "error")]
    # the 40 others are divided into 36 for training and 4 for validation
    assert finding.message.startswith(
        "60 of 96 train inputs are test inputs too, and would be left out"
    )
    assert findings(tmp_path, test_source=write(tmp_path / "test.jsonl", ROWS[:20])) == []


def test_the_training_file_as_the_test_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        findings(tmp_path, test_source=write(tmp_path / "test.jsonl", ROWS))
    assert str(caught.value) == (
        "0 of 100 rows remain: 0 repeat the input and answer of an earlier row, and 100 have an "
        "input of the test file\nhint: give other rows to test on"
    )


def test_a_group_in_the_training_and_the_test_file_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "grouped.jsonl"
    lines = [{"text": t, "label": lb, "who": f"w{i % 30}"} for i, (t, lb) in enumerate(ROWS)]
    source.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    given = {"source": str(source), "split": {"group": "who"}}
    apart = write(tmp_path / "test.jsonl", new_rows(9), who="somebody else")
    assert findings(tmp_path, test_source=apart, **given) == []
    (finding,) = findings(
        tmp_path, test_source=write(tmp_path / "test.jsonl", new_rows(9), who="w3"), **given
    )
    assert shown([finding]) == [("same_group", "error")]
    assert finding.message.startswith("1 of 30 groups have rows in two splits, for example 'w3': ")
    assert finding.rows[0].startswith(f"{source}:")
    assert finding.rows[1] == at(tmp_path, 1, name="test")[0]


# ---- the small inputs of ../shared/cases: what is odd there is said, and nothing else

SAID: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "01-message-weight/shop.jsonl": ({"task": None}, []),
    "02-tool-calls/tools_content.jsonl": ({"task": None}, []),
    "04-code-indent/code.jsonl": ({"task": None}, []),
    "05-bool-labels/toxic.csv": ({"columns": {"text": "comment", "label": "toxic"}}, []),
    "07-tsv-quotes/q.tsv": ({}, []),
    "10-label-case/case.csv": ({}, [("label_spelling", "warning")]),
    "11-nan-alpaca/alp.json": ({"task": None}, []),
    "21-yes-no/yn.csv": ({"labels": ["no", "yes"]}, []),
    "22-folder-splits/data": ({}, []),
    "23-float-labels/mix.csv": ({}, [("number_labels", "warning")]),
    "23-float-labels/f.csv": ({"labels": ["no", "yes"]}, []),
    "24-chinese-summaries/zh.jsonl": ({"task": "summarise", "columns": {"target": "summary"}}, []),
    "27-excel-semicolon/de.csv": ({"columns": {"text": "Text", "label": "Label"}}, []),
    "30-bos-per-turn/multi.jsonl": ({"task": None}, []),
}


@pytest.mark.parametrize("name", SAID)
def test_small_inputs_that_are_sound_raise_no_false_alarm(name: str, tmp_path: Path) -> None:
    data, expected = SAID[name]
    assert (
        shown(findings(tmp_path, source=str(shared("cases", *name.split("/"))), **data)) == expected
    )
