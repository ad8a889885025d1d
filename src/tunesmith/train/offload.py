"""Where tensors are put that are not needed for a while: in RAM, or in a file of the run's folder.

What comes back has the same bits. A file has no name in the folder (`O_TMPFILE` on Linux), so that
nothing is left of it however the process ends, and it is read and written by calls rather than
mapped: of a mapped file the pages that were touched count as the process' own, and a full disk is a
signal that kills it (SIGBUS) instead of an error that says so.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from tunesmith.errors import InputError
from tunesmith.recipe import Offload, TrainConfig


@dataclass(eq=False)
class Spot:
    """A tensor that is away; it is no more when nobody holds its spot."""

    shape: torch.Size
    dtype: torch.dtype


class Store(Protocol):
    """Keeps tensors for those who hold their spots."""

    def put(self, tensor: torch.Tensor, spot: Spot | None = None) -> Spot:
        """Keep a contiguous tensor's numbers, in a new spot or in place of what was in `spot`.

        Raises OSError where the disk is full.
        """
        ...

    def get(self, spot: Spot, device: torch.device) -> torch.Tensor:
        """A new tensor with the numbers that were put there."""
        ...


def check_offload(config: TrainConfig, device: str) -> None:
    """InputError for tensors of a CPU that would be put where they are, and for compiled layers,
    with which nothing has shown that activations come back the same.
    """
    for key in ("offload_optimizer", "offload_activations"):
        if getattr(config, key) == "cpu" and device == "cpu":
            raise InputError(
                f"train.{key} = cpu with the model on the CPU: that is where they are already",
                hint=f"train.{key}=disk, or null",
            )
    if config.offload_activations and config.torch_compile:
        raise InputError(
            f"train.offload_activations = {config.offload_activations} with train.torch_compile: "
            "what compiled layers keep is not put away",
            hint="train.torch_compile=false, or train.offload_activations=null",
        )


def store_for(offload: Offload | None, folder: Path) -> Store | None:
    """What the recipe's value asks for: RAM, or a file in a folder; None for nothing."""
    if offload is None:
        return None
    return InRam() if offload == "cpu" else OnDisk(folder)


@dataclass(eq=False)
class _Copy(Spot):
    tensor: torch.Tensor


class InRam:
    """Copies in RAM, pinned where they go to a GPU and back, which is faster."""

    def put(self, tensor: torch.Tensor, spot: Spot | None = None) -> Spot:
        """Copy a tensor; see Store."""
        if not isinstance(spot, _Copy):
            empty = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            spot = _Copy(tensor.shape, tensor.dtype, empty)
        spot.tensor.copy_(tensor.detach())
        return spot

    def get(self, spot: Spot, device: torch.device) -> torch.Tensor:
        """A copy on a device; see Store."""
        assert isinstance(spot, _Copy)
        return torch.empty(spot.shape, dtype=spot.dtype, device=device).copy_(spot.tensor)


@dataclass(eq=False)
class _Range(Spot):
    start: int


class OnDisk:
    """A file without a name, in a folder; gone when it is closed or the process ends.

    New spots are taken from its end on, and from its beginning once nobody holds any.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # the name, where there has to be one for a moment, is one that the run's next start removes
        self._file = tempfile.TemporaryFile(dir=folder, prefix=".offload.", suffix=".tmp")  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._held: weakref.WeakSet[_Range] = weakref.WeakSet()
        self._end = 0

    def put(self, tensor: torch.Tensor, spot: Spot | None = None) -> Spot:
        """Write a tensor; see Store."""
        if not isinstance(spot, _Range):
            start = self._end if len(self._held) else 0
            spot = _Range(tensor.shape, tensor.dtype, start)
            self._held.add(spot)
            self._end = start + tensor.numel() * tensor.element_size()
        _all_of(os.pwrite, self._file.fileno(), memory_of(tensor.detach().cpu()), spot.start)
        return spot

    def get(self, spot: Spot, device: torch.device) -> torch.Tensor:
        """Read a tensor; see Store."""
        assert isinstance(spot, _Range)
        tensor = torch.empty(spot.shape, dtype=spot.dtype)

        def read(descriptor: int, part: memoryview, start: int) -> int:
            return os.preadv(descriptor, [part], start)

        _all_of(read, self._file.fileno(), memory_of(tensor), spot.start)
        return tensor.to(device)


def memory_of(tensor: torch.Tensor) -> memoryview:
    """A contiguous CPU tensor's bytes, which are read and written in place."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _all_of(
    work: Callable[[int, memoryview, int], int], descriptor: int, memory: memoryview, start: int
) -> None:
    """Read or write all of it: one call may do less (on Linux 2 GiB at most)."""
    done = 0
    while done < len(memory):
        done += work(descriptor, memory[done:], start + done)


class Nowhere:
    """For a plan on tensors without numbers: counts the bytes that are away at most."""

    def __init__(self) -> None:
        self.now = self.highest = 0

    def put(self, tensor: torch.Tensor, spot: Spot | None = None) -> Spot:
        """Note how large a tensor is; see Store."""
        if spot is None:
            spot = Spot(tensor.shape, tensor.dtype)
            size = tensor.numel() * tensor.element_size()
            self.now += size
            self.highest = max(self.highest, self.now)
            weakref.finalize(spot, self._gone, size)
        return spot

    def get(self, spot: Spot, device: torch.device) -> torch.Tensor:
        """A tensor of that size; see Store."""
        return torch.empty(spot.shape, dtype=spot.dtype, device=device)

    def _gone(self, size: int) -> None:
        self.now -= size
