"""What a run decides once for its model and machine, and keeps through every resume.

A resumed run reads these from its checkpoint instead of deciding again: on a machine with other
memory, steps would be cut elsewhere, and the weights would no longer be those of the undisturbed
run to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from transformers import PreTrainedModel

from tunesmith.distributed.group import place
from tunesmith.machine import fastest_dtype
from tunesmith.recipe import TrainConfig
from tunesmith.train.loss import Objective, Parts, nll_sum
from tunesmith.train.memory import (
    activation_bytes,
    largest_useful_batch,
    state_bytes,
    tokens_that_fit,
)
from tunesmith.train.packing.attention import has_dropout, varlen_is_exact, why_not_packed
from tunesmith.train.packing.attention_cuda import why_not_varlen
from tunesmith.train.packing.plan import (
    Ints,
    MicroBatch,
    Step,
    TrainingData,
    cut_as,
    passes,
    plan_epoch,
)
from tunesmith.train.packing.tensors import Batch, to_packed, to_padded
from tunesmith.train.tryout import check_is_causal

MEASURED_TOKENS = 64  # length of the rows on which a token's memory is measured


@dataclass(frozen=True)
class Settings:
    """How steps are cut and computed.

    `dtype` is what is computed in, by its torch name; `max_batch_tokens` the budget of a
    micro-batch. `padded` puts each row on its own line, for models whose rows cannot be packed.
    `varlen`: attention over packed rows is torch's `varlen_attn` (CUDA) instead of padded buckets.
    """

    dtype: str
    max_batch_tokens: int
    padded: bool
    share_prefixes: bool
    gradient_checkpointing: bool
    varlen: bool = False

    def precision(self, device: torch.device) -> AbstractContextManager[object]:
        """Autocast to bfloat16 (the weights stay as they are), or nothing for float32."""
        if self.dtype == "float32":
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)

    def plan(
        self, data: TrainingData, config: TrainConfig, epoch: int, first_step: int = 0
    ) -> Iterator[Step]:
        """The steps of one epoch from `first_step` on, this rank's share; see `plan_epoch`."""
        rank, world_size = place()
        return plan_epoch(
            data,
            seed=config.seed,
            epoch=epoch,
            batch_size=config.train_batch_size,
            max_batch_tokens=self.max_batch_tokens,
            share_prefixes=self.share_prefixes,
            rank=rank,
            world_size=world_size,
            first_step=first_step,
            padded=self.padded,
        )

    def cut(self, data: TrainingData, rows: Ints) -> tuple[MicroBatch, ...]:
        """Cut any rows into micro-batches, as a step's are."""
        return cut_as(data, rows, self.max_batch_tokens, self.share_prefixes, self.padded)

    def passes(
        self, data: TrainingData, rows: Ints
    ) -> tuple[tuple[MicroBatch, ...], tuple[MicroBatch, ...]]:
        """This rank's share of any rows, and idle passes beyond it, as a step has them."""
        return passes(data, rows, partial(self.cut, data), *place())

    def batch(self, data: TrainingData, micro: MicroBatch, device: torch.device) -> Batch:
        """The tensors of one micro-batch."""
        if self.padded:
            return to_padded(data, micro, device)
        return to_packed(data, micro, device, self.varlen)


def settle(
    parts: Parts,
    data: TrainingData,
    config: TrainConfig,
    device: torch.device,
    objective: Objective = nll_sum,
    cast: bool = False,
) -> tuple[Settings, list[str]]:
    """Resolve every `auto`; the notes say why something is slower than it could be.

    `cast` stores the weights, which come in float32, in the format in which they are trained as
    soon as nothing needs them finer.

    Raises ModelError for a model that cannot be trained as a causal language model.
    """
    check_is_causal(parts.model)
    dtype = computed_in(config, device)
    not_packed = _why_rows_are_padded(parts, config)
    dropout = has_dropout(parts.model)
    if cast:  # what comes now needs activations beside them
        keep_in_weights_dtype(parts.model, config)
    max_batch_tokens, checkpointing, notes = _memory_plan(
        parts, data, config, device, objective, dtype, padded=bool(not_packed)
    )
    settings = Settings(
        dtype=dtype,
        max_batch_tokens=max_batch_tokens,
        padded=bool(not_packed),
        share_prefixes=config.share_prefixes and not not_packed and not dropout,
        gradient_checkpointing=checkpointing,
    )
    if not_packed:
        notes.append(f"rows are padded and share nothing: {not_packed}")
    elif dropout and config.share_prefixes:
        notes.append(
            "shared prefixes are computed for each row: "
            "the model has dropout, which differs from row to row"
        )
    if not not_packed and not why_not_varlen(device, getattr(torch, dtype), dropout):
        with settings.precision(device):
            settings = replace(settings, varlen=varlen_is_exact(parts.model, parts.decoder))
        if not settings.varlen:
            notes.append(
                "attention runs on padded groups of rows: "
                "the model's is not plain causal or sliding"
            )
    return settings, notes


def _memory_plan(
    parts: Parts,
    data: TrainingData,
    config: TrainConfig,
    device: torch.device,
    objective: Objective,
    dtype: str,
    padded: bool,
) -> tuple[int, bool, list[str]]:
    """As `micro_batches`, measured on the model itself."""
    longest = int(data.lengths.max())
    per_token = activation_bytes(
        parts, min(longest, MEASURED_TOKENS), padded, getattr(torch, dtype), objective
    )
    states = _state_bytes_here(parts, config)
    return micro_batches(parts.model, longest, config, device, dtype, per_token, states)


def micro_batches(
    model: PreTrainedModel,
    longest: int,
    config: TrainConfig,
    device: torch.device,
    dtype: str,
    per_token: int,
    states: int,
    memory: int | None = None,
) -> tuple[int, bool, list[str]]:
    """The budget of a micro-batch in tokens, whether to use gradient checkpointing, and notes on
    what `train.fit: auto` has changed.

    Checkpointing, unless the recipe says, only where the longest row does not fit without it: a row
    cannot be cut, so the budget is never below its length, `longest`. `per_token` and `states` are
    bytes as `tokens_that_fit` takes them, `memory` the device's where it is not the model's own.
    """
    sizes = (model, states, per_token, 4 if dtype == "float32" else 2)
    away = config.offload_activations is not None
    fits = tokens_that_fit(*sizes, checkpointing=False, memory=memory, away=away)
    asked, fitted = config.gradient_checkpointing, config.fit == "auto"
    checkpointing = bool(fits < longest if asked == "auto" or (fitted and not asked) else asked)
    if checkpointing:
        fits = tokens_that_fit(*sizes, checkpointing=True, memory=memory, away=away)
    most = max(longest, min(fits, largest_useful_batch(device, per_token)))
    budget = config.max_batch_tokens or most
    notes = []
    if checkpointing and asked is False:
        notes.append("train.fit: gradient checkpointing is on, for the longest row does not fit")
    if fitted and budget > max(longest, fits):
        budget = max(longest, fits)
        notes.append(f"train.fit: micro-batches have at most {budget:,} tokens, which fit")
    return budget, checkpointing, notes


def _state_bytes_here(parts: Parts, config: TrainConfig) -> int:
    """What this process keeps on its device of weights, gradients and optimiser state."""
    if config.fsdp.cpu_offload:
        return 0
    everything = state_bytes(parts.model, config)
    return everything // (config.fsdp.shards or place()[1])


def keep_in_weights_dtype(model: torch.nn.Module, config: TrainConfig) -> None:
    """Store what is trained in the recipe's `weights_dtype`; it comes in float32."""
    if config.weights_dtype == "bfloat16":
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.bfloat16()


def computed_in(config: TrainConfig, device: torch.device) -> str:
    """The dtype to compute in, by its torch name: `train.dtype`, or the machine's fastest."""
    if config.weights_dtype == "bfloat16":
        return "bfloat16"  # computing finer than the weights are kept gains nothing
    return fastest_dtype(device) if config.dtype == "auto" else config.dtype


def _why_rows_are_padded(parts: Parts, config: TrainConfig) -> str:
    return why_padded(parts, config) or why_not_packed(parts.model, parts.decoder)


def why_padded(parts: Parts, config: TrainConfig) -> str:
    """Why rows are padded whatever the model's attention is, or an empty string."""
    if parts.head is None:
        return "the model's head cannot be run on its own, and all positions go through it"
    if config.neftune_noise_alpha:
        return "NEFTune's noise depends on the length of a row"
    return ""
