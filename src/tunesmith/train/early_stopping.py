"""Early stopping: training ends after some epochs that were no better than the best one so far.

What is better is decided where the best checkpoint is chosen (`loop._Judge._best`). All of it
follows from `Progress`, which a checkpoint holds, so a resumed run stops where it would have.
"""

from __future__ import annotations

from tunesmith.recipe import TrainConfig
from tunesmith.train.state import Progress


def epochs_without_improvement(progress: Progress) -> int:
    """The epochs that were validated since the best one."""
    return sum(entry["step"] > progress.best_step for entry in progress.history)


def stops_early(progress: Progress, config: TrainConfig) -> bool:
    """Whether no further step is taken although some are planned."""
    patience = config.early_stopping_patience
    planned = len(progress.history) < config.num_train_epochs
    return planned and patience is not None and epochs_without_improvement(progress) >= patience


def without_effect(config: TrainConfig) -> list[str]:
    """A note where the key cannot stop anything: the first epoch is always the best so far."""
    patience, epochs = config.early_stopping_patience, config.num_train_epochs
    if patience is None or patience + 1 < epochs:
        return []
    return [
        f"train.early_stopping_patience = {patience} cannot stop a training of "
        f"train.num_train_epochs = {epochs} early"
    ]


def where_stopped(progress: Progress, config: TrainConfig, num_steps: int) -> list[str]:
    """A note on where and why training stopped before the last of `num_steps`, if it did."""
    if not stops_early(progress, config):
        return []
    return [
        f"training stopped early, after step {progress.step:,} of {num_steps:,} (epoch "
        f"{len(progress.history)} of {config.num_train_epochs}): no epoch since step "
        f"{progress.best_step:,} was better on validation (train.early_stopping_patience: "
        f"{config.early_stopping_patience}); the learning rate followed its schedule for all "
        f"{num_steps:,} steps"
    ]
