"""A model sharded over the ranks by torch's FSDP2: each holds a part of every weight, of its
gradient and of its optimiser state, and a layer is whole only while it computes.

FSDP2 works by hooks on modules: a layer's weights are gathered before its forward and backward
pass, and its gradients are summed over the ranks and cut up after the latter. The hooks of the root
start and end all that, so the root's forward must be called, and whatever reads a weight must run
inside it. An objective reads the head's weight past the model's own forward, for the trained
positions alone. It therefore becomes the root's forward itself (`Root`), and neither packed rows
nor trained positions nor the loss need to know of ranks: inside, every weight is an ordinary one.

Gradients are summed, not averaged: the loss is already divided by the trained tokens of the step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from tunesmith.recipe import FsdpConfig

Model = TypeVar("Model", bound=torch.nn.Module)


class Root(torch.nn.Module):
    """What FSDP2 is given: a model, whose forward pass is any function that runs it."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., torch.Tensor], *arguments: object) -> torch.Tensor:
        """`function` of the arguments, with the root's weights gathered."""
        return function(*arguments)


def shard(
    model: PreTrainedModel,
    layers: Iterable[torch.nn.Module],
    dtype: str,
    device: torch.device,
    fsdp: FsdpConfig,
) -> Root:
    """Keep this rank's part of every weight, in place, and give the root to run the model in.

    `layers` are gathered one by one; all other weights, embeddings and head among them, together
    for a whole pass. In bfloat16 weights are gathered in it, and gradients summed in float32.
    Weights on the meta device stay there, sharded.
    """
    mesh = make_mesh(device, fsdp.shards)
    policy = MixedPrecisionPolicy(
        # a tensor's dtype under autocast is that of the operation, and the loss is float32
        param_dtype=None if dtype == "float32" else getattr(torch, dtype),
        reduce_dtype=torch.float32,
        cast_forward_inputs=False,
    )
    offload = CPUOffloadPolicy() if fsdp.cpu_offload else OffloadPolicy()
    whole_of = partial(fully_shard, mesh=mesh, mp_policy=policy, offload_policy=offload)
    for layer in layers:
        _summing(whole_of(layer))
    root = Root(model)
    _summing(whole_of(root))
    return root


def make_mesh(device: torch.device, shards: int | None) -> DeviceMesh:
    """All ranks in a line, or a row for each copy of the model: neighbours, which torchrun puts on
    one machine, share a copy. Made once for each start of the processes.
    """
    return _mesh(dist.group.WORLD, device.type, shards)


@lru_cache(maxsize=1)
def _mesh(_: object, device: str, shards: int | None) -> DeviceMesh:
    world_size = dist.get_world_size()
    if shards in (None, world_size):
        return init_device_mesh(device, (world_size,))
    names = ("replicate", "shard")
    return init_device_mesh(device, (world_size // shards, shards), mesh_dim_names=names)


def _summing(module: FSDPModule) -> None:
    module.set_gradient_divide_factor(1.0)
    module.set_force_sum_reduction_for_comms(True)  # gloo has no other
    # An expert that no token of a rank was sent to has no gradient there, and the ranks would sum
    # different things. Older torch cannot be told.
    if hasattr(module, "set_reduce_scatter_unused_params"):
        module.set_reduce_scatter_unused_params(True)


def let_go(root: Root) -> None:
    """Give back the weights that a forward pass without a backward pass leaves gathered."""
    cast(FSDPModule, root).reshard()


def decoder_layers(decoder: torch.nn.Module, number: int) -> list[torch.nn.Module]:
    """The decoder's layers, `number` of them, under whatever name; none where a weight is in two.

    Without them all weights are gathered at once, which is right but takes more memory.
    """
    lists = (part for part in decoder.modules() if isinstance(part, torch.nn.ModuleList))
    layers = next((list(part) for part in lists if len(part) == number), [])
    owners = [id(weight) for layer in layers for weight in layer.parameters()]
    return layers if len(set(owners)) == len(owners) else []


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor in full on this rank; every rank has to ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's part of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


# ---- a model's structure and its weights, apart


def same_weights(model: Model) -> Model:
    """A model of the same structure with the very same parameters."""
    return copy.deepcopy(model, memo={id(weight): weight for weight in model.parameters()})


def fill(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Put weights, by the names of `named_parameters`, in the place of a model's, tied ones too;
    those that are not named stay.
    """
    new = {
        id(old): torch.nn.Parameter(weights[name], requires_grad=old.requires_grad)
        for name, old in model.named_parameters()
        if name in weights
    }
    for module in model.modules():
        own = list(module.named_parameters(recurse=False, remove_duplicate=False))
        for name, old in own:
            setattr(module, name, new.get(id(old), old))


def empty(model: torch.nn.Module) -> None:
    """Take a model's weights away: their names and shapes stay."""
    fill(model, {name: weight.detach().to("meta") for name, weight in model.named_parameters()})


@torch.no_grad()
def whole_weights(
    model: torch.nn.Module,
    frozen: bool = False,
    kept: bool = True,
    device: torch.device | None = None,
) -> dict[str, torch.Tensor]:
    """The weights of a sharded model in full, on this rank, all or the `frozen` ones; every rank
    has to ask for them, also one by which they are not `kept`. They are kept on `device`, if one is
    given.
    """
    found = {}
    for name, weight in model.named_parameters():
        if not (frozen and weight.requires_grad):
            gathered = whole(weight.detach())
            if kept:
                found[name] = gathered.to(device)
    return found
