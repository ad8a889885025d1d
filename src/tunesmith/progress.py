"""What stages tell of their work while they do it. All of it goes to stderr: stdout holds results.

A stage says its name (`working`), opens `progress` for each thing that takes time, and tells that
how much is done. screen.py shows it. Of several processes on one run, the leader alone is heard.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import Task, TaskID
from rich.segment import Segment
from rich.text import Text

from tunesmith import screen
from tunesmith.inert import inert
from tunesmith.ranks import is_leader
from tunesmith.screen import ANSWERS, LOSSES, SHORT, Answered, Board

_board: Board | None = None
"""What is shown now: stages are many and may be inside each other, the terminal is one."""


PLAIN = str.maketrans("\u2212\u2013\u2014\u2026\u00d7\u2018\u2019\u201c\u201d", "---.x''\"\"")
"""Typographic signs as one ASCII character each: an escape is wider than what was laid out."""


class InertConsole(Console):
    """A rich console on which strangers' text stays text: no escape sequence and no markup of its
    own. Colours and control sequences of rich itself are added later. Where only ASCII can be
    written, signs that have a near one in it are written so.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As rich's, with each piece of text made inert."""
        only_ascii = (options or self.options).ascii_only
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
                continue
            text = inert(segment.text)
            yield segment._replace(text=text.translate(PLAIN) if only_ascii else text)


class Progress(Protocol):
    """What something that takes time is told of what it has done."""

    def __call__(self, n: int, /) -> None:
        """This many more are done."""

    def at(self, what: str) -> None:
        """What is being done now."""

    def number(self, name: str, value: float) -> None:
        """A number to show beside the count; the course of `loss` is drawn. One that is not finite
        is not shown.
        """

    def answered(self, answers: Sequence[Answered]) -> None:
        """The last answers to validation rows."""


@contextmanager
def showing() -> Iterator[None]:
    """One display for all stages inside, in which each note is said once."""
    global _board
    if _board is not None:
        yield
        return
    _board = Board(_console(), screen.is_live() and is_leader())
    try:
        with screen.shown(_board):
            yield
    finally:
        _board = None


@contextmanager
def working(stage: str) -> Iterator[None]:
    """A stage of this name is at work."""
    with showing():
        board = _shown()
        board.begin(stage)
        try:
            yield
        finally:
            board.end()


@contextmanager
def progress(
    what: str, total: int | None = None, *, unit: str = "rows", done: int = 0
) -> Iterator[Progress]:
    """Something that takes time; `done` of `total` (None: unknown) were done before.

    Inside another one it is a part of that. The end of an outermost one is told in a line, if it
    took its time.
    """
    with showing():
        counter = _Counter(_shown(), what, total, unit, done)
        try:
            yield counter
        except BaseException:
            counter.close()
            raise
        counter.tell_the_end()
        counter.close()


class _Counter:
    """A Progress on a board."""

    def __init__(self, board: Board, what: str, total: int | None, unit: str, done: int) -> None:
        self._board, self._what = board, what
        self._task: TaskID = board.counted.add_task(
            what, total=total, completed=done, unit=unit, before=done, numbers={}, beside=""
        )
        board.redraw()

    def __call__(self, n: int, /) -> None:
        self._board.counted.advance(self._task, n)

    def at(self, what: str) -> None:
        self._board.counted.update(self._task, description=what)

    def number(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            return
        fields = self._now().fields
        fields["numbers"] = {**fields["numbers"], name: value}  # another thread may be reading it
        if name == "loss":
            self._board.losses = (*self._board.losses[1 - LOSSES :], value)

    def answered(self, answers: Sequence[Answered]) -> None:
        self._board.answers = tuple(answers[:ANSWERS])

    def tell_the_end(self) -> None:
        task, board = self._now(), self._board
        outermost = len(board.counted.tasks) == 1
        if outermost and (task.elapsed or 0.0) >= SHORT:
            board.say(f"{board.stage}{self._what}: {screen.finished(task)}")

    def close(self) -> None:
        self._board.counted.remove_task(self._task)

    def _now(self) -> Task:
        return next(task for task in self._board.counted.tasks if task.id == self._task)


def say(text: str) -> None:
    """Tell the user what is going on, in one line."""
    show(text)


def note(text: str, style: str = "") -> None:
    """A line that begins with `note:`; what was said before on the same display is not repeated."""
    if _board is not None:
        if text in _board.notes:
            return
        _board.notes.add(text)
    show(Text(f"note: {text}", style=style))


def show(item: RenderableType) -> None:
    """Print a line or a rich table on stderr."""
    console().print(item, soft_wrap=isinstance(item, str | Text))


def console() -> Console:
    """Where all of it goes: above the live view, where there is one."""
    return _console() if _board is None else _board.console


def _console() -> Console:
    # bound to stderr as it is now: a library's own output may be sent elsewhere for a while
    return InertConsole(
        file=sys.stderr,
        stderr=True,
        quiet=not is_leader(),
        highlight=False,
        markup=False,
        emoji=False,
    )


def _shown() -> Board:
    assert _board is not None
    return _board
