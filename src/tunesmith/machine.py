"""How fast this machine computes and copies, the number format it is fast in, and its memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from tunesmith.ranks import processes_here


@dataclass(frozen=True)
class Machine:
    """Measured rates: FLOP/s of a large matrix product, and bytes copied per second."""

    flops_per_second: float
    bytes_per_second: float


def probe_machine(
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Machine:
    """Measure the matmul rate and the copy bandwidth; about half a second on a CPU."""
    size = 1024 if torch.device(device).type == "cpu" else 8192
    a_NN = torch.randn(size, size, device=device, dtype=dtype)
    b_NN = torch.randn(size, size, device=device, dtype=dtype)
    seconds = _best_time(lambda: a_NN @ b_NN, device)
    block = torch.empty(1 << 26, dtype=torch.uint8, device=device)
    other = block.clone()  # outside the timing: the system maps a new block's pages one by one
    copied = _best_time(lambda: other.copy_(block), device)
    return Machine(2 * size**3 / seconds, 2 * block.numel() / copied)


def fastest_dtype(device: torch.device) -> str:
    """bfloat16 on CUDA and on a CPU that multiplies it in hardware, else float32.

    The hardware is AVX-512 BF16 or AMX; on other CPUs torch emulates bfloat16 slowly. Looked up
    rather than measured: on a busy machine, a measurement could choose another format for the same
    recipe, which would then not end in the same weights.
    """
    if device.type == "cuda":
        return "bfloat16"
    in_hardware = any(
        getattr(torch.cpu, f"_is_{kind}_supported", bool)() for kind in ("avx512_bf16", "amx_tile")
    )
    return "bfloat16" if in_hardware else "float32"


def device_memory(device: torch.device) -> int:
    """The device's total memory in bytes; of a CPU, this process' share of it.

    Not what is free: the plan has to come out the same whenever the same run is started.
    """
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // processes_here()


def _best_time(work: Callable[[], object], device: torch.device | str) -> float:
    """Seconds that the fastest of eight calls took."""
    times = []
    for _ in range(8):
        started = time.perf_counter()
        work()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times)
