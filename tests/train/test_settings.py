"""What a run decides for itself: memory worked out by hand, checkpointing only where needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import tiny_llama
from transformers import LlamaConfig

from tunesmith.recipe import TrainConfig
from tunesmith.train import memory
from tunesmith.train.batches import TrainingData
from tunesmith.train.loss import split_model
from tunesmith.train.memory import activation_bytes, state_bytes, tokens_that_fit
from tunesmith.train.settings import Settings, settle

CPU = torch.device("cpu")


def data(length: int = 100) -> TrainingData:
    return TrainingData.from_arrays(np.arange(2 * length) % 250, [0, length, 2 * length], [5, 5], ["a", "b"])


def settled(**changes: object) -> Settings:
    return settle(split_model(tiny_llama()), data(), TrainConfig(**changes), CPU)[0]  # type: ignore[arg-type]


def test_activations_of_a_token_worked_out_by_hand() -> None:
    # 2 * layers * (4 h + 2 a + 2 k + 3 f) * bytes = 2 * 3 * (4*8 + 2*16 + 2*4 + 3*10) * 4
    config = LlamaConfig(
        hidden_size=8, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1, head_dim=4,
        intermediate_size=10,
    )  # fmt: skip
    assert activation_bytes(config, 4, checkpointing=False) == 2 * 3 * (32 + 32 + 8 + 30) * 4
    assert activation_bytes(config, 2, checkpointing=True) == 3 * 8 * 2


def test_adamw_takes_sixteen_bytes_a_parameter_and_frozen_weights_four() -> None:
    model = torch.nn.Linear(10, 3, bias=False)
    assert state_bytes(model, "adamw") == 30 * 16
    model.requires_grad_(False)
    assert state_bytes(model, "adamw") == 30 * 4


def test_checkpointing_is_on_only_where_the_longest_row_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not settled().gradient_checkpointing
    one_token = activation_bytes(tiny_llama().config, 4, checkpointing=False)
    room = state_bytes(tiny_llama(), "adamw") + 98 * one_token  # the longest row has 100 tokens
    monkeypatch.setattr(memory, "device_memory", lambda device: room / memory.USABLE)
    assert tokens_that_fit(tiny_llama(), "adamw", 4, checkpointing=False) in (97, 98)
    assert settled().gradient_checkpointing
    assert not settled(gradient_checkpointing=False).gradient_checkpointing


def test_the_budget_is_the_recipes_or_fits_the_longest_row() -> None:
    assert settled(max_batch_tokens=40).max_batch_tokens == 40
    assert settled().max_batch_tokens == memory.CPU_BATCH_TOKENS
    long = settle(split_model(tiny_llama()), data(9000), TrainConfig(), CPU)[0]
    assert long.max_batch_tokens == 9000


def test_a_large_models_activations_take_at_most_four_gibibytes_of_a_cpus_memory() -> None:
    config = LlamaConfig(hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
                         intermediate_size=1536)  # fmt: skip
    # 2 * 30 * (4*576 + 2*576 + 2*192 + 3*1536) * 4 = 2,027,520 bytes a token
    assert memory.largest_useful_batch(config, CPU, 4) == (4 << 30) // 2_027_520


def test_a_cpu_without_tiles_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert settled().dtype == "float32"
    assert settled(dtype="bfloat16").dtype == "bfloat16"
