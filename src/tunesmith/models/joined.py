"""Weights that transformers makes of several tensors as it loads, such as the experts of a layer.

How it does so differs between models and versions. So its operations on tensors of the meta device
are recorded, and done again on the numbers: for one weight at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

Read = Callable[[str], torch.Tensor]
"""A tensor of the files, in float32, by its name there."""
Place = tuple[int, tuple[int, ...], tuple[int, ...], int]


def place_of(tensor: torch.Tensor) -> Place:
    """The storage that a tensor is in, on the meta device too, and which part of it: as long as the
    storage lives, no other tensor is there.
    """
    offset = int(tensor.storage_offset())
    return id_of_storage(tensor), tuple(tensor.shape), tuple(tensor.stride()), offset


def id_of_storage(tensor: torch.Tensor) -> int:
    """What all views of a tensor have in common."""
    return int(tensor.untyped_storage()._cdata)


@dataclass(frozen=True)
class Call:
    """An operation that was recorded, and which of its results is meant."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    index: int


class Recorded(TorchDispatchMode):
    """Inside, what is done to tensors is recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[Place, Call] = {}
        self.changed: set[int] = set()  # storages that were written to, which calls do not tell
        self._kept: list[torch.Tensor] = []  # a storage that is freed gives its place to others

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Do it, and note what came out."""
        result = func(*args, **(kwargs or {}))
        given = {place_of(tensor) for tensor in _tensors((args, kwargs))}
        self._kept += _tensors(result)
        if func._schema.is_mutable:
            about = zip(args, func._schema.arguments, strict=False)
            written = [arg for arg, told in about if told.alias_info and told.alias_info.is_write]
            self.changed |= {id_of_storage(tensor) for tensor in _tensors((written, kwargs))}
        elif given:  # what is made of nothing is no weight
            for index, tensor in enumerate(_tensors(result)):
                if place_of(tensor) not in given:  # else another name for the same
                    self.calls.setdefault(place_of(tensor), Call(func, args, kwargs or {}, index))
        return result


@dataclass(frozen=True)
class Joined:
    """How a weight on the meta device comes from the tensors of the files, `names` by place."""

    weight: torch.Tensor
    recorded: Recorded
    names: Mapping[Place, str]

    def is_known(self) -> bool:
        """Whether every operation that led to it was recorded."""
        return self._is_known(self.weight)

    def made(self, read: Read) -> torch.Tensor:
        """The weight itself."""
        return self._made(self.weight, read)

    def _is_known(self, tensor: torch.Tensor) -> bool:
        place = place_of(tensor)
        if id_of_storage(tensor) in self.recorded.changed:
            return False
        if place in self.names:
            return True
        call = self.recorded.calls.get(place)
        return call is not None and all(map(self._is_known, _tensors((call.args, call.kwargs))))

    def _made(self, tensor: torch.Tensor, read: Read) -> torch.Tensor:
        place = place_of(tensor)
        if place in self.names:
            return read(self.names[place])
        call = self.recorded.calls[place]
        args, kwargs = tree_map_only(
            torch.Tensor, lambda part: self._made(part, read), (call.args, call.kwargs)
        )
        return _tensors(call.function(*args, **kwargs))[call.index]


def _tensors(values: object) -> list[torch.Tensor]:
    return [value for value in tree_flatten(values)[0] if isinstance(value, torch.Tensor)]
