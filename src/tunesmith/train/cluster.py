"""What training on many devices moves and takes, on paper: formulas, not measurements.

One optimiser step under FSDP2 with activation checkpointing: in every pass each device gathers all
weights twice in bfloat16 (forward, and again for the backward pass) and hands over the gradients
once in float32; each weight costs 8 FLOPs a token, 2 of them for computing the activations again.
"""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.train.optim import OPTIMIZERS

BF16, FP32 = 2, 4
GATHERED = 2 * BF16  # bytes a weight and pass
REDUCED = FP32
FLOPS = 8  # a weight and token: 2 forward, 2 again, 4 backward
STATE = OPTIMIZERS["adamw"].state_bytes["float32"]  # with weight and gradient


@dataclass(frozen=True)
class Cluster:
    """Devices of `flops_per_second` each (achieved, not the data sheet's) in machines of
    `per_machine`. `bytes_per_second` is what a collective over all devices moves through each
    machine, `bytes_inside` what one among a machine's devices moves through each device.
    """

    devices: int
    per_machine: int
    flops_per_second: float
    bytes_per_second: float
    bytes_inside: float


def state_bytes(parameters: float, cluster: Cluster) -> float:
    """Weights, gradients and AdamW's state on each device."""
    return STATE * parameters / cluster.devices


def moved_bytes(parameters: float) -> float:
    """What a pass moves through each machine: its devices gather the same weights once."""
    return (GATHERED + REDUCED) * parameters


def moving_seconds(parameters: float, cluster: Cluster) -> float:
    """Of one pass, if nothing is computed meanwhile."""
    return moved_bytes(parameters) / cluster.bytes_per_second


def answering_seconds(parameters: float, tokens: float, cluster: Cluster) -> float:
    """Of moving weights in bfloat16 for answers of so many tokens, all written at once."""
    return BF16 * parameters * tokens / cluster.bytes_per_second


def computing_seconds(parameters: float, tokens: float, cluster: Cluster) -> float:
    """Of one pass over so many tokens on all devices, without attention's own products."""
    return FLOPS * parameters * tokens / (cluster.devices * cluster.flops_per_second)


def tokens_that_hide_it(cluster: Cluster) -> float:
    """Tokens of a pass, on all devices, whose computing takes as long as the moving; it does not
    depend on the model's size.
    """
    rate = cluster.devices * cluster.flops_per_second
    return (GATHERED + REDUCED) / FLOPS * rate / cluster.bytes_per_second


def tensor_parallel_seconds(hidden: int, layers: int, tokens: float, cluster: Cluster) -> float:
    """What tensor parallelism inside machines moves in a pass over so many tokens: an all-reduce of
    the hidden states after attention and after the feed-forward, forward, again and backward. An
    all-reduce moves 2 (d - 1) / d of them through each of d devices.
    """
    d = cluster.per_machine
    states = tokens / (cluster.devices / d) * hidden * BF16
    return 6 * layers * 2 * (d - 1) / d * states / cluster.bytes_inside


def checkpoint_bytes(parameters: float) -> float:
    """Weights and AdamW's state, of all devices together."""
    return (STATE - FP32) * parameters  # gradients are not saved
