"""What asks a process to stop: Ctrl-C, SIGTERM (Kubernetes, spot machines) and SIGUSR1 (Slurm's
`--signal`), all treated alike.

`stopping_on_signals` makes each of them an exception of its own in the main thread. It is none that
`except Exception` or a command-line library would catch, so that it always reaches the stage that
was at work, which says how to go on. A training that wants to finish its step first asks to be told
instead, by `told_to_stop`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS: Mapping[int, str] = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGTERM: "SIGTERM",
    signal.SIGUSR1: "SIGUSR1",
}
"""Their numbers, and what messages call them."""


class Interrupted(BaseException):
    """One of SIGNALS has come."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(name_of(number))


@dataclass
class StopRequest:
    """`number` is the signal that came, 0 as long as none has."""

    number: int = 0

    def __bool__(self) -> bool:
        return bool(self.number)


def name_of(number: int) -> str:
    """What messages call a signal."""
    return SIGNALS.get(number) or signal.Signals(number).name


def exit_code(number: int) -> int:
    """128 + the signal's number, as shells give it: 130, 143 and 138."""
    return 128 + number


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Inside, each of SIGNALS raises Interrupted in the main thread.

    A signal that was ignored stays so: that is how `nohup` and a shell's `&` protect a program.
    """

    def stop(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    with _handling(stop):
        yield


@contextmanager
def told_to_stop() -> Iterator[StopRequest]:
    """A request that the first of SIGNALS fills, so that a step can be finished and saved.

    The second one acts as it would have outside.
    """
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, _: FrameType | None) -> None:
        request.number = number
        _restore(before)

    with _handling(note):
        yield request


@contextmanager
def _handling(handler: signal._HANDLER) -> Iterator[None]:
    """SIGNALS go to `handler` inside. They reach, and can be set in, the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, earlier in before.items():
        if earlier not in (signal.SIG_IGN, None):
            signal.signal(number, handler)
    try:
        yield
    finally:
        _restore(before)


def _restore(before: Mapping[int, signal._HANDLER]) -> None:
    for number, handler in before.items():
        if handler is not None:  # set by no Python code, and so left alone
            signal.signal(number, handler)
