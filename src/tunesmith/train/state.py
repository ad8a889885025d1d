"""What a run is made of, what it has done so far, and both of them through a checkpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from tunesmith.errors import InputError, TrainingError
from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.train.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    load_optimizers,
    load_weights,
    plain,
    prune_checkpoints,
    save_checkpoint,
)
from tunesmith.train.kernels import use_liger_kernels
from tunesmith.train.loss import Parts, add_lookups_in_place, split_model
from tunesmith.train.memory import keep_few_kernels, keep_freed_memory
from tunesmith.train.optim import build_optimizers, build_schedules
from tunesmith.train.packing.plan import TrainingData, steps_per_epoch
from tunesmith.train.settings import Settings, settle

NOT_IN_FINGERPRINT = {"report_to", "save_steps", "save_total_limit", "seeds"}


@dataclass
class Progress:
    """What a run has done. Token counts are over all steps; `recent_loss` is a moving average."""

    step: int = 0
    best_step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    trained_tokens: int = 0
    raw_tokens: int = 0
    forward_tokens: int = 0
    first_loss: float = 0.0
    recent_loss: float = 0.0


@dataclass(frozen=True)
class Training:
    """Everything that stays the same during a run."""

    parts: Parts
    data: TrainingData
    config: TrainConfig
    settings: Settings
    device: torch.device
    parameters: list[torch.nn.Parameter]
    optimizers: list[torch.optim.Optimizer]
    schedules: list[torch.optim.lr_scheduler.LRScheduler]
    run: RunDir
    fingerprint: dict[str, Any]
    notes: list[str]

    @property
    def epoch_steps(self) -> int:
        return steps_per_epoch(len(self.data), self.config.train_batch_size)

    @property
    def num_steps(self) -> int:
        return self.epoch_steps * self.config.num_train_epochs


def checkpoint_to_resume(run: RunDir, resume: bool) -> Checkpoint | None:
    """The newest whole checkpoint, or None for a fresh start.

    Raises InputError for a fresh start in a used folder, TrainingError where every checkpoint is
    damaged.
    """
    has_some = any(run.checkpoints.glob("step-*"))
    if has_some and not resume:
        raise InputError(
            f"{run.checkpoints}: there are checkpoints of an earlier run",
            hint=f"`tunesmith resume {run.path}`, or another output_dir",
        )
    found = latest_checkpoint(run.checkpoints)
    if has_some and found is None:
        raise TrainingError(
            f"{run.checkpoints}: no checkpoint is whole", hint="start again in another output_dir"
        )
    return found


def set_up(
    model: Any,
    data: TrainingData,
    config: TrainConfig,
    run: RunDir,
    validation: TrainingData | None,
    saved: Checkpoint | None,
) -> Training:
    """Prepare model, optimisers and schedules; a resumed run keeps the settings it started with."""
    device = next(model.parameters()).device
    keep_freed_memory()
    keep_few_kernels()
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            parameter.data = (
                parameter.data.float()
            )  # the model is tried out in float32, and stays in it
    if config.use_liger_kernel:
        use_liger_kernels(model)
    parts = split_model(model)
    add_lookups_in_place(parts)
    settings, notes = settle(parts, data, config, device)
    if saved is not None:
        settings = Settings(**saved.state["settings"])
    if config.weights_dtype == "bfloat16":
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.bfloat16()
    if settings.gradient_checkpointing:
        parts.model.gradient_checkpointing_enable({"use_reentrant": False})
    if config.torch_compile:
        for layer in parts.decoder.layers:  # one region for all layers: compiled once
            layer.compile(dynamic=True)
    optimizers = build_optimizers(model, config)
    num_steps = steps_per_epoch(len(data), config.train_batch_size) * config.num_train_epochs
    return Training(
        parts=parts,
        data=data,
        config=config,
        settings=settings,
        device=device,
        parameters=[p for p in model.parameters() if p.requires_grad],
        optimizers=optimizers,
        schedules=build_schedules(optimizers, config, num_steps),
        run=run,
        fingerprint=_fingerprint(model, data, validation, config),
        notes=notes,
    )


def restore(training: Training, saved: Checkpoint) -> Progress:
    """Take up a checkpoint; InputError naming what differs where it was made from something else."""
    before = saved.state["fingerprint"]
    for name, now in training.fingerprint.items():
        if before.get(name) != now:
            raise InputError(
                f"{training.run.path}: cannot be resumed, {name} has changed: was {before.get(name)}, is {now}",
                hint="put it back as it was, or start in another output_dir",
            )
    load_weights(saved.path, training.parts.model)
    load_optimizers(saved, training.optimizers)
    for schedule, state in zip(training.schedules, saved.state["schedules"], strict=True):
        schedule.load_state_dict(state)
    return Progress(**saved.state["progress"])


def save(training: Training, progress: Progress) -> None:
    """Write a checkpoint of this step and remove those no longer needed."""
    values = {
        "progress": asdict(progress),
        "settings": asdict(training.settings),
        "fingerprint": training.fingerprint,
        "schedules": [plain(schedule.state_dict()) for schedule in training.schedules],
    }
    folder = training.run.checkpoints
    save_checkpoint(folder, progress.step, training.parts.model, training.optimizers, values)
    prune_checkpoints(folder, training.config.save_total_limit, progress.best_step)


def _fingerprint(
    model: Any, data: TrainingData, validation: TrainingData | None, config: TrainConfig
) -> dict[str, Any]:
    return {
        "training data": data.sha256,
        "validation data": validation.sha256 if validation is not None else "",
        "model": f"{type(model).__name__} of {sum(p.numel() for p in model.parameters())} parameters",
        **{
            f"train.{k}": v
            for k, v in config.model_dump(mode="json").items()
            if k not in NOT_IN_FINGERPRINT
        },
    }
