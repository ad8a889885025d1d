"""One of a run's processes leads, and the others help where it asks them to.

The leader goes through the stages as a process by itself would: it reads rows, holds the lock and
writes every file. The helpers wait, and are asked to join in what is worth sharing: training steps,
and the answers of a model. So a stage knows of ranks only where it shares its work.

Requests go through torchrun's store, where a helper can wait for hours and still be stopped by a
signal at once; in the collective operations of a process group it could not.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import ParamSpec, TypeVar

import torch.distributed as dist
from torch.distributed.distributed_c10d import Store
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from tunesmith.distributed.group import LONGEST_STEP, WAIT_SECONDS, Shared, process_group
from tunesmith.errors import TunesmithError
from tunesmith.ranks import is_leader, rank, world_size

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

Help = Mapping[str, Callable[..., object]]
"""What a leader can ask for, by name."""
OVER = ""
"""In the place of a name: the leader needs no more help."""
PATIENCE = timedelta(seconds=2)
"""How long a leader that has failed waits for helpers to notice it."""


@dataclass
class _Requests:
    """Where the leader's requests go, and how many there have been; `again` is whether torchrun
    has started these processes before.
    """

    store: Store
    again: bool
    asked: int = 0

    def send(self, name: str, arguments: tuple[object, ...]) -> None:
        content = pickle.dumps((name, arguments))
        self.store.set(f"request/{self.asked}", content)  # type: ignore[arg-type]  # bytes go too
        self.asked += 1


_led: list[_Requests] = []
"""The leader's, inside `led`."""


def led(
    tasks: Callable[[], Help],
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """A command that one process leads; the others help until it is done, and end there.

    `tasks` gives what helpers can do. With one process the command is simply called.
    """

    def decorate(command: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @wraps(command)
        def on_this_rank(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            if world_size() == 1 or _led:
                return command(*args, **kwargs)
            with _telling_torchrun(), process_group() as shared:
                if not is_leader():
                    _help(shared.store, tasks())
                    raise SystemExit(0)
                with _leading(shared):
                    return command(*args, **kwargs)

        return on_this_rank

    return decorate


def ask(name: str, *arguments: object) -> None:
    """Have every helper do this now; the leader then does its own share of it.

    What is passed must be fit to be pickled. Nothing happens in a process by itself.
    """
    for requests in _led:
        requests.send(name, arguments)


def started_again() -> bool:
    """Whether torchrun has started the processes of this command before, and one had failed."""
    return any(requests.again for requests in _led)


@contextmanager
def _leading(shared: Shared) -> Iterator[None]:
    requests = _Requests(shared.store, shared.again)
    _led.append(requests)
    patience = PATIENCE
    try:
        yield
        patience = LONGEST_STEP
    finally:
        _led.remove(requests)
        requests.send(OVER, ())
        # the store may end with this process; helpers that are in the middle of something stay
        with suppress(dist.DistError):
            shared.store.wait([f"left/{each}" for each in range(1, world_size())], patience)


def _help(store: Store, tasks: Help) -> None:
    """Do what the leader asks for, until it needs no more."""
    number = 0
    while True:
        while not store.check([f"request/{number}"]):
            time.sleep(WAIT_SECONDS)
        # our own leader has pickled it
        name, arguments = pickle.loads(store.get(f"request/{number}"))  # noqa: S301
        if name == OVER:
            store.set(f"left/{rank()}", "")
            return
        tasks[name](*arguments)
        number += 1


@contextmanager
def _telling_torchrun() -> Iterator[None]:
    """torchrun shows the traceback of an error that is not tunesmith's own, with its rank."""
    try:
        yield
    except TunesmithError:
        raise
    except Exception as error:
        if "TORCHELASTIC_ERROR_FILE" in os.environ:
            get_error_handler().record_exception(error)
        raise
