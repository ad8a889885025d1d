"""Whether a recipe's training fits into a device's memory, said before it starts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from tunesmith.devices import find_device, parse_memory
from tunesmith.errors import InputError
from tunesmith.machine import Machine, device_memory
from tunesmith.models.architectures import UNSUITED
from tunesmith.models.four_bit import linear_layers, packed_bytes
from tunesmith.models.load import default_device, empty_model, load_config
from tunesmith.ranks import world_size
from tunesmith.recipe import Recipe, TrainConfig
from tunesmith.train.adapters import lora_parameters
from tunesmith.train.memory import (
    give_back_freed_memory,
    resident_bytes,
    state_bytes,
)
from tunesmith.train.memory_plan import MemoryPlan, Place, changes, plan_memory
from tunesmith.train.packing.plan import TrainingData

CUDA = torch.device("cuda")


@dataclass(frozen=True)
class Fitted:
    """A change, what it costs, and the peak with it and those before it, in bytes."""

    keys: str
    cost: str
    peak_bytes: int
    fits: bool


@dataclass(frozen=True)
class Memory:
    """What `plan` tells of memory; bytes. Without a plan `unknown` says why there is none.

    `changes` are there where the training does not fit: in the order of what they cost, up to the
    first that fits, each with those before it. Of several `processes` everything is of each, and
    `beside_bytes` is what it has in the machine's memory while a checkpoint is written.
    """

    device: str
    memory_bytes: int
    peak_bytes: int = 0
    parts: dict[str, int] | None = None
    fits: bool = True
    gradient_checkpointing: bool = False
    max_batch_tokens: int = 0
    checkpoint_bytes: int = 0
    changes: tuple[Fitted, ...] = ()
    unknown: str = ""
    processes: int = 1
    beside_bytes: int = 0

    @property
    def as_text(self) -> str:
        """As `plan` prints it."""
        if self.unknown:
            return f"peak memory: not known: {self.unknown}"
        parts = ", ".join(f"{name} {size(n)}" for name, n in (self.parts or {}).items() if n)
        how = " with gradient checkpointing" if self.gradient_checkpointing else ""
        verdict = "fits" if self.fits else "does not fit"
        each = f" of each of {self.processes} processes" if self.processes > 1 else ""
        lines = [
            f"peak memory {size(self.peak_bytes)}{each}{how}, in micro-batches of up to "
            f"{self.max_batch_tokens:,} tokens: {parts}",
            f"{verdict} into {size(self.memory_bytes)} of {self.device}; a checkpoint takes "
            f"{size(self.checkpoint_bytes)} on the disk",
        ]
        if self.processes > 1:
            lines.append(
                f"  beside that, in the machine's memory: {size(self.beside_bytes)} of each while "
                "a checkpoint is written"
            )
        for change in self.changes:
            fits = "" if change.fits else ", which does not fit either"
            lines.append(f"  {change.keys}: {size(change.peak_bytes)}{fits}; {change.cost}")
        return "\n".join(lines)


def size(num_bytes: int) -> str:
    """`19.8 GiB`, or `210 MiB`."""
    gib = num_bytes / (1 << 30)
    return f"{gib:.1f} GiB" if gib >= 1 else f"{num_bytes / (1 << 20):.0f} MiB"


def place_here() -> Place:
    """This machine's GPU, or its CPU with what the process has in memory now."""
    device = torch.device(default_device())
    return Place(device, device_memory(device), _taken(device))


def _taken(device: torch.device) -> int:
    if device.type != "cpu":
        return 0
    give_back_freed_memory()
    return resident_bytes()


def place_asked(
    device: str | None, memory: str | None, processes: int = 1
) -> tuple[Place, Machine | None]:
    """Where to plan for, and its stated rates; InputError for an unknown name or amount.

    `memory` without a device is that of a device of this machine's kind: a GPU, or its CPU, which
    several processes share. With a device or an amount each has as much.
    """
    if device is not None:
        found = find_device(device)
        amount = found.memory if memory is None else parse_memory(memory)
        rates = Machine(found.flops_per_second, found.bytes_per_second)
        return Place(CUDA, amount, processes=processes), rates
    here = replace(place_here(), processes=processes)
    if memory is not None:
        return replace(here, memory=parse_memory(memory)), None
    return replace(here, memory=here.memory // (1 if here.device == CUDA else processes)), None


def memory_of(recipe: Recipe, data: TrainingData, place: Place, name: str) -> Memory:
    """The plan of the recipe's training on prepared rows, and what makes it fit."""
    config = load_config(recipe.model, recipe.trust_remote_code)
    try:
        found = plan_memory(config, data, recipe.train, place, recipe.trust_remote_code)
        place = replace(place, libraries=_taken(place.device))  # planning loads some itself
        found = replace(found, place=place)
        fitting = () if found.fits else changes_until_it_fits(config, data, recipe, found)
    except UNSUITED as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        least = _least_bytes(empty_model(config, recipe.trust_remote_code), recipe.train)
        return Memory(
            name,
            place.memory,
            unknown=f"{config.model_type} does not run without numbers ({first}); its weights, "
            f"gradients and optimiser state take {size(least)}",
        )
    peak = found.peak
    parts = {
        "weights": peak.weights,
        "gradients": peak.gradients,
        "optimiser": peak.optimizer,
        "activations": peak.activations,
        "logits": peak.logits,
        "gathered weights": peak.gathered,
        "holes in the heap": peak.holes,
        "libraries": place.libraries,
    }
    return Memory(
        name,
        place.memory,
        found.total,
        parts,
        found.fits,
        found.settings.gradient_checkpointing,
        found.settings.max_batch_tokens,
        found.checkpoint_bytes,
        fitting,
        processes=place.processes,
        beside_bytes=found.beside,
    )


def changes_until_it_fits(
    config: PreTrainedConfig, data: TrainingData, recipe: Recipe, plan: MemoryPlan
) -> tuple[Fitted, ...]:
    """The changes, up to the first with which the training fits."""
    longest, settings = int(data.lengths.max()), plan.settings
    tried = []
    more = changes(
        recipe.train,
        plan.place.device,
        settings.gradient_checkpointing,
        settings.max_batch_tokens <= longest,
        longest,
        plan.place.processes,
    )
    for change in more:
        found = plan_memory(config, data, change.changed, plan.place, recipe.trust_remote_code)
        tried.append(Fitted(change.keys, change.cost, found.total, found.fits))
        if found.fits:
            break
    return tuple(tried)


# ---- before a run


def check_states(model: PreTrainedModel, recipe: Recipe) -> None:
    """InputError where weights, gradients and optimiser alone are more than this machine's memory,
    whatever the rows are. `model` is empty.
    """
    device = torch.device(default_device())
    there = device_memory(device)
    if world_size() > 1:  # each has a part
        return
    needed = _least_bytes(model, recipe.train)
    if needed <= there:
        return
    fitting = next(
        (
            f"{change.keys}: {size(least)} of weights, gradients and optimiser state; {change.cost}"
            for change in changes(recipe.train, device, checkpoints=True, alone=True, longest=0)
            if (least := _least_bytes(model, change.changed)) <= there
        ),
        "take a smaller model, or a device with more memory",
    )
    raise InputError(
        f"{recipe.model}: its weights, gradients and optimiser state take {size(needed)}, and "
        f"{size(there)} of memory are there",
        hint=fitting,
    )


def _least_bytes(model: PreTrainedModel, train: TrainConfig) -> int:
    if train.lora is None:
        return state_bytes(model, train.optim, train.weights_dtype)
    weights = sum(p.numel() for p in model.parameters())
    packed = [layer.weight.numel() for _, layer in linear_layers(model)]
    frozen = 4 * weights
    if train.lora.load_in_4bit:
        frozen += sum(map(packed_bytes, packed)) - 4 * sum(packed)
    return frozen + 16 * lora_parameters(model, train.lora)


def check_fits(recipe: Recipe, data: TrainingData, resumed: bool = False) -> int:
    """The planned peak in bytes, 0 where it cannot be planned, as of several processes; InputError
    where it is more than this machine's memory, unless a training that fitted is `resumed`.
    """
    if world_size() > 1:
        return 0
    place = place_here()
    found = memory_of(recipe, data, place, place.device.type)
    if found.fits or resumed:
        return found.peak_bytes
    last = found.changes[-1] if found.changes else None
    hint = " ".join(change.keys for change in found.changes)
    raise InputError(
        f"{recipe.output_dir}: training needs {size(found.peak_bytes)} of memory, and there are "
        f"{size(found.memory_bytes)}",
        hint=f"{hint} would take {size(last.peak_bytes)}; `tunesmith plan` has each change"
        if last is not None and last.fits
        else "take a smaller model, shorter rows, or a device with more memory",
    )
