"""docs/walks.md and the script that walks it again."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
import typer
from tool_modules import tool_module

from tunesmith.cli import app
from tunesmith.data.dedup.exact import normalise

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "walks.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def walks() -> ModuleType:
    return tool_module("walks")


def test_a_block_is_read_as_commands_and_what_was_seen(walks: ModuleType) -> None:
    block = "$ one\nseen\n$ two \\\n> more\n$ three\n a\n\n b\n"
    found = [(step.command, step.seen) for step in walks.steps_of(block)]
    assert found == [("one", "seen\n"), ("two \\\nmore", ""), ("three", " a\n\n b\n")]


def test_what_is_written_is_read_again(walks: ModuleType) -> None:
    document = "text\n```console\n$ one\n> two\nold\n$ three\n```\nend\n"
    steps = [step for block in walks.BLOCK.findall(document) for step in walks.steps_of(block)]
    after = walks.written(document, [(step, "new\n") for step in steps])
    assert after == "text\n```console\n$ one\n> two\nnew\n$ three\nnew\n```\nend\n"


@pytest.mark.parametrize(
    "line",
    [
        "training: step 29 of 180: loss 0.2, 464 of 2,808 rows, 27 rows/s, 1:08 left",
        "preparation: reading rows: 0:21 so far",
        "evaluation: Base model: 282 rows in 0:23, 24 rows/s",
        "verification: a fresh process loads the saved model and answers: 0:24",
    ],
)
def test_lines_that_come_by_the_clock_are_left_out(walks: ModuleType, line: str) -> None:
    assert walks.without_clock(f"before\n{line}\nafter\n") == "before\nafter\n"


def test_numbers_of_the_machine_are_not_compared_and_words_are(walks: ModuleType) -> None:
    step = walks.Step("run", "Tuned model  0.91 [0.86, 0.95]  +0.244\nRight on the task: yes.\n")
    same = "Tuned model  0.93 [0.88, 0.97]  +0.3\nRight on the task: yes.\n"
    assert walks.differences(step, same) == []
    other = same.replace("yes", "no")
    changed = walks.differences(step, other)
    assert changed[0] == "$ run"
    assert changed[-2].endswith("Right on the task: yes.")
    assert changed[-1].endswith("Right on the task: no.")


def test_a_command_that_says_nothing_any_more_is_a_difference(walks: ModuleType) -> None:
    assert walks.differences(walks.Step("run", "hint: this\n"), "") != []
    assert walks.differences(walks.Step("run", "240 tickets\n"), "241 tickets\n") != []


def test_the_table_of_tickets_is_the_same_each_time_and_has_no_ticket_twice(
    walks: ModuleType, tmp_path: Path
) -> None:
    tables = []
    for name in ("a.csv", "b.csv"):
        walks.write_tickets(tmp_path / name)
        tables.append((tmp_path / name).read_text(encoding="utf-8"))
    assert tables[0] == tables[1]
    rows = list(csv.DictReader(tables[0].splitlines()))
    assert len(rows) == len({normalise(row["message"]) for row in rows}) == 240
    assert {row["team"] for row in rows} == {"billing", "delivery", "technical"}


def test_every_command_of_the_walks_is_one(walks: ModuleType) -> None:
    known = typer.main.get_command(app)
    commands = [step.command for b in walks.BLOCK.findall(DOCUMENT) for step in walks.steps_of(b)]
    found = [c for text in commands for c in re.findall(r"^tunesmith ([^|&;>]*)", text)]
    assert len(found) > 8
    for text in found:
        name, *arguments = shlex.split(re.sub(r" 2$", "", text.strip()))
        command = known.commands[name]  # type: ignore[attr-defined]
        context = command.make_context(name, arguments, resilient_parsing=True)
        assert context.args == [], text
