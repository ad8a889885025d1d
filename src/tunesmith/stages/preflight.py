"""What would stop a run later, found before a row is read: the output folder, packages, the model's
files, the disk.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from transformers import PreTrainedModel

from tunesmith.errors import InputError, RecipeError
from tunesmith.models.four_bit import check_four_bit
from tunesmith.models.load import (
    check_numbers,
    check_weights,
    default_device,
    empty_model,
    load_config,
    weights_are_here,
)
from tunesmith.packages import installed
from tunesmith.recipe import Recipe, TrainConfig
from tunesmith.stages.memory import check_states
from tunesmith.train import memory
from tunesmith.train.adapters import check_lora, lora_parameters
from tunesmith.train.kernels import check_liger
from tunesmith.train.offload import check_offload
from tunesmith.train.optim import check_optimizer
from tunesmith.train.processes import check_processes
from tunesmith.train.update import check_update

OUTPUT = "--output-dir (output_dir)"
READ_WHOLE = 2 << 30
"""Bytes of weights up to which they are searched for NaN at once; else when training loads them."""


def check_before_work(recipe: Recipe, trainings: int) -> None:
    """Raise RecipeError, ModelError or InputError for what cannot work. `trainings`: how many will
    be written into the run folder; 0 where rows are only looked at, which takes no weights.
    """
    check_processes(recipe.train)
    folder = Path(recipe.output_dir)
    check_output(folder)
    _check_packages(recipe.train)
    stored = bool(trainings) or weights_are_here(recipe.model)
    model = (
        check_weights(recipe.model, recipe.trust_remote_code)
        if stored
        else empty_model(
            load_config(recipe.model, recipe.trust_remote_code), recipe.trust_remote_code
        )
    )
    if recipe.train.lora is not None:
        check_lora(model, recipe.train.lora)
    if trainings:
        check_offload(recipe.train, default_device())
        check_states(model, recipe)
        _check_disk(folder, model, recipe.train, trainings)
    if stored:
        check_numbers(recipe.model, model.config, READ_WHOLE, recipe.trust_remote_code)


# ---- the output folder


def check_output(folder: Path) -> None:
    """RecipeError unless a run's folder can be made there, or an empty one replaced."""
    check_new_folder(folder, f"output_dir {folder}", f"set another {OUTPUT}")


def check_new_folder(folder: Path, where: str, hint: str) -> None:
    """RecipeError unless a folder can be made there, or an empty one replaced. `where` is what the
    message calls it.
    """
    try:
        _check_new_folder(folder, where, hint)
    except OSError as error:
        raise RecipeError(f"{where}: {error.strerror}", hint=hint) from error


def _check_new_folder(folder: Path, where: str, another: str) -> None:
    if folder.name in ("", ".."):
        raise RecipeError(
            f"{where}: not a name", hint=f"name a folder in it, for example {folder / 'run'}"
        )
    for path in (folder, *folder.parents):
        if path.is_symlink() and not path.exists():
            raise RecipeError(
                f"{where}: {path} is a link to {os.readlink(path)}, which is not there",
                hint=another,
            )
        if path.exists() and not path.is_dir():
            raise RecipeError(f"{where}: {path} is a file", hint=another)
    if folder.exists() and any(folder.iterdir()):
        hint = f"`tunesmith resume {folder}` goes on with it; or set another {OUTPUT}"
        raise RecipeError(f"{where}: exists already and is not empty", hint=hint)
    if folder.is_mount():
        raise RecipeError(
            f"{where}: a mounted disk", hint=f"name a folder in it, for example {folder / 'run'}"
        )
    above = _existing(folder.absolute().parent)
    if not os.access(above, os.W_OK | os.X_OK):
        raise RecipeError(f"{where}: {above} cannot be written to", hint=another)


def _existing(path: Path) -> Path:
    """The path itself or the nearest folder above it that exists."""
    return path if path.exists() else _existing(path.parent)


# ---- packages


def _check_packages(config: TrainConfig) -> None:
    for tracker in config.report_to:
        _need(tracker, f"train.report_to = {tracker}", "pip install 'tunesmith[trackers]'")
    if config.lora is not None:
        _need("peft", "train.lora", "pip install 'tunesmith[lora]'")
        if config.lora.load_in_4bit:
            check_four_bit(default_device())
    if config.use_liger_kernel:
        check_liger(default_device())
    check_optimizer(config, default_device() == "cuda")
    check_update(config)


def _need(package: str, asked: str, hint: str) -> None:
    if not installed(package):
        raise InputError(f"{asked} needs {package}, which is not installed", hint=hint)


# ---- room for what training writes


def _check_disk(folder: Path, model: PreTrainedModel, config: TrainConfig, trainings: int) -> None:
    whole, checkpoint = model_bytes(model, config), checkpoint_bytes(model, config)
    kept = config.save_total_limit + 1  # the newest, and the best
    if config.save_steps is None and config.save_minutes is None:
        kept = min(kept, config.num_train_epochs)
    # one more while it is written, and while a training goes on its offloaded state
    needed = trainings * (whole + kept * checkpoint) + checkpoint + _away_bytes(model, config)
    free = shutil.disk_usage(_existing(folder.absolute())).free
    if needed > free:
        times = f"{trainings} times " if trainings > 1 else ""
        raise RecipeError(
            f"output_dir {folder}: training writes up to {_size(needed)} there, and {_size(free)} "
            f"are free",
            hint=f"{times}a model of {_size(whole)} and {kept + 1} checkpoints of "
            f"{_size(checkpoint)}: free some "
            f"space, set another {OUTPUT} or a smaller train.save_total_limit, or use train.lora",
        )


def model_bytes(model: PreTrainedModel, config: TrainConfig) -> int:
    """Of the saved weights, in the recipe's `weights_dtype`."""
    return (
        sum(int(p.numel()) for p in model.parameters()) * memory.WEIGHT_BYTES[config.weights_dtype]
    )


def checkpoint_bytes(model: PreTrainedModel, config: TrainConfig) -> int:
    """Trained weights and the optimiser's state; gradients are not saved."""
    return memory.checkpoint_bytes(_trained(model, config), config)


def _trained(model: PreTrainedModel, config: TrainConfig) -> int:
    if config.lora is not None:
        return lora_parameters(model, config.lora)
    return sum(p.numel() for p in model.parameters())


def _away_bytes(model: PreTrainedModel, config: TrainConfig) -> int:
    """Of the optimiser's state, where it is kept in a file: a checkpoint without its weights."""
    if config.offload_optimizer != "disk":
        return 0
    weights = _trained(model, config) * memory.WEIGHT_BYTES[config.weights_dtype]
    return checkpoint_bytes(model, config) - weights


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.1f} MB"
