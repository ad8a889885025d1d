"""What tests let the processes of a group do with each other."""

from __future__ import annotations

import os
import signal
from typing import Any

from tunesmith.distributed.group import (
    by_rank,
    gathered,
    largest,
    of_leader,
    place,
    process_group,
    totals,
)
from tunesmith.distributed.leading import ask, led
from tunesmith.errors import DataError, RunError, TunesmithError


def numbers_of_all() -> dict[str, Any]:
    rank, size = place()
    work: list[list[int]] = []

    def doubled(items: Any) -> list[int]:
        work.append(list(items))
        return [2 * item for item in items]

    return {
        "place": (rank, size),
        "totals": totals(0.1, rank),
        "largest": largest(rank, -rank),
        "gathered": gathered(f"rank {rank}"),
        "by_rank": by_rank(doubled, list(range(5))),
        "fewer items than ranks": by_rank(doubled, [7]),
        "own work": work,
        "of_leader": of_leader(lambda: rank + 10),
    }


def error_of_the_leader() -> tuple[str, str, str]:
    def fail() -> int:
        raise DataError("rows.csv:3: torn", hint="mend it")

    try:
        of_leader(fail)
    except TunesmithError as error:
        return type(error).__name__, str(error), error.hint
    return "", "", ""


def one_dies() -> str:
    """What the ranks that are left say when the last is killed."""
    rank, size = place()
    if rank == size - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    totals(1.0)
    return "went on"


def started_twice() -> list[bool]:
    """Whether a start is another one; both with one store, in which the first leaves its marks."""
    found = []
    kept = []
    for _ in range(2):
        with process_group() as shared:
            kept.append(shared)
            assert totals(1.0) == [2.0]
            assert not shared.store.check(["mark"])
            gathered(None)
            shared.store.set("mark", "left")
            found.append(shared.again)
    return found


done: list[str] = []


def _note(text: str) -> None:
    done.append(f"{text} on rank {place()[0]}")


@led(lambda: {"note": _note})
def commanded(fail: bool = False) -> list[list[str]]:
    ask("note", "first")
    _note("first")
    ask("note", "second")
    _note("second")
    if fail:
        raise RunError("the leader failed")
    return [done]


def failing() -> str:
    try:
        commanded(fail=True)
    except RunError as error:
        return error.message
    return "fine"
