"""A training whose model is sharded over the ranks: how its objective is run, and how the whole
model comes back for validation and at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from tunesmith.distributed.sharding import (
    Root,
    decoder_layers,
    empty,
    fill,
    let_go,
    shard,
    whole_weights,
)
from tunesmith.ranks import is_leader
from tunesmith.train.checkpoint import load_weights
from tunesmith.train.loss import Objective, Parts
from tunesmith.train.packing.tensors import Batch


@dataclass(frozen=True)
class Sharded:
    """`root` runs what is trained; `model` is what was given to train, without its weights."""

    root: Root
    model: PreTrainedModel

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
        fill(self.model, whole_weights(self.root.model))
        self.model.eval()
        try:
            yield self.model
        finally:
            empty(self.model)

    def finish(self, best: Path, device: torch.device) -> None:
        """Give the leader's model the weights of a checkpoint; the other ranks' stay empty."""
        if is_leader():
            shapes = {name: weight.shape for name, weight in self.model.named_parameters()}
            fill(
                self.model,
                {name: torch.empty(shape, device=device) for name, shape in shapes.items()},
            )
            load_weights(best, self.model, alone=True)


def shard_over_ranks(parts: Parts, model: PreTrainedModel, dtype: str) -> Sharded:
    """Spread the weights of `parts.model`, which are those of `model` too, over the ranks."""
    number = parts.model.config.get_text_config().num_hidden_layers
    root = shard(parts.model, decoder_layers(parts.decoder, number), dtype)
    empty(model)
    return Sharded(root, model)
