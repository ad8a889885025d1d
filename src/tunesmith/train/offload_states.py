"""The optimiser's state away from the device between steps.

While a weight is stepped, its state is there; else tensors on the meta device, of the same shapes,
stand in `optimizer.state` in its place. Plain numbers and the count of steps stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.weak import WeakIdKeyDictionary

from tunesmith.train.offload import Spot, Store

META = torch.device("meta")


class StatesAway:
    """Brings a weight's state and puts it away again; `numbers` reads it in passing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._spots = WeakIdKeyDictionary()
        self._spot_of: dict[tuple[int, str], Spot] = {}

    def bring(self, optimizer: torch.optim.Optimizer, weight: torch.Tensor) -> None:
        """Put the state of a weight where the weight is, to be stepped."""
        state = optimizer.state.get(weight, {})
        for key, value in state.items():
            state[key] = _with_parts(
                value,
                {
                    name: self._store.get(self._spots[part], weight.device)
                    for name, part in parts_of(value).items()
                },
            )

    def put_away(self, optimizer: torch.optim.Optimizer, weight: torch.Tensor) -> None:
        """Keep the state of a weight elsewhere. Raises OSError where the disk is full."""
        state = optimizer.state.get(weight, {})
        for key, value in state.items():
            found = parts_of(value)
            state[key] = _with_parts(
                value,
                {name: self._away(part, (id(weight), key + name)) for name, part in found.items()},
            )

    def _away(self, part: torch.Tensor, where: tuple[int, str]) -> torch.Tensor:
        spot = self._store.put(part.contiguous(), self._spot_of.get(where))
        self._spot_of[where] = spot
        placeholder = torch.empty(part.shape, dtype=part.dtype, device=META)
        self._spots[placeholder] = spot
        return placeholder

    def numbers(self, tensor: torch.Tensor) -> torch.Tensor:
        """Of a tensor that stands for one that is away, the numbers, on the CPU; else itself."""
        if tensor.device != META:
            return tensor
        return self._store.get(self._spots[tensor], torch.device("cpu"))


def parts_of(value: object) -> dict[str, torch.Tensor]:
    """The tensors of a state's value that are worth moving: itself, or the parts of torchao's."""
    if not isinstance(value, torch.Tensor) or not value.ndim:
        return {}
    if hasattr(value, "__tensor_flatten__"):
        names, _ = value.__tensor_flatten__()
        return {name: getattr(value, name) for name in names}
    return {"": value}


def _with_parts(value: Any, parts: Mapping[str, torch.Tensor]) -> Any:
    """The same value, made of other parts; what has none stays."""
    if not parts:
        return value
    if "" in parts:
        return parts[""]
    _, about = value.__tensor_flatten__()
    return type(value).__tensor_unflatten__(dict(parts), about, None, None)
