"""Models that no process loads whole: each rank reads its own part of every weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from empty_on_ranks import CPU, read_in_parts, refused
from loss_oracle import ARCHITECTURES, build
from on_ranks import on_ranks
from safetensors.torch import load_file, save_file
from support import tiny_llama

from tunesmith.errors import ModelError
from tunesmith.models.load import load_empty, load_model
from tunesmith.recipe import LoraConfig
from tunesmith.train.adapters import unwrap_peft, wrap_lora, wrap_lora_empty

FEW = ["gemma3", "gpt2", "llama_tied"]


def same(a: Any, b: Any) -> None:
    """Names, numbers and dtypes, to the last bit."""
    a, b = dict(a), dict(b)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype, name
        assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("name", ["llama", "llama_tied"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_read_in_parts_is_the_one_loaded_whole_to_the_last_bit(
    tmp_path: Path, name: str, dtype: torch.dtype
) -> None:
    build(name).to(dtype).save_pretrained(tmp_path)
    one = load_model(str(tmp_path))
    numbers = sum(weight.numel() for weight in one.parameters())
    ranks = on_ranks(2, read_in_parts, tmp_path)
    for rank in ranks:
        same({n: torch.tensor(w) for n, w in rank["weights"].items()}, one.named_parameters())
        same({n: torch.tensor(b) for n, b in rank["buffers"].items()}, one.named_buffers())
        assert rank["tied"] == len([*one.parameters()])
        assert rank["own"] == pytest.approx(numbers / 2, rel=0.02)
    assert sum(rank["own"] for rank in ranks) == numbers


@pytest.mark.parametrize(
    "names", [FEW, pytest.param(sorted(ARCHITECTURES), marks=pytest.mark.sweep)], ids=len
)
def test_an_empty_model_that_is_filled_is_the_one_loaded_whole(
    tmp_path: Path, names: list[str]
) -> None:
    for name in names:
        build(name).save_pretrained(tmp_path / name)
        found = load_empty(str(tmp_path / name))
        assert found is not None
        empty, stored = found
        stored.read_into(empty, CPU)
        one = load_model(str(tmp_path / name))
        same(empty.named_parameters(), one.named_parameters())
        same(empty.named_buffers(), one.named_buffers())
        assert empty.config.to_dict() == one.config.to_dict()
        assert empty.generation_config.to_dict() == one.generation_config.to_dict()
        assert not empty.training


def changed(folder: Path, **changes: Any) -> None:
    """Put other tensors into a model's file, or take some out (None)."""
    file = folder / "model.safetensors"
    tensors = {**load_file(file), **{name.replace("__", "."): t for name, t in changes.items()}}
    save_file({n: t for n, t in tensors.items() if t is not None}, file, {"format": "pt"})


def test_a_nan_in_one_ranks_part_is_named_by_every_rank(tmp_path: Path) -> None:
    build("llama").save_pretrained(tmp_path)
    weight = load_file(tmp_path / "model.safetensors")["model.norm.weight"]
    weight[-1] = float("nan")
    changed(tmp_path, model__norm__weight=weight)
    said = on_ranks(2, refused, tmp_path)
    assert said == [f"{tmp_path}: NaN or infinity in 1 tensor: model.norm.weight"] * 2


@pytest.mark.parametrize("changes, message", [
    ({"model__norm__weight": None}, "1 tensor missing from the weights: model.norm.weight"),
    ({"model__norm__scale": torch.ones(32)}, "1 tensor not of this model: model.norm.scale"),
    ({"model__norm__weight": torch.ones(31)},
     "1 tensor of another shape: model.norm.weight is 31, config.json says 32"),
])  # fmt: skip
def test_incomplete_and_foreign_weights_are_refused_as_by_one_process(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    build("llama").save_pretrained(tmp_path)
    changed(tmp_path, **changes)
    for load in (load_empty, load_model):
        with pytest.raises(ModelError, match=message):
            load(str(tmp_path))


def test_adapters_on_an_empty_model_have_the_numbers_of_those_on_a_whole_one(
    tmp_path: Path,
) -> None:
    tiny_llama().save_pretrained(tmp_path)
    one = unwrap_peft(wrap_lora(load_model(str(tmp_path)), LoraConfig(r=4), seed=3))
    found = load_empty(str(tmp_path))
    assert found is not None
    wrapped, stored = wrap_lora_empty(*found, LoraConfig(r=4), seed=3)
    empty = unwrap_peft(wrapped)
    trained = {name for name, weight in empty.named_parameters() if weight.requires_grad}
    assert trained == {name for name, weight in one.named_parameters() if weight.requires_grad}
    assert {name for name, weight in empty.named_parameters() if not weight.is_meta} == trained
    stored.read_into(empty, CPU)
    same(empty.named_parameters(), one.named_parameters())
    ids = torch.tensor([[3, 4, 5]])
    assert np.array_equal(empty(ids).logits.detach(), one(ids).logits.detach())
