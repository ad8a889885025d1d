"""With which weights the processes of a run answer: whole copies, or a model that stays sharded.

With a whole copy in each process none has to wait for another, which is faster. A model that takes
more than a part of a process' memory stays sharded: it may fit in no other way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from transformers import PreTrainedModel

from tunesmith.distributed.group import largest
from tunesmith.distributed.in_step import InStep
from tunesmith.distributed.sharding import fill, local, same_weights, shard
from tunesmith.machine import device_memory
from tunesmith.recipe import FsdpConfig
from tunesmith.train.memory import (
    WEIGHT_BYTES,
    free_at_once,
    give_back_freed_memory,
    keep_freed_memory,
)
from tunesmith.train.sharded import ReadWeights, Sharded, layers_of

Found = TypeVar("Found")
COMFORTABLE = 1 / 4
"""Of a process' memory, for one whole copy in float32: base and tuned model are there at once, each
with a copy in bfloat16 for a moment, and in training it is beside all that training keeps.
"""


def has_room(model: torch.nn.Module, device: torch.device) -> bool:
    """Whether this process has room for whole copies of a model, which may be empty or sharded."""
    whole = WEIGHT_BYTES["float32"] * sum(weight.numel() for weight in model.parameters())
    return whole <= COMFORTABLE * device_memory(device)


def sharded_to_answer(
    model: PreTrainedModel,
    dtype: str,
    device: torch.device,
    fsdp: FsdpConfig,
    read_weights: ReadWeights | None,
) -> InStep:
    """Spread a model over the ranks, in place, with weights in `dtype`. Where they are on the meta
    device, each rank reads its own part of them.
    """
    if device.type == "cpu":
        give_back_freed_memory()
        free_at_once()
    weights = [(n, w.detach()) for n, w in model.named_parameters() if w.is_floating_point()]
    fill(model, {name: weight.to(getattr(torch, dtype)) for name, weight in weights})
    model.requires_grad_(False)
    layers = layers_of(model)
    root = shard(model.eval(), layers, "float32", device, fsdp)
    if read_weights is not None:
        read_weights(root.model, torch.device("cpu") if fsdp.cpu_offload else device)
    return InStep(root, layers)


def with_trained(
    sharded: Sharded, function: Callable[[PreTrainedModel], Found], dtype: str
) -> Found:
    """What the function makes of a model in training as it is now; every rank has to call this. It
    is given the whole model, or where a rank has no room for that, one that is sharded in `dtype`.
    """
    (without_room,) = largest(not has_room(sharded.model, sharded.device))
    if not without_room:
        with sharded.whole_model() as model:
            return function(model)
    trained = dict(sharded.root.model.named_parameters())

    @torch.no_grad()
    def copy(model: torch.nn.Module, device: torch.device) -> None:
        new = {n: torch.empty_like(w, device=device) for n, w in model.named_parameters()}
        for name, weight in new.items():
            local(weight).copy_(local(trained[name]))
        fill(model, new)

    model = same_weights(sharded.model)
    passes = sharded_to_answer(model, dtype, sharded.device, sharded.fsdp, copy)
    try:
        return passes.run(function)
    finally:
        keep_freed_memory()
