"""A recipe's update on tensors without numbers, for the plan of its memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from tunesmith.recipe import TrainConfig
from tunesmith.train.memory import optimizer_bytes
from tunesmith.train.offload import Nowhere
from tunesmith.train.offload_states import StatesAway
from tunesmith.train.optim import build_optimizers
from tunesmith.train.update import Update


class PlannedUpdate(Update):
    """torchao's optimisers compile themselves and are not run: what their states take is known."""

    def __init__(
        self, model: PreTrainedModel, weights: Sequence[torch.nn.Parameter], config: TrainConfig
    ) -> None:
        compiled = config.weights_dtype == "bfloat16" or config.optim == "adamw_8bit"
        self._each = optimizer_bytes(config) if compiled else 0
        self._compiled, self._store = compiled, Nowhere()
        away = StatesAway(self._store) if config.offload_optimizer else None
        super().__init__([] if compiled else build_optimizers(model, config), weights, config, away)

    @property
    def untold(self) -> int:
        """Bytes of states of which there are no tensors."""
        return self._each * sum(weight.numel() for weight in self._weights)

    @property
    def states_away(self) -> int:
        """Bytes of states that are kept elsewhere."""
        return (self.untold or self._store.highest) if self.away is not None else 0

    def step(self, step: int) -> None:
        """As that of the run; see Update."""
        super().step(step)
        for weight in self._weights:
            weight.grad = None

    def _value(self, number: torch.Tensor) -> float:
        return 0.0

    def _step_one(self, weight: torch.Tensor, step: int) -> None:
        if not self._compiled:
            super()._step_one(weight, step)
        elif self.away is not None:  # it is brought, and goes again
            torch.empty(self._each * weight.numel() // 4, device=weight.device)
