"""What a run decides once for its model and machine, and keeps through every resume."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch

from tunesmith.recipe import TrainConfig
from tunesmith.train.batches import PASS_TOKENS, TrainingData
from tunesmith.train.loss import Parts
from tunesmith.train.memory import largest_useful_batch, tokens_that_fit
from tunesmith.train.prefix import why_not_shared

GPU_PASS_TOKENS = 1024  # a pass of small kernels takes as long as about a thousand tokens of work


@dataclass(frozen=True)
class Settings:
    """`max_batch_tokens` bounds a micro-batch, `pass_tokens` is the cost of one more pass (see batches.py)."""

    dtype: str
    max_batch_tokens: int
    pass_tokens: int
    share_prefixes: bool
    gradient_checkpointing: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def precision(self, device: torch.device) -> AbstractContextManager[Any]:
        """Compute in bfloat16 from float32 weights, or in float32."""
        if self.dtype == "float32":
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)


def settle(parts: Parts, data: TrainingData, config: TrainConfig, device: torch.device) -> tuple[Settings, list[str]]:
    """Resolve every `auto`, and say why something asked for is off."""
    notes: list[str] = []
    dtype = config.dtype if config.dtype != "auto" else ("bfloat16" if device.type == "cuda" else "float32")
    bytes_per_number = 4 if dtype == "float32" else 2
    longest = int(data.lengths.max())
    fits = tokens_that_fit(parts.model, config.optim, bytes_per_number, checkpointing=False)
    checkpointing = fits < longest if config.gradient_checkpointing == "auto" else config.gradient_checkpointing
    if checkpointing:
        fits = tokens_that_fit(parts.model, config.optim, bytes_per_number, checkpointing=True)
    reason = _why_prefixes_are_not_shared(parts, config, checkpointing) if config.share_prefixes else ""
    if reason:
        notes.append(f"shared prefixes are computed for each row: {reason}")
    if parts.head is None:
        notes.append("this model's head cannot be run on its own: all positions go through it, which is slower")
    budget = config.max_batch_tokens or max(longest, min(fits, largest_useful_batch(device)))
    passes = GPU_PASS_TOKENS if device.type == "cuda" else PASS_TOKENS
    return Settings(dtype, budget, passes, config.share_prefixes and not reason, bool(checkpointing)), notes


def _why_prefixes_are_not_shared(parts: Parts, config: TrainConfig, checkpointing: bool) -> str:
    if checkpointing:
        return "gradient checkpointing drops the cache"
    if config.neftune_noise_alpha:
        return "NEFTune's noise differs from row to row"
    if parts.head is None:
        return "the model's head cannot be run on its own"
    return why_not_shared(parts.model, parts.decoder)
