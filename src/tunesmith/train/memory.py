"""How much memory training takes, and the micro-batch that fits.

What a token's activations take is measured on the model itself: autograd tells what a forward pass
keeps for the backward pass, and the difference between rows more and rows fewer, over the tokens of
these rows, is what one token takes. With gradient checkpointing a layer keeps its input, and one
layer at a time is computed again.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch

from tunesmith.train.loss import Parts, nll_sum
from tunesmith.train.packing.plan import MicroBatch, TrainingData
from tunesmith.train.packing.tensors import Batch, to_packed, to_padded

CPU_BATCH_TOKENS = 8192
CPU_ACTIVATION_BYTES = 4 << 30
GPU_BATCH_TOKENS = 1 << 18
USABLE = 0.8
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
KEPT_BYTES = (1 << 31) - 1
KEPT_KERNELS = "32"  # a layer's and the head's, forward and backward
STATE_BYTES = {
    ("adamw", "float32"): 16,
    ("adafactor", "float32"): 9,
    ("adamw_8bit", "float32"): 10,
    ("muon", "float32"): 12,
    ("adamw", "bfloat16"): 8,
    ("adamw_8bit", "bfloat16"): 6,
}
"""Bytes a parameter takes, by optimiser and kind of weights: itself, its gradient, and the optimiser's state."""


def device_memory(device: torch.device) -> int:
    """Bytes in all, not bytes free: the plan must come out the same at each start."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def state_bytes(model: torch.nn.Module, optim: str, weights_dtype: str = "float32") -> int:
    """Weights, gradients and optimiser state; frozen weights count once."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() * p.element_size() for p in model.parameters() if not p.requires_grad)
    return trainable * STATE_BYTES[optim, weights_dtype] + frozen


def kept_bytes(forward: Callable[[], torch.Tensor], weights: Iterable[torch.Tensor]) -> int:
    """Bytes that a forward pass keeps for its backward pass, each block of memory once, and without
    the weights.
    """
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = (
            forward()
        )  # as long as it lives, so does what was kept, and no block is counted twice
    for weight in weights:
        kept.pop(weight.untyped_storage().data_ptr(), None)
    del result
    return sum(kept.values())


def activation_bytes(parts: Parts, num_tokens: int, padded: bool, dtype: torch.dtype) -> int:
    """Bytes that one token's activations take until the backward pass, measured on rows of
    `num_tokens` tokens.
    """
    model = parts.model
    device = next(model.parameters()).device
    was_training = model.training
    model.train()
    precision = (
        nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)
    )
    with torch.random.fork_rng(), precision:
        one, two = (
            kept_bytes(
                partial(nll_sum, parts, _made_rows(n, num_tokens, padded, device)),
                model.parameters(),
            )
            for n in (2, 4)
        )
    model.train(was_training)
    return max(1, (two - one) // (2 * num_tokens))


def _made_rows(num_rows: int, num_tokens: int, padded: bool, device: torch.device) -> Batch:
    """Rows of `num_tokens` input tokens that have nothing in common, of which only the last is
    trained.
    """
    length = num_tokens + 1
    ids = np.arange(num_rows * length) % 2
    offsets = np.arange(num_rows + 1) * length
    names = [str(row) for row in range(num_rows)]
    data = TrainingData.from_arrays(ids, offsets, np.full(num_rows, num_tokens), names)
    micro = MicroBatch(np.arange(num_rows), np.zeros(num_rows, dtype=np.int64))
    return to_padded(data, micro, device) if padded else to_packed(data, micro, device)


def tokens_that_fit(
    model: Any, states: int, bytes_per_token: int, bytes_per_number: int, checkpointing: bool
) -> int:
    """The largest micro-batch, in tokens, whose activations fit beside `states`, the bytes of
    weights, gradients and optimiser; may be 0.
    """
    if checkpointing:
        config = model.config.get_text_config()
        layers = config.num_hidden_layers
        bytes_per_token = layers * config.hidden_size * bytes_per_number + bytes_per_token // layers
    free = device_memory(next(model.parameters()).device) * USABLE - states
    return max(0, int(free / bytes_per_token))


def largest_useful_batch(device: torch.device, bytes_per_token: int) -> int:
    """Larger micro-batches only cost memory: matrix products have reached their full rate, and what
    each micro-batch costs beside them (adding up gradients, calling kernels) is small.
    `train.batches` says how it is used.
    """
    if device.type == "cuda":
        return GPU_BATCH_TOKENS
    return min(CPU_BATCH_TOKENS, CPU_ACTIVATION_BYTES // bytes_per_token)


def keep_few_kernels() -> None:
    """oneDNN, which multiplies bfloat16 on a CPU, compiles a kernel for each shape and keeps 1,024
    of them. A step's number of tokens hardly comes again, and blocks of half a megabyte, left
    standing between activations, tear the heap apart. The two caches (oneDNN's, and that of torch's
    interface to it) are read at the first product.
    """
    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(cache, KEPT_KERNELS)


def keep_freed_memory() -> None:
    """Let the process keep the memory that tensors free, for the next ones: glibc gives large
    pieces back to the system, and each step then waits for fresh zeroed pages. For a CPU; does
    nothing where there is no glibc.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        if libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES):  # old versions refuse so large a number
            libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
