"""Linear layers in 4 bits, for QLoRA (Dettmers et al. 2023): transformers' integration of
bitsandbytes, with the settings of the paper.
"""

from __future__ import annotations

from typing import Protocol, cast

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel

from tunesmith.errors import InputError
from tunesmith.packages import installed

ASKED = "train.lora.load_in_4bit"
BLOCK, OUTER_BLOCK = 64, 256
"""Weights that share a constant of one byte, and constants that share one of four."""


def check_four_bit(device: str) -> None:
    """InputError where `device` is not "cuda" or bitsandbytes is not installed."""
    if device != "cuda":
        raise InputError(
            f"{ASKED} needs an NVIDIA GPU: the model is on {device}",
            hint=f"{ASKED}=false: adapters on the weights as they are",
        )
    if not installed("bitsandbytes"):
        raise InputError(
            f"{ASKED} needs bitsandbytes, which is not installed",
            hint="pip install 'tunesmith[gpu]'",
        )


def in_four_bits(device: str) -> dict[str, object]:
    """Options of `from_pretrained`: NF4, its constants quantised too, computed in bfloat16."""
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def packed_bytes(num_weights: int) -> int:
    """What so many weights take: half a byte each, and their constants (section 3 of the paper)."""
    constants = -(-num_weights // BLOCK)
    return -(-num_weights // 2) + constants + 4 * -(-constants // OUTER_BLOCK)


def linear_layers(model: PreTrainedModel) -> list[tuple[str, torch.nn.Linear]]:
    """Those that are kept in 4 bits, or may have adapters, by name: all but the head."""
    head = model.get_output_embeddings()
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    ]


def pack_empty(model: PreTrainedModel) -> None:
    """Put layers as large as those in 4 bits into an empty model, which compute nothing."""
    for name, layer in linear_layers(model):
        model.set_submodule(name, _Packed(layer))


class _Packed(torch.nn.Linear):
    """A layer without numbers that takes the memory of bitsandbytes' Linear4bit."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        with torch.device("meta"):
            super().__init__(layer.in_features, layer.out_features, layer.bias is not None)
            packed = torch.empty(packed_bytes(layer.weight.numel()), dtype=torch.uint8)
        self.weight = torch.nn.Parameter(packed, requires_grad=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Computed in bfloat16, given back in the dtype of `states`."""
        out: torch.Tensor = _Product.apply(states.bfloat16(), self.out_features)
        return (out if self.bias is None else out + self.bias).to(states.dtype)


class _Kept(Protocol):
    """What autograd keeps between the two passes of `_Product`."""

    width: int


class _Product(torch.autograd.Function):
    """The weights are unpacked for each pass, and nothing is kept but them."""

    @staticmethod
    def forward(ctx: _Kept, states: torch.Tensor, width: int) -> torch.Tensor:
        ctx.width = states.shape[-1]
        return states @ states.new_empty(states.shape[-1], width)

    @staticmethod
    def backward(ctx: _Kept, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        grad = grads[0]
        return grad @ grad.new_empty(grad.shape[-1], ctx.width), None


def dequantized(model: PreTrainedModel) -> PreTrainedModel:
    """The same numbers as plain float32 weights, in a model that knows of no quantisation."""
    plain: PreTrainedModel = model.dequantize(dtype=torch.float32)
    setattr(plain, "hf_quantizer", None)  # noqa: B010 - annotated as something else
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(plain.config, name):
            delattr(plain.config, name)
    return cast(PreTrainedModel, plain.float())
