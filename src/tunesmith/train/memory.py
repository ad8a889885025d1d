"""How much memory training takes, and the largest micro-batch that fits.

What a token's activations take is measured on the model itself rather than computed from its
config, which would need a formula for each architecture: autograd's saved-tensor hooks see what a
forward pass keeps for the backward pass. Measured on two rows and on four, the difference over the
added tokens is what one token takes, and constant parts (masks, rotary tables) cancel. With
gradient checkpointing a layer keeps only its input, and one layer at a time is recomputed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import warnings
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from tunesmith.machine import device_memory
from tunesmith.models.joined import id_of_storage
from tunesmith.recipe import TrainConfig
from tunesmith.train.loss import Objective, Parts, nll_sum
from tunesmith.train.optim import OPTIMIZERS
from tunesmith.train.packing.plan import MicroBatch, TrainingData
from tunesmith.train.packing.tensors import Batch, to_packed, to_padded

CPU_BATCH_TOKENS = 8192
CPU_ACTIVATION_BYTES = 4 << 30
GPU_BATCH_TOKENS = 1 << 18
USABLE = 0.8  # share of the device's memory; the rest is for fragmentation and everything else
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt's parameters, from malloc.h
KEPT_BYTES = (1 << 31) - 1
LARGE_BLOCK = 1 << 20
WEIGHT_BYTES = {"float32": 4, "bfloat16": 2}
KEPT_KERNELS = "32"  # those of one layer and of the head, forward and backward


def resident_bytes() -> int:
    """What this process has in memory now; at its highest, where there is no /proc."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak_bytes(device: torch.device) -> int:
    """The most that this process has had: of a GPU's memory tensors alone, else all of it."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the process that started this one had then
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def state_bytes(model: torch.nn.Module, config: TrainConfig) -> int:
    """Bytes of weights, gradients and optimiser state that are on the device at once; of frozen
    parameters, the weights alone. Of gradients that are freed one by one, and of states that are
    brought one by one, the largest weight's.
    """
    frozen = sum(p.numel() * p.element_size() for p in model.parameters() if not p.requires_grad)
    sizes = [p.numel() for p in model.parameters() if p.requires_grad]
    trained, largest = sum(sizes), max(sizes, default=0)
    weight, state = WEIGHT_BYTES[config.weights_dtype], optimizer_bytes(config)
    gradients = weight * (largest if config.optim_in_backward else trained)
    states = state * (largest if config.offload_optimizer else trained)
    return frozen + weight * trained + gradients + states


def optimizer_bytes(config: TrainConfig) -> int:
    """Of the optimiser's state, for one parameter."""
    dtype = config.weights_dtype
    return OPTIMIZERS[config.optim].state_bytes[dtype] - 2 * WEIGHT_BYTES[dtype]


def checkpoint_bytes(trained: int, config: TrainConfig) -> int:
    """Of so many trained parameters and the optimiser's state; gradients are not saved."""
    # Muon leaves the embeddings to AdamW, and they are often the larger part.
    optim = "adamw" if config.optim == "muon" else config.optim
    dtype = config.weights_dtype
    return trained * (OPTIMIZERS[optim].state_bytes[dtype] - WEIGHT_BYTES[dtype])


def kept_bytes(forward: Callable[[], torch.Tensor], weights: Iterable[torch.Tensor]) -> int:
    """Bytes that a forward pass keeps for its backward pass, not counting the weights.

    Tensors that are views of the same storage count once.
    """
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        # not by address: a sharded layer's weights are freed after it, and others come there
        kept[id_of_storage(tensor)] = tensor.untyped_storage().nbytes()
        # Detached: an output that its own operation saves would hold that operation, which holds
        # the output, and with both the whole model for good.
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        # While the result lives, so does all it keeps: no storage is counted under another's id.
        result = forward()
    for weight in weights:
        kept.pop(id_of_storage(weight), None)
    del result
    return sum(kept.values())


def activation_bytes(
    parts: Parts,
    num_tokens: int,
    padded: bool,
    dtype: torch.dtype,
    objective: Objective = nll_sum,
) -> int:
    """Bytes that one token's activations take until the backward pass of `objective`.

    Measured on rows of `num_tokens` tokens, in autocast to `dtype` unless that is float32.
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
                partial(objective, parts, made_rows(n, num_tokens, padded, device)),
                model.parameters(),
            )
            for n in (2, 4)
        )
    model.train(was_training)
    return max(1, (two - one) // (2 * num_tokens))


def made_rows(
    num_rows: int, num_tokens: int, padded: bool, device: torch.device, varlen: bool = False
) -> Batch:
    """Rows of `num_tokens` input tokens, not shared, each with one trained position, the last."""
    length = num_tokens + 1
    ids = np.arange(num_rows * length) % 2
    offsets = np.arange(num_rows + 1) * length
    names = [str(row) for row in range(num_rows)]
    data = TrainingData.from_arrays(ids, offsets, np.full(num_rows, num_tokens), names)
    micro = MicroBatch(np.arange(num_rows), np.zeros(num_rows, dtype=np.int64))
    return to_padded(data, micro, device) if padded else to_packed(data, micro, device, varlen)


def tokens_that_fit(
    model: PreTrainedModel,
    states: int,
    bytes_per_token: int,
    bytes_per_number: int,
    checkpointing: bool,
    memory: int | None = None,
    away: bool = False,
) -> int:
    """The largest micro-batch, in tokens, whose activations fit in memory; may be 0.

    `states` are the bytes of weights, gradients and optimiser, `bytes_per_token` what
    `activation_bytes` gives, `bytes_per_number` those of a number in a hidden state, `memory` the
    device's where it is not the model's own. Of activations that are put `away`, one layer's are
    there.
    """
    config = model.config.get_text_config()
    layers = config.num_hidden_layers
    if away:
        bytes_per_token = max(1, bytes_per_token // layers)
    elif checkpointing:
        bytes_per_token = layers * config.hidden_size * bytes_per_number + bytes_per_token // layers
    if memory is None:
        memory = device_memory(next(model.parameters()).device)
    free = memory * USABLE - states
    return max(0, int(free / bytes_per_token))


def largest_useful_batch(device: torch.device, bytes_per_token: int) -> int:
    """Tokens of a micro-batch beyond which more only cost memory.

    Matrix products have reached their full rate there, and what a micro-batch costs besides
    (accumulating gradients, launching kernels) is small. packing/plan.py says how it is used.
    """
    if device.type == "cuda":
        return GPU_BATCH_TOKENS
    return min(CPU_BATCH_TOKENS, CPU_ACTIVATION_BYTES // bytes_per_token)


def checkpoint_layers(model: PreTrainedModel) -> None:
    """Compute each layer's activations again in the backward pass (gradient checkpointing)."""
    with warnings.catch_warnings():  # the new name is not in every version that tunesmith runs with
        warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)
        model.gradient_checkpointing_enable({"use_reentrant": False})


def keep_few_kernels() -> None:
    """Limit oneDNN's cache of compiled kernels, unless the user has set it.

    oneDNN, which multiplies bfloat16 on a CPU, compiles a kernel per shape and keeps 1,024 of them.
    Packed micro-batches rarely repeat a number of tokens, so kernels are not reused, and blocks of
    half a megabyte scattered among the activations fragment the heap. Both caches (oneDNN's and
    that of torch's binding) read their environment variable at the first product.
    """
    for cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(cache, KEPT_KERNELS)


def keep_freed_memory() -> None:
    """Let malloc keep the memory that tensors free, for the next ones.

    By default glibc returns large blocks to the system, and every step waits again for zeroed
    pages, up to a tenth of its time on a CPU. Does nothing where there is no glibc.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        if libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES):  # old versions refuse so large a number
            libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def free_at_once() -> None:
    """Let malloc return large blocks to the system as soon as they are freed.

    The layers of a sharded model come and go with every pass. In glibc's heap the holes between
    them grew to more than a whole copy of the model.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


def give_back_freed_memory() -> None:
    """What `keep_freed_memory` kept and no tensor holds any more, of all threads, to the system.

    Called when a training is over: what comes next would otherwise run beside gigabytes of its
    activations, and each thread's part would grow with every training of a process.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
