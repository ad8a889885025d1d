"""Linear layers in 4 bits, for QLoRA (Dettmers et al. 2023): transformers' integration of
bitsandbytes, with the settings of the paper.
"""

from __future__ import annotations

from typing import cast

import torch
from transformers import BitsAndBytesConfig, PreTrainedModel

from tunesmith.errors import InputError
from tunesmith.packages import installed

ASKED = "train.lora.load_in_4bit"


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


def dequantized(model: PreTrainedModel) -> PreTrainedModel:
    """The same numbers as plain float32 weights, in a model that knows of no quantisation."""
    plain: PreTrainedModel = model.dequantize(dtype=torch.float32)
    setattr(plain, "hf_quantizer", None)  # noqa: B010 - annotated as something else
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(plain.config, name):
            delattr(plain.config, name)
    return cast(PreTrainedModel, plain.float())
