"""What is said while stages work: lines in a pipe, a live view on a terminal."""

from __future__ import annotations

import io
import math
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from rich.console import Console

from tunesmith import progress as reporting
from tunesmith import screen
from tunesmith.inert import inert
from tunesmith.progress import InertConsole, note, progress, say, showing, working
from tunesmith.screen import EVERY, FIRST, Answered, Board, line, sparkline, view


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Board:
    """What stages report to, without a thread."""
    found = Board(console(), live=True, clock=clock)
    monkeypatch.setattr(reporting, "_board", found)
    return found


def console(width: int = 80, encoding: str = "utf-8") -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    return InertConsole(file=file, width=width, markup=False, emoji=False, highlight=False)


def printed(on: Console) -> str:
    file = on.file
    assert isinstance(file, io.TextIOWrapper)
    file.flush()
    file.seek(0)
    return file.read()


def drawn(board: Board, on: Console) -> str:
    board.console = on
    on.print(view(board))
    return printed(on)


# ---- lines


def test_a_line_has_stage_step_loss_rows_a_second_and_the_time_left(
    board: Board, clock: Clock
) -> None:
    with working("training"), progress("steps", 960) as bar:
        for step in (1, 2, 3):
            clock.now += 4
            bar.at(f"step {step} of 60")
            bar.number("loss", 2 / step)
            bar(16)
        # 16 rows in 4 s; 912 rows are left
        assert line(board) == (
            "training: step 3 of 60: loss 0.6667, 48 of 960 rows, 4 rows/s, 3:48 left"
        )


def test_rows_of_steps_before_a_resume_are_no_speed(board: Board, clock: Clock) -> None:
    with progress("steps", 100, done=60) as bar:
        clock.now += 10
        bar(20)
        assert line(board) == "steps: 80 of 100 rows, 2 rows/s, 0:10 left"


def test_what_is_inside_something_else_is_told_with_it(board: Board, clock: Clock) -> None:
    with working("evaluation"), progress("Base model", 8), progress("likelihoods", 8) as advance:
        clock.now += 3
        advance(2)
        assert line(board) == (
            "evaluation: Base model: likelihoods: 2 of 8 rows, 0.67 rows/s, 0:09 left"
        )


def test_what_has_no_known_end_is_told_with_its_time(board: Board, clock: Clock) -> None:
    with working("preparation"):
        clock.now += 5
        assert line(board) == "preparation: 0:05 so far"
        with progress("reading rows") as advance:
            clock.now += 60
            assert line(board) == "preparation: reading rows: 1:00 so far"
            advance(1200)
            assert line(board) == ("preparation: reading rows: 1,200 rows, 20 rows/s, 1:00 so far")
    assert line(board) == ""


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_loss_is_shown_before_there_is_one(board: Board, bad: float) -> None:
    with working("training"), progress("steps", 10) as bar:
        bar.number("loss", bad)
        assert "loss" not in line(board) + drawn(board, console())


def test_a_line_comes_at_least_every_thirty_seconds_also_where_nothing_is_reported(
    board: Board, clock: Clock
) -> None:
    waits: list[float] = []

    def waited(seconds: float) -> bool:
        waits.append(seconds)
        clock.now += seconds
        return len(waits) > 3

    with working("the report"):
        screen._print_lines(board, waited)
    assert EVERY <= 30
    assert waits == [FIRST, EVERY, EVERY, EVERY]
    assert printed(board.console).splitlines() == [
        f"the report: {time} so far" for time in ("0:05", "0:25", "0:45")
    ]


def test_a_reader_that_has_gone_does_not_end_the_work(board: Board) -> None:
    board.console.file.close()
    turns = iter([False, True])
    with progress("reading rows"):
        screen._print_lines(board, lambda _: next(turns))


def test_the_end_of_what_took_its_time_is_told_and_no_other(board: Board, clock: Clock) -> None:
    with working("evaluation"):
        with progress("Tuned model", 240) as advance:
            advance(240)
            clock.now += 120
        with progress("a moment", 3):
            clock.now += 0.5
        with suppress(ValueError), progress("an error", 3):
            clock.now += 9
            raise ValueError
    assert printed(board.console) == "evaluation: Tuned model: 240 rows in 2:00, 2 rows/s\n"
    assert board.counted.tasks == []


def test_lines_of_a_long_text_are_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    say("word " * 60)
    note("word " * 60)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_typographic_signs_keep_their_width_where_only_ascii_can_be_written() -> None:
    for encoding, shown in (("ascii", '-0.137 - "a" .\n'), ("utf-8", "−0.137 – “a” …\n")):
        on = console(encoding=encoding)
        on.print("−0.137 – “a” …")
        assert printed(on) == shown


def test_notes_are_said_once_on_one_display(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with showing(), working("training"):
            note("slow")
            with showing():
                note("slow")
    assert capsys.readouterr().err.count("note: slow") == 2


def test_outside_of_all_stages_every_note_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    note("slow")
    note("slow")
    assert capsys.readouterr().err == "note: slow\n" * 2


# ---- the live view


@contextmanager
def at_work(board: Board, clock: Clock) -> Iterator[None]:
    with working("training"), progress("steps", 960) as bar:
        for loss in (4.0, 2.0, 1.0):
            clock.now += 4
            bar.number("loss", loss)
            bar(16)
        bar.at("step 3 of 60")
        bar.answered([Answered("great\n\x1b[2J [red]book" + "x" * 300, "yes\u202e", "no")] * 9)
        yield


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_view_shows_stage_course_memory_and_answers_in_its_width(
    board: Board, clock: Clock, width: int, encoding: str
) -> None:
    with at_work(board, clock):
        text = drawn(board, console(width, encoding))
    lines = [row.rstrip() for row in text.splitlines()]
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("training  0:12  memory ")
    assert lines[1].startswith("step 3 of 60 ")
    assert "48/960" in lines[1]
    assert "loss 1  4 rows/s  3:48" in lines[1]
    assert lines[2] == ("loss  █▂   1" if encoding == "utf-8" else "loss  @:   1")
    assert len(lines) == 4 + screen.ANSWERS
    assert text == inert(text)
    assert "great\\n\\x1b[2J [red]b" in lines[4]
    assert "yes\\u202e" in lines[4]


def test_what_a_training_has_shown_goes_with_it(board: Board, clock: Clock) -> None:
    with at_work(board, clock):
        pass
    with working("evaluation"):
        text = drawn(board, console())
    assert "loss" not in text
    assert "great" not in text


def test_a_sparkline_goes_from_the_lowest_to_the_highest() -> None:
    assert sparkline([1.0, 2.0, 3.0]) == " ▄█"
    assert sparkline([5.0, 5.0]) == "  "
    assert sparkline([0.0, 8.0], only_ascii=True) == " @"


PROGRAM = """
from tunesmith.progress import note, progress, working
with working("training"), progress("steps", 32) as bar:
    bar.number("loss", 0.5)
    bar(16)
    note("said above the view")
"""


def test_a_terminal_gets_a_view_that_is_gone_at_the_end() -> None:
    text = on_a_terminal("xterm")
    assert "0/32" in text
    assert "said above the view" in text
    assert "\x1b[?25h" in text  # the cursor is back


def test_a_dumb_terminal_gets_lines() -> None:
    text = on_a_terminal("dumb")
    assert text.split("\r\n") == ["note: said above the view", ""]


def on_a_terminal(kind: str) -> str:
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-c", PROGRAM],
        stderr=theirs,
        check=True,
        env={**os.environ, "TERM": kind, "COLUMNS": "80"},
    )
    os.close(theirs)
    return b"".join(iter(reader(ours), b"")).decode()


def reader(descriptor: int) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            return os.read(descriptor, 65536)
        except OSError:  # the other end is closed
            os.close(descriptor)
            return b""

    return read
