"""Accelerators that a training can be planned for without having one: what their makers state.

Dense matrix products of bfloat16 (float16 where the device has no bfloat16), without sparsity.
Memory in GB of 10^9 bytes, of which a driver shows a little more.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.errors import InputError

GB = 10**9
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": GB, "TB": 10**12}
UNITS |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}


@dataclass(frozen=True)
class Device:
    """`memory` in bytes, the dense half-precision rate, the memory's bandwidth, and the document
    that has these figures.
    """

    name: str
    memory: int
    flops_per_second: float
    bytes_per_second: float
    source: str


DEVICES = {
    device.name: device
    for device in (
        Device("H200", 141 * GB, 989e12, 4.8e12, "NVIDIA H200 data sheet, SXM"),
        Device("H100", 80 * GB, 989e12, 3.35e12, "NVIDIA H100 data sheet, SXM"),
        Device("A100", 80 * GB, 312e12, 2.039e12, "NVIDIA A100 data sheet, 80GB SXM"),
        Device("L4", 24 * GB, 121e12, 300e9, "NVIDIA L4 data sheet, half of the sparse rate"),
        Device("T4", 16 * GB, 65e12, 320e9, "NVIDIA T4 data sheet, float16"),
        Device("RTX4090", 24 * GB, 165.2e12, 1.008e12, "NVIDIA Ada GPU architecture paper"),
        Device("RTX3090", 24 * GB, 71e12, 936e9, "NVIDIA Ampere GA102 paper"),
    )
}


def find_device(name: str) -> Device:
    """The device of this name, in any case and spacing; InputError that lists the known ones."""
    plain = "".join(name.upper().split()).replace("-", "")
    if plain not in DEVICES:
        raise InputError(
            f"--device {name}: not one of {', '.join(DEVICES)}",
            hint="for any other, give its memory: --memory 24GiB",
        )
    return DEVICES[plain]


def parse_memory(text: str) -> int:
    """Bytes of `24GiB`, `80 GB` or a plain number; InputError for anything else."""
    plain = "".join(text.upper().split())
    number = plain.rstrip("BGIKMT")
    unit = plain[len(number) :]
    try:
        size = int(float(number) * UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        size = 0
    if size <= 0:
        raise InputError(
            f"--memory {text}: no amount of memory", hint="give a number with a unit, as in 24GiB"
        )
    return size
