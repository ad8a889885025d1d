"""Causal attention over a line of packed short rows, computed in bfloat16 with all scores written out.

Torch's flash attention for CPUs takes longer over a few dozen tokens than the products themselves: it is called for
each piece of a line (see tree_attention.py), and in bfloat16 its backward kernel is several times slower than in
float32. Rows of some hundred tokens have few enough scores to write them out for all rows of a bucket at once; the
softmax is kept for the backward pass, so nothing is computed twice. Query heads that share a key head stand together
as the queries of one product.

Scores and softmax are in float32, all other products in the values' kind of number, as they are under autocast.

Legend: see tensors.py; H heads, G query heads of a key head, h key heads, D numbers of a head, R = b * h products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tunesmith.train.tensors import Bucket

SHORT = 256
"""Tokens of the longest row: a token's scores take 2 bytes * heads * layers of its row's length."""


@dataclass(frozen=True)
class ShortRows:
    """A bucket, and what of its path is not seen: (b, 1, 1, Q, K). `own_O` are the real queries' tokens in the line."""

    bucket: Bucket
    unseen_b11QK: torch.Tensor
    own_O: torch.Tensor


def short_rows(buckets: tuple[Bucket, ...]) -> tuple[ShortRows, ...]:
    found = []
    for bucket in buckets:
        keys_K = torch.arange(bucket.path_bK.shape[1])
        unseen_bQK = keys_K > bucket.depth_bQ[..., None]
        found.append(ShortRows(bucket, unseen_bQK[:, None, None], bucket.own_bQ.flatten()[bucket.own_O]))
    return tuple(found)


def short_attention(
    query_1HUD: torch.Tensor,
    key_1hUD: torch.Tensor,
    value_1hUD: torch.Tensor,
    rows: tuple[ShortRows, ...],
    scale: float | None,
) -> torch.Tensor:
    """Attention output (1, H, U, D) with gradients, of the values' kind; `scale` is 1 / sqrt(D) where it is None."""
    scale = query_1HUD.shape[-1] ** -0.5 if scale is None else scale
    out_1HUD: torch.Tensor = _ShortAttention.apply(query_1HUD, key_1hUD, value_1hUD, rows, scale)
    return out_1HUD


class _ShortAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rows: tuple[ShortRows, ...],
        scale: float,
    ) -> torch.Tensor:
        groups, dtype = query.shape[1] // key.shape[1], value.dtype
        out_UHD = value.new_empty(query.shape[2], query.shape[1], query.shape[3])
        softmaxes = []
        with torch.autocast("cpu", enabled=False):
            for part in rows:
                query_RQD = _queries(query.float() * scale, part, groups)
                scores_RQK = torch.bmm(query_RQD, _keys(key.float(), part).transpose(1, 2))
                _per_head(scores_RQK, part, groups).masked_fill_(part.unseen_b11QK, -torch.inf)
                softmax_RQK = torch.softmax(scores_RQK, -1).to(dtype)
                out_RQD = torch.bmm(softmax_RQK, _keys(value, part))
                out_UHD.index_copy_(0, part.own_O, _own(out_RQD, part, groups))
                softmaxes.append(softmax_RQK)
        ctx.save_for_backward(query.to(dtype), key.to(dtype), value, *softmaxes)
        ctx.rows, ctx.scale, ctx.dtypes = rows, scale, (query.dtype, key.dtype)
        return out_UHD.transpose(0, 1)[None]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *softmaxes = ctx.saved_tensors
        groups, num_tokens = query.shape[1] // key.shape[1], query.shape[2]
        grad_query_UHD = query.new_empty(num_tokens, *query.shape[1::2])
        grad_key_UX, grad_value_UX = (value.new_zeros(num_tokens, key[0, :, 0].numel()).float() for _ in range(2))
        grad_UX = grads[0].to(value.dtype)[0].transpose(0, 1).flatten(1)
        with torch.autocast("cpu", enabled=False):
            for part, softmax_RQK in zip(ctx.rows, softmaxes, strict=True):
                grad_RQD = _padded(grad_UX, part, query.shape[1], groups)
                grad_softmax_RQK = torch.bmm(grad_RQD, _keys(value, part).transpose(1, 2))
                grad_scores_RQK = torch._softmax_backward_data(grad_softmax_RQK, softmax_RQK, -1, value.dtype)
                grad_query_RQD = torch.bmm(grad_scores_RQK, _keys(key, part))
                grad_query_UHD.index_copy_(0, part.own_O, _own(grad_query_RQD, part, groups))
                grad_key_RKD = torch.bmm(grad_scores_RQK.transpose(1, 2), _queries(query, part, groups))
                grad_value_RKD = torch.bmm(softmax_RQK.transpose(1, 2), grad_RQD)
                _add_up(grad_key_UX, grad_key_RKD, part)
                _add_up(grad_value_UX, grad_value_RKD, part)
        heads = (key.shape[1], -1)
        return (
            (grad_query_UHD.to(ctx.dtypes[0]) * ctx.scale).transpose(0, 1)[None],
            (grad_key_UX.mul_(ctx.scale).to(ctx.dtypes[1])).unflatten(1, heads).transpose(0, 1)[None],
            grad_value_UX.to(value.dtype).unflatten(1, heads).transpose(0, 1)[None],
            None,
            None,
        )


def _gather(line_1HUD: torch.Tensor, index_bT: torch.Tensor) -> torch.Tensor:
    """(b, T, H, D)."""
    line_UX = line_1HUD[0].transpose(0, 1).flatten(1)
    return line_UX.index_select(0, index_bT.flatten()).view(*index_bT.shape, line_1HUD.shape[1], -1)


def _queries(line_1HUD: torch.Tensor, part: ShortRows, groups: int) -> torch.Tensor:
    """(R, G * Q, D)."""
    return _by_key_head(_gather(line_1HUD, part.bucket.own_bQ), groups)


def _keys(line_1hUD: torch.Tensor, part: ShortRows) -> torch.Tensor:
    """(R, K, D)."""
    return _gather(line_1hUD, part.bucket.path_bK).transpose(1, 2).flatten(0, 1)


def _padded(grad_UX: torch.Tensor, part: ShortRows, num_heads: int, groups: int) -> torch.Tensor:
    """Gradients as the queries stand, (R, G * Q, D), and zero where these are padding."""
    shape_bQ = part.bucket.own_bQ.shape
    found_FX = grad_UX.new_zeros(shape_bQ.numel(), grad_UX.shape[1])
    found_FX.index_copy_(0, part.bucket.own_O, grad_UX.index_select(0, part.own_O))
    return _by_key_head(found_FX.view(*shape_bQ, num_heads, -1), groups)


def _by_key_head(rows_bQHD: torch.Tensor, groups: int) -> torch.Tensor:
    b, q, heads, size = rows_bQHD.shape
    by_head = rows_bQHD.view(b, q, heads // groups, groups, size).permute(0, 2, 3, 1, 4)
    return by_head.reshape(b * heads // groups, groups * q, size)


def _per_head(scores_RQK: torch.Tensor, part: ShortRows, groups: int) -> torch.Tensor:
    """A view (b, h, G, Q, K)."""
    shape_bQ = part.bucket.own_bQ.shape
    return scores_RQK.view(shape_bQ[0], -1, groups, shape_bQ[1], scores_RQK.shape[-1])


def _own(out_RQD: torch.Tensor, part: ShortRows, groups: int) -> torch.Tensor:
    """(O, H, D): the real queries of the bucket."""
    out_bhGQD = _per_head(out_RQD, part, groups)
    out_FHD = out_bhGQD.permute(0, 3, 1, 2, 4).flatten(2, 3).flatten(0, 1)
    return out_FHD.index_select(0, part.bucket.own_O)


def _add_up(total_UX: torch.Tensor, grad_RKD: torch.Tensor, part: ShortRows) -> None:
    """Each token's gradient over all rows whose path it is in: an embedding's, which torch adds up fast and in the same
    order each time."""
    index_bK = part.bucket.path_bK
    grad_bKX = grad_RKD.float().unflatten(0, (len(index_bK), -1)).transpose(1, 2).flatten(2)
    total_UX += torch.ops.aten.embedding_dense_backward(grad_bKX, index_bK, len(total_UX), -1, False)
