"""Small trainings, written for one process, that tests run on several."""

from __future__ import annotations

import gc
import os
import signal
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from loss_oracle import build, examples
from support import made_data, tiny_llama
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.tensor import DTensor

from tunesmith.distributed.group import place
from tunesmith.errors import InterruptedRun, TrainingError
from tunesmith.recipe import LoraConfig, TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.train.adapters import merge_lora, wrap_lora
from tunesmith.train.checkpoint import weights
from tunesmith.train.loop import _draw_for_this_rank, train
from tunesmith.train.loss import Parts, nll_sum
from tunesmith.train.packing.plan import TrainingData
from tunesmith.train.packing.tensors import Batch
from tunesmith.train.sharded import shard_over_ranks


def config(**changes: Any) -> TrainConfig:
    # a large epsilon keeps Adam from turning rounding in tiny gradients into whole steps
    values = {
        "num_train_epochs": 2,
        "train_batch_size": 8,
        "learning_rate": 3e-3,
        "adam_epsilon": 1e-3,
        "max_batch_tokens": 200,
        "report_to": [],
        "dtype": "float32",
    }
    return TrainConfig(**{**values, **changes})


def trained(folder: Path, changes: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """A training's numbers, and the weights that it leaves on this rank."""
    model = options.pop("model", None) or tiny_llama()
    steps: list[dict[str, float]] = []
    result = train(
        model,
        options.pop("data", None) or made_data(30),
        config(**(changes or {})),
        run=RunDir(folder),
        validation=options.pop("validation", made_data(20, seed=1)),
        on_progress=options.pop("on_progress", steps.append),
        **options,
    )
    left = {} if any(w.is_meta for w in model.parameters()) else weights(model)
    return {
        "steps": [{k: v for k, v in step.items() if k != "seconds"} for step in steps],
        "result": result,
        "weights": {name: weight.numpy() for name, weight in left.items()},
    }


def trained_in_turn(folder: Path, all_changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Several trainings, each in a folder of its own."""
    return [trained(folder / str(i), changes) for i, changes in enumerate(all_changes)]


def stopped(folder: Path, step: int, by_rank: int) -> str:
    """A training of which one rank is told to stop in a step; what every rank then says."""

    def stop(metrics: dict[str, float]) -> None:
        if metrics["step"] == step and place()[0] == by_rank:
            signal.raise_signal(signal.SIGUSR1)

    try:
        train(tiny_llama(), made_data(30), config(), run=RunDir(folder), on_progress=stop,
              validation=made_data(20, seed=1))  # fmt: skip
    except InterruptedRun as error:
        return error.message
    return "not stopped"


def resumed(folder: Path) -> dict[str, Any]:
    """The rest of a training that was stopped."""
    return trained(folder, resume=True)


def validated(folder: Path) -> list[dict[str, float]]:
    """What a rank's `validate` sees of the model after each epoch, and the history of the run."""
    seen = []

    def validate(model: Any) -> dict[str, float]:
        seen.append(float(sum(weight.detach().double().sum() for weight in model.parameters())))
        assert not model.training
        return {"total": seen[-1]}

    trained(folder, validate=validate, select="total")
    return seen


def refused_for_a_row(folder: Path, row: int) -> str:
    """The error of a training in which one row's loss is NaN."""
    data = made_data(30)

    def objective(parts: Parts, batch: Batch) -> torch.Tensor:
        loss = nll_sum(parts, batch)
        last = int(data.row(row)[-1])
        return loss * float("nan") if (batch.labels_N == last).any() else loss

    try:
        trained(folder, {"max_batch_tokens": 16, "share_prefixes": False}, objective=objective)
    except TrainingError as error:
        return error.message
    return "trained"


def trained_as(folder: Path, names: list[str]) -> dict[str, Any]:
    """Two steps of each architecture of loss_oracle.py, on its own rows."""
    found = {}
    for name in names:
        data = TrainingData.from_examples(examples())
        changes = {"train_batch_size": 5, "max_batch_tokens": 64}
        training = trained(folder / name, changes, model=build(name), data=data, validation=None)
        losses = [step["loss"] for step in training["steps"]]
        found[name] = {"losses": losses, "weights": training["weights"]}
    return found


def drawn(steps: list[int]) -> list[float]:
    """A random number of this rank in each of these steps."""
    found = []
    for step in steps:
        training = SimpleNamespace(config=config())
        _draw_for_this_rank(training, SimpleNamespace(step=step))  # type: ignore[arg-type]
        found.append(float(torch.rand(())))
    return found


def whole_weights_in_steps(folder: Path) -> tuple[list[int], list[int]]:
    """How many of the model's own weights are still there in each step, and how many numbers a
    rank's parts of them have.
    """
    model = tiny_llama()
    whole = [weakref.ref(weight) for weight in model.parameters()]
    alive, kept = [], []

    def count(_: dict[str, float]) -> None:
        alive.append(sum(weight() is not None for weight in whole))
        parts = [o for o in gc.get_objects() if isinstance(o, DTensor) and o.requires_grad]
        kept.append(sum({id(p): p.to_local().numel() for p in parts}.values()))

    train(model, made_data(30), config(), run=RunDir(folder), on_progress=count)
    return alive, kept


def trained_adapters(folder: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """A training of adapters; the numbers of the adapters, and of the model that they make."""
    model = wrap_lora(tiny_llama(), LoraConfig(r=4), seed=1)
    found = trained(folder, {"lora": {"r": 4}, "learning_rate": 1e-2, **changes}, model=model)
    if found["weights"]:
        merged = merge_lora(model)
        found["merged"] = {n: w.detach().numpy() for n, w in merged.named_parameters()}
    return found


def kept_by_this_rank(changes: dict[str, Any]) -> int:
    """How many numbers of the weights this rank keeps."""
    sharded = shard_over_ranks(tiny_llama(), "float32", torch.device("cpu"), config(**changes).fsdp)
    parts = [part for part in sharded.root.model.parameters() if isinstance(part, DTensor)]
    return sum(part.to_local().numel() for part in parts)


OFTEN = {"save_steps": 2, "num_train_epochs": 1, "save_total_limit": 9}


def trained_while_writing(folder: Path, dies: bool) -> list[tuple[int, bool]]:
    """A training whose checkpoint of step 4 is not written before step 5 is taken: each step, and
    whether that checkpoint is there. The last rank may die after step 5.
    """
    go_on = threading.Event()
    real = HuggingFaceStorageWriter.write_data

    def waits(writer: HuggingFaceStorageWriter, *args: Any) -> Any:
        now = ".step-000004.tmp" not in str(writer.path)
        assert now or go_on.wait(60), "no step was taken meanwhile"
        return real(writer, *args)

    seen = []

    def note(metrics: dict[str, float]) -> None:
        there = (RunDir(folder).checkpoints / "step-000004").exists()
        seen.append((int(metrics["step"]), there))
        if metrics["step"] == 5:
            if dies and place()[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            go_on.set()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(HuggingFaceStorageWriter, "write_data", waits)
        trained(folder, OFTEN, data=made_data(64), validation=None, on_progress=note)
    return seen


def rest_of_it(folder: Path) -> dict[str, Any]:
    """That training, resumed or from the start."""
    return trained(folder, OFTEN, data=made_data(64), validation=None, resume=True)
