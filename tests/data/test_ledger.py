"""The ledger: every raw row has one fate; too many rejected rows are an error that names them."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from tunesmith.data.ledger import Ledger, LedgerFacts, ledger_table
from tunesmith.errors import DataError, RunError
from tunesmith.records import IGNORE_INDEX, Example, TokenizedExample
from tunesmith.run_files import read_record, write_record


def example(row_id: str, split: str = "train", number: int = 0) -> Example:
    return Example(f"{row_id}/{number}", row_id, "plain", "prompt", "answer", split=split)


def tokens(prompt: int, completion: int) -> TokenizedExample:
    ids = list(range(prompt + completion))
    return TokenizedExample("e", ids, [IGNORE_INDEX] * prompt + ids[prompt:], prompt)


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def filled(path: Path) -> Ledger:
    """Ten raw rows: 1 unreadable, 2 duplicates, 1 leaked, 1 not drawn, 2 rejected, 3 kept."""
    ledger = Ledger(path)
    ledger.unreadable("a.csv:2", "bad quote")
    ledger.duplicate("2", "a.csv:3", "train")
    ledger.duplicate("3", "a.csv:4", "train")
    ledger.reject_leak("4", "a.csv:5")
    ledger.not_drawn()
    for row_id, split in [
        ("6", "train"),
        ("7", "validation"),
        ("8", "train"),
        ("9", "train"),
        ("10", "test"),
    ]:
        ledger.row(row_id, split, conflicting=row_id in "89")
    ledger.exclude("6", "a.csv:7", "plain", "the completion is empty", "train")
    ledger.reject("7", "a.csv:8", "too_long", "90 tokens, max_length is 80", "validation")
    ledger.keep(example("8"), tokens(5, 2))
    ledger.keep(example("9"), tokens(6, 3))
    ledger.keep(example("9", number=1), tokens(7, 3))
    ledger.shortened("8", "article", 200)
    ledger.shortened("10", "article", 100)
    ledger.keep(example("10", "test"), tokens(4, 1))
    return ledger


def test_every_raw_row_has_one_fate_and_tokens_are_summed_by_split(tmp_path: Path) -> None:
    with filled(tmp_path / "rejected.jsonl") as ledger:
        ledger.near_duplicate_clusters = 4
        ledger.notes.append("a note")
        facts = ledger.finish(max_rejected=0.5, num_raw=10)
    assert asdict(facts) == {
        "rows": {
            "raw": 10, "unreadable": 1, "duplicates": 2, "leaked": 1, "not_drawn": 1,
            "rejected": 2, "kept": 3,
        },
        "rejected": {"excluded: the completion is empty": 1, "too_long": 1},
        "dropped_examples_of_kept_rows": {},
        "conflicting_rows": 2,
        "near_duplicate_clusters": 4,
        "shortened": {"article": {"examples": 2, "characters": 300, "most_characters": 200}},
        "splits": {
            "train": {
                "rows": 2, "rejected": 1, "examples": 3,
                "tokens": 7 + 9 + 10, "trained_tokens": 2 + 3 + 3,
            },
            "validation": {
                "rows": 0, "rejected": 1, "examples": 0, "tokens": 0, "trained_tokens": 0,
            },
            "test": {"rows": 1, "rejected": 0, "examples": 1, "tokens": 5, "trained_tokens": 1},
        },
        "notes": ("a note",),
        "findings": (),
    }  # fmt: skip
    write_record(tmp_path / "ledger.json", facts)
    assert read_record(tmp_path / "ledger.json", LedgerFacts) == facts


def test_what_was_left_out_is_listed_with_its_place_and_reason(tmp_path: Path) -> None:
    with filled(tmp_path / "data" / "rejected.jsonl") as ledger:
        ledger.finish(1.0)
    found = lines(tmp_path / "data" / "rejected.jsonl")
    assert [(line["id"], line["source"], line["reason"]) for line in found] == [
        ("a.csv:2", "a.csv:2", "unreadable"),
        ("2", "a.csv:3", "duplicate"),
        ("3", "a.csv:4", "duplicate"),
        ("4", "a.csv:5", "leaked"),
        ("6", "a.csv:7", "excluded: the completion is empty"),
        ("7", "a.csv:8", "too_long"),
        ("8", "", "shortened"),
        ("10", "", "shortened"),
    ]
    assert [line["detail"] for line in found[4:7]] == [
        "template plain",
        "90 tokens, max_length is 80",
        "article: 200 characters",
    ]


def test_a_row_that_vanished_is_an_error(tmp_path: Path) -> None:
    with filled(tmp_path / "r.jsonl") as ledger, pytest.raises(RunError) as error:
        ledger.finish(max_rejected=1.0, num_raw=11)
    assert error.value.message == (
        "the ledger does not add up: 11 raw rows, "
        "1 unreadable + 2 duplicates + 1 leaked + 1 not_drawn + 2 rejected + 3 kept = 10"
    )


def test_a_row_given_to_no_split_and_no_reason_is_noticed(tmp_path: Path) -> None:
    with Ledger(tmp_path / "r.jsonl") as ledger:
        ledger.row("1", "train")
        with pytest.raises(RunError, match=r"1 raw rows, .* = 0"):
            ledger.finish(1.0)


def test_a_row_with_one_kept_example_is_kept_and_its_dropped_examples_are_counted(
    tmp_path: Path,
) -> None:
    with Ledger(tmp_path / "r.jsonl") as ledger:
        for row_id in "abc":
            ledger.row(row_id, "test")
        ledger.exclude("a", "s:1", "first", "empty", "test")  # rendering runs ahead of keeping
        ledger.exclude("c", "s:3", "first", "empty", "test")
        ledger.exclude("c", "s:3", "second", "empty", "test")
        ledger.keep(example("a", "test"), tokens(1, 1))
        ledger.keep(example("b", "test"), tokens(1, 1))
        ledger.reject("b", "s:2", "too_long", "", "test")
        found = asdict(ledger.finish(0.5))
    assert (found["rows"]["kept"], found["rows"]["rejected"]) == (2, 1)
    assert found["dropped_examples_of_kept_rows"] == {"excluded: empty": 2, "too_long": 1}
    assert len(lines(tmp_path / "r.jsonl")) == 4


def test_too_many_rejected_rows_are_an_error_with_reasons_places_and_a_remedy(
    tmp_path: Path,
) -> None:
    path = tmp_path / "rejected.jsonl"
    ledger = Ledger(path)
    for number in range(1, 201):
        ledger.row(str(number), "train")
        if number <= 4:
            ledger.reject(str(number), f"a.csv:{number + 1}", "too_long", "", "train")
        elif number == 5:
            ledger.exclude(str(number), "a.csv:6", "plain", "the completion is empty", "train")
        else:
            ledger.keep(example(str(number)), tokens(1, 1))
    with pytest.raises(DataError) as error:
        ledger.finish(0.01)
    assert error.value.message == (
        "5 of 200 rows rejected (2.5%), data.max_rejected is 1.0%: "
        "too_long 4 (a.csv:2, a.csv:3, a.csv:4, ...); excluded: the completion is empty 1 (a.csv:6)"
    )
    assert error.value.hint == (
        "raise train.max_length, or mark a field that may be shortened: {{ article | fit }}; "
        "data.max_rejected=0.03 goes on without them"
    )
    assert len(lines(path)) == 5


def test_rejected_rows_up_to_the_limit_and_any_number_of_duplicates_pass(tmp_path: Path) -> None:
    with Ledger(tmp_path / "r.jsonl") as ledger:
        for number in range(98):
            ledger.duplicate(str(number), "s", "train")
        ledger.row("98", "train")
        ledger.keep(example("98"), tokens(1, 1))
        ledger.row("99", "train")
        ledger.reject("99", "s", "too_long", "", "train")
        assert ledger.finish(0.01).rows["rejected"] == 1


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    fates=st.lists(
        st.sampled_from(
            ["keep", "keep2", "mixed", "exclude", "reject", "duplicate", "leak", "undrawn"]
        )
    )
)
def test_fates_add_up_to_the_raw_rows_in_any_order(tmp_path: Path, fates: list[str]) -> None:
    with Ledger(tmp_path / "r.jsonl") as ledger:
        for number, fate in enumerate(fates):
            row_id = str(number)
            if fate == "duplicate":
                ledger.duplicate(row_id, "s", "train")
            elif fate == "leak":
                ledger.reject_leak(row_id, "s")
            elif fate == "undrawn":
                ledger.not_drawn()
            else:
                ledger.row(row_id, "train")
                if fate in ("exclude", "mixed"):
                    ledger.exclude(row_id, "s", "plain", "empty", "train")
                for _ in range({"keep": 1, "mixed": 1, "keep2": 2}.get(fate, 0)):
                    ledger.keep(example(row_id), tokens(1, 1))
                if fate in ("reject", "mixed"):
                    ledger.reject(row_id, "s", "too_long", "", "train")
        found = asdict(ledger.finish(1.0, len(fates)))
    assert found["rows"]["kept"] == sum(fate in ("keep", "keep2", "mixed") for fate in fates)
    assert (
        found["rows"]["rejected"]
        == sum(found["rejected"].values())
        == sum(f in ("exclude", "reject") for f in fates)
    )


def test_the_table_shows_the_numbers_of_the_ledger(tmp_path: Path) -> None:
    with filled(tmp_path / "r.jsonl") as ledger:
        found = ledger.finish(1.0)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(ledger_table(found))
    table = {
        cells[0].strip(): [cell.strip() for cell in cells[1:]]
        for line in console.export_text().splitlines()
        if len(cells := line.replace("┃", "│").strip("│").split("│")) == 5
    }
    assert table["raw rows"] == ["", "", "", "10"]
    assert table["- rejected"] == ["1", "1", "0", "2"]
    assert table["too long"] == ["", "", "", "1"]
    assert table["= rows kept"] == ["2", "0", "1", "3"]
    assert table["trained tokens"] == ["8", "0", "1", "9"]
    assert table["examples with a shorter article (300 characters)"] == ["", "", "", "2"]


def test_the_limit_counts_each_answer_of_a_conversation(tmp_path: Path) -> None:
    """20 conversations of 3 answers: 2 of one are too long, and another has none that fits."""
    ledger = Ledger(tmp_path / "rejected.jsonl")
    for number in range(20):
        ledger.row(str(number), "train")
        for answer in range(3):
            if number == 1 or (number == 0 and answer > 0):
                ledger.reject(str(number), f"a.jsonl:{number + 1}", "too_long", "", "train")
            else:
                ledger.keep(example(str(number), number=answer), tokens(1, 1))
    with pytest.raises(DataError) as error:
        ledger.finish(0.05)
    assert error.value.message == (
        "5 of 60 examples rejected (8.3%), data.max_rejected is 5.0%: "
        "too_long 5 (a.jsonl:2, a.jsonl:1, a.jsonl:1, ...)"
    )
