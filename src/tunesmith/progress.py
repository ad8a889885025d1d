"""Progress bars on stderr, so that stdout holds results only. Of several processes, one speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment

from tunesmith.inert import inert
from tunesmith.ranks import is_leader


class InertConsole(Console):
    """A rich console on which strangers' text stays text: no escape sequence and no markup of its
    own. Colours and control sequences of rich itself are added later.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As rich's, with each piece of text made inert."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=inert(segment.text))


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A bar with count and ETA; the block gets a function that advances it by n."""
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = InertConsole(stderr=True, markup=False, quiet=not is_leader())
    with Progress(*columns, console=console, transient=not console.is_terminal) as bar:
        task = bar.add_task(description, total=total)
        yield lambda n: bar.advance(task, n)


def say(text: str) -> None:
    """Tell the user what is going on, in one line."""
    show(text)


def show(item: RenderableType) -> None:
    """Print a line or a rich table on stderr."""
    console = InertConsole(
        stderr=True,
        quiet=not is_leader(),
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
    )
    console.print(item)
