"""Liger's Triton kernels for norms, rotary embeddings and gated feed-forwards, put in by
transformers' integration.

Its fused losses stay out: loss.py sends only trained positions through the head, and adds up in
float32.
"""

from __future__ import annotations

from typing import Any

from tunesmith.errors import InputError
from tunesmith.packages import installed

HINT = "train.use_liger_kernel=false"
NOT_THE_LOSS = {"cross_entropy": False, "fused_linear_cross_entropy": False}


def check_liger(device: str) -> None:
    """InputError without an NVIDIA GPU or without the package."""
    if device != "cuda":
        raise InputError(
            f"train.use_liger_kernel needs an NVIDIA GPU: the model is on {device}", hint=HINT
        )
    if not installed("liger_kernel"):
        raise InputError(
            "train.use_liger_kernel needs liger-kernel, which is not installed",
            hint="pip install 'tunesmith[gpu]'",
        )


def use_liger_kernels(model: Any) -> None:
    """Patch the model in place. InputError without an NVIDIA GPU, without the package, and for a
    model it does not know (which transformers would pass over in silence).
    """
    check_liger(next(model.parameters()).device.type)
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    if inner.config.model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise InputError(
            f"train.use_liger_kernel: Liger has no kernels for {inner.config.model_type} models",
            hint=HINT,
        )
    from transformers.integrations.liger import apply_liger_kernel

    apply_liger_kernel(model, NOT_THE_LOSS)
