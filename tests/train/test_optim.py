"""Which parameter goes to which optimiser, and learning rates at hand-computed steps."""

from __future__ import annotations

import math

import pytest
import torch
from support import tiny_llama
from transformers import GPT2Config, GPT2LMHeadModel

from tunesmith.errors import InputError
from tunesmith.recipe import TrainConfig
from tunesmith.train.optim import build_optimizers, build_schedules, default_learning_rate, parameter_groups


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


def test_8_bit_adam_without_its_packages_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.optim", None)
    with pytest.raises(InputError, match=r"adamw_8bit needs torchao.*\nhint: pip install 'tunesmith\[gpu\]'"):
        build_optimizers(tiny_llama(), TrainConfig(optim="adamw_8bit"))


def test_default_learning_rate_follows_the_size_within_its_limits() -> None:
    assert default_learning_rate(1_000_000_000) == pytest.approx(2e-5)
    assert default_learning_rate(10_000_000) == pytest.approx(2e-4)  # 2e-5 * sqrt(100)
    assert default_learning_rate(100_000) == 1e-3
    assert default_learning_rate(70_000_000_000) == 1e-5


def test_linear_schedule_warms_up_and_falls_to_zero() -> None:
    assert rates("linear", 10, 0.2) == pytest.approx([0, 0.5, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def test_cosine_schedule_warms_up_and_falls_along_half_a_wave() -> None:
    # after warm-up 0.5 (1 + cos(pi k / 8)) for k = 0 .. 7
    wave = [0.5 * (1 + math.cos(math.pi * k / 8)) for k in range(8)]
    assert wave[4] == pytest.approx(0.5)
    assert rates("cosine", 10, 0.2) == pytest.approx([0, 0.5, *wave])


def test_constant_schedule_stays_after_warm_up() -> None:
    assert rates("constant", 5, 0.4) == pytest.approx([0, 0.5, 1, 1, 1])


def test_wsd_is_stable_and_decays_over_the_last_fifth() -> None:
    assert rates("wsd", 10, 0.1) == pytest.approx([0, 1, 1, 1, 1, 1, 1, 1, 1, 0.5])
