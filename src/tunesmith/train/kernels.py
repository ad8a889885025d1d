"""Liger's Triton kernels for norms, rotary embeddings and gated feed-forwards.

transformers' integration puts them in. Liger's fused losses stay out: loss.py sends only trained
positions through the head and accumulates in float32.
"""

from __future__ import annotations

from transformers import PreTrainedModel

from tunesmith.errors import InputError
from tunesmith.packages import installed
from tunesmith.train.adapters import unwrap_peft

HINT = "train.use_liger_kernel=false"
NOT_THE_LOSS = {"cross_entropy": False, "fused_linear_cross_entropy": False}


def check_liger(device: str) -> None:
    """InputError where `device` is not "cuda" or liger-kernel is not installed."""
    if device != "cuda":
        raise InputError(
            f"train.use_liger_kernel needs an NVIDIA GPU: the model is on {device}", hint=HINT
        )
    if not installed("liger_kernel"):
        raise InputError(
            "train.use_liger_kernel needs liger-kernel, which is not installed",
            hint="pip install 'tunesmith[gpu]'",
        )


def use_liger_kernels(model: PreTrainedModel) -> None:
    """Patch the model in place.

    Raises InputError as `check_liger` does, and for an architecture that Liger has no kernels for,
    which transformers would pass over in silence.
    """
    check_liger(next(model.parameters()).device.type)
    # optional (the extra `gpu`), and found to be there by check_liger
    from liger_kernel.transformers.monkey_patch import (  # noqa: PLC0415
        MODEL_TYPE_TO_APPLY_LIGER_FN,
    )

    inner = unwrap_peft(model)
    if inner.config.model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise InputError(
            f"train.use_liger_kernel: Liger has no kernels for {inner.config.model_type} models",
            hint=HINT,
        )
    from transformers.integrations.liger import apply_liger_kernel  # noqa: PLC0415  needs Liger

    apply_liger_kernel(model, NOT_THE_LOSS)
