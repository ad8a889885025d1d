"""LoRA through peft, and averaging with the base's weights.

The loop needs to know of neither: it trains whatever requires gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from transformers.pytorch_utils import Conv1D

from tunesmith.distributed.sharding import fill
from tunesmith.errors import InputError, RecipeError, did_you_mean
from tunesmith.models.four_bit import linear_layers
from tunesmith.models.stored import StoredWeights
from tunesmith.recipe import LoraConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"


def check_lora(model: PreTrainedModel, config: LoraConfig) -> None:
    """RecipeError where the adapters do not suit the model: a target that no layer is named after,
    a layer that is no matrix, a rank above the smaller side of a matrix. Weights are not looked at.
    """
    head = model.get_output_embeddings()
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
    }
    for target in _targets(config):
        matched = {name for name, _ in model.named_modules() if _matches(name, target)}
        sides = {name: min(linear[name].weight.shape) for name in matched & linear.keys()}
        if not sides:
            known = {name.rpartition(".")[2] for name in linear}
            what = f"{min(matched)} is no linear layer" if matched else "no layer is called so"
            raise RecipeError(
                f"train.lora.target_modules: {target!r}: {what}",
                hint=did_you_mean(target, known | {ALL_LINEAR}),
            )
        narrowest = min(sides, key=lambda name: (sides[name], name))
        if config.r > sides[narrowest]:
            raise RecipeError(
                f"train.lora.r = {config.r} is above {sides[narrowest]}, the smaller side of "
                f"{narrowest}",
                hint="8 to 64 is usual; to train all weights, leave train.lora out",
            )


def _targets(config: LoraConfig) -> list[str]:
    """Names of layers; a single one may stand without a list, and none is an empty name."""
    found = config.target_modules
    return [found] if isinstance(found, str) else found or [""]


def _matches(name: str, target: str) -> bool:
    return target == ALL_LINEAR or name == target or name.endswith(f".{target}")


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
    if config.load_in_4bit:  # checkpointing is the loop's affair
        model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    torch.manual_seed(seed)
    settings = peft.LoraConfig(
        r=config.r,
        lora_alpha=config.lora_alpha,
        # a single name would be a regular expression to peft
        target_modules=ALL_LINEAR if config.target_modules == ALL_LINEAR else _targets(config),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    return cast("PreTrainedModel", peft.get_peft_model(model, settings))


def lora_parameters(model: PreTrainedModel, config: LoraConfig) -> int:
    """Of the adapters: two matrices of rank r for each linear layer they are put on."""
    targets = config.target_modules
    layers = [
        layer
        for name, layer in linear_layers(model)
        if isinstance(targets, str) or name.rpartition(".")[2] in targets
    ]
    return sum(config.r * (layer.in_features + layer.out_features) for layer in layers)


def wrap_lora_empty(
    model: PreTrainedModel, stored: StoredWeights, config: LoraConfig, seed: int = 0
) -> tuple[PreTrainedModel, StoredWeights]:
    """`wrap_lora` for a model on the meta device: the same adapters, with their numbers, on a base
    that stays without; and where its weights lie, under the names that they now have.
    """
    # peft puts adapters where the base is; one number, seen as a whole matrix, takes no memory
    weights = model.named_parameters()
    fill(model, {name: torch.zeros(()).expand(weight.shape) for name, weight in weights})
    names = {id(weight): name for name, weight in model.named_parameters()}
    wrapped = wrap_lora(model, config, seed)
    now = dict(unwrap_peft(wrapped).named_parameters())
    base = {name: names[id(weight)] for name, weight in now.items() if id(weight) in names}
    fill(unwrap_peft(wrapped), {name: now[name].detach().to("meta") for name in base})
    buffers = {name: name for name, _ in model.named_buffers() if name in stored.origins}
    origins = {new: stored.origins[old] for new, old in {**base, **buffers}.items()}
    return wrapped, replace(stored, origins=origins)


def unwrap_peft(model: PreTrainedModel) -> PreTrainedModel:
    """The transformers model inside peft's wrapper, adapters in place; others unchanged."""
    get_base_model: Callable[[], PreTrainedModel] | None = getattr(model, "get_base_model", None)
    return model if get_base_model is None else get_base_model()


def with_base(model: PreTrainedModel, base: PreTrainedModel, config: LoraConfig) -> PreTrainedModel:
    """The adapters of one model on another base of the same shapes."""
    import peft  # noqa: PLC0415  optional: it is there where there are adapters

    found = wrap_lora(base, config.model_copy(update={"load_in_4bit": False}))
    peft.set_peft_model_state_dict(found, peft.get_peft_model_state_dict(model))
    return found


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
