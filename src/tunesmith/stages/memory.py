"""Whether a recipe's training fits into a device's memory, said before it starts."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

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
ON_DISK = "a file of the run's folder"


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
    first that fits, each with those before it. `away` is what the recipe keeps elsewhere, at its
    most. Of several `processes` everything is of each, and `beside_bytes` is what it has in the
    machine's memory while a checkpoint is written.
    """

    device: str
    memory_bytes: int
    peak_bytes: int = 0
    parts: dict[str, int] | None = None
    fits: bool = True
    gradient_checkpointing: bool = False
    max_batch_tokens: int = 0
    checkpoint_bytes: int = 0
    away: dict[str, int] | None = None
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
        lines += [f"{name}: {size(n)}" for name, n in (self.away or {}).items()]
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


def memory_of(
    recipe: Recipe, data: TrainingData, place: Place, name: str, with_changes: bool = True
) -> Memory:
    """The plan of the recipe's training on prepared rows, and what makes it fit."""
    config = load_config(recipe.model, recipe.trust_remote_code)
    try:
        found = plan_memory(config, data, recipe.train, place, recipe.trust_remote_code)
        place = replace(place, libraries=_taken(place.device))  # planning loads some itself
        found = replace(found, place=place)
        enough = found.fits or not with_changes
        fitting = () if enough else changes_until_it_fits(config, data, recipe, found)
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
        _away(found, recipe.train),
        fitting,
        processes=place.processes,
        beside_bytes=found.beside,
    )


def _away(plan: MemoryPlan, train: TrainConfig) -> dict[str, int] | None:
    """Bytes that are kept elsewhere, by what they are and where."""
    places = {"cpu": "RAM", "disk": ON_DISK}
    asked = (
        ("optimiser", train.offload_optimizer, plan.peak.states_away),
        ("activations", train.offload_activations, plan.peak.kept_away),
    )
    found = {f"{what} in {places[where]}": n for what, where, n in asked if where is not None}
    return found or None


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
    more = changes(recipe.train, device, checkpoints=True, alone=True, longest=0)
    first = next((c for c in more if _least_bytes(model, c.changed) <= there), None)
    if first is not None and first.exact and recipe.train.fit == "auto":
        return
    hint = "take a smaller model, or a device with more memory"
    if first is not None:
        least = size(_least_bytes(model, first.changed))
        hint = f"{first.keys}: {least} of weights, gradients and optimiser state; {first.cost}"
    raise InputError(
        f"{recipe.model}: its weights, gradients and optimiser state take {size(needed)}, and "
        f"{size(there)} of memory are there",
        hint=hint,
    )


def _least_bytes(model: PreTrainedModel, train: TrainConfig) -> int:
    if train.lora is None:
        return state_bytes(model, train)
    weights = sum(p.numel() for p in model.parameters())
    packed = [layer.weight.numel() for _, layer in linear_layers(model)]
    frozen = 4 * weights
    if train.lora.load_in_4bit:
        frozen += sum(map(packed_bytes, packed)) - 4 * sum(packed)
    return frozen + 16 * lora_parameters(model, train.lora)


@dataclass(frozen=True)
class Fit:
    """How a training is made to fit: `train` is the recipe's, with what `train.fit: auto` changes
    of it, and `keys` say what; `planned` is the peak in bytes, 0 where it cannot be planned.
    """

    train: TrainConfig
    planned: int
    keys: str = ""


def check_fits(recipe: Recipe, data: TrainingData, folder: Path, resumed: bool = False) -> Fit:
    """How the recipe's training in a run's folder fits into this machine's memory, with one
    process; planned_apart.py has several.

    InputError where it does not, unless a training that fitted is `resumed`, and where the disk has
    no room for what is put there.
    """
    place = place_here()
    found = memory_of(recipe, data, place, place.device.type, with_changes=False)
    fit = Fit(recipe.train, found.peak_bytes)
    if not found.fits and recipe.train.fit == "auto":
        fit, found = _fitted(recipe, data, place) or (fit, found)
    _check_room(folder, found)
    if found.fits or resumed:
        return fit
    raise too_large(folder, memory_of(recipe, data, place, place.device.type))


def too_large(folder: Path, found: Memory) -> InputError:
    """What is said of a training that does not fit, with the changes that make it fit."""
    last = found.changes[-1] if found.changes else None
    hint = " ".join(change.keys for change in found.changes)
    each = f" for each of {found.processes} processes" if found.processes > 1 else ""
    return InputError(
        f"{folder}: training needs {size(found.peak_bytes)} of memory{each}, and there are "
        f"{size(found.memory_bytes)}",
        hint=f"{hint} would take {size(last.peak_bytes)}; `tunesmith plan` has each change"
        if last is not None and last.fits
        else "take a smaller model, shorter rows, or a device with more memory",
    )


def _fitted(recipe: Recipe, data: TrainingData, place: Place) -> tuple[Fit, Memory] | None:
    """The first of the changes that leave what is trained as it is with which it fits. Smaller
    micro-batches and checkpointing are not among them: they are settled with the run's settings.
    """
    keys: list[str] = []
    longest = int(data.lengths.max())
    for change in changes(recipe.train, place.device, True, True, longest):
        if not change.exact:
            return None
        keys.append(change.keys)
        changed = recipe.model_copy(update={"train": change.changed})
        found = memory_of(changed, data, place, place.device.type, with_changes=False)
        if found.fits:
            return Fit(change.changed, found.peak_bytes, " ".join(keys)), found
    return None


def _check_room(folder: Path, found: Memory) -> None:
    """InputError where the disk has less room than what the training keeps there for a while."""
    needed = sum(n for name, n in (found.away or {}).items() if name.endswith(ON_DISK))
    free = shutil.disk_usage(folder).free if needed else 0
    if needed > free:
        raise InputError(
            f"{folder}: training keeps up to {size(needed)} in a file there, and "
            f"{size(free)} are free",
            hint="free some space, or train.offload_activations=null train.offload_optimizer=null",
        )
