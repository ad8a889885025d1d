"""LoRA through peft, and averaging with the base's weights. The loop trains whatever requires
gradients.
"""

from __future__ import annotations

from typing import Any

import torch

from tunesmith.errors import InputError
from tunesmith.recipe import LoraConfig


def wrap_lora(model: Any, config: LoraConfig, seed: int = 0) -> Any:
    """The model with LoRA adapters in place, only these trainable; InputError where peft is
    missing.
    """
    try:
        import peft
    except ImportError as error:
        raise InputError(
            "train.lora needs peft, which is not installed", hint="pip install 'tunesmith[lora]'"
        ) from error
    torch.manual_seed(seed)
    settings = peft.LoraConfig(
        r=config.r,
        lora_alpha=config.lora_alpha,
        target_modules=config.target_modules,
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(model, settings)


def merge_lora(model: Any) -> Any:
    """The base model with the adapters added into its weights; any other model comes back as it is."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


@torch.no_grad()
def merge_with_base(model: torch.nn.Module, base: dict[str, torch.Tensor], share: float) -> None:
    """Move every trained weight to (1 - share) * trained + share * base, in place.

    An adapter's change is the product B A with B = 0 at the start, so shrinking B alone shrinks the
    change.
    """
    for name, parameter in model.named_parameters():
        if name in base and "lora_A" not in name:
            parameter.lerp_(base[name].to(parameter.device), share)
