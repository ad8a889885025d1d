"""Linear layers with their weights in the order in which oneDNN multiplies them.

A product of bfloat16 on a CPU first puts the weights into blocks, anew in every call, which takes a
third of its time with one row and a quarter with 32. While answers are written the weights stay the
same, so that a copy of them in blocks is made once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from tunesmith.machine import device_memory, fastest_dtype

ROOM = 8  # times the copy must fit into this machine's memory: there may be two models and a cache


@contextmanager
def prepacked(model: nn.Module) -> Iterator[None]:
    """In here bfloat16 products on a CPU that has instructions for them take the weights from
    blocks. For use without gradients, while the weights do not change.
    """
    layers = [layer for layer in model.modules() if _can_be_packed(layer)]
    if ROOM * sum(layer.weight.nbytes for layer in layers) > device_memory(torch.device("cpu")):
        layers = []
    for layer in layers:
        blocks = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
        layer.forward = partial(_product, blocks, layer.bias)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _can_be_packed(layer: nn.Module) -> bool:
    """Of subclasses, and of layers whose forward has been replaced, nothing is known."""
    return (
        type(layer) is nn.Linear
        and type(layer.weight) is nn.Parameter
        and "forward" not in vars(layer)
        and layer.weight.device.type == "cpu"
        and layer.weight.dtype == torch.bfloat16
        and torch.backends.mkldnn.is_available()
        and fastest_dtype(layer.weight.device) == "bfloat16"
    )


def _product(blocks: Tensor, bias: Tensor | None, input: Tensor) -> Tensor:
    """What nn.Linear's forward gives."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(input, blocks, bias, "none", [], "")
    return found
