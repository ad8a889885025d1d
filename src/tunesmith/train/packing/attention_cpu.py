"""Causal attention over a line of packed rows that share beginnings, in a few large pieces and
without copies.

In the line (see tensors.py) every token is seen by itself and by what follows it in its row, and
those tokens stand together: a block [start, stop) of keys is seen by the queries [start, end),
causally up to `stop` and wholly after it. Attention over all of a query's blocks is put together
from torch's flash attention of each block: outputs weighted by their log-sum-exps in the forward
pass, and in the backward pass each block with the whole output and log-sum-exp, as ring attention
does it (Liu et al. 2023, arXiv 2310.01889). Exact up to rounding.

Legend: U tokens of the line, H heads, D numbers of a head. Keys and values may have fewer heads
than queries.
"""

from __future__ import annotations

from typing import Any

import torch

from tunesmith.train.packing.tensors import Block

BACKWARD_KEYS = 128
"""Keys of one piece of the backward pass: torch's kernel computes the upper triangle of a piece in vain."""

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def tree_attention(
    query_1HUD: torch.Tensor,
    key_1HUD: torch.Tensor,
    value_1HUD: torch.Tensor,
    blocks: tuple[Block, ...],
    scale: float | None,
) -> torch.Tensor:
    """Attention output (1, H, U, D) with gradients, on a CPU; `scale` is 1 / sqrt(D) where it is
    None. Of the values' kind of number, but computed in float32: torch's backward kernel takes
    three to five times as long in bfloat16.
    """
    inputs = (tensor.float() for tensor in (query_1HUD, key_1HUD, value_1HUD))
    out_1HUD: torch.Tensor = _TreeAttention.apply(*inputs, blocks, scale)
    return out_1HUD.to(value_1HUD.dtype)


class _TreeAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        blocks: tuple[Block, ...],
        scale: float | None,
    ) -> torch.Tensor:
        # (1, U, H, D) in memory: what the output projection reads, and what the kernels write.
        out = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
        out_1HUD = out.transpose(1, 2)
        lse_1HU = out.new_empty(out.shape[:3]).transpose(1, 2)
        end_of_seen = 0
        for block in (
            blocks
        ):  # in the order of the line: the blocks that a query sees come one after another
            for queries, causal in _pieces(block):
                piece, lse = _forward(
                    query[:, :, queries],
                    key[:, :, block.keys],
                    value[:, :, block.keys],
                    0.0,
                    causal,
                    scale=scale,
                )
                if block.start < end_of_seen:
                    _add(out_1HUD[:, :, queries], lse_1HU[:, :, queries], piece, lse)
                else:
                    out_1HUD[:, :, queries], lse_1HU[:, :, queries] = piece, lse
            end_of_seen = max(end_of_seen, block.end)
        ctx.save_for_backward(query, key, value, out_1HUD, lse_1HU)
        ctx.blocks, ctx.scale = blocks, scale
        return out_1HUD

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        sums = [torch.zeros_like(tensor) for tensor in (query, key, value)]
        for whole in ctx.blocks:
            for block in whole.cut(BACKWARD_KEYS):
                for queries, causal in _pieces(block):
                    found = _backward(
                        grads[0][:, :, queries], query[:, :, queries], key[:, :, block.keys], value[:, :, block.keys],
                        out[:, :, queries], lse[:, :, queries], 0.0, causal, scale=ctx.scale,
                    )  # fmt: skip
                    for total, part, at in zip(
                        sums, found, (queries, block.keys, block.keys), strict=True
                    ):
                        total[:, :, at] += part
        return *sums, None, None


def _pieces(block: Block) -> list[tuple[slice, bool]]:
    """The queries of a block's own tokens, causal, and those after it, which see all of it."""
    own, after = (slice(block.start, block.stop), True), (slice(block.stop, block.end), False)
    return [own, after] if block.stop < block.end else [own]


def _add(
    out: torch.Tensor, lse: torch.Tensor, piece: torch.Tensor, piece_lse: torch.Tensor
) -> None:
    """Put a further part of a softmax's terms to the others, in place."""
    both = torch.logaddexp(lse, piece_lse)
    out.lerp_(piece, (piece_lse - both).exp_()[..., None])
    lse.copy_(both)
