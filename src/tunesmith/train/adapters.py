"""LoRA through peft, and averaging with the base's weights.

The loop needs to know of neither: it trains whatever requires gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

import torch

from tunesmith.errors import InputError
from tunesmith.recipe import LoraConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def wrap_lora(model: PreTrainedModel, config: LoraConfig, seed: int = 0) -> PreTrainedModel:
    """Put LoRA adapters into the model, the only weights that are then trainable.

    What comes back is peft's wrapper, which passes attributes and calls on to the model. Raises
    InputError where peft is not installed.
    """
    try:
        import peft  # noqa: PLC0415  optional: the extra `lora`
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
    return cast("PreTrainedModel", peft.get_peft_model(model, settings))


def unwrap_peft(model: PreTrainedModel) -> PreTrainedModel:
    """The transformers model inside peft's wrapper, adapters in place; others unchanged."""
    get_base_model: Callable[[], PreTrainedModel] | None = getattr(model, "get_base_model", None)
    return model if get_base_model is None else get_base_model()


def merge_lora(model: PreTrainedModel) -> PreTrainedModel:
    """The model with its adapters added into its weights; any other model unchanged."""
    merge: Callable[[], PreTrainedModel] | None = getattr(model, "merge_and_unload", None)
    return model if merge is None else merge()


@torch.no_grad()
def merge_with_base(model: torch.nn.Module, base: Mapping[str, torch.Tensor], share: float) -> None:
    """Move every trained weight to (1 - share) * trained + share * base, in place.

    A LoRA adapter's change is the product B A, with B = 0 at the start: moving B alone scales the
    change by 1 - share, and moving A too would scale it twice and mix in A's random start.
    """
    for name, parameter in model.named_parameters():
        if name in base and "lora_A" not in name:
            parameter.lerp_(base[name].to(parameter.device), share)
