"""Training ends after epochs that were no better, at the same step whether it was killed or not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support import made_data, tiny_llama

from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.train.checkpoint import weights
from tunesmith.train.early_stopping import epochs_without_improvement, stops_early, without_effect
from tunesmith.train.loop import TrainResult, train
from tunesmith.train.state import Progress
from tunesmith.train.trackers import read_metrics

SCORES = (0.5, 0.7, 0.6, 0.65, 0.9, 0.9)
"""After each epoch of three steps: with a patience of 2 the fourth is the last."""


NAMES = ("stopped", "whole")


class Killed(Exception):
    pass


def config(patience: int | None, epochs: int = 6) -> TrainConfig:
    return TrainConfig(
        num_train_epochs=epochs, early_stopping_patience=patience, train_batch_size=4,
        learning_rate=3e-3, report_to=[], dtype="float32", save_steps=1,
    )  # fmt: skip


def trained(
    folder: Path,
    settings: TrainConfig,
    scores: Sequence[float] = SCORES,
    error: float = 0.0,
    on_progress: Callable[[Any], None] | None = None,
) -> tuple[Any, TrainResult]:
    model, run = tiny_llama(), RunDir(folder)

    def validate(_: Any) -> dict[str, float]:
        epoch = len(read_metrics(run.metrics)) // 3  # its own line is written afterwards
        return {"accuracy": scores[epoch], "accuracy_standard_error": error}

    found = train(
        model, made_data(), settings, run=run, validation=made_data(),
        validate=validate, select="accuracy", resume=True, on_progress=on_progress,
    )  # fmt: skip
    return model, found


def same(a: Any, b: Any) -> bool:
    pairs = zip(weights(a).values(), weights(b).values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_training_ends_after_two_epochs_that_were_no_better(tmp_path: Path) -> None:
    _, found = trained(tmp_path, config(2))
    assert (found.steps, found.best_step) == (12, 6)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    waited = [line.get("epochs_without_improvement") for line in lines]
    assert waited == [None, None, 0, None, None, 0, None, None, 1, None, None, 2]
    assert found.notes == [
        "training stopped early, after step 12 of 18 (epoch 4 of 6): no epoch since step 6 was "
        "better on validation (train.early_stopping_patience: 2); the learning rate followed its "
        "schedule for all 18 steps"
    ]


def test_no_step_before_the_end_is_another_one(tmp_path: Path) -> None:
    """Schedule and all: the plan is that of all epochs."""
    trained(tmp_path / "stopped", config(2))
    trained(tmp_path / "whole", config(None))
    stopped, whole = (read_metrics(tmp_path / name / "metrics.jsonl") for name in NAMES)
    assert (len(stopped), len(whole)) == (12, 18)
    for name in ("loss", "learning_rate", "validation_loss"):
        assert [line.get(name) for line in stopped] == [line.get(name) for line in whole[:12]]


def test_killed_after_any_step_near_the_end_it_stops_at_the_same_step_with_the_same_weights(
    tmp_path: Path,
) -> None:
    whole, found = trained(tmp_path / "whole", config(2))
    lines = [_timeless(line) for line in read_metrics(tmp_path / "whole" / "metrics.jsonl")]
    for step in range(8, 13):
        cut = tmp_path / f"cut-{step}"

        def kill(line: Any, step: int = step) -> None:
            if line["step"] == step:
                raise Killed

        with pytest.raises(Killed):
            trained(cut, config(2), on_progress=kill)
        again, resumed = trained(cut, config(2))
        assert same(whole, again)
        assert (resumed.steps, resumed.best_step, resumed.notes) == (12, 6, found.notes)
        assert [_timeless(line) for line in read_metrics(cut / "metrics.jsonl")] == lines


def _timeless(line: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in line.items() if name != "seconds"}


def test_killed_after_its_last_checkpoint_it_takes_no_further_step(tmp_path: Path) -> None:
    """Between the checkpoint of the last step and the saved model."""
    whole, _ = trained(tmp_path / "whole", config(2))
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    again, found = trained(tmp_path / "cut", config(2), scores=())
    assert same(whole, again)
    assert found.steps == 12
    assert "stopped early, after step 12" in found.notes[0]


@pytest.mark.parametrize("error, steps, best", [(0.0, 9, 3), (0.05, 18, 18)])
def test_better_is_what_the_best_checkpoint_is_chosen_by(
    tmp_path: Path, error: float, steps: int, best: int
) -> None:
    """Within one standard error of the highest, a lower loss is an improvement."""
    _, found = trained(tmp_path, config(2), (0.70, 0.69, 0.68, 0.68, 0.68, 0.68), error)
    losses = [entry["loss"] for entry in found.history]
    assert losses == sorted(losses, reverse=True)
    assert (found.steps, found.best_step) == (steps, best)


def test_epochs_since_the_best_one_are_counted() -> None:
    history = [{"step": step, "epoch": step / 3} for step in (3, 6, 9)]
    found = [Progress(9, best, history=history) for best in (3, 6, 9)]
    assert [epochs_without_improvement(progress) for progress in found] == [2, 1, 0]
    assert [stops_early(progress, config(1)) for progress in found] == [True, True, False]
    assert not any(stops_early(progress, config(None)) for progress in found)
    assert not stops_early(found[0], config(1, epochs=3))  # the last epoch was planned


@pytest.mark.parametrize("patience, said", [(None, 0), (1, 0), (2, 1), (5, 1)])
def test_a_patience_that_cannot_stop_three_epochs_is_said(patience: int | None, said: int) -> None:
    assert len(without_effect(config(patience, epochs=3))) == said
