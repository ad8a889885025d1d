"""What the processes of a run tell each other.

With one process all of these return at once, so that their callers need no second way. The numbers
that decide something (a loss, a metric, whether to stop) are the same on every rank afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from tunesmith.errors import RunError, TunesmithError
from tunesmith.ranks import device_number, is_leader, rank

Value = TypeVar("Value")
Result = TypeVar("Result")

LONGEST_STEP = timedelta(minutes=30)
"""A process that has not come to a common operation by then counts as hung. One that has died is
noticed at once, because its connections close."""


@contextmanager
def process_group() -> Iterator[dist.Store]:
    """Inside, the processes can talk to each other; gives what torchrun lets them share.

    Raises RunError where another one is lost.
    """
    if torch.cuda.is_available():
        torch.cuda.set_device(device_number())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store: dist.Store
    store, number, size = next(iter(rendezvous("env://", timeout=LONGEST_STEP)))
    group = dist.PrefixStore("group", store)
    dist.init_process_group(
        backend, store=group, rank=number, world_size=size, timeout=LONGEST_STEP
    )
    try:
        yield dist.PrefixStore("tunesmith", store)
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


def _is_of_a_connection(error: RuntimeError) -> bool:
    """gloo's errors have no class of their own, but name the source file that they come from."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def together() -> bool:
    """Whether this process is one of several that can talk to each other."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def place() -> tuple[int, int]:
    """This process' rank, and how many there are; (0, 1) where it works by itself."""
    return (dist.get_rank(), dist.get_world_size()) if together() else (0, 1)


def totals(*numbers: float) -> list[float]:
    """Each number summed over the ranks, in float64."""
    if not together():
        return list(numbers)
    sums = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(sums)
    return cast("list[float]", sums.tolist())


def largest(*numbers: float) -> list[float]:
    """Each number's largest value on any rank."""
    if not together():
        return list(numbers)
    found = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return cast("list[float]", found.tolist())


def gathered(value: Value) -> list[Value]:
    """The value that each rank gives, by rank."""
    if not together():
        return [value]
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
