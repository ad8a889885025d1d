"""Causal attention over a line of packed rows, in a few large pieces and without copies.

The line is sorted so that every block of keys is seen by one contiguous range of queries
(packing/tensors.py): block [start, stop) by the queries [start, end), causally up to `stop` and
entirely after it. A query's keys are thus a few blocks, and attention over all of them is put
together from attention over each, which torch's flash attention computes directly on slices of the
line. Nothing is gathered, repeated or masked.

That parts can be put together is what flash attention itself relies on. For the keys of block k, it
gives the output o_k, which is softmax-weighted within the block, and the log-sum-exp of the scores,
lse_k. Over all blocks

    lse = log(sum_k exp(lse_k))        o = sum_k exp(lse_k - lse) * o_k

exactly, up to rounding. The backward pass of a block needs only its own queries and keys and the
final o and lse, so it is run block by block too, and the gradients are added up; ring attention
does the same across devices (Liu et al. 2023, arXiv 2310.01889).

Shapes: U tokens of the line, H heads, D numbers of a head. Keys and values may have fewer heads
than queries (grouped-query attention).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from tunesmith.train.packing.tensors import Block

BACKWARD_KEYS = 128
"""Keys of one piece of the backward pass.

torch's kernel computes the masked upper triangle of a causal piece too, so small pieces waste less.
"""

# torch's public scaled_dot_product_attention does not return the log-sum-exp.
_forward: Callable[..., tuple[torch.Tensor, torch.Tensor]] = (
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
)
_backward: Callable[..., tuple[torch.Tensor, ...]] = (
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
)


def tree_attention(
    query_1HUD: torch.Tensor,
    key_1HUD: torch.Tensor,
    value_1HUD: torch.Tensor,
    blocks: tuple[Block, ...],
    scale: float | None,
) -> torch.Tensor:
    """Attention output (1, H, U, D) with gradients, on a CPU.

    `scale` multiplies the scores; None is 1 / sqrt(D). The result has the values' dtype, but is
    computed in float32: torch's backward kernel takes three to five times as long in bfloat16.
    """
    inputs = (tensor.float() for tensor in (query_1HUD, key_1HUD, value_1HUD))
    out_1HUD: torch.Tensor = _TreeAttention.apply(*inputs, blocks, scale)
    return out_1HUD.to(value_1HUD.dtype)


class _Kept(Protocol):
    """What autograd keeps between the two passes."""

    saved_tensors: tuple[torch.Tensor, ...]
    blocks: tuple[Block, ...]
    scale: float | None

    def save_for_backward(self, *tensors: torch.Tensor) -> None: ...


class _TreeAttention(torch.autograd.Function):
    """The forward and backward passes over blocks; tensors are (1, H, U, D) unless named."""

    @staticmethod
    def forward(
        ctx: _Kept,
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
        # In the order of the line, a query's blocks come from the start of its row to its own. The
        # first one writes its output, and later ones are merged into it; `end_of_seen` is how far
        # queries have been written.
        end_of_seen = 0
        for block in blocks:
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
    def backward(ctx: _Kept, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        sums = [torch.zeros_like(tensor) for tensor in (query, key, value)]
        for whole in ctx.blocks:
            for block in whole.cut(BACKWARD_KEYS):
                for queries, causal in _pieces(block):
                    found = _backward(
                        grads[0][:, :, queries],
                        query[:, :, queries],
                        key[:, :, block.keys],
                        value[:, :, block.keys],
                        out[:, :, queries],
                        lse[:, :, queries],
                        0.0,
                        causal,
                        scale=ctx.scale,
                    )
                    for total, part, at in zip(
                        sums, found, (queries, block.keys, block.keys), strict=True
                    ):
                        total[:, :, at] += part
        return *sums, None, None


def _pieces(block: Block) -> list[tuple[slice, bool]]:
    """The queries that see a block, and whether causally: its own tokens, then those after it."""
    own, after = (slice(block.start, block.stop), True), (slice(block.stop, block.end), False)
    return [own, after] if block.stop < block.end else [own]


def _add(
    out: torch.Tensor, lse: torch.Tensor, piece: torch.Tensor, piece_lse: torch.Tensor
) -> None:
    """Merge the output and log-sum-exp of further keys into those of the keys so far, in place.

    The weight of the new part is exp(piece_lse - lse of both), and the rest is the old part's.
    """
    both = torch.logaddexp(lse, piece_lse)
    out.lerp_(piece, (piece_lse - both).exp_()[..., None])
    lse.copy_(both)
