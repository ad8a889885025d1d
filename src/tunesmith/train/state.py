"""What a run is made of, what it has done so far, and how both go through a checkpoint.

Exact resume: a run that is stopped and resumed ends with the same weights, bit for bit, as one that
was never stopped. Everything that the next step depends on is either

    rebuilt   from recipe, rows and base model, and checked to be the same (`_fingerprint`):
              the step plan, which is a pure function of seed and epoch, and the initial model
    decided   once and then read back: `Settings`, which depend on the machine
    saved     weights, optimiser state, schedules, random-number state, and `Progress`

There is no place in a data loader to save: the steps done so far say where the plan goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar, cast

import torch
from transformers import PreTrainedModel

from tunesmith.distributed.group import of_leader, together
from tunesmith.errors import InputError, TrainingError
from tunesmith.models.load import default_device
from tunesmith.progress import note
from tunesmith.ranks import is_leader
from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.train.answering import with_trained
from tunesmith.train.checkpoint import (
    MODEL,
    Checkpoint,
    Unfinished,
    begin_checkpoint,
    damage,
    find_checkpoints,
    load_optimizers,
    load_weights,
    plain,
    prune_checkpoints,
    weights_sha256,
)
from tunesmith.train.kernels import use_liger_kernels
from tunesmith.train.loss import (
    Objective,
    Parts,
    add_lookups_in_place,
    nll_sum,
    split_model,
)
from tunesmith.train.memory import checkpoint_layers, keep_few_kernels, keep_freed_memory
from tunesmith.train.offload import store_for
from tunesmith.train.offload_activations import ActivationsAway, staying
from tunesmith.train.offload_states import StatesAway
from tunesmith.train.optim import build_optimizers, build_schedules
from tunesmith.train.packing.plan import TrainingData, steps_per_epoch
from tunesmith.train.settings import Settings, computed_in, settle
from tunesmith.train.sharded import ReadWeights, Sharded, shard_over_ranks
from tunesmith.train.update import Update

Found = TypeVar("Found")

NOT_IN_FINGERPRINT = {
    "fit",
    "fsdp",
    "offload_activations",
    "offload_optimizer",
    "optim_in_backward",
    "report_to",
    "save_minutes",
    "save_steps",
    "save_total_limit",
    "seeds",
}
"""Keys of `train` that may change before a resume, because no step depends on them."""


@dataclass
class Progress:
    """What a run has done so far.

    `history` has an entry per finished epoch (see TrainResult), `best_step` is the best one's step,
    `best_sha256` that of the weights in its checkpoint (empty in those of an older tunesmith).
    Seconds and token counts are sums over all steps. `first_loss` and `recent_loss`, an exponential
    moving average, are there to notice a loss that explodes.
    """

    step: int = 0
    best_step: int = 0
    best_sha256: str = ""
    history: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    trained_tokens: int = 0
    raw_tokens: int = 0
    forward_tokens: int = 0
    first_loss: float = 0.0
    recent_loss: float = 0.0


@dataclass(frozen=True)
class Training:
    """Everything that stays the same during a run; parameters and optimisers change in place.

    `objective` is minimised and `likelihood` is what validation reports. `parameters` are the
    trainable ones; of several ranks, each has a part of every one, and `sharded` knows the whole.
    `kept_away` is on while a forward pass keeps what its backward pass needs. `notes` say why
    something is slower than it could be.
    """

    parts: Parts
    objective: Objective
    likelihood: Objective
    sharded: Sharded | None
    data: TrainingData
    config: TrainConfig
    settings: Settings
    device: torch.device
    parameters: list[torch.nn.Parameter]
    optimizers: list[torch.optim.Optimizer]
    schedules: list[torch.optim.lr_scheduler.LRScheduler]
    update: Update
    kept_away: Callable[[], AbstractContextManager[object]]
    run: RunDir
    fingerprint: dict[str, object]
    notes: list[str]

    @property
    def epoch_steps(self) -> int:
        """Optimiser steps of one epoch."""
        return steps_per_epoch(len(self.data), self.config.train_batch_size)

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.epoch_steps * self.config.num_train_epochs

    def shown_to(self, function: Callable[[PreTrainedModel], Found], dtype: str) -> Found:
        """What a function that is no step makes of the model as it is now; `dtype` is that of its
        weights where it stays sharded meanwhile.
        """
        if self.sharded is None:
            return function(self.parts.model)
        return with_trained(self.sharded, function, dtype)


def checkpoint_to_resume(run: RunDir, resume: bool) -> Checkpoint | None:
    """The newest intact checkpoint, or None for a fresh start. What is passed over because it is
    damaged is said, with what that costs.

    Raises InputError for a fresh start in a used folder, TrainingError where every checkpoint is
    damaged.
    """
    has_some = any(run.checkpoints.glob("step-*"))
    if has_some and not resume:
        raise InputError(
            f"{run.checkpoints}: there are checkpoints of an earlier run",
            hint=f"`tunesmith resume {run.path}`, or another output_dir",
        )
    found = find_checkpoints(run.checkpoints)
    if found.latest is None:
        if has_some:
            path, wrong = found.damaged[0]
            raise TrainingError(
                f"{run.checkpoints}: no checkpoint is whole; the newest, {path.name}: {wrong}",
                hint="put one back from a copy, or remove the folder: then `tunesmith resume "
                f"{run.path}` trains from the first step",
            )
        return None
    for path, wrong in reversed(found.damaged):
        note(
            f"{path}: damaged, and passed over: {wrong}; the steps after "
            f"{found.latest.path.name} are trained again, to the same bits"
        )
    return found.latest


def set_up(
    model: PreTrainedModel,
    data: TrainingData,
    config: TrainConfig,
    run: RunDir,
    validation: TrainingData | None,
    saved: Checkpoint | None,
    objective: Objective,
    read_weights: ReadWeights | None = None,
) -> Training:
    """Prepare model, optimisers and schedules; a resumed run keeps the settings it started with.

    The order matters: Liger patches the layers before the model is taken apart, settings are
    settled from weights in float32 and before checkpointing or compilation changes what a layer
    keeps, and optimisers are built for the parameters in the dtype in which they are trained. Of
    several ranks each has only its part of the weights from the start.
    """
    device = next(model.parameters()).device
    device = torch.device(default_device()) if device.type == "meta" else device
    keep_freed_memory()
    keep_few_kernels()
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()
    if config.use_liger_kernel:
        use_liger_kernels(model)
    sharded = None
    if together():
        dtype = of_leader(lambda: saved.state["settings"]["dtype"] if saved else "")
        dtype = dtype or computed_in(config, device)
        sharded = shard_over_ranks(model, dtype, device, config.fsdp, read_weights)
        model = sharded.root.model
    with_weights = sharded.run if sharded else _at_once
    parts = with_weights(lambda: split_model(model))
    add_lookups_in_place(parts)
    settings, notes = with_weights(
        lambda: settle(parts, data, config, device, objective, cast=True)
    )
    settings = of_leader(lambda: settings if saved is None else Settings(**saved.state["settings"]))
    if settings.gradient_checkpointing:
        checkpoint_layers(parts.model)
    if config.torch_compile:
        # Layer by layer, because all layers have the same code and it is compiled only once.
        for layer in cast(torch.nn.ModuleList, parts.decoder.layers):
            layer.compile(dynamic=True)
    optimizers = build_optimizers(model, config)
    parameters = [p for p in model.parameters() if p.requires_grad]
    states = store_for(config.offload_optimizer, run.path)
    away = StatesAway(states) if states else None
    kept = store_for(config.offload_activations, run.path)
    num_steps = steps_per_epoch(len(data), config.train_batch_size) * config.num_train_epochs
    return Training(
        parts=parts,
        objective=sharded.objective(objective) if sharded else objective,
        likelihood=sharded.objective(nll_sum) if sharded else nll_sum,
        sharded=sharded,
        data=data,
        config=config,
        settings=settings,
        device=device,
        parameters=parameters,
        optimizers=optimizers,
        schedules=build_schedules(optimizers, config, num_steps),
        update=Update(optimizers, parameters, config, away),
        kept_away=ActivationsAway(kept, staying(model)) if kept else nullcontext,
        run=run,
        fingerprint=_fingerprint(model, data, validation, config),
        notes=notes,
    )


def _at_once(function: Callable[[], Found]) -> Found:
    """What the function gives."""
    return function()


def restore(training: Training, saved: Checkpoint) -> Progress:
    """Load a checkpoint into model, optimisers, schedules and random-number generators.

    Raises InputError, naming the first difference, where the checkpoint was made from other rows,
    another model or other settings: resuming would mix two trainings.
    """
    before = saved.state["fingerprint"]
    for name, now in training.fingerprint.items():
        if before.get(name) != now:
            raise InputError(
                f"{training.run.path}: cannot be resumed, {name} has changed: "
                f"was {before.get(name)}, is {now}",
                hint="put it back as it was, or start in another output_dir",
            )
    load_weights(saved.path, training.parts.model)
    load_optimizers(saved, training.optimizers, training.update.away)
    for schedule, state in zip(training.schedules, saved.state["schedules"], strict=True):
        schedule.load_state_dict(state)
    progress = Progress(**saved.state["progress"])
    if progress.best_step == progress.step:
        progress.best_sha256 = of_leader(lambda: weights_sha256(saved.path))
    elif progress.best_step:
        # now, and not after the steps that are left
        of_leader(lambda: best_checkpoint(training.run, progress))
    return progress


def best_checkpoint(run: RunDir, progress: Progress) -> Path:
    """The folder of the best checkpoint; TrainingError where it is not as it was saved."""
    path = run.checkpoints / f"step-{progress.best_step:06d}"
    wrong = damage(path)
    found = "" if wrong else weights_sha256(path)
    if progress.best_sha256 and found and found != progress.best_sha256:
        wrong = (
            f"{MODEL} has the sha256 {found[:12]}, {progress.best_sha256[:12]} was saved after "
            f"step {progress.best_step}"
        )
    if wrong:
        raise TrainingError(
            f"{path}: the best checkpoint is damaged: {wrong}",
            hint="put it back, or remove it and all later ones: then `tunesmith resume "
            f"{run.path}` trains these steps again",
        )
    return path


@dataclass(frozen=True)
class Saving:
    """A checkpoint that is being written, and the best step when it was begun."""

    checkpoint: Unfinished
    step: int
    best_step: int

    def is_written(self) -> bool:
        """Whether this rank's part is on the disk."""
        return self.checkpoint.is_written()

    def finish(self, training: Training, progress: Progress) -> None:
        """Wait for all parts, give the checkpoint its name, and remove those no longer needed."""
        saved = self.checkpoint.finish()
        if self.step == progress.best_step:
            progress.best_sha256 = of_leader(lambda: weights_sha256(saved))
        if is_leader():
            # a later epoch may be the best by now, but what is on the disk is resumed with this one
            keep = training.config.save_total_limit
            prune_checkpoints(training.run.checkpoints, self.step, keep, self.best_step)


def save(training: Training, progress: Progress) -> Saving:
    """Begin a checkpoint of this step."""
    values: dict[str, object] = {
        "progress": asdict(progress),
        "settings": asdict(training.settings),
        "fingerprint": training.fingerprint,
        "schedules": [plain(schedule.state_dict()) for schedule in training.schedules],
    }
    begun = begin_checkpoint(
        training.run.checkpoints,
        progress.step,
        training.parts.model,
        training.optimizers,
        values,
        training.update.away,
    )
    return Saving(begun, progress.step, progress.best_step)


def _fingerprint(
    model: PreTrainedModel,
    data: TrainingData,
    validation: TrainingData | None,
    config: TrainConfig,
) -> dict[str, object]:
    """What decides every step, under names that an error can show."""
    num_parameters = sum(p.numel() for p in model.parameters())
    return {
        "training data": data.sha256,
        "validation data": validation.sha256 if validation is not None else "",
        "model": f"{type(model).__name__} of {num_parameters} parameters",
        **{
            f"train.{k}": v
            for k, v in config.model_dump(mode="json").items()
            if k not in NOT_IN_FINGERPRINT
        },
    }
