"""Weights in blocks give the products of the weights themselves, for as long as they are wanted."""

from __future__ import annotations

import pytest
import torch
from support import tiny_llama
from torch import nn

from tunesmith.evaluate import prepacked as packing
from tunesmith.evaluate.prepacked import prepacked
from tunesmith.machine import fastest_dtype

multiplies = pytest.mark.skipif(
    fastest_dtype(torch.device("cpu")) != "bfloat16", reason="this CPU emulates bfloat16"
)


@multiplies
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 64), (5, 1, 64), (2, 33, 64)])
def test_a_product_with_weights_in_blocks_is_that_of_the_layer(
    shape: tuple[int, ...], bias: bool
) -> None:
    torch.manual_seed(0)
    layer, input = nn.Linear(64, 96, bias=bias).bfloat16(), torch.randn(shape).bfloat16()
    with torch.no_grad():
        plain = layer(input)
        with prepacked(layer):
            assert "forward" in vars(layer)
            torch.testing.assert_close(layer(input), plain, rtol=2**-8, atol=2**-8)
    assert "forward" not in vars(layer)


@multiplies
def test_all_linear_layers_of_a_model_are_packed_and_given_back_after_an_error() -> None:
    model = tiny_llama().bfloat16()
    linear = [layer for layer in model.modules() if type(layer) is nn.Linear]

    def interrupted() -> None:
        with prepacked(model):
            assert all("forward" in vars(layer) for layer in linear)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not any("forward" in vars(layer) for layer in linear)


def test_weights_in_float32_and_layers_of_other_classes_stay_as_they_are() -> None:
    class Other(nn.Linear):
        pass

    layers = nn.Sequential(nn.Linear(8, 8), Other(8, 8, dtype=torch.bfloat16))
    with prepacked(layers):
        assert not any("forward" in vars(layer) for layer in layers)


def test_a_model_that_leaves_no_room_for_a_copy_is_not_packed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = nn.Linear(64, 64, bias=False).bfloat16()
    monkeypatch.setattr(packing, "device_memory", lambda _: 8 * 64 * 64 * 2 - 1)
    with prepacked(layer):
        assert "forward" not in vars(layer)
