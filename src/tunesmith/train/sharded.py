"""A training whose model is sharded over the ranks: how its objective is run, and how the whole
model comes back for validation and at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from transformers import PreTrainedModel

from tunesmith.distributed.sharding import (
    Root,
    decoder_layers,
    empty,
    fill,
    let_go,
    same_weights,
    shard,
    whole_weights,
)
from tunesmith.ranks import is_leader
from tunesmith.recipe import FsdpConfig
from tunesmith.train.adapters import unwrap_peft
from tunesmith.train.checkpoint import load_weights
from tunesmith.train.loss import Objective, Parts, decoder_of
from tunesmith.train.packing.tensors import Batch

Found = TypeVar("Found")
ReadWeights = Callable[[torch.nn.Module, torch.device], None]
"""Puts weights on a device in the place of a model's, of a sharded one this rank's parts."""


@dataclass(frozen=True)
class Sharded:
    """`root` runs what is trained; `model` is what was given to train, without its weights;
    `device` is what is computed on, which is not where the weights are kept under offload.
    """

    root: Root
    model: PreTrainedModel
    device: torch.device
    fsdp: FsdpConfig

    def run(self, function: Callable[[], Found]) -> Found:
        """What the function gives, with the weights that it reads gathered."""
        found: Found = self.root(function)
        let_go(self.root)
        return found

    def objective(self, objective: Objective) -> Objective:
        """The same objective, with the weights that it reads gathered."""

        def with_whole_weights(parts: Parts, batch: Batch) -> torch.Tensor:
            loss: torch.Tensor = self.root(objective, parts, batch)
            if not torch.is_grad_enabled():  # no backward pass will do it
                let_go(self.root)
            return loss

        return with_whole_weights

    @contextmanager
    def whole_model(self) -> Iterator[PreTrainedModel]:
        """The model as it is now, in full on every rank while the block runs."""
        weights = whole_weights(self.root.model)
        fill(self.model, {name: weight.to(self.device) for name, weight in weights.items()})
        self.model.eval()
        try:
            yield self.model
        finally:
            empty(self.model)

    def finish(self, best: Path) -> None:
        """Give the leader's model the weights of a checkpoint, and those that were not trained; the
        other ranks' stay empty. They are on the CPU: a GPU need not have room for them.
        """
        cpu = torch.device("cpu")
        weights = whole_weights(self.root.model, frozen=True, kept=is_leader(), device=cpu)
        if is_leader():
            for name, weight in self.model.named_parameters():
                if weight.requires_grad:
                    weights[name] = torch.empty(weight.shape)
            fill(self.model, weights)
            load_weights(best, self.model, alone=True)


def shard_over_ranks(
    model: PreTrainedModel,
    dtype: str,
    device: torch.device,
    fsdp: FsdpConfig,
    read_weights: ReadWeights | None = None,
) -> Sharded:
    """Spread a model's weights over the ranks; the model itself is left without. Where they are on
    the meta device, each rank reads its own part of them.
    """
    model = unwrap_peft(model)
    trained = same_weights(model)
    root = shard(trained, layers_of(trained), dtype, device, fsdp)
    empty(model)
    if read_weights is not None:
        read_weights(root.model, torch.device("cpu") if fsdp.cpu_offload else device)
    return Sharded(root, model, device, fsdp)


def layers_of(model: PreTrainedModel) -> list[torch.nn.Module]:
    """What is gathered one by one."""
    number = model.config.get_text_config().num_hidden_layers
    return decoder_layers(decoder_of(model), number)
