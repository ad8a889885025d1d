"""Where the weights of an empty model lie in its files, and how each process reads its own part.

Of several processes none holds the whole model: it is made on torch's meta device, sharded there,
and each process then reads the slices that it keeps (safetensors are cut up on the disk).

transformers renames tensors as it loads, by rules of its own that differ between its versions. It
is therefore asked what it does, by loading tensors of the meta device: a weight that shares its
storage with one of them, in the same shape, is that tensor under another name. What is made of
several, as the experts of a layer are, is made whole by each process, which keeps its part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from tunesmith.distributed.group import gathered
from tunesmith.distributed.sharding import fill, local
from tunesmith.models.joined import Joined, Recorded, place_of
from tunesmith.models.weights import not_finite, opened, owners, refuse_not_finite

Origin = str | Joined
"""A tensor of the files by its name there, or how a weight is made of several."""


@dataclass(frozen=True)
class StoredWeights:
    """The files of a model called `name`, and what each parameter or buffer is there; parameters
    are named as `named_parameters` does, a tied one once.
    """

    name: str
    files: tuple[Path, ...]
    origins: Mapping[str, Origin]

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
        bad = gathered(not_finite((name, local(weight)) for name, weight in weights.items()))
        refuse_not_finite(self.name, sorted({tensor for of_rank in bad for tensor in of_rank}))
        fill(model, weights)

    @torch.no_grad()
    def _read(self, tensors: Mapping[str, torch.Tensor]) -> None:
        owner = owners(self.files)
        for name, tensor in tensors.items():
            origin, part = self.origins.get(name), _own_part(tensor)
            if isinstance(origin, Joined):
                whole = origin.made(lambda name: _whole(owner[name], name))
                local(tensor).copy_(whole[part])
            elif origin is not None:
                # closed after each: what was read of a file takes memory as long as it is open
                with opened(owner[origin]) as file:
                    local(tensor).copy_(file.get_slice(origin)[part])


def _whole(file: Path, name: str) -> torch.Tensor:
    """A tensor of a file in float32; a copy, for the same reason."""
    with opened(file) as tensors:
        found: torch.Tensor = tensors.get_tensor(name)
        return found.to(torch.float32, copy=True)


def origins_of(
    model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], recorded: Recorded
) -> dict[str, Origin] | None:
    """What each parameter is in the files, and each buffer that they have, of a model that was
    loaded from `tensors` on the meta device; None where that is not known of what is saved with it.
    """
    saved = model.state_dict(keep_vars=True)
    names = {place_of(tensor): name for name, tensor in tensors.items()}
    found: dict[str, Origin] = {}
    for name, weight in [*model.named_parameters(), *model.named_buffers()]:
        joined = Joined(weight, recorded, names)
        if not joined.is_known():
            if name in saved:
                return None
        elif place_of(weight) in names:
            found[name] = names[place_of(weight)]
        else:
            found[name] = joined
    return found


def take_weights(model: torch.nn.Module, other: torch.nn.Module) -> None:
    """Let a model have the parameters of another one of the same structure, tied as they are."""
    for name, weight in other.named_parameters(remove_duplicate=False):
        owner, _, own_name = name.rpartition(".")
        setattr(model.get_submodule(owner), own_name, weight)


def _own_part(tensor: torch.Tensor) -> tuple[slice, ...]:
    """Which part of a tensor this rank has."""
    if not isinstance(tensor, DTensor):
        return tuple(slice(size) for size in tensor.shape)
    sizes, starts = compute_local_shape_and_global_offset(
        tensor.shape, tensor.device_mesh, tensor.placements
    )
    return tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
