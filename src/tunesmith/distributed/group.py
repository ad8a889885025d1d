"""What the processes of a run tell each other.

With one process all of these return at once, so that their callers need no second way. The numbers
that decide something (a loss, a metric, whether to stop) are the same on every rank afterwards.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from tunesmith.errors import RunError, TunesmithError
from tunesmith.ranks import device_number, is_leader, rank, restarted

Value = TypeVar("Value")
Result = TypeVar("Result")

LONGEST_STEP = timedelta(minutes=30)
"""A process that has not come to a common operation by then counts as hung. One that has died is
noticed at once, because its connections close."""
WAIT_SECONDS = 0.05
"""Between two looks for something that another process is to write."""


@dataclass(frozen=True)
class Shared:
    """What the processes of a group share: a store of this start of theirs, and whether torchrun
    has started them before.
    """

    store: Store
    again: bool


@contextmanager
def process_group() -> Iterator[Shared]:
    """Inside, the processes that torchrun started can talk to each other.

    Raises RunError where another one is lost.
    """
    if torch.cuda.is_available():
        torch.cuda.set_device(device_number())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    found, number, size = next(iter(rendezvous("env://", timeout=LONGEST_STEP)))
    before = found.add("tunesmith/started", 1) > size or restarted()
    store = PrefixStore(_name_of_this_start(found, number, size), found)
    dist.init_process_group(
        backend, store=store, rank=number, world_size=size, timeout=LONGEST_STEP
    )
    try:
        yield Shared(PrefixStore("tunesmith", store), before)
    except RuntimeError as error:
        if not _is_of_a_connection(error):
            raise
        raise RunError(
            f"rank {rank()} has lost another process of the run: {str(error).splitlines()[0]}",
            hint="what that process says of itself is above or in torchrun's summary; `tunesmith "
            "resume RUN` under torchrun goes on from the last checkpoint",
        ) from error
    finally:
        dist.destroy_process_group()


def _name_of_this_start(store: Store, number: int, size: int) -> str:
    """A name that the processes of this start agree on, and that no earlier start had.

    torchrun keeps its store when it starts processes again, with what the earlier ones left in it,
    such as their addresses. How often they were started it counts differently on each machine. So
    the leader names the start, and says whom it has seen; a process takes the name where it was
    seen itself, and the leader is done when all have.
    """
    mine = uuid.uuid4().hex
    if number:
        store.set(f"tunesmith/here/{number}", mine)
        while True:
            name, *seen = _read(store, "tunesmith/start").split() or [""]
            if len(seen) >= number and seen[number - 1] == mine:
                store.set(f"tunesmith/joined/{number}", name)
                return name
            time.sleep(WAIT_SECONDS)
    others = range(1, size)
    while any(_read(store, f"tunesmith/joined/{other}") != mine for other in others):
        seen = [_read(store, f"tunesmith/here/{other}") or "nobody" for other in others]
        store.set("tunesmith/start", " ".join([mine, *seen]))
        time.sleep(WAIT_SECONDS)
    return mine


def _read(store: Store, key: str) -> str:
    """A key's value, empty as long as it has none."""
    return store.get(key).decode() if store.check([key]) else ""


def _is_of_a_connection(error: RuntimeError) -> bool:
    """gloo's errors have no class of their own, but name the source file that they come from."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def together() -> bool:
    """Whether this process is one of several that can talk to each other."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def place() -> tuple[int, int]:
    """This process' rank, and how many there are; (0, 1) where it works by itself."""
    return (dist.get_rank(), dist.get_world_size()) if together() else (0, 1)


_before_meeting: list[Callable[[], None]] = []


@contextmanager
def before_meeting(do: Callable[[], None]) -> Iterator[None]:
    """Inside, `do` is done before this rank meets the others in one of the operations below."""
    _before_meeting.append(do)
    try:
        yield
    finally:
        _before_meeting.remove(do)


def _meet() -> None:
    for do in _before_meeting:
        do()


def totals(*numbers: float) -> list[float]:
    """Each number summed over the ranks, in float64."""
    if not together():
        return list(numbers)
    _meet()
    sums = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(sums)
    return cast("list[float]", sums.tolist())


def largest(*numbers: float) -> list[float]:
    """Each number's largest value on any rank."""
    if not together():
        return list(numbers)
    _meet()
    found = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return cast("list[float]", found.tolist())


def gathered(value: Value) -> list[Value]:
    """The value that each rank gives, by rank."""
    if not together():
        return [value]
    _meet()
    found: list[Value | None] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return cast("list[Value]", found)


def of_leader(find: Callable[[], Value]) -> Value:
    """What `find` gives on rank 0, on every rank; an error of tunesmith's is raised on every rank.

    For what depends on files or on the machine, and must be the same for all.
    """
    if not together():
        return find()
    found: list[tuple[Value | None, TunesmithError | None]] = [(None, None)]
    if is_leader():
        try:
            found = [(find(), None)]
        except TunesmithError as error:
            found = [(None, error)]
    _meet()
    dist.broadcast_object_list(found, src=0, device=torch.device("cpu"))
    value, wrong = found[0]
    if wrong is not None:
        raise wrong
    return cast(Value, value)


def by_rank(
    work: Callable[[Sequence[Value]], Sequence[Result]], items: Sequence[Value]
) -> list[Result]:
    """`work` on all items, each rank doing every n-th of them; results in the order of the items.

    Every rank gets all results. Dealt one by one, because neighbours tend to be alike and so cost
    alike.
    """
    if not together():
        return list(work(items))
    number, size = place()
    mine = items[number::size]
    parts = gathered(list(work(mine)) if mine else [])
    return [parts[i % size][i // size] for i in range(len(items))]


def for_all(advance: Callable[[int], None]) -> Callable[[int], None]:
    """Counts what this rank has done as if each of them had done as much."""
    _, size = place()
    return lambda n: advance(n * size)
