"""What is seen while stages work: a live view on a terminal, elsewhere a line every 20 seconds.

rich counts, times and draws; here is decided what of it is said. Nothing here knows a stage: they
report through progress.py.
"""

from __future__ import annotations

import math
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, repeat

from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn
from rich.table import Table
from rich.text import Text

from tunesmith.inert import inert_line

FIRST, EVERY = 5.0, 20.0
"""Seconds until the first line and between two lines where there is no terminal. The first comes
soon: the program may have taken a while to start.
"""
SHORT = 1.0
"""What took less, in seconds, gets no line of its own when it is done."""
RATE_OVER = 300.0
"""Seconds over which rates are taken: long enough for steps that take a minute."""
REFRESHED = 2.0
"""Times a second that the live view is drawn: it costs a training next to nothing."""
LEVELS = {False: " ▁▂▃▄▅▆▇█", True: " .:-=+*#@"}
"""The steps of a sparkline; True: where only ASCII can be written."""
LOSSES = 60
ANSWERS = 3


@dataclass(frozen=True)
class Answered:
    """A row as it was asked, what the model wrote, and the right answer: strangers' texts."""

    prompt: str
    answer: str
    right: str


def _counted(console: Console, clock: Callable[[], float]) -> Progress:
    """rich's counts, rates and bars; `disable` because the live view draws them with the rest."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[beside]}", markup=False),
        console=console,
        disable=True,
        speed_estimate_period=RATE_OVER,
        get_time=clock,
    )


@dataclass
class Board:
    """What is going on: stages, outermost first, each with the time when it began; what is being
    counted; and what training has shown so far. `notes` are those that have been said.
    """

    console: Console
    live: bool
    clock: Callable[[], float] = time.monotonic
    stages: list[tuple[str, float]] = field(default_factory=list)
    losses: tuple[float, ...] = ()
    answers: tuple[Answered, ...] = ()
    notes: set[str] = field(default_factory=set)
    redraw: Callable[[], None] = lambda: None
    counted: Progress = field(init=False)

    def __post_init__(self) -> None:
        self.counted = _counted(self.console, self.clock)

    @property
    def stage(self) -> str:
        """The innermost one, as a line begins with it; empty outside of all."""
        return f"{self.stages[-1][0]}: " if self.stages else ""

    def say(self, text: str) -> None:
        """A line, above the live view where there is one."""
        self.console.print(inert_line(text), soft_wrap=True)

    def begin(self, stage: str) -> None:
        """A stage inside those that are at work."""
        self.stages.append((stage, self.clock()))
        self.redraw()

    def end(self) -> None:
        """The innermost stage is over, and what it has shown."""
        self.stages.pop()
        self.losses, self.answers = (), ()


@contextmanager
def shown(board: Board) -> Iterator[None]:
    """Show the board as long as the block runs."""
    with _live(board) if board.live else _lines(board):
        yield


def is_live() -> bool:
    """Whether stderr is a terminal on which lines can be drawn over."""
    there = sys.stderr is not None and sys.stderr.isatty()  # None: closed by who started us
    return there and not Console(stderr=True).is_dumb_terminal


# ---- lines


@contextmanager
def _lines(board: Board) -> Iterator[None]:
    """A line at regular times, by a thread: also while one call computes for minutes."""
    done = threading.Event()
    thread = threading.Thread(target=_print_lines, args=(board, done.wait), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _print_lines(board: Board, waited: Callable[[float], bool]) -> None:
    waits = chain([FIRST], repeat(EVERY))
    while not waited(next(waits)):
        # a reader that is gone is found out by the stage itself, which can stop the program
        with suppress(OSError, ValueError):
            text = line(board)
            if text:
                board.say(text)


def line(board: Board) -> str:
    """What is going on, in one line; empty between two stages."""
    tasks, stages, prefix = list(board.counted.tasks), list(board.stages), board.stage
    if tasks:
        return f"{prefix}{': '.join(task.description for task in tasks)}: {counts(tasks[-1])}"
    return f"{prefix}{_duration(board.clock() - stages[-1][1])} so far" if stages else ""


def counts(task: Task) -> str:
    """How far something is: its numbers, count, rate and time left, as far as they are known."""
    unit, elapsed = task.fields["unit"], task.elapsed or 0.0
    done = int(task.completed)
    parts = [f"{name} {value:.4g}" for name, value in task.fields["numbers"].items()]
    if task.total is not None:
        parts.append(f"{done:,} of {int(task.total):,} {unit}")
    elif done:
        parts.append(f"{done:,} {unit}")
    rate = _rate(task)
    if rate:
        parts.append(f"{_plain(rate)} {unit}/s")
    left = "" if task.total is None or not rate else _duration((task.total - done) / rate)
    return ", ".join([*parts, f"{left} left" if left else f"{_duration(elapsed)} so far"])


def finished(task: Task) -> str:
    """What became of it, when it is done."""
    unit, elapsed, done = task.fields["unit"], task.elapsed or 0.0, int(task.completed)
    rate = _rate(task)
    counted = f"{done:,} {unit} in " if done else ""
    return f"{counted}{_duration(elapsed)}" + (f", {_plain(rate)} {unit}/s" if rate else "")


def _rate(task: Task) -> float:
    """A second; 0 as long as it is not known."""
    done = task.completed - task.fields["before"]
    elapsed = task.elapsed or 0.0
    return task.speed or (done / elapsed if elapsed else 0.0)


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _duration(seconds: float) -> str:
    """As clocks write it: 1:05, 2:03:04."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


# ---- the live view


@contextmanager
def _live(board: Board) -> Iterator[None]:
    drawn = Live(
        get_renderable=lambda: view(board),
        console=board.console,
        refresh_per_second=REFRESHED,
        transient=True,
        vertical_overflow="crop",
        redirect_stdout=False,  # results go there
    )
    with drawn:
        board.redraw = drawn.refresh  # at what is new; what goes on is drawn by rich's clock
        yield


def view(board: Board) -> RenderableType:
    """Stage, bars, the loss so far, memory, and what the model last answered on validation rows."""
    tasks, stages = list(board.counted.tasks), list(board.stages)
    rows: list[RenderableType] = []
    for name, began in stages[-1:]:
        head = f"{name}  {_duration(board.clock() - began)}  memory {memory()}"
        rows.append(Text(head, style="bold"))
    for task in tasks:
        task.fields["beside"] = beside(task)
    if tasks:
        rows.append(board.counted.make_tasks_table(tasks))
    if board.losses:
        rows.append(_course(board.losses, _only_ascii(board.console)))
    if board.answers:
        rows.append(_answers(board))
    return Group(*rows)


def beside(task: Task) -> str:
    """What stands at the end of a bar."""
    numbers = [f"{name} {value:.3g}" for name, value in task.fields["numbers"].items()]
    rate = _rate(task)
    if rate:
        numbers.append(f"{_plain(rate)} {task.fields['unit']}/s")
    if rate and task.total is not None:
        numbers.append(_duration((task.total - task.completed) / rate))
    return "  ".join(numbers)


def _course(losses: Sequence[float], only_ascii: bool) -> Text:
    return Text(f"loss  {sparkline(losses, only_ascii)}  {losses[-1]:.3g}")


def sparkline(values: Sequence[float], only_ascii: bool = False) -> str:
    """One character a value, from the lowest to the highest of them.

    >>> sparkline([3.0, 2.0, 1.0])
    '█▄ '
    """
    levels = LEVELS[only_ascii]
    low, high = min(values), max(values)
    steps = [(value - low) / (high - low or 1.0) for value in values]
    return "".join(levels[int(step * (len(levels) - 1))] for step in steps)


def _answers(board: Board) -> Table:
    """Cut to the terminal's width: a row may be as long as it likes."""
    table = Table(box=None, pad_edge=False, expand=True, header_style="dim")
    for name, share in (("last validation rows", 2), ("answer", 1), ("right answer", 1)):
        table.add_column(name, ratio=share, no_wrap=True, overflow="crop")
    for one in board.answers:
        cells = (one.prompt, one.answer, one.right)
        table.add_row(*(Text(_writable(text, board.console)) for text in cells))
    return table


def _writable(text: str, console: Console) -> str:
    """On one line, and in characters that the terminal takes: an escape that is put in later would
    be wider than what was measured.
    """
    shown = inert_line(text)
    return shown.encode("ascii", "backslashreplace").decode() if _only_ascii(console) else shown


def _only_ascii(console: Console) -> bool:
    return console.options.ascii_only


def memory() -> str:
    """The most that this process has used, of the machine's memory and of a GPU's."""
    used = decimal(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    torch = sys.modules.get("torch")  # loaded by whoever computes with it, and not for a view
    if torch is None or not torch.cuda.is_initialized():
        return used
    return f"{used}, GPU {decimal(torch.cuda.max_memory_allocated())}"
