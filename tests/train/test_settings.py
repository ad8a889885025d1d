"""What a run decides for itself: memory worked out by hand, checkpointing only where needed."""

from __future__ import annotations

import gc
import resource
import weakref
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_llama
from transformers import AutoModelForCausalLM, MambaConfig, RwkvConfig

from tunesmith import machine
from tunesmith.recipe import TrainConfig
from tunesmith.train import memory
from tunesmith.train.loss import Parts, nll_sum, split_model
from tunesmith.train.memory import (
    activation_bytes,
    kept_bytes,
    made_rows,
    state_bytes,
    tokens_that_fit,
)
from tunesmith.train.packing.plan import TrainingData
from tunesmith.train.packing.tensors import Batch
from tunesmith.train.roofline import model_size
from tunesmith.train.settings import MEASURED_TOKENS, Settings, settle

CPU = torch.device("cpu")


def data(length: int = 100) -> TrainingData:
    return TrainingData.from_arrays(
        np.arange(2 * length) % 250, [0, length, 2 * length], [5, 5], ["a", "b"]
    )


def settled(**changes: object) -> Settings:
    config = TrainConfig(**{"dtype": "float32", **changes})  # type: ignore[arg-type]
    return settle(split_model(tiny_llama()), data(), config, CPU)[0]


def test_what_a_forward_pass_keeps_worked_out_by_hand() -> None:
    # the input (4 * 8 numbers) for the weight's gradient, and the ReLU's result (4 * 16); not the
    # weight
    layer, input_TX = torch.nn.Linear(8, 16), torch.randn(4, 8)
    assert kept_bytes(lambda: layer(input_TX).relu(), layer.parameters()) == 4 * (4 * 8 + 4 * 16)


def test_measuring_keeps_nothing_alive() -> None:
    weights = [torch.nn.Parameter(torch.ones(4))]
    alive = weakref.ref(weights[0])
    assert kept_bytes(lambda: weights[0].exp().sum(), []) == 16
    weights.clear()
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("padded", [False, True])
def test_measured_bytes_of_a_token_foretell_those_of_a_larger_batch(padded: bool) -> None:
    parts = split_model(tiny_llama().train())
    per_token = activation_bytes(parts, 20, padded, torch.float32)
    two, ten = (
        kept_bytes(
            lambda n=n: nll_sum(parts, made_rows(n, 20, padded, CPU)), parts.model.parameters()
        )
        for n in (2, 10)
    )
    assert ten - two == pytest.approx(8 * 20 * per_token, rel=0.02)
    # per layer and token at least: two normed inputs, q, k, v, attention's result, gate and up and
    # their product
    assert per_token > 2 * 4 * (2 * 32 + 32 + 2 * 16 + 32 + 3 * 64)
    assert activation_bytes(parts, 20, padded, torch.bfloat16) < per_token


def test_memory_is_measured_on_the_objective_that_is_trained() -> None:
    parts = split_model(tiny_llama().train())

    def of_two_passes(parts: Parts, batch: Batch) -> torch.Tensor:
        return nll_sum(parts, batch) + nll_sum(parts, batch)

    once = activation_bytes(parts, 20, False, torch.float32)
    twice = activation_bytes(parts, 20, False, torch.float32, of_two_passes)
    assert twice == pytest.approx(2 * once, rel=0.02)


def test_with_checkpointing_a_layer_keeps_its_input_and_one_layer_is_computed_again() -> None:
    model = tiny_llama()  # 2 layers of 32 hidden units
    states = state_bytes(model, TrainConfig())
    room = machine.device_memory(CPU) * memory.USABLE - states
    fits = partial(tokens_that_fit, model, states, 1000, 4)
    assert fits(checkpointing=True) == int(room / (2 * 32 * 4 + 500))
    assert fits(checkpointing=False) == int(room / 1000)
    # of activations that are put away one layer's are there
    assert fits(checkpointing=False, away=True) == fits(checkpointing=True, away=True)
    assert fits(checkpointing=True, away=True) == int(room / 500)


@pytest.mark.parametrize("kind", ["mamba", "rwkv"])
def test_a_model_without_attention_is_measured_like_any_other(kind: str) -> None:
    shape = {"vocab_size": 61, "num_hidden_layers": 2}
    config = {
        "mamba": MambaConfig(**shape, hidden_size=16, state_size=4),
        "rwkv": RwkvConfig(**shape, hidden_size=32),
    }[kind]
    parts = split_model(AutoModelForCausalLM.from_config(config))
    assert 1000 < activation_bytes(parts, 20, True, torch.float32) < 100_000
    assert model_size(config).windows == ()


def test_adamw_takes_sixteen_bytes_a_parameter_and_frozen_weights_four() -> None:
    model = torch.nn.Linear(10, 3, bias=False)
    assert state_bytes(model, TrainConfig()) == 30 * 16
    assert state_bytes(model, TrainConfig(weights_dtype="bfloat16")) == 30 * 8
    model.requires_grad_(False)
    assert state_bytes(model, TrainConfig()) == 30 * 4


def test_of_gradients_and_states_that_come_one_by_one_the_largest_weights_are_there() -> None:
    model = torch.nn.Linear(10, 3)
    in_backward = TrainConfig(optim_in_backward=True, max_grad_norm=0.0)
    assert state_bytes(model, in_backward) == 33 * 12 + 30 * 4
    away = TrainConfig(offload_optimizer="disk")
    assert state_bytes(model, away) == 33 * 8 + 30 * 8


def test_checkpointing_is_on_only_where_the_longest_row_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not settled().gradient_checkpointing
    one_token = activation_bytes(split_model(tiny_llama()), MEASURED_TOKENS, False, torch.float32)
    states = state_bytes(tiny_llama(), TrainConfig())
    room = states + 98 * one_token  # the longest row has 100 tokens
    monkeypatch.setattr(memory, "device_memory", lambda device: room / memory.USABLE)
    assert tokens_that_fit(tiny_llama(), states, one_token, 4, checkpointing=False) in (
        97,
        98,
    )
    assert settled().gradient_checkpointing
    assert not settled(gradient_checkpointing=False).gradient_checkpointing


def test_the_budget_is_the_recipes_or_fits_the_longest_row() -> None:
    assert settled(max_batch_tokens=40).max_batch_tokens == 40
    assert settled().max_batch_tokens == memory.CPU_BATCH_TOKENS
    long = settle(split_model(tiny_llama()), data(9000), TrainConfig(), CPU)[0]
    assert long.max_batch_tokens == 9000


def test_a_large_models_activations_take_at_most_four_gibibytes_of_a_cpus_memory() -> None:
    assert memory.largest_useful_batch(CPU, bytes_per_token=1 << 22) == 1024
    assert memory.largest_useful_batch(CPU, bytes_per_token=1) == memory.CPU_BATCH_TOKENS


@pytest.mark.parametrize("hardware, dtype", [(False, "float32"), (True, "bfloat16")])
def test_a_cpu_computes_in_bfloat16_where_its_hardware_does_however_busy_it_is(
    hardware: bool, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: hardware, raising=False)
    monkeypatch.setattr(machine, "probe_machine", None)  # no clock decides it
    assert settled(dtype="auto").dtype == dtype
    assert settled(dtype="bfloat16").dtype == "bfloat16"


def test_few_kernels_are_kept_unless_the_user_says_how_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory.os, "environ", {"LRU_CACHE_CAPACITY": "7"})
    memory.keep_few_kernels()
    assert memory.os.environ == {"LRU_CACHE_CAPACITY": "7", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32"}


@pytest.mark.parametrize("padded", [False, True])
def test_measuring_a_model_does_not_keep_it(padded: bool) -> None:
    """Its operations held their own outputs, and through them the whole model: one a run."""
    model = tiny_llama()
    activation_bytes(split_model(model), 20, padded, torch.float32)
    weight = weakref.ref(model.get_input_embeddings().weight)
    del model
    gc.collect()
    assert weight() is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_the_peak_is_this_process_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """getrusage's is at least what the process that started this one had then."""
    inherited = resource.struct_rusage((0.0, 0.0, 1 << 40, *[0] * 13))
    monkeypatch.setattr(resource, "getrusage", lambda who: inherited)
    assert memory.resident_bytes() <= memory.peak_bytes(CPU) < 1 << 40
