"""The checks pass on a healthy set-up and each fails on the fault it is for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_llama

from tunesmith.recipe import LoraConfig, TrainConfig
from tunesmith.train import sanity as module
from tunesmith.train.adapters import wrap_lora
from tunesmith.train.checkpoint import weights
from tunesmith.train.loss import Parts, nll_sum
from tunesmith.train.packing.plan import TrainingData
from tunesmith.train.packing.tensors import Batch, Padded
from tunesmith.train.sanity import CheckResult, check
from tunesmith.train.settings import Settings

STOP = 1


def reviews(num_rows: int = 40, stop: bool = True) -> TrainingData:
    """Prompts of 6 random tokens, one of two answers, and a stop token (or noise in its place)."""
    random = np.random.default_rng(0)
    rows = [
        [
            5,
            *random.integers(20, 259, 5),
            10 + random.integers(2),
            STOP if stop else random.integers(20, 259),
        ]
        for _ in range(num_rows)
    ]
    return TrainingData.from_arrays(
        np.array(rows).ravel(),
        np.arange(num_rows + 1) * 8,
        np.full(num_rows, 6),
        [f"r{i}" for i in range(num_rows)],
    )


def by_name(results: list[CheckResult]) -> dict[str, CheckResult]:
    return {result.name: result for result in results}


def test_a_healthy_set_up_passes_and_the_model_is_left_alone() -> None:
    model = tiny_llama()
    before = {name: p.clone() for name, p in weights(model).items()}
    results = check(model, reviews(), TrainConfig())
    assert [result for result in results if not result.ok] == []
    assert len(results) == 6
    assert all(torch.equal(before[name], p) for name, p in weights(model).items())
    assert "guessing would be 5.56" in by_name(results)["loss before training"].detail  # ln 259


def test_a_weight_that_no_gradient_reaches_is_named() -> None:
    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.zero_()
    results = by_name(check(model, reviews(), TrainConfig()))
    assert not results["gradients reach every weight"].ok
    assert "model.layers.1.mlp" in results["gradients reach every weight"].detail


def test_a_model_that_cannot_learn_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OVERFIT_STEPS", 2)
    results = by_name(check(tiny_llama(), reviews(), TrainConfig()))
    assert not results["learns a few rows by heart"].ok
    assert not results["stop tokens are learned"].ok


def test_a_position_that_sees_its_own_label_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = module.to_padded

    def not_shifted(*arguments: Any) -> Padded:
        batch = right(*arguments)
        batch.input_ids_BT.view(-1)[batch.positions_N] = batch.labels_N
        return batch

    monkeypatch.setattr(module, "to_padded", not_shifted)
    monkeypatch.setattr(Settings, "batch", lambda settings, *arguments: not_shifted(*arguments))
    result = by_name(check(tiny_llama(), reviews(100), TrainConfig()))[
        "shuffled answers teach nothing"
    ]
    assert not result.ok


def test_weights_far_too_large_show_in_the_first_loss() -> None:
    model: Any = tiny_llama()
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(100)
    assert not by_name(check(model, reviews(), TrainConfig()))["loss before training"].ok


def test_a_first_loss_that_transformers_does_not_find_is_a_fault() -> None:
    def too_large(parts: Parts, batch: Batch) -> torch.Tensor:
        return 1.1 * nll_sum(parts, batch)

    results = by_name(check(tiny_llama(), reviews(), TrainConfig(), objective=too_large))
    result = results["loss before training"]
    assert not result.ok


def test_only_the_adapters_are_checked_where_only_they_are_trained() -> None:
    model = wrap_lora(tiny_llama(), LoraConfig(r=16))
    results = by_name(check(model, reviews(), TrainConfig(lora=LoraConfig(r=16))))
    # 2 layers of 7 linear layers, A and B each
    assert results["gradients reach every weight"] == CheckResult(
        "gradients reach every weight", True, "28 weights"
    )
