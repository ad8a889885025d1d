"""Small trainings, written for one process, that tests run on several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from support import tiny_llama

from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.train.checkpoint import weights
from tunesmith.train.loop import train
from tunesmith.train.packing.plan import TrainingData


def made_data(num_rows: int = 30, seed: int = 0, shared: int = 12) -> TrainingData:
    """Rows of `shared` common tokens, 2 to 11 own ones and 1 to 4 trained ones."""
    random = np.random.default_rng(seed)
    start = np.random.default_rng(0).integers(3, 259, shared)
    rows = [
        np.concatenate([start, random.integers(3, 259, random.integers(3, 12))])
        for _ in range(num_rows)
    ]
    trained = random.integers(1, 4, num_rows)
    lengths = np.array([len(row) for row in rows])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return TrainingData.from_arrays(
        np.concatenate(rows), offsets, lengths - trained, [f"r{i}" for i in range(num_rows)]
    )


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


def trained(
    folder: Path, changes: dict[str, Any] | None = None, model: Any = None, **options: Any
) -> dict[str, Any]:
    """A training's numbers, and the weights that it leaves on this rank."""
    model = tiny_llama() if model is None else model
    steps: list[dict[str, float]] = []
    result = train(
        model,
        options.pop("data", None) or made_data(),
        config(**(changes or {})),
        run=RunDir(folder),
        validation=made_data(20, seed=1),
        on_progress=steps.append,
        **options,
    )
    left = {} if any(w.is_meta for w in model.parameters()) else weights(model)
    return {
        "steps": [{k: v for k, v in step.items() if k != "seconds"} for step in steps],
        "result": result,
        "weights": {name: weight.numpy() for name, weight in left.items()},
        "threads": torch.get_num_threads(),
    }
