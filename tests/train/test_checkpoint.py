"""Checkpoints come back bit for bit; torn, corrupt and unfinished ones are passed over."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_llama

from tunesmith.errors import TrainingError
from tunesmith.recipe import TrainConfig
from tunesmith.train import checkpoint as module
from tunesmith.train.checkpoint import (
    damage,
    latest_checkpoint,
    load_optimizers,
    load_weights,
    prune_checkpoints,
    save_checkpoint,
    weights,
)
from tunesmith.train.optim import build_optimizers


def trained(optim: str = "adamw", steps: int = 2) -> tuple[Any, list[torch.optim.Optimizer]]:
    model = tiny_llama()
    optimizers = build_optimizers(model, TrainConfig(optim=optim, learning_rate=1e-3))
    take_steps(model, optimizers, steps)
    return model, optimizers


def take_steps(model: Any, optimizers: list[torch.optim.Optimizer], steps: int) -> None:
    for _ in range(steps):
        ids_BT = torch.randint(3, 200, (2, 8))
        model(input_ids=ids_BT, labels=ids_BT).loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def save(folder: Path, step: int) -> Path:
    model, optimizers = trained(steps=0)
    return save_checkpoint(folder, step, model, optimizers, {})


@pytest.mark.parametrize("optim", ["adamw", "adafactor", "muon"])
def test_training_goes_on_from_a_checkpoint_bit_for_bit(tmp_path: Path, optim: str) -> None:
    model, optimizers = trained(optim)
    save_checkpoint(tmp_path, 2, model, optimizers, {"epoch": 1})
    take_steps(model, optimizers, 3)

    torch.manual_seed(99)
    again, new_optimizers = trained(optim, steps=1)
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.state["epoch"]) == (2, 1)
    load_weights(checkpoint.path, again)
    load_optimizers(checkpoint, new_optimizers)
    take_steps(again, new_optimizers, 3)
    assert all(
        torch.equal(a, b)
        for a, b in zip(weights(model).values(), weights(again).values(), strict=True)
    )


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
)
def test_a_corrupt_file_makes_the_one_before_the_latest(tmp_path: Path, name: str) -> None:
    save(tmp_path, 1)
    damaged = save(tmp_path, 2) / name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1


def test_a_torn_file_and_a_missing_one_are_found(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[:-1])
    assert damage(path)
    (path / "model.safetensors").unlink()
    assert damage(path)
    assert latest_checkpoint(tmp_path) is None


def test_a_crash_before_the_rename_leaves_only_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2)
    monkeypatch.undo()
    found = latest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1
    assert save(tmp_path, 2).name == "step-000002"


def test_a_full_disk_keeps_the_last_good_checkpoint_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save_file", no_space)
    with pytest.raises(TrainingError, match="the disk is full; step-000001 is whole"):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_pruning_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4, 5):
        (tmp_path / f"step-{step:06d}").mkdir()
    prune_checkpoints(tmp_path, step=5, keep=2, best_step=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-000001",
        "step-000004",
        "step-000005",
    ]


def test_damaged_checkpoints_of_later_steps_do_not_outlive_good_ones(tmp_path: Path) -> None:
    """They were passed over on resuming: were they counted, step 3 would go and step 9 stay."""
    for step in (1, 2, 3, 9):
        (tmp_path / f"step-{step:06d}").mkdir()
    prune_checkpoints(tmp_path, step=3, keep=1, best_step=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000003", "step-000009"]


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    with pytest.raises(
        TrainingError, match=r"made from another model: model\.embed_tokens\.weight does not match"
    ):
        load_weights(path, tiny_llama(vocab_size=300))
