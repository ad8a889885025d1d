"""Optimisers and learning-rate schedules from the recipe: torch's, transformers' or torchao's.

Weights kept in bfloat16 (8 significant bits) are too coarse for small updates: 1 + 1e-3 is 1 again.
torchao's AdamW therefore rounds each new weight up or down at random, with probabilities that make
it right on average (stochastic rounding).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Adafactor, PreTrainedModel, get_scheduler

from tunesmith.errors import InputError
from tunesmith.packages import installed
from tunesmith.recipe import TrainConfig
from tunesmith.train.adapters import unwrap_peft

WSD_DECAY_SHARE = 0.2  # of all steps

Group = dict[str, Any]
"""One of torch's parameter groups: `params`, and options that are theirs alone."""
Built = list[torch.optim.Optimizer]


def default_learning_rate(num_parameters: int) -> float:
    """2e-5 * sqrt(1e9 / parameters), at least 1e-5 and at most 1e-3.

    A rule of thumb; docs/results.md compares it with other rates on several data sets.
    """
    return min(1e-3, max(1e-5, 2e-5 * math.sqrt(1e9 / max(num_parameters, 1))))


def resolved_learning_rate(model: torch.nn.Module, config: TrainConfig) -> float:
    """The recipe's learning rate, or the default for the model's size, ten times that for LoRA."""
    if config.learning_rate is not None:
        return config.learning_rate
    rate = default_learning_rate(sum(p.numel() for p in model.parameters()))
    return min(1e-3, 10 * rate) if config.lora else rate


def check_optimizer(config: TrainConfig, on_cuda: bool) -> None:
    """InputError where the recipe's optimiser does not suit its weights or cannot run here.

    Any but AdamW would lose small updates of bfloat16 weights; torchao's needs the package, and a
    C++ compiler on a CPU.
    """
    if config.weights_dtype not in OPTIMIZERS[config.optim].state_bytes:
        raise InputError(
            f"train.weights_dtype = bfloat16 with train.optim = {config.optim}: "
            "small updates would be rounded away",
            hint="train.optim=adamw or adamw_8bit, which round stochastically, "
            "or train.weights_dtype=float32",
        )
    if config.weights_dtype == "bfloat16":
        asked = "train.weights_dtype = bfloat16"
    elif config.optim == "adamw_8bit" and not (on_cuda and installed("bitsandbytes")):
        asked = "train.optim = adamw_8bit"
    else:
        return
    if not installed("torchao"):
        raise InputError(
            f"{asked} needs torchao, which is not installed",
            hint="pip install 'tunesmith[gpu]', or train.optim=adafactor, "
            "which also keeps little state",
        )
    if not on_cuda and not has_compiler():
        raise InputError(
            f"{asked} is compiled when it runs, and on a CPU there is no C++ compiler here",
            hint="install g++ or clang, or train.optim=adamw with train.weights_dtype=float32",
        )


def build_optimizers(model: PreTrainedModel, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """The recipe's optimiser; of Muon two, AdamW having embeddings, head, norms and biases.

    Weight decay acts on matrices only. Raises InputError as `check_optimizer` does.
    """
    check_optimizer(config, next(model.parameters()).is_cuda)
    return OPTIMIZERS[config.optim].build(model, resolved_learning_rate(model, config), config)


def build_schedules(
    optimizers: list[torch.optim.Optimizer], config: TrainConfig, num_steps: int
) -> list[torch.optim.lr_scheduler.LRScheduler]:
    """A schedule per optimiser: transformers' of that name, WSD decaying over the last fifth."""
    warmup = math.ceil(num_steps * config.warmup_ratio)
    if config.lr_scheduler_type != "wsd":
        name = (
            "constant_with_warmup"
            if config.lr_scheduler_type == "constant"
            else config.lr_scheduler_type
        )
        schedules = [
            get_scheduler(name, o, num_warmup_steps=warmup, num_training_steps=num_steps)
            for o in optimizers
        ]
    else:
        decay = {"num_decay_steps": math.ceil(num_steps * WSD_DECAY_SHARE), "decay_type": "linear"}
        schedules = [
            get_scheduler(
                "warmup_stable_decay", o, warmup, num_steps, scheduler_specific_kwargs=decay
            )
            for o in optimizers
        ]
    # torchao keeps learning rates as float32 tensors. A schedule that computed from those would
    # round differently from one that was resumed from state.json, where they are plain numbers.
    for schedule in schedules:
        schedule.base_lrs = [float(rate) for rate in schedule.base_lrs]
    return schedules


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[Group]:
    """Trainable parameters in two groups: matrices are decayed, norms and biases are not."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _matrices_and_others(
    model: PreTrainedModel,
) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """The trainable parameters for Muon, and the others.

    Embeddings and head are tables with a row per token, not maps between hidden states, and Muon's
    authors leave both to AdamW (Jordan et al. 2024).
    """
    inner = unwrap_peft(model)
    tables = (inner.get_input_embeddings(), inner.get_output_embeddings())
    not_for_muon = {id(p) for module in tables if module is not None for p in module.parameters()}
    not_for_muon |= {
        id(p) for m in inner.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters()
    }
    trainable = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trainable if p.ndim == 2 and id(p) not in not_for_muon]
    chosen = {id(p) for p in matrices}
    return matrices, [p for p in trainable if id(p) not in chosen]


def _build_adamw(model: PreTrainedModel, rate: float, config: TrainConfig) -> Built:
    return [_adamw(parameter_groups(model, config.weight_decay), rate, config)]


def _adamw(groups: list[Group], rate: float, config: TrainConfig) -> torch.optim.Optimizer:
    betas = (config.adam_beta1, config.adam_beta2)
    if config.weights_dtype == "bfloat16":
        return _torchao("_AdamW", groups, rate, config)
    return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=config.adam_epsilon, fused=True)


def _build_adafactor(model: PreTrainedModel, rate: float, config: TrainConfig) -> Built:
    groups = parameter_groups(model, config.weight_decay)
    fixed = {"relative_step": False, "scale_parameter": False, "warmup_init": False}
    return [Adafactor(groups, lr=rate, **fixed)]


def _build_muon(model: PreTrainedModel, rate: float, config: TrainConfig) -> Built:
    matrices, others = _matrices_and_others(model)
    # "match_rms_adamw" scales the update so that AdamW's learning rates suit it too.
    muon = torch.optim.Muon(
        matrices, lr=rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    rest = [_adamw([{"params": others, "weight_decay": 0.0}], rate, config)] if others else []
    return [muon, *rest]


def _build_adamw_8bit(model: PreTrainedModel, rate: float, config: TrainConfig) -> Built:
    """That of bitsandbytes on CUDA for float32 weights where it is installed, else torchao's."""
    groups = parameter_groups(model, config.weight_decay)
    if groups[0]["params"][0].is_cuda and config.weights_dtype == "float32":
        try:
            from bitsandbytes.optim import AdamW8bit  # noqa: PLC0415  optional: the extra `gpu`
        except ImportError:
            pass
        else:
            betas = (config.adam_beta1, config.adam_beta2)
            return [AdamW8bit(groups, lr=rate, betas=betas, eps=config.adam_epsilon)]
    return [_torchao("AdamW8bit", groups, rate, config)]


def _torchao(
    name: str, groups: list[Group], rate: float, config: TrainConfig
) -> torch.optim.Optimizer:
    """One of torchao's AdamWs: computed in float32, bfloat16 weights rounded stochastically."""
    from torchao import optim  # noqa: PLC0415  optional: the extra `gpu`

    optimizer: torch.optim.Optimizer = getattr(optim, name)(
        groups,
        lr=rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        weight_decay=0.0,
        bf16_stochastic_round=config.weights_dtype == "bfloat16",
    )
    return optimizer


def has_compiler() -> bool:
    """Whether torch.compile finds a C++ compiler, which it needs on a CPU."""
    # torch's compiler takes a second to import, and only two settings need it
    from torch._inductor.cpp_builder import get_cpp_compiler  # noqa: PLC0415
    from torch._inductor.exc import InvalidCxxCompiler  # noqa: PLC0415

    try:
        return bool(get_cpp_compiler())
    except InvalidCxxCompiler:
        return False


@dataclass(frozen=True)
class OptimizerKind:
    """How an optimiser is built, and bytes per parameter by the weights' dtype: the weight, its
    gradient and the optimiser's state. A dtype that is not there would lose small updates.
    """

    build: Callable[[PreTrainedModel, float, TrainConfig], Built]
    state_bytes: Mapping[str, int]


OPTIMIZERS = {
    "adamw": OptimizerKind(_build_adamw, {"float32": 16, "bfloat16": 8}),
    "adamw_8bit": OptimizerKind(_build_adamw_8bit, {"float32": 10, "bfloat16": 6}),
    "adafactor": OptimizerKind(_build_adafactor, {"float32": 9}),
    "muon": OptimizerKind(_build_muon, {"float32": 12}),
}
"""The values of `train.optim`: one more is an entry here and a name in recipe.py."""
