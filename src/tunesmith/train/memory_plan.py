"""What a training needs of a device's memory, and the cheapest changes that make it fit.

Nothing is read but the model's config and the lengths of the rows. How a step is cut into
micro-batches is decided as the run decides it (settings.py), and the peak is found by running the
step on tensors without numbers (peak.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel

from tunesmith.models.architectures import UNSUITED
from tunesmith.models.load import empty_model
from tunesmith.recipe import LoraConfig, TrainConfig
from tunesmith.train.loss import split_as_declared
from tunesmith.train.memory import checkpoint_bytes, state_bytes
from tunesmith.train.packing.attention import has_dropout, why_no_line
from tunesmith.train.packing.attention_cuda import why_not_varlen
from tunesmith.train.packing.plan import MicroBatch, TrainingData
from tunesmith.train.packing.tensors import Batch, Block, Packed
from tunesmith.train.peak import Peak, planned_activation_bytes, planned_peak, trainable
from tunesmith.train.processes import as_written
from tunesmith.train.settings import (
    MEASURED_TOKENS,
    Settings,
    computed_in,
    micro_batches,
    why_padded,
)
from tunesmith.train.sharded_peak import largest_of_ranks, planned_sharded_peak

FEW_BLOCKS, FEW_PIECES = 8, 4
"""Blocks and pieces of a block beyond which attention on a CPU is planned in as few: it takes a
dozen operations for each of them, and what is alive depends on the tokens.
"""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Place:
    """Where a training is planned for: `cuda` or `cpu`, its memory in bytes, and the bytes that
    libraries take there before there is a model. `processes` share the model, each on such a
    device.
    """

    device: torch.device
    memory: int
    libraries: int = 0
    processes: int = 1


@dataclass(frozen=True)
class MemoryPlan:
    """The peak of a training and what it was cut and computed as; `parameters` are all,
    `trained` those that are trained. `checkpoint_bytes` is one checkpoint's size on disk.

    Of several processes, the peak is that of each, and `beside` is what each has in the machine's
    memory at most: a copy of its part of a checkpoint that is written, and what is offloaded.
    """

    settings: Settings
    parameters: int
    trained: int
    peak: Peak
    place: Place
    checkpoint_bytes: int
    beside: int = 0

    @property
    def total(self) -> int:
        """Bytes at the worst moment, libraries among them."""
        return self.peak.total + self.place.libraries

    @property
    def fits(self) -> bool:
        """Whether there is as much memory."""
        return self.total <= self.place.memory


@dataclass(frozen=True)
class Change:
    """Keys of a recipe that make a training smaller, and what each costs. `exact`: what is trained
    stays as it is.
    """

    keys: str
    cost: str
    changed: TrainConfig
    exact: bool


def plan_memory(
    config: PreTrainedConfig,
    data: TrainingData,
    train: TrainConfig,
    place: Place,
    trust_remote_code: bool = False,
) -> MemoryPlan:
    """The plan of one training, for each process that takes part; errors as from `wrap_lora`."""
    empty = empty_model(config, trust_remote_code)
    parameters = sum(p.numel() for p in empty.parameters())
    model = trainable(empty, train)
    settings = _settings(config, model, data, train, place, trust_remote_code)
    largest, accumulates = largest_of_ranks(data, train, settings, place.processes)
    find = partial(_peak, config, data, train, place, largest, accumulates, trust_remote_code)
    try:
        peak = find(settings)
    except UNSUITED:  # the kernel has no such attention, and the run finds out in the same way
        if not settings.varlen:
            raise
        settings = replace(settings, varlen=False)
        peak = find(settings)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return MemoryPlan(
        settings=settings,
        parameters=parameters + (trained if train.lora is not None else 0),
        trained=trained,
        peak=peak,
        place=place,
        checkpoint_bytes=checkpoint_bytes(trained, train),
        beside=_beside(model, trained, train, place),
    )


def _beside(model: PreTrainedModel, trained: int, train: TrainConfig, place: Place) -> int:
    if place.processes == 1:
        return 0
    found = checkpoint_bytes(trained, train)
    if train.fsdp.cpu_offload:
        found += state_bytes(model, train)
    return found // (train.fsdp.shards or place.processes)


def _settings(
    config: PreTrainedConfig,
    model: PreTrainedModel,
    data: TrainingData,
    train: TrainConfig,
    place: Place,
    trust_remote_code: bool,
) -> Settings:
    """What `settle` decides for the model itself, as far as its config tells."""
    parts, dtype = split_as_declared(model), computed_in(train, place.device)
    padded = bool(why_padded(parts, train) or why_no_line(parts.model, parts.decoder))
    padded = padded or not getattr(parts.decoder, "_supports_attention_backend", False)
    dropout, longest = has_dropout(parts.model), int(data.lengths.max())
    per_token = planned_activation_bytes(
        config, train, min(longest, MEASURED_TOKENS), padded, dtype, trust_remote_code
    )
    states = state_bytes(model, train)
    states = 0 if train.fsdp.cpu_offload else states // (train.fsdp.shards or place.processes)
    budget, checkpointing, _ = micro_batches(
        parts.model, longest, train, place.device, dtype, per_token, states, place.memory
    )
    kernel = not why_not_varlen(place.device, getattr(torch, dtype), dropout)
    return Settings(
        dtype=dtype,
        max_batch_tokens=budget,
        padded=padded,
        share_prefixes=train.share_prefixes and not padded and not dropout,
        gradient_checkpointing=checkpointing,
        varlen=kernel and not padded,
    )


def _peak(
    config: PreTrainedConfig,
    data: TrainingData,
    train: TrainConfig,
    place: Place,
    largest: MicroBatch,
    accumulates: bool,
    trust_remote_code: bool,
    settings: Settings,
) -> Peak:
    def batch() -> Batch:
        made = settings.batch(data, largest, CPU)
        return _in_few_blocks(made) if isinstance(made, Packed) else made

    arguments = (config, train, settings, batch, accumulates, place.device)
    if place.processes > 1:
        return planned_sharded_peak(*arguments, place.processes, trust_remote_code)
    return planned_peak(*arguments, trust_remote_code)


@dataclass(frozen=True)
class _Coarse(Block):
    """A block whose backward pass takes a few pieces however long it is."""

    def cut(self, size: int) -> list[Block]:
        """Into no more than FEW_PIECES."""
        return super().cut(max(size, -(-(self.stop - self.start) // FEW_PIECES)))


def _in_few_blocks(batch: Packed) -> Packed:
    """The same line, whose attention takes few operations on a CPU."""
    blocks = batch.blocks
    if len(blocks) > FEW_BLOCKS:
        edges = np.linspace(0, blocks[-1].stop, FEW_BLOCKS + 1).astype(int).tolist()
        blocks = tuple(Block(start, stop, stop) for start, stop in pairwise(edges))
    coarse = tuple(_Coarse(block.start, block.stop, block.end) for block in blocks)
    vars(batch)["blocks"] = coarse  # where the cached property keeps what it has computed
    return batch


# ---- what makes a training fit


@dataclass
class _Changes:
    """Adds keys to a recipe's, one change after the other."""

    train: TrainConfig
    added: dict[str, object] = field(default_factory=dict)

    def more(self, cost: str, exact: bool = True, keys: str = "", **values: object) -> Change:
        """`keys` say it where a value is a section of its own."""
        self.added |= values
        told = keys or " ".join(f"train.{key}={as_written(value)}" for key, value in values.items())
        return Change(told, cost, self.train.model_copy(update=self.added), exact)


def changes(
    train: TrainConfig,
    device: torch.device,
    checkpoints: bool,
    alone: bool,
    longest: int,
    processes: int = 1,
) -> Iterator[Change]:
    """Changes in the order of what they cost, each on top of those before it: first those that
    leave what is trained as it is.

    `checkpoints`: there is gradient checkpointing already; `alone`: micro-batches are no larger
    than the longest row, of `longest` tokens. Several `processes` cannot do all of them.
    """
    made = _Changes(train)
    yield from _exact(made, device, checkpoints, alone, longest, processes)
    lora = train.lora
    if lora is None:
        if processes == 1:
            yield from _smaller_states(made)
        lora = LoraConfig()
        yield made.more(
            "adapters are trained in place of all weights",
            exact=False,
            keys="train.lora.r=16 train.weights_dtype=float32 train.optim=adamw",
            lora=lora,
            weights_dtype="float32",
            optim="adamw",
        )
    if device.type == "cuda" and not lora.load_in_4bit and processes == 1:
        yield made.more(
            "the frozen weights are rounded to 4 bits; needs bitsandbytes",
            exact=False,
            keys="train.lora.load_in_4bit=true",
            lora=lora.model_copy(update={"load_in_4bit": True}),
        )


def _exact(
    made: _Changes,
    device: torch.device,
    checkpoints: bool,
    alone: bool,
    longest: int,
    processes: int,
) -> Iterator[Change]:
    """What changes where numbers are and when they are computed."""
    train = made.train
    if not train.optim_in_backward and not train.max_grad_norm and processes == 1:
        yield made.more("nothing", optim_in_backward=True)
    if not checkpoints:
        yield made.more("about a third more time", gradient_checkpointing=True)
    if not alone:
        yield made.more("smaller micro-batches, which are slower", max_batch_tokens=longest)
    if processes > 1:
        yield from _exact_of_several(made, device)
        return
    where, place = ("cpu", "RAM") if device.type == "cuda" else ("disk", "the disk")
    if train.offload_optimizer is None:
        yield made.more(
            f"the optimiser's state goes to {place} and back in each step", offload_optimizer=where
        )
    if train.offload_activations is None:
        yield made.more(
            f"activations go to {place} and back in each pass", offload_activations=where
        )


def _exact_of_several(made: _Changes, device: torch.device) -> Iterator[Change]:
    fsdp = made.train.fsdp
    if device.type == "cuda" and not fsdp.cpu_offload:
        yield made.more(
            "weights and gradients travel between memory and GPU in every pass",
            keys="train.fsdp.cpu_offload=true",
            fsdp=fsdp.model_copy(update={"cpu_offload": True}),
        )


def _smaller_states(made: _Changes) -> Iterator[Change]:
    """All weights are trained, with less kept for each."""
    train = made.train
    if train.max_grad_norm and not train.optim_in_backward:
        yield made.more(
            "gradients are not clipped", exact=False, max_grad_norm=0, optim_in_backward=True
        )
    if train.weights_dtype == "float32" and train.optim != "adafactor":
        yield made.more("another optimiser", exact=False, optim="adafactor")
    if (train.weights_dtype, train.optim) != ("bfloat16", "adamw_8bit"):
        yield made.more(
            "coarser weights, rounded stochastically; needs torchao",
            exact=False,
            weights_dtype="bfloat16",
            optim="adamw_8bit",
        )
