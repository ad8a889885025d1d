"""Optimisers and learning-rate schedules from the recipe; all of them are torch's, transformers' or
torchao's.

bfloat16 weights (8 bits) are too coarse for small updates: 1 + 1e-3 is 1 again. torchao's AdamW
rounds each new weight up or down at random, with the chances that make it right on average
(stochastic rounding).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from transformers import Adafactor, get_scheduler

from tunesmith.errors import InputError
from tunesmith.packages import installed
from tunesmith.recipe import TrainConfig

WSD_DECAY_SHARE = 0.2

Group = dict[str, Any]


def default_learning_rate(num_parameters: int) -> float:
    """2e-5 at a billion parameters, growing with the inverse square root of the size, within 1e-5
    .. 1e-3.
    """
    return min(1e-3, max(1e-5, 2e-5 * math.sqrt(1e9 / max(num_parameters, 1))))


def resolved_learning_rate(model: torch.nn.Module, config: TrainConfig) -> float:
    """The recipe's rate, or the default for the model's size; LoRA's few weights take ten times as
    much.
    """
    if config.learning_rate is not None:
        return config.learning_rate
    rate = default_learning_rate(sum(p.numel() for p in model.parameters()))
    return min(1e-3, 10 * rate) if config.lora else rate


def check_optimizer(config: TrainConfig, on_cuda: bool) -> None:
    """InputError where the recipe's optimiser cannot round its kind of weights, or needs what is
    not installed.
    """
    if config.weights_dtype == "bfloat16" and config.optim not in ("adamw", "adamw_8bit"):
        raise InputError(
            f"train.weights_dtype = bfloat16 with train.optim = {config.optim}: small updates would be rounded away",
            hint="train.optim=adamw or adamw_8bit, which round stochastically, or train.weights_dtype=float32",
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
            hint="pip install 'tunesmith[gpu]', or train.optim=adafactor, which also keeps little state",
        )
    if not on_cuda and not has_compiler():
        raise InputError(
            f"{asked} is compiled when it runs, and on a CPU there is no C++ compiler here",
            hint="install g++ or clang, or train.optim=adamw with train.weights_dtype=float32",
        )


def build_optimizers(model: torch.nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """One optimiser, or two for Muon: Muon for the matrices, AdamW for embeddings, head, norms and
    biases.

    Weight decay acts on matrices only. Raises InputError as `check_optimizer` does.
    """
    rate = resolved_learning_rate(model, config)
    check_optimizer(config, next(model.parameters()).is_cuda)
    if config.optim == "muon":
        matrices, others = _matrices_and_others(model)
        # "match_rms_adamw" scales the update so that AdamW's learning rates suit it too.
        muon = torch.optim.Muon(
            matrices, lr=rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        return (
            [muon, _adamw([{"params": others, "weight_decay": 0.0}], rate, config)]
            if others
            else [muon]
        )
    groups = parameter_groups(model, config.weight_decay)
    if config.optim == "adafactor":
        return [
            Adafactor(
                groups, lr=rate, relative_step=False, scale_parameter=False, warmup_init=False
            )
        ]
    if config.optim == "adamw_8bit":
        return [_adamw_8bit(groups, rate, config)]
    return [_adamw(groups, rate, config)]


def build_schedules(
    optimizers: list[torch.optim.Optimizer], config: TrainConfig, num_steps: int
) -> list[torch.optim.lr_scheduler.LRScheduler]:
    """The schedule of transformers by that name; WSD decays over the last fifth of the steps."""
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
    for schedule in (
        schedules
    ):  # torchao keeps rates as tensors; they would be rounded differently after a resume
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


def _matrices_and_others(model: Any) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    tables = (inner.get_input_embeddings(), inner.get_output_embeddings())
    not_for_muon = {id(p) for module in tables if module is not None for p in module.parameters()}
    not_for_muon |= {
        id(p) for m in inner.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters()
    }
    trainable = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trainable if p.ndim == 2 and id(p) not in not_for_muon]
    chosen = {id(p) for p in matrices}
    return matrices, [p for p in trainable if id(p) not in chosen]


def _adamw(groups: list[Group], rate: float, config: TrainConfig) -> torch.optim.Optimizer:
    betas = (config.adam_beta1, config.adam_beta2)
    if config.weights_dtype == "bfloat16":
        return _torchao("_AdamW", groups, rate, config)
    return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=config.adam_epsilon, fused=True)


def _adamw_8bit(groups: list[Group], rate: float, config: TrainConfig) -> torch.optim.Optimizer:
    """bitsandbytes' on CUDA for float32 weights, else torchao's."""
    if groups[0]["params"][0].is_cuda and config.weights_dtype == "float32":
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError:
            pass
        else:
            betas = (config.adam_beta1, config.adam_beta2)
            optimizer: torch.optim.Optimizer = AdamW8bit(
                groups, lr=rate, betas=betas, eps=config.adam_epsilon
            )
            return optimizer
    return _torchao("AdamW8bit", groups, rate, config)


def _torchao(
    name: str, groups: list[Group], rate: float, config: TrainConfig
) -> torch.optim.Optimizer:
    """An AdamW of torchao, which computes in float32 whatever it keeps, and rounds bfloat16 weights
    stochastically.
    """
    from torchao import optim

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
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        return bool(get_cpp_compiler())
    except InvalidCxxCompiler:
        return False
