"""How much memory training takes, and the micro-batch that fits.

Estimates, from the model's config: activations that the backward pass needs, in numbers per token and layer, are
4h + 2a + 2k + 3f (h hidden, a query heads * head size, k key heads * head size, f feed-forward), the same again for
what element-wise operations keep; with gradient checkpointing only the layer's input, h.
"""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any

import torch

CPU_BATCH_TOKENS = 8192
CPU_ACTIVATION_BYTES = 4 << 30
GPU_BATCH_TOKENS = 1 << 18
USABLE = 0.8
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEPT_BYTES = (1 << 31) - 1
STATE_BYTES = {"adamw": 16, "adafactor": 9, "adamw_8bit": 10, "muon": 12}
"""Bytes a parameter takes in float32: itself, its gradient, and the optimiser's state."""


def device_memory(device: torch.device) -> int:
    """Bytes in all, not bytes free: the plan must come out the same at each start."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def state_bytes(model: torch.nn.Module, optim: str) -> int:
    """Weights, gradients and optimiser state; frozen weights count once."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() * p.element_size() for p in model.parameters() if not p.requires_grad)
    return trainable * STATE_BYTES[optim] + frozen


def activation_bytes(config: Any, bytes_per_number: int, checkpointing: bool) -> int:
    """Bytes that one token's activations take until the backward pass."""
    hidden = config.hidden_size
    layers = config.num_hidden_layers
    if checkpointing:
        return int(layers * hidden * bytes_per_number)
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or hidden // heads
    queries = heads * head_size
    keys = (getattr(config, "num_key_value_heads", None) or heads) * head_size
    feed_forward = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * hidden
    return int(2 * layers * (4 * hidden + 2 * queries + 2 * keys + 3 * feed_forward) * bytes_per_number)


def tokens_that_fit(model: Any, optim: str, bytes_per_number: int, checkpointing: bool) -> int:
    """The largest micro-batch, in tokens, whose activations fit beside weights and optimiser state; may be 0."""
    device = next(model.parameters()).device
    free = device_memory(device) * USABLE - state_bytes(model, optim)
    return max(0, int(free / activation_bytes(model.config.get_text_config(), bytes_per_number, checkpointing)))


def largest_useful_batch(config: Any, device: torch.device, bytes_per_number: int) -> int:
    """Larger micro-batches only cost memory: matrix products have reached their full rate, and what each micro-batch
    costs beside them (adding up gradients, calling kernels) is small. `train.batches` says how it is used."""
    if device.type == "cuda":
        return GPU_BATCH_TOKENS
    return min(CPU_BATCH_TOKENS, CPU_ACTIVATION_BYTES // activation_bytes(config, bytes_per_number, False))


def keep_freed_memory() -> None:
    """Let the process keep the memory that tensors free, for the next ones: glibc gives large pieces back to the
    system, and each step then waits for fresh zeroed pages. For a CPU; does nothing where there is no glibc."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        if libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES):  # old versions refuse so large a number
            libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
