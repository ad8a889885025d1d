"""Prepare the next items in the background while the current one is used.

A thread is enough, without worker processes: a step spends its time inside torch, which has
released the interpreter lock. Order and number of items are unchanged, so a run repeats exactly.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class _Item(Generic[T]):
    value: T


class _End:
    """Put into the queue after the last item."""


def prefetch(items: Iterable[T], depth: int) -> Iterator[T]:
    """The same items in the same order, made by a thread that is at most `depth` items ahead.

    An error in `items` is raised here, where its item would have come. When the caller stops
    iterating, the thread ends too.
    """
    ready: queue.Queue[_Item[T] | _End | BaseException] = queue.Queue(depth)
    stopped = threading.Event()

    def work() -> None:
        try:
            for item in items:
                put(_Item(item))
                if stopped.is_set():
                    return
            put(_End())
        except BaseException as error:
            put(error)

    def put(entry: _Item[T] | _End | BaseException) -> None:
        # With a timeout, because nobody takes from a full queue any more once the caller stopped.
        while not stopped.is_set():
            try:
                ready.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return

    threading.Thread(target=work, daemon=True).start()
    try:
        while True:
            entry = ready.get()
            if isinstance(entry, _Item):
                yield entry.value
            elif isinstance(entry, _End):
                return
            else:
                raise entry
    finally:
        stopped.set()
