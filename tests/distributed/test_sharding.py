"""A model's structure apart from its weights, and sharded models of many architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loss_oracle import ARCHITECTURES, build
from on_ranks import on_ranks
from support import tiny_llama
from torch.distributed.fsdp import CPUOffloadPolicy
from train_on_ranks import drawn, trained_as, whole_weights_in_steps

from tunesmith.distributed import sharding
from tunesmith.distributed.sharding import decoder_layers, empty, fill, same_weights
from tunesmith.recipe import FsdpConfig
from tunesmith.train.loss import split_model


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox"])
def test_a_decoders_layers_are_found_under_whatever_name(name: str) -> None:
    decoder = split_model(build(name)).decoder
    (expected,) = [part for part in decoder.children() if isinstance(part, torch.nn.ModuleList)]
    assert decoder_layers(decoder, 2) == list(expected)
    assert decoder_layers(decoder, 3) == []


def test_layers_that_share_a_weight_are_not_sharded_one_by_one() -> None:
    decoder = tiny_llama().model
    decoder.layers[1].mlp.up_proj.weight = decoder.layers[0].mlp.up_proj.weight
    assert decoder_layers(decoder, 2) == []


def test_a_model_is_emptied_and_filled_with_its_tied_weights_tied() -> None:
    model = tiny_llama()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    copy = same_weights(model)
    assert copy.lm_head.weight is model.lm_head.weight
    empty(model)
    assert all(weight.is_meta for weight in model.parameters())
    assert not any(weight.is_meta for weight in copy.parameters())
    fill(model, {name: 2 * weight for name, weight in before.items()})
    assert model.lm_head.weight is model.model.embed_tokens.weight
    for name, weight in model.named_parameters():
        assert torch.equal(weight, 2 * before[name])
        assert weight.requires_grad
    assert model(input_ids=torch.tensor([[3, 4]])).logits.shape == (1, 2, 259)


class Noted(torch.nn.Module):
    """Stands for a module that FSDP2 has taken over."""

    def set_gradient_divide_factor(self, factor: float) -> None:
        assert factor == 1.0

    def set_force_sum_reduction_for_comms(self, enable: bool) -> None:
        assert enable


@pytest.mark.parametrize("shards, mesh", [
    (None, ((4,), None)), (4, ((4,), None)), (2, ((2, 2), ("replicate", "shard"))),
])  # fmt: skip
def test_offload_and_groups_are_passed_on_for_each_layer_and_the_root(
    monkeypatch: pytest.MonkeyPatch, shards: int | None, mesh: tuple[Any, Any]
) -> None:
    asked: list[dict[str, Any]] = []

    def noted(module: torch.nn.Module, **options: Any) -> Noted:
        asked.append(options)
        return Noted()

    monkeypatch.setattr(sharding, "fully_shard", noted)
    monkeypatch.setattr(
        sharding,
        "init_device_mesh",
        lambda device, shape, mesh_dim_names=None: (device, shape, mesh_dim_names),
    )
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    model, gpu = tiny_llama(), torch.device("cuda")
    config = FsdpConfig(shards=shards, cpu_offload=True)
    sharding.shard(model, model.model.layers, "float32", gpu, config)
    assert len(asked) == len(model.model.layers) + 1
    assert all(isinstance(one["offload_policy"], CPUOffloadPolicy) for one in asked)
    assert all(one["mesh"] == ("cuda", *mesh) for one in asked)
    sharding.shard(model, [], "float32", gpu, FsdpConfig(shards=shards))
    assert not isinstance(asked[-1]["offload_policy"], CPUOffloadPolicy)


@pytest.mark.parametrize(
    "names",
    [["gemma2", "gpt2", "qwen3"], pytest.param(sorted(ARCHITECTURES), marks=pytest.mark.sweep)],
    ids=len,
)
def test_every_architectures_weights_after_two_steps_are_those_of_one_process(
    tmp_path: Path, names: list[str]
) -> None:
    (several, _), one = on_ranks(2, trained_as, tmp_path, names), trained_as(tmp_path / "1", names)
    for name in names:
        assert several[name]["losses"] == pytest.approx(one[name]["losses"], rel=1e-5), name
        for weight, values in one[name]["weights"].items():
            found = several[name]["weights"][weight]
            assert np.allclose(found, values, rtol=1e-4, atol=1e-5), f"{name}: {weight}"


def test_no_rank_keeps_a_whole_weight_while_it_trains(tmp_path: Path) -> None:
    numbers = sum(weight.numel() for weight in tiny_llama().parameters())
    ranks = on_ranks(2, whole_weights_in_steps, tmp_path)
    assert [set(alive) for alive, _ in ranks] == [{0}, {0}]
    assert sum(kept[0] for _, kept in ranks) == numbers  # and each has about half
    assert all(kept[0] == pytest.approx(numbers / 2, rel=0.01) for _, kept in ranks)


def test_dropout_differs_between_ranks_and_not_between_two_tries_of_a_step() -> None:
    first, second = on_ranks(2, drawn, [5, 6, 5])
    assert first[0] == first[2] != first[1]
    assert second[0] == second[2] != second[1]
    assert not {*first} & {*second}
