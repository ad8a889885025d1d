"""Llama-like layers with fewer passes: the same numbers under autocast, and nothing else is touched."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from random_models import tiny
from support import tiny_llama

from tunesmith.train.lean import _replacements, lean


def loss_and_gradients(model: Any, dtype: str, is_lean: bool) -> tuple[float, torch.Tensor]:
    ids_BT = torch.randint(0, 250, (3, 20), generator=torch.Generator().manual_seed(1))
    model.zero_grad()
    with lean(model.get_decoder(), dtype if is_lean else "float32"):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = model(input_ids=ids_BT, labels=ids_BT).loss
        loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_lean_layers_are_as_near_to_float32_as_the_models_own() -> None:
    model = tiny_llama()
    for parameter in model.parameters():  # norms of ones would hide a mistake
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    exact, exact_gradient = loss_and_gradients(model, "float32", False)
    plain, plain_gradient = loss_and_gradients(model, "bfloat16", False)
    found, gradient = loss_and_gradients(model, "bfloat16", True)
    assert abs(found - exact) <= abs(plain - exact) + 1e-3
    assert (gradient - exact_gradient).norm() <= 1.2 * (plain_gradient - exact_gradient).norm()


def test_what_goes_into_a_product_is_the_same_number() -> None:
    states_XH = torch.randn(1, 9, 32, generator=torch.Generator().manual_seed(0))
    for module, forward in _replacements(tiny_llama().model):
        with torch.autocast("cpu", torch.bfloat16):
            differs = module(states_XH).bfloat16() != forward(states_XH)
        assert differs.float().mean() <= 0.01  # the mean square is added up in another order


def test_float32_and_generation_run_as_the_model_has_it() -> None:
    model = tiny_llama()
    ids_BT = torch.arange(8)[None]
    expected = model(input_ids=ids_BT).logits
    with lean(model.model, "bfloat16"):
        assert torch.equal(model(input_ids=ids_BT).logits, expected)
    assert all("forward" not in vars(module) for module in model.modules())


def test_frozen_weights_get_no_gradient() -> None:
    model = tiny_llama()
    model.model.layers[0].mlp.requires_grad_(False)
    model.model.layers[1].input_layernorm.requires_grad_(False)
    loss_and_gradients(model, "bfloat16", True)
    assert model.model.layers[0].mlp.down_proj.weight.grad is None
    assert model.model.layers[1].mlp.down_proj.weight.grad is not None


@pytest.mark.parametrize("change", ["hook", "bias", "activation"])
def test_a_changed_feed_forward_is_left_alone(change: str) -> None:
    model = tiny_llama()
    before = len(_replacements(model.model))
    feed = model.model.layers[0].mlp
    if change == "hook":
        feed.register_forward_hook(lambda *_: None)
    elif change == "bias":
        feed.up_proj.bias = torch.nn.Parameter(torch.ones(len(feed.up_proj.weight)))
    else:
        feed.act_fn = torch.nn.GELU()
    assert len(_replacements(model.model)) == before - 1 == 5


def test_layers_of_another_build_are_left_alone() -> None:
    assert not _replacements(tiny("gemma3").get_decoder())
    assert not _replacements(tiny("gpt2").get_decoder())
