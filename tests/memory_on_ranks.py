"""What tests let ranks have in memory while they train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.train.adapters import wrap_lora
from tunesmith.train.loop import train
from tunesmith.train.packing.plan import TrainingData
from tunesmith.train.sharded_peak import ShardedMemory


def shape(layers: int = 3) -> LlamaConfig:
    return LlamaConfig(
        num_hidden_layers=layers, hidden_size=64, intermediate_size=160, vocab_size=2000,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip


def rows(n: int = 16, length: int = 64, trained: int = 32) -> TrainingData:
    ids = np.random.default_rng(0).integers(3, 2000, n * (length + 1))
    return TrainingData.from_arrays(
        ids,
        np.arange(n + 1) * (length + 1),
        np.full(n, length + 1 - trained),
        [*map(str, range(n))],
    )


def config(**keys: Any) -> TrainConfig:
    short = {"num_train_epochs": 1, "train_batch_size": 8, "report_to": [], "dtype": "float32"}
    return TrainConfig(**short | keys)


def alive_in_trainings(folder: Path, all_keys: Sequence[dict[str, Any]]) -> list[int]:
    """The most bytes of tensors that this rank has in the steps of each training."""
    return [alive(folder / str(i), config(**keys)) for i, keys in enumerate(all_keys)]


def alive(folder: Path, wanted: TrainConfig) -> int:
    model = AutoModelForCausalLM.from_config(shape(), dtype=torch.float32)
    if wanted.lora is not None:
        model = wrap_lora(model, wanted.lora, wanted.seed)
    most: list[int] = []

    def note(_: object) -> None:  # before a checkpoint is copied
        most.append(live.highest)
        live.start()

    with ShardedMemory(0, lambda _: None) as live, live.resizing():
        train(
            model,
            rows(),
            wanted,
            run=RunDir(folder),
            on_progress=note,
        )
    return max(most)
