"""Tensors as llama.cpp's files hold them, where that is another order or another function of the
numbers than a Hugging Face model has.

Each order is the one of llama.cpp's own converter (its conversion folder), and is undone by
transformers as it reads the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from transformers import PreTrainedConfig

Written = Callable[[PreTrainedConfig, str, torch.Tensor], torch.Tensor]
"""From the model's tensor of that name to the file's."""
EXPERTS = "mlp.experts."
FLOAT32 = (
    "wpe.weight", "conv1d.weight", "conv.conv.weight", "mlp.gate.weight",
    "shared_expert_gate.weight", "A_log",
)  # fmt: skip
"""Positions, convolutions, routers and decays, which llama.cpp has in F32 in a file of any format,
as it does whatever has one dimension.
"""
Log = Callable[[torch.Tensor], torch.Tensor]
NEIGHBOURS = 8
"""How many numbers of float32 above and below an exponential are tried for its logarithm."""


def in_float32(name: str, weight: torch.Tensor) -> bool:
    """Whether llama.cpp wants a tensor so in a file of any format."""
    return weight.ndim == 1 or name.endswith(FLOAT32)


def parts(name: str, weight: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors that the gguf package has names for: transformers stacks the gates of all experts
    upon their ups [experts, 2 * width, hidden], and leaves `.weight` off.
    """
    if name.endswith(f"{EXPERTS}gate_up_proj"):
        for part, half in zip(("gate_proj", "up_proj"), weight.chunk(2, dim=1), strict=True):
            yield f"{name.removesuffix('gate_up_proj')}{part}.weight", half
    elif name.endswith(f"{EXPERTS}down_proj"):
        yield f"{name}.weight", weight
    elif name.endswith(".dt_bias"):
        yield f"{name.removesuffix('dt_bias')}dt_proj.bias", weight
    elif name.endswith(".e_score_correction_bias"):
        yield f"{name.removesuffix('_bias')}.bias", weight
    else:
        yield name, weight


def as_it_is(_: PreTrainedConfig, __: str, weight: torch.Tensor) -> torch.Tensor:
    """The same numbers."""
    return weight


def interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of queries or keys [heads * head_dim, hidden] as llama.cpp's Llama rotates them: the
    number i of a head's first half beside the number i of its second half.
    """
    halves = weight.reshape(heads, 2, -1, *weight.shape[1:])
    return halves.transpose(1, 2).reshape(weight.shape).contiguous()


def of_llama(config: PreTrainedConfig, name: str, weight: torch.Tensor) -> torch.Tensor:
    """Queries and keys are rotated in neighbouring pairs there, in two halves here."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    part = name.split(".")[-2]
    return interleaved(weight, heads[part]) if part in heads else weight


def of_gpt2(_: PreTrainedConfig, name: str, weight: torch.Tensor) -> torch.Tensor:
    """GPT-2's Conv1D keeps its matrices as [in, out], the file as [out, in]."""
    is_conv1d = name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
    return weight.T.contiguous() if is_conv1d else weight


def of_bloom(config: PreTrainedConfig, name: str, weight: torch.Tensor) -> torch.Tensor:
    """BLOOM has query, key and value of a head together, the file all queries first."""
    if ".query_key_value." not in name:
        return weight
    by_head = weight.reshape(config.num_attention_heads, 3, -1, *weight.shape[1:])
    return by_head.transpose(0, 1).reshape(weight.shape)


def without_channel(_: PreTrainedConfig, name: str, weight: torch.Tensor) -> torch.Tensor:
    """Convolutions over one channel [width, 1, kernel] without it."""
    return weight.squeeze(1) if name.endswith(("conv1d.weight", "conv.conv.weight")) else weight


def numpy_log(weight: torch.Tensor) -> torch.Tensor:
    """numpy's logarithm, whose last bit is another one than torch's for every tenth number."""
    return torch.from_numpy(np.log(weight.numpy()))


def exponential(weight: torch.Tensor, log: Log) -> torch.Tensor:
    """The exponential of what `log` gave; where float32 rounds it to one with another `log`, the
    nearest that has this one.
    """
    found = above = below = weight.exp()
    lost = log(found) != weight
    for _ in range(NEIGHBOURS):
        above = torch.nextafter(above, torch.full_like(above, torch.inf))
        below = torch.nextafter(below, torch.zeros_like(below))
        for near in (above, below):
            fits = lost & (log(near) == weight)
            found, lost = torch.where(fits, near, found), lost & ~fits
    return found


def of_mamba(config: PreTrainedConfig, name: str, weight: torch.Tensor) -> torch.Tensor:
    """A decay is -exp(A_log) in the file."""
    if name.endswith("A_log"):
        return -exponential(weight, numpy_log)
    return without_channel(config, name, weight)


def of_experts(_: PreTrainedConfig, name: str, weight: torch.Tensor) -> torch.Tensor:
    """The gate of the expert that sees every token is one row, in the file a vector."""
    return weight.squeeze(0) if name.endswith("shared_expert_gate.weight") else weight


def tiled(weight: torch.Tensor, groups: int, size: int) -> torch.Tensor:
    """Heads of `size` rows each, which stand by group, as llama.cpp has them: the first head of
    every group, then the second of every group.
    """
    by_group = weight.reshape(groups, -1, size, *weight.shape[1:])
    return by_group.transpose(0, 1).reshape(weight.shape)


def of_qwen3_5(config: PreTrainedConfig, name: str, weight: torch.Tensor) -> torch.Tensor:
    """Value heads of linear attention are grouped by their key's head here, tiled there."""
    groups, size = config.linear_num_key_heads, config.linear_value_head_dim
    plain = of_experts(config, name, without_channel(config, name, weight))
    if name.endswith("A_log"):
        plain = -exponential(plain, torch.log)
    if name.endswith(("in_proj_qkv.weight", "linear_attn.conv1d.weight")):
        keys = 2 * groups * config.linear_key_head_dim  # queries and keys stay where they are
        return torch.cat([plain[:keys], tiled(plain[keys:], groups, size)])
    if name.endswith("linear_attn.in_proj_z.weight"):
        return tiled(plain, groups, size)
    if name.endswith("linear_attn.out_proj.weight"):
        return tiled(plain.T, groups, size).T
    by_head = ("in_proj_a.weight", "in_proj_b.weight", "A_log", "dt_bias")
    return tiled(plain, groups, 1) if name.endswith(by_head) else plain
