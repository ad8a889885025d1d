"""Models that no process loads whole: each rank reads its own part of every weight."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from empty_on_ranks import CPU, read_in_parts, refused
from loss_oracle import ARCHITECTURES, SHAPE, build
from on_ranks import on_ranks
from safetensors.torch import load_file, save_file
from support import byte_tokenizer, tiny_llama

import tunesmith.stages.train as stage
from tunesmith.errors import ModelError
from tunesmith.models.joined import Joined, Recorded
from tunesmith.models.load import load_empty, load_model
from tunesmith.models.stored import origins_of
from tunesmith.recipe import LoraConfig, build_recipe
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


def mixture(kind: str, **changes: Any) -> Any:
    """A random model with four experts in each layer, which its files have one by one."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SHAPE, **changes)
    return getattr(transformers, f"{kind}ForCausalLM")(config)


MIXTURES = {
    "Mixtral": {"num_local_experts": 4},
    "Qwen3Moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "Olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
}


@pytest.mark.parametrize("kind", MIXTURES)
def test_weights_that_are_joined_of_several_tensors_are_those_loaded_whole(
    tmp_path: Path, kind: str
) -> None:
    mixture(kind, **MIXTURES[kind]).save_pretrained(tmp_path)
    assert any(".experts.3." in name for name in load_file(tmp_path / "model.safetensors"))
    found = load_empty(str(tmp_path))
    assert found is not None
    empty, stored = found
    assert sum(isinstance(origin, Joined) for origin in stored.origins.values()) == 4
    stored.read_into(empty, CPU)
    same(empty.named_parameters(), load_model(str(tmp_path)).named_parameters())


def test_each_rank_keeps_its_part_of_the_joined_weights(tmp_path: Path) -> None:
    mixture("Mixtral", **MIXTURES["Mixtral"]).to(torch.bfloat16).save_pretrained(tmp_path)
    one = load_model(str(tmp_path))
    ranks = on_ranks(2, read_in_parts, tmp_path)
    for rank in ranks:
        same({n: torch.tensor(w) for n, w in rank["weights"].items()}, one.named_parameters())
    assert sum(rank["own"] for rank in ranks) == sum(w.numel() for w in one.parameters())


def test_a_weight_of_which_one_does_not_know_how_it_came_about_has_no_origin() -> None:
    stored = {"a": torch.empty(2, 3, device="meta"), "b": torch.empty(2, 3, device="meta")}
    model = torch.nn.Linear(3, 4, bias=False, device="meta")
    with Recorded() as recorded:
        joined = torch.cat([stored["a"], stored["b"]])
        copied = torch.empty(4, 3, device="meta")
        copied.copy_(joined)
    model.weight = torch.nn.Parameter(copied)
    assert origins_of(model, stored, recorded) is None
    model.weight = torch.nn.Parameter(joined)
    origins = origins_of(model, stored, recorded)
    assert origins is not None
    origin = origins["weight"]
    assert isinstance(origin, Joined)
    numbers = {"a": torch.arange(6.0).view(2, 3), "b": -torch.ones(2, 3)}
    made = origin.made(numbers.__getitem__)
    assert made.tolist() == [[0, 1, 2], [3, 4, 5], [-1, -1, -1], [-1, -1, -1]]
    with recorded:
        stored["a"].mul_(2)
    assert origins_of(model, stored, recorded) is None


def test_what_cannot_be_read_in_parts_is_loaded_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_llama().save_pretrained(tmp_path)
    values = {"model": str(tmp_path), "data": {"source": "rows.csv", "task": "classify"}}
    recipe = build_recipe({**values, "output_dir": str(tmp_path / "run")})[0]
    chat: Any = SimpleNamespace(tokenizer=byte_tokenizer())
    monkeypatch.setattr(stage, "together", lambda: True)
    model, read_weights = stage._to_train(recipe, chat)
    assert read_weights is not None
    assert all(weight.is_meta for weight in model.parameters())
    chat.tokenizer.add_tokens(["<one>", "<more>", "<than>", "<fits>"])
    assert len(chat.tokenizer) > 259
    model, read_weights = stage._to_train(recipe, chat)  # new rows are drawn from all others
    assert read_weights is None
    assert model.get_input_embeddings().weight.shape[0] >= len(chat.tokenizer)
    monkeypatch.setattr(stage, "load_empty", lambda *_: None)
    chat.tokenizer = byte_tokenizer()
    model, read_weights = stage._to_train(recipe, chat)
    assert read_weights is None
    assert not any(weight.is_meta for weight in model.parameters())


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
