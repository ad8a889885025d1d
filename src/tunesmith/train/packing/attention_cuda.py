"""Attention over packed rows on CUDA, by torch's flash attention for rows of different lengths.

`varlen_attn` computes attention for many pairs of a sequence of queries and a sequence of keys, all
concatenated, and the lengths in a pair may differ. A row's own tokens, contiguous in the line, are
the queries of one pair, called a segment here; the keys and values of its path are gathered. There
is no padding and no mask.

The kernel's causal rule lines up the last query with the last key. That is the right one, because a
row's own tokens are the end of its path. A sliding window of W tokens is the token itself and W - 1
to its left.

The kernel works in half precision only, has no soft caps, sinks or dropout, and exists since torch
2.10, with arguments that changed later: `why_not_varlen` says where it cannot be used, and
`varlen_is_exact` (attention.py) tries it on the model.

Shapes: see packing/tensors.py; S segments (rows with own tokens), K keys of all paths, H heads, D
numbers of a head, X = H * D.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

try:
    from torch.nn.attention import varlen as _torch_varlen

    varlen_attn: Any = _torch_varlen.varlen_attn
except ImportError:  # torch before 2.10
    varlen_attn = None

NEEDED_ARGUMENTS = {"scale", "window_size", "enable_gqa"}
MAX_HEAD_SIZE = 256
HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Segments:
    """Which queries of the line attend to which keys, as `varlen_attn` wants it.

    `path_K` are the paths of the rows with own tokens, concatenated. The queries of segment s are
    the line's tokens from `starts_q[s]` to `starts_q[s + 1]`, its keys those at
    `path_K[starts_k[s]:starts_k[s + 1]]`. `max_q` and `max_k` are the longest of either.
    """

    path_K: torch.Tensor
    starts_q: torch.Tensor
    starts_k: torch.Tensor
    max_q: int
    max_k: int


@dataclass(frozen=True)
class Window:
    """Goes through the model in place of its attention mask.

    `left` is how many tokens to its left a token attends to, -1 for all.
    """

    segments: Segments
    left: int


def segments_of(
    paths: Sequence[npt.NDArray[np.int64]],
    own: npt.NDArray[np.int64],
    device: torch.device | str = "cpu",
) -> Segments:
    """Segments of rows with these paths, of which the last `own[i]` tokens are the row's own."""
    rows = [i for i, n in enumerate(own.tolist()) if n]
    queries, keys = own[rows], np.array([len(paths[i]) for i in rows])

    def starts(sizes: npt.NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)).to(
            device, non_blocking=True
        )

    path_K = torch.from_numpy(np.concatenate([paths[i] for i in rows]).astype(np.int64))
    return Segments(
        path_K.to(device, non_blocking=True),
        starts(queries),
        starts(keys),
        int(queries.max()),
        int(keys.max()),
    )


def window_of(
    segments: Segments, mask_function: Callable[..., torch.Tensor], local_size: int | None
) -> Window:
    """What a layer's mask means to the kernel, with `local_size` its sliding window if it has one.

    A mask function cannot be read, so it is evaluated at pairs of positions around the edges of the
    window, where causal and sliding masks differ from any other. Raises NotImplementedError for one
    that is neither.
    """
    size = local_size or 1 << 20
    near = [0, 1, size - 1, size, size + 1, 2 * size, 2 * size + 1, 5 * size + 2]
    pairs = {
        (q, max(0, k))
        for q in near
        for k in (0, q - size - 1, q - size, q - size + 1, q - 1, q, q + 1)
    }
    queries, keys = torch.tensor(sorted(pairs)).T
    zero = torch.zeros_like(queries)
    try:
        seen = mask_function(zero, zero, queries, keys)
    except RuntimeError as error:  # a mask that reads tensors of the model, on another device
        raise NotImplementedError("a custom mask") from error
    expected = (keys <= queries) & (keys > queries - size) if local_size else keys <= queries
    if not torch.equal(seen.expand_as(expected), expected):
        raise NotImplementedError("a mask that is neither causal nor sliding")
    return Window(segments, local_size - 1 if local_size else -1)


def attend(
    query_1HUD: torch.Tensor,
    key_1HUD: torch.Tensor,
    value_1HUD: torch.Tensor,
    window: Window,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    **more: object,
) -> torch.Tensor:
    """Attention of every token of the line to its row's path, (1, U, H, D).

    The arguments after the window are those of transformers' attention functions. Raises
    NotImplementedError for what the kernel does not have.
    """
    other = [name for name in ("softcap", "s_aux", "position_bias") if more.get(name) is not None]
    if other or dropout or is_causal is False:
        raise NotImplementedError(
            f"attention with {', '.join(other) or 'dropout or without a causal mask'}"
        )
    size = query_1HUD.shape[-1]
    if size != value_1HUD.shape[-1] or size % 8 or size > MAX_HEAD_SIZE:
        raise NotImplementedError(f"heads of {size} and {value_1HUD.shape[-1]} numbers")
    segments = window.segments
    # Norms and rotary embeddings may have turned bfloat16 into float32, and the kernel wants one
    # half-precision dtype for all three.
    dtype = _compute_dtype(value_1HUD)
    q_UHD, k_UHD, v_UHD = (
        line[0].transpose(0, 1).to(dtype) for line in (query_1HUD, key_1HUD, value_1HUD)
    )
    out_UHD: torch.Tensor = varlen_attn(
        q_UHD.contiguous(),
        _gather(k_UHD, segments.path_K),
        _gather(v_UHD, segments.path_K),
        segments.starts_q,
        segments.starts_k,
        segments.max_q,
        segments.max_k,
        scale=scaling,
        window_size=(window.left, 0),
        enable_gqa=q_UHD.shape[1] != k_UHD.shape[1],
    )
    return out_UHD[None]


def why_not_varlen(device: torch.device, dtype: torch.dtype, dropout: bool) -> str:
    """Why the kernel cannot be used here at all, or an empty string."""
    if device.type != "cuda":
        return "no NVIDIA GPU"
    if dtype not in HALF:
        return f"{dtype} is not half precision"
    if dropout:
        return "the model has dropout"
    if (
        varlen_attn is None
        or not set(inspect.signature(varlen_attn).parameters) >= NEEDED_ARGUMENTS
    ):
        return f"torch {torch.__version__} has no varlen_attn with windows"
    return ""


def _gather(line_UHD: torch.Tensor, path_K: torch.Tensor) -> torch.Tensor:
    """The line's keys or values at the paths, (K, H, D).

    An embedding lookup, whose backward pass adds up the gradients of a token that many rows share
    in float32, in the same order each time.
    """
    found_KX: torch.Tensor = F.embedding(path_K, line_UHD.flatten(1))
    return found_KX.view(-1, *line_UHD.shape[1:])


def _compute_dtype(value: torch.Tensor) -> torch.dtype:
    kind = value.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else value.dtype
