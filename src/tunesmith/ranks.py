"""Which of a run's processes this one is, as torchrun tells it in the environment.

A rank is the number of a process; rank 0, the leader, is the one that prints and writes files.
Without torchrun there is one process, which is its own leader.
"""

from __future__ import annotations

import os


def world_size() -> int:
    """How many processes work on the run."""
    return max(1, _number("WORLD_SIZE", 1))


def rank() -> int:
    """The number of this process, from 0."""
    return _number("RANK", 0) if world_size() > 1 else 0


def processes_here() -> int:
    """How many of them are on this machine and share its memory."""
    return max(1, _number("LOCAL_WORLD_SIZE", 1)) if world_size() > 1 else 1


def device_number() -> int:
    """Which of this machine's accelerators this process has."""
    return _number("LOCAL_RANK", 0) if world_size() > 1 else 0


def restarted() -> bool:
    """Whether torchrun has started these processes again after some had failed."""
    return world_size() > 1 and _number("TORCHELASTIC_RESTART_COUNT", 0) > 0


def is_leader() -> bool:
    """Whether this is the process that prints and writes."""
    return rank() == 0


def _number(name: str, otherwise: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else otherwise
