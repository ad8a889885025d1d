"""The whole loop: the update of a plain loop, runs that repeat, resuming, stopping, choosing the best."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_llama

from tunesmith.errors import InputError, InterruptedRun, TrainingError
from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.train.batches import TrainingData
from tunesmith.train.checkpoint import weights
from tunesmith.train.loop import TrainResult, train
from tunesmith.train.progress import read_metrics


def made_data(num_rows: int = 10, seed: int = 0, shared: int = 12) -> TrainingData:
    """Rows of `shared` common tokens, 2 to 7 own ones and 1 to 4 trained ones."""
    random = np.random.default_rng(seed)
    start = np.random.default_rng(0).integers(3, 259, shared)
    rows = [np.concatenate([start, random.integers(3, 259, random.integers(3, 12))]) for _ in range(num_rows)]
    trained = random.integers(1, 4, num_rows)
    lengths = np.array([len(row) for row in rows])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return TrainingData.from_arrays(np.concatenate(rows), offsets, lengths - trained, [f"r{i}" for i in range(num_rows)])


def config(**changes: Any) -> TrainConfig:
    values = {"num_train_epochs": 2, "train_batch_size": 4, "learning_rate": 3e-3, "report_to": [], "warmup_ratio": 0.2}
    return TrainConfig(**{**values, **changes})


def run_once(folder: Path, model: Any = None, **options: Any) -> tuple[Any, TrainResult]:
    model = tiny_llama() if model is None else model
    data = options.pop("data", None) or made_data()
    settings = options.pop("config", config())
    return model, train(model, data, settings, run=RunDir(folder), **options)


def same(a: Any, b: Any) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


def plain_loop(data: TrainingData, settings: TrainConfig) -> tuple[Any, list[float]]:
    """What our loop must equal: one padded batch a step through `model(input_ids, labels)` of transformers."""
    model = tiny_llama().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate or 0.0, weight_decay=0.0)
    steps = -(-len(data) // settings.train_batch_size) * settings.num_train_epochs
    warmup = int(np.ceil(steps * settings.warmup_ratio))
    losses = []
    for epoch, first in itertools.product(range(settings.num_train_epochs), range(0, len(data), settings.train_batch_size)):
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(data))
        rows = order[first : first + settings.train_batch_size]
        width = data.lengths[rows].max()
        ids_BT = torch.zeros(len(rows), width, dtype=torch.long)
        labels_BT = torch.full((len(rows), width), -100)
        for i, row in enumerate(rows):
            ids = torch.from_numpy(data.row(row).astype(np.int64))
            ids_BT[i, : len(ids)] = ids
            labels_BT[i, data.num_prompt_tokens[row] : len(ids)] = ids[data.num_prompt_tokens[row] :]
        mask_BT = torch.arange(width) < torch.from_numpy(data.lengths[rows])[:, None]
        loss = model(input_ids=ids_BT, attention_mask=mask_BT.long(), labels=labels_BT).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        step = len(losses)
        optimizer.param_groups[0]["lr"] = (settings.learning_rate or 0.0) * min(
            step / warmup, (steps - step) / (steps - warmup)
        )
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return model, losses


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("budget", [30, 4096])
def test_every_update_is_the_plain_loops_however_the_step_is_cut(tmp_path: Path, share: bool, budget: int) -> None:
    settings = config(share_prefixes=share, max_batch_tokens=budget, lr_scheduler_type="linear", adam_epsilon=1e-3)
    data = made_data(shared=80)
    expected, losses = plain_loop_with_epsilon(data, settings)
    found, result = run_once(tmp_path, data=data, config=settings)
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [record["loss"] for record in records] == pytest.approx(losses, rel=1e-6)
    for a, b in zip(weights(found).values(), weights(expected).values(), strict=True):
        assert float((a - b).abs().max()) < 1e-6
    assert (result.forward_tokens < result.raw_tokens) == share


def plain_loop_with_epsilon(data: TrainingData, settings: TrainConfig) -> tuple[Any, list[float]]:
    """A large epsilon keeps Adam from turning rounding in tiny gradients into whole steps."""
    original = torch.optim.AdamW
    torch.optim.AdamW = lambda p, lr, weight_decay: original(p, lr=lr, weight_decay=0.0, eps=settings.adam_epsilon)  # type: ignore[misc, assignment]
    try:
        return plain_loop(data, settings)
    finally:
        torch.optim.AdamW = original  # type: ignore[misc]
