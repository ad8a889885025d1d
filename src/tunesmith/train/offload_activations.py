"""What a forward pass keeps for its backward pass, away from the device until it is needed.

By autograd's saved-tensor hooks: what is kept is put away when an operation keeps it, and read when
its backward pass asks for it. Weights stay: they are there in any case. So do integers, and what is
too small to be worth a call. With gradient checkpointing this is each layer's input.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from tunesmith.models.joined import id_of_storage
from tunesmith.train.offload import Spot, Store

SMALLEST = 4096
"""Bytes below which a tensor stays."""


def staying(model: torch.nn.Module) -> list[torch.Tensor]:
    """What is not put away when an operation keeps it: it is the model's own."""
    return [*model.parameters(), *model.buffers()]


@dataclass(frozen=True)
class _View:
    """A tensor whose storage is away."""

    spot: Spot
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    device: torch.device


class ActivationsAway:
    """Puts what forward passes keep into a store; one storage once, however many views are kept."""

    def __init__(self, store: Store, stays: Sequence[torch.Tensor]) -> None:
        self._store, self._stays = store, stays
        self._staying: set[int] = set()
        self._known: dict[tuple[int, torch.dtype], tuple[weakref.ref[object], Spot]] = {}

    def __call__(self) -> AbstractContextManager[object]:
        """While this is on, what operations keep is put away."""
        self._staying = {id_of_storage(tensor) for tensor in self._stays}
        self._known = {}
        return torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor | _View:
        strided = tensor.layout == torch.strided and tensor.is_floating_point()
        if not strided or tensor.untyped_storage().nbytes() < SMALLEST:
            return tensor.detach()
        if id_of_storage(tensor) in self._staying:
            return tensor
        return _View(
            self._spot(tensor),
            tuple(tensor.shape),
            tensor.stride(),
            int(tensor.storage_offset()),
            tensor.device,
        )

    def _spot(self, tensor: torch.Tensor) -> Spot:
        storage, known = tensor.untyped_storage(), self._known
        key = (id_of_storage(tensor), tensor.dtype)
        if key in known:
            return known[key][1]
        numbers = storage.nbytes() // tensor.element_size()
        spot = self._store.put(tensor.detach().as_strided((numbers,), (1,), 0))
        # forgotten with the storage: another one may come to where it was
        known[key] = (weakref.ref(storage, lambda _: known.pop(key, None)), spot)
        return spot

    def _unpack(self, kept: torch.Tensor | _View) -> torch.Tensor:
        if not isinstance(kept, _View):
            return kept
        found = self._store.get(kept.spot, kept.device)
        return found.as_strided(kept.size, kept.stride, kept.offset)
