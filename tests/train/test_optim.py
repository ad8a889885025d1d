"""Which parameter goes to which optimiser, and learning rates at hand-computed steps."""

from __future__ import annotations

import importlib.util
import math
import sys
import types

import pytest
import torch
from support import tiny_llama
from transformers import GPT2Config, GPT2LMHeadModel

from tunesmith.errors import InputError
from tunesmith.recipe import TrainConfig
from tunesmith.train import optim as module
from tunesmith.train.optim import (
    build_optimizers,
    build_schedules,
    default_learning_rate,
    has_compiler,
    parameter_groups,
)


def rates(name: str, num_steps: int, warmup_ratio: float) -> list[float]:
    config = TrainConfig(lr_scheduler_type=name, warmup_ratio=warmup_ratio, learning_rate=1.0)
    optimizers = build_optimizers(tiny_llama(), config)
    schedule = build_schedules(optimizers, config, num_steps)[0]
    found = []
    for _ in range(num_steps):
        found.append(schedule.get_last_lr()[0])
        optimizers[0].step()
        schedule.step()
    return found


def test_weight_decay_acts_on_matrices_and_not_on_norms() -> None:
    model = tiny_llama()
    decayed, plain = parameter_groups(model, 0.1)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    norms = {id(p) for name, p in model.named_parameters() if "norm" in name}
    assert {id(p) for p in plain["params"]} == norms
    assert len(decayed["params"]) + len(norms) == len(list(model.parameters()))


def test_weight_decay_acts_on_no_bias() -> None:
    sizes = {"vocab_size": 20, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 8}
    model = GPT2LMHeadModel(GPT2Config(**sizes))  # its linear layers have biases
    decayed, plain = parameter_groups(model, 0.1)
    biases = {id(p) for name, p in model.named_parameters() if name.endswith("bias")}
    assert len(biases) == 7
    assert biases < {id(p) for p in plain["params"]}
    assert not biases & {id(p) for p in decayed["params"]}


def test_muon_gets_the_matrices_and_adamw_embeddings_and_norms() -> None:
    model = tiny_llama()
    muon, adamw = build_optimizers(model, TrainConfig(optim="muon"))
    names = {id(p): name for name, p in model.named_parameters()}
    in_adamw = {names[id(p)] for p in adamw.param_groups[0]["params"]}
    assert isinstance(muon, torch.optim.Muon)
    assert in_adamw == {name for name in names.values() if "norm" in name or "embed" in name}


def test_every_optimiser_lowers_the_loss_of_one_row() -> None:
    for optim in ("adamw", "adafactor", "muon"):
        model = tiny_llama()
        ids_BT = torch.tensor([[0, 7, 8, 9, 10, 1]])
        optimizers = build_optimizers(model, TrainConfig(optim=optim, learning_rate=1e-3))
        losses = []
        for _ in range(5):
            loss = model(input_ids=ids_BT, labels=ids_BT).loss
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            losses.append(loss.item())
        assert losses[-1] < losses[0], optim


def test_8_bit_adam_without_its_packages_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.optim", None)
    with pytest.raises(
        InputError, match=r"adamw_8bit needs torchao.*\nhint: pip install 'tunesmith\[gpu\]'"
    ):
        build_optimizers(tiny_llama(), TrainConfig(optim="adamw_8bit"))


needs_torchao = pytest.mark.skipif(
    importlib.util.find_spec("torchao") is None or not has_compiler(),
    reason="needs torchao and a C++ compiler",
)


@needs_torchao
def test_eight_bit_states_are_eight_bit_where_a_tensor_is_large() -> None:
    model = torch.nn.Linear(256, 32, bias=False)
    optimizer = build_optimizers(model, TrainConfig(optim="adamw_8bit", learning_rate=1e-3))[0]
    model(torch.ones(1, 256)).sum().backward()
    optimizer.step()
    (state,) = optimizer.state.values()
    assert (type(state["exp_avg"]).__name__, state["exp_avg"].codes.dtype) == (
        "OptimState8bit",
        torch.uint8,
    )


@needs_torchao
def test_updates_a_hundredth_of_bfloat16s_step_arrive_on_average() -> None:
    """Weights of 1.0, whose neighbours below stand 2^-8 = 0.0039 away, moved down by 1e-4 a step:
    after 10 steps 0.999 on average. Rounded to the nearest, all of them would still be 1.
    """
    model = torch.nn.Linear(256, 256, bias=False).bfloat16()
    torch.nn.init.ones_(model.weight)
    config = TrainConfig(weights_dtype="bfloat16", learning_rate=1e-4)
    optimizer = build_optimizers(model, config)[0]
    torch.manual_seed(0)
    for _ in range(10):
        model.weight.grad = torch.ones_like(model.weight)  # Adam's step is then the learning rate
        optimizer.step()
    # 65,536 weights, each 1 or 1 - 2^-8 or less: the mean's standard error is about 7e-6
    assert float(model.weight.detach().float().mean()) == pytest.approx(1 - 10 * 1e-4, abs=4e-5)
    assert float((torch.ones(1).bfloat16() - 1e-4).float()) == 1.0


@pytest.mark.parametrize("optim", ["muon", "adafactor"])
def test_bfloat16_weights_are_refused_where_nothing_rounds_stochastically(optim: str) -> None:
    with pytest.raises(
        InputError,
        match=f"bfloat16 with train.optim = {optim}: small updates would be rounded away",
    ):
        build_optimizers(tiny_llama(), TrainConfig(optim=optim, weights_dtype="bfloat16"))


def test_torchao_on_a_cpu_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", types.SimpleNamespace(optim=None))
    monkeypatch.setattr(module, "has_compiler", lambda: False)
    with pytest.raises(InputError, match=r"adamw_8bit is compiled when it runs.*no C\+\+ compiler"):
        build_optimizers(tiny_llama(), TrainConfig(optim="adamw_8bit"))


def test_default_learning_rate_follows_the_size_within_its_limits() -> None:
    assert default_learning_rate(1_000_000_000) == pytest.approx(2e-5)
    assert default_learning_rate(10_000_000) == pytest.approx(2e-4)  # 2e-5 * sqrt(100)
    assert default_learning_rate(100_000) == 1e-3
    assert default_learning_rate(70_000_000_000) == 1e-5


def test_linear_schedule_warms_up_and_falls_to_zero() -> None:
    assert rates("linear", 10, 0.2) == pytest.approx(
        [0, 0.5, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    )


def test_cosine_schedule_warms_up_and_falls_along_half_a_wave() -> None:
    # after warm-up 0.5 (1 + cos(pi k / 8)) for k = 0 .. 7
    wave = [0.5 * (1 + math.cos(math.pi * k / 8)) for k in range(8)]
    assert wave[4] == pytest.approx(0.5)
    assert rates("cosine", 10, 0.2) == pytest.approx([0, 0.5, *wave])


def test_constant_schedule_stays_after_warm_up() -> None:
    assert rates("constant", 5, 0.4) == pytest.approx([0, 0.5, 1, 1, 1])


def test_wsd_is_stable_and_decays_over_the_last_fifth() -> None:
    assert rates("wsd", 10, 0.1) == pytest.approx([0, 1, 1, 1, 1, 1, 1, 1, 1, 0.5])
