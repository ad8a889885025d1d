"""LoRA through the same loop, merged exactly, and averaging with the base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_llama

from tunesmith.recipe import LoraConfig, TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.train.adapters import merge_lora, merge_with_base, wrap_lora
from tunesmith.train.checkpoint import weights
from tunesmith.train.loop import train
from tunesmith.train.packing.plan import TrainingData

IDS_BT = torch.arange(3, 11)[None]


def data() -> TrainingData:
    ids = np.random.default_rng(0).integers(3, 259, (8, 10))
    return TrainingData.from_arrays(
        ids.ravel(), np.arange(9) * 10, np.full(8, 7), [f"r{i}" for i in range(8)]
    )


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(
        lora=LoraConfig(r=4), report_to=[], train_batch_size=4, learning_rate=1e-2, **changes
    )


def trained(folder: Path, **options: Any) -> Any:
    model = wrap_lora(tiny_llama(), LoraConfig(r=4))
    train(model, data(), options.pop("config", config()), run=RunDir(folder), **options)
    return model


def test_lora_trains_only_its_adapters_and_merges_into_the_same_logits(tmp_path: Path) -> None:
    model = trained(tmp_path)
    before = model(input_ids=IDS_BT).logits
    merged = merge_lora(model)
    assert type(merged).__name__ == "LlamaForCausalLM"
    assert torch.allclose(merged(input_ids=IDS_BT).logits, before, atol=1e-5)
    base = tiny_llama()
    assert not torch.allclose(
        merged(input_ids=IDS_BT).logits, base(input_ids=IDS_BT).logits, atol=1e-3
    )
    assert torch.equal(merged.model.embed_tokens.weight, base.model.embed_tokens.weight)


def test_a_lora_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    def crash(record: dict[str, Any]) -> None:
        if record["step"] == 3:
            raise RuntimeError("crash")

    whole = trained(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="crash"):
        trained(tmp_path / "cut", on_progress=crash)
    resumed = trained(tmp_path / "cut", resume=True)
    assert all(
        torch.equal(a, b)
        for a, b in zip(weights(whole).values(), weights(resumed).values(), strict=True)
    )


def test_averaging_an_adapter_with_the_base_shrinks_its_change_in_proportion(
    tmp_path: Path,
) -> None:
    layer = "model.layers.0.mlp.up_proj.weight"
    base = tiny_llama().get_parameter(layer).detach()
    whole = merge_lora(trained(tmp_path / "a")).get_parameter(layer).detach() - base
    half = (
        merge_lora(trained(tmp_path / "b", config=config(merge_with_base=0.5)))
        .get_parameter(layer)
        .detach()
        - base
    )
    assert float(whole.abs().max()) > 1e-3
    assert torch.allclose(half, 0.5 * whole, atol=1e-6)


def test_a_model_without_adapters_is_merged_into_itself() -> None:
    model = tiny_llama()
    assert merge_lora(model) is model


def test_averaging_moves_each_weight_the_given_share_to_the_base() -> None:
    model = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 3.0]]))
    merge_with_base(model, {"weight": torch.tensor([[0.0, 1.0]])}, 0.25)
    assert model.weight.tolist() == [[0.75, 2.5]]
