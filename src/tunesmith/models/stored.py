"""Where the weights of an empty model lie in its files, and how each process reads its own part.

Of several processes none holds the whole model: it is made on torch's meta device, sharded there,
and each process then reads the slices that it keeps (safetensors are cut up on the disk).

transformers renames tensors as it loads, by rules of its own that differ between its versions. It
is therefore asked what it does, by loading tensors of the meta device: a weight that shares its
storage with one of them, in the same shape, is that tensor under another name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from tunesmith.distributed.group import gathered
from tunesmith.distributed.sharding import fill
from tunesmith.models.weights import not_finite, opened, owners, refuse_not_finite


@dataclass(frozen=True)
class StoredWeights:
    """The files of a model called `name`, and by each parameter or buffer the tensor's name there;
    parameters are named as `named_parameters` does, a tied one once.
    """

    name: str
    files: tuple[Path, ...]
    origins: Mapping[str, str]

    def read_into(self, model: torch.nn.Module, device: torch.device) -> None:
        """Put weights in the place of a model's, which are on the meta device: of a sharded one
        this rank's parts, of any other all. Raises ModelError for a NaN or an infinity in any
        rank's part; every rank has to call this.
        """
        weights = {
            name: torch.empty_like(weight, device=device)
            for name, weight in model.named_parameters()
            if name in self.origins
        }
        self._read({**dict(model.named_buffers()), **weights})
        bad = gathered(not_finite((name, _local(weight)) for name, weight in weights.items()))
        refuse_not_finite(self.name, sorted({tensor for of_rank in bad for tensor in of_rank}))
        fill(model, weights)

    @torch.no_grad()
    def _read(self, tensors: Mapping[str, torch.Tensor]) -> None:
        owner = owners(self.files)
        for name, tensor in tensors.items():
            if name in self.origins:
                origin = self.origins[name]
                # opened for each: what was read of a file stays in memory until it is closed
                with opened(owner[origin]) as file:
                    _local(tensor).copy_(file.get_slice(origin)[_own_part(tensor)])


def origins_of(
    model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]
) -> dict[str, str] | None:
    """The tensor behind each parameter, and behind each buffer that the files have, of a model
    that was loaded from `tensors` on the meta device; None where a parameter is no single one.
    """
    by_storage = {id_of_storage(tensor): name for name, tensor in tensors.items()}
    found: dict[str, str] = {}
    for name, weight in [*model.named_parameters(), *model.named_buffers()]:
        origin = by_storage.get(id_of_storage(weight))
        if origin is not None and _same_layout(weight, tensors[origin]):
            found[name] = origin
        elif isinstance(weight, torch.nn.Parameter):
            return None
    return found


def take_weights(model: torch.nn.Module, other: torch.nn.Module) -> None:
    """Let a model have the parameters of another one of the same structure, tied as they are."""
    for name, weight in other.named_parameters(remove_duplicate=False):
        owner, _, own_name = name.rpartition(".")
        setattr(model.get_submodule(owner), own_name, weight)


def id_of_storage(tensor: torch.Tensor) -> int:
    """What all views of a tensor have in common, on the meta device too, as long as one lives."""
    return int(tensor.untyped_storage()._cdata)


def _same_layout(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and a.stride() == b.stride()


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _own_part(tensor: torch.Tensor) -> tuple[slice, ...]:
    """Which part of a tensor this rank has."""
    if not isinstance(tensor, DTensor):
        return tuple(slice(size) for size in tensor.shape)
    sizes, starts = compute_local_shape_and_global_offset(
        tensor.shape, tensor.device_mesh, tensor.placements
    )
    return tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
