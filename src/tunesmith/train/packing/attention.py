"""Attention over packed rows: no padding in the model, and what rows have in common is computed
once.

While `packing` is on, the model runs over one line of tokens (see tensors.py). All its layers but
attention work on each token by itself. Attention is taken over through transformers' attention
interface: each row's own tokens are the queries, the row's path the keys and values, and the
model's usual attention function does the rest, with the model's own mask (causal, sliding, chunked)
evaluated at the tokens' positions in their rows. Where rows share tokens, autograd adds up their
gradients, so the update is that of computing every row by itself, up to rounding.

Legend: see tensors.py; H heads, D numbers of a head.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tunesmith.train.packing.attention_cpu import tree_attention
from tunesmith.train.packing.attention_cuda import Window, attend, window_of
from tunesmith.train.packing.plan import MicroBatch, TrainingData
from tunesmith.train.packing.tensors import Bucket, Packed, to_packed, to_padded

NAME = "tunesmith_packed"
ATTENTION_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
PROBE_TOLERANCE = 1e-4
HALF_TOLERANCE = 0.03  # bfloat16 has 8 bits


@dataclass(frozen=True)
class _Masks:
    """Goes through the model in place of its attention mask; one for each kind of layer.
    `attention` is the usual implementation's name; in a `causal` layer every token of the batch
    sees all of its row before it.
    """

    batch: Packed
    mask_function: Callable[..., torch.Tensor]
    attention: str
    dtype: torch.dtype
    causal: bool

    def __getitem__(self, key: tuple[slice, ...]) -> _Masks:
        """All of it, which Gemma 4 asks for; a part there is not."""
        if any(part not in (slice(None), slice(0, None)) for part in key):
            raise TypeError(f"no part {key} of a packed mask")
        return self

    @cached_property
    def of_buckets(self) -> tuple[torch.Tensor | None, ...]:
        """A (b, 1, Q, K) mask for each bucket, or None where plain causal attention does."""
        return tuple(_mask(bucket, self) for bucket in self.batch.buckets)


_running: ContextVar[tuple[Packed, str]] = ContextVar(
    "the packed batch in the model, and its usual attention"
)


@contextmanager
def packing(decoder: Any) -> Iterator[None]:
    """The decoder's attention works on packed rows; from the forward to the end of the backward
    pass, which may run layers again.
    """
    before = decoder.config._attn_implementation
    decoder.config._attn_implementation = NAME
    try:
        yield
    finally:
        decoder.config._attn_implementation = before


def hidden_states(decoder: Any, batch: Packed, attention: str) -> torch.Tensor:
    """The decoder's last hidden states (U, hidden units); `packing` is on, `attention` is what it
    is without.
    """
    token = _running.set((batch, attention))
    try:
        states_1UH: torch.Tensor = decoder(
            input_ids=batch.input_ids_U[None],
            position_ids=batch.depth_U[None],
            # A mask of ones, so that transformers does not take the jumps in position_ids for its
            # own kind of packing.
            attention_mask=torch.ones_like(batch.input_ids_U[None]),
            use_cache=False,
        ).last_hidden_state
    finally:
        _running.reset(token)
    return states_1UH[0]


def rows_of(table_LX: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """table[index] over the first dimension. An embedding lookup, because its backward pass is fast
    and adds up repeated rows in the same order each time.
    """
    return F.embedding(index, table_LX)


def why_not_packed(model: Any, decoder: Any) -> str:
    """Why rows cannot be packed for this model, or an empty string when they can."""
    other = set(getattr(decoder.config, "layer_types", None) or ()) - ATTENTION_LAYERS
    if other or getattr(model, "_is_stateful", False):
        return f"the model has layers other than attention ({', '.join(sorted(other)) or 'a state space'})"
    return "" if _packing_is_exact(model, decoder) else "the model's attention cannot be taken over"


def has_dropout(model: Any) -> bool:
    """Dropout modules that act in training, or rates of dropout, of left-out layers or of a
    router's noise that the config hands to functions.
    """
    modules = any(
        isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules()
    )
    return modules or _has_rate(model.config.get_text_config().to_dict())


def _has_rate(config: dict[str, Any]) -> bool:
    unused = ("classifier", "summary")  # of heads for other tasks
    rates = [
        v for k, v in config.items() if ("drop" in k or "jitter" in k) and not k.startswith(unused)
    ]
    parts = [
        part for name, part in config.items() if isinstance(part, dict) and name.endswith("config")
    ]
    numbers = [
        rate for rate in rates if isinstance(rate, (int, float)) and not isinstance(rate, bool)
    ]
    return any(rate > 0 for rate in numbers) or any(_has_rate(part) for part in parts)


def usual_attention(decoder: Any) -> str:
    """What computes the rows' attention: flash attention takes no masks, and gives way to torch's
    own.
    """
    return "eager" if decoder.config._attn_implementation == "eager" else "sdpa"


def _masks(
    *,
    mask_function: Callable[..., torch.Tensor],
    dtype: torch.dtype,
    local_size: int | None = None,
    **_: Any,
) -> _Masks | Window:
    """What transformers calls to build an attention mask; once per kind of layer."""
    batch, attention = _running.get()
    if batch.segments is not None:
        return window_of(batch.segments, mask_function, local_size)
    at_T = torch.arange(batch.longest, device=batch.depth_U.device)
    seen_11TT = mask_function(
        *at_T.new_zeros(2, 1, 1, 1, 1), at_T[None, None, :, None], at_T[None, None, None]
    )
    causal = torch.equal(seen_11TT, (at_T <= at_T[:, None])[None, None])
    return _Masks(batch, mask_function, attention, dtype, causal)


def _mask(bucket: Bucket, masks: _Masks) -> torch.Tensor | None:
    zero = bucket.depth_bQ.new_zeros(1, 1, 1, 1)
    keys_111K = torch.arange(bucket.path_bK.shape[1], device=zero.device)[None, None, None]
    seen_b1QK: torch.Tensor = masks.mask_function(
        zero, zero, bucket.depth_bQ[:, None, :, None], keys_111K
    )
    if masks.attention == "eager":
        lowest = torch.finfo(masks.dtype).min
        return torch.zeros_like(seen_b1QK, dtype=masks.dtype).masked_fill(~seen_b1QK, lowest)
    return None if masks.causal and not bucket.shares else seen_b1QK


def _attend(
    module: Any,
    query_1HUD: torch.Tensor,
    key_1HUD: torch.Tensor,
    value_1HUD: torch.Tensor,
    attention_mask: _Masks | Window,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in place of an attention function; returns (1, U, H, D)."""
    if isinstance(attention_mask, Window):
        return attend(query_1HUD, key_1HUD, value_1HUD, attention_mask, **settings), None
    if _fits_tree_attention(query_1HUD, value_1HUD, attention_mask, settings):
        blocks, scale = attention_mask.batch.blocks, settings.get("scaling")
        return tree_attention(query_1HUD, key_1HUD, value_1HUD, blocks, scale).transpose(1, 2), None
    batch = attention_mask.batch
    usual = _function(module, attention_mask.attention)
    pieces = []
    for bucket, mask in zip(batch.buckets, attention_mask.of_buckets, strict=True):
        q_bHQD = _gather(query_1HUD, bucket.own_bQ)
        k_bHKD, v_bHKD = _gather(key_1HUD, bucket.path_bK), _gather(value_1HUD, bucket.path_bK)
        out_bQHD = usual(module, q_bHQD, k_bHKD, v_bHKD, mask, **settings)[0]
        pieces.append(rows_of(out_bQHD.flatten(2).flatten(0, 1), bucket.own_O))
    out_UX = rows_of(torch.cat(pieces), batch.order_U)
    return out_UX.unflatten(1, (query_1HUD.shape[1], -1))[None], None


def _fits_tree_attention(
    query_1HUD: torch.Tensor, value_1HUD: torch.Tensor, masks: _Masks, settings: dict[str, Any]
) -> bool:
    """Plain causal attention on a CPU. Windows that matter, dropout, and heads of two sizes go the
    other way.
    """
    plain = masks.causal and masks.attention == "sdpa" and not settings.get("dropout")
    same_size = query_1HUD.shape[-1] == value_1HUD.shape[-1]
    return (
        plain
        and same_size
        and query_1HUD.device.type == "cpu"
        and settings.get("position_bias") is None
    )


def _gather(line_1HUD: torch.Tensor, index_bQ: torch.Tensor) -> torch.Tensor:
    """(b, H, Q, D): the line's tokens at each row's indices."""
    line_UX = line_1HUD[0].transpose(0, 1).flatten(1)
    found_bHQD: torch.Tensor = (
        rows_of(line_UX, index_bQ).unflatten(2, (line_1HUD.shape[1], -1)).transpose(1, 2)
    )
    return found_bHQD


def _function(module: Any, attention: str) -> Callable[..., tuple[torch.Tensor, Any]]:
    """transformers' sdpa, or the eager attention in the module's own source file."""
    if attention == "eager":
        source: Any = sys.modules[type(module).__module__]
        return source.eager_attention_forward  # type: ignore[no-any-return]
    return ALL_ATTENTION_FUNCTIONS[attention]  # type: ignore[no-any-return]


@torch.no_grad()
def _packing_is_exact(model: Any, decoder: Any) -> bool:
    """Two rows of six tokens, three of them shared, give the same states packed as padded."""
    data, micro, device = _two_rows(decoder)
    packed, padded = to_packed(data, micro, device), to_padded(data, micro, device)

    def expected_NX() -> torch.Tensor:
        states_BTX: torch.Tensor = decoder(
            input_ids=padded.input_ids_BT, use_cache=False
        ).last_hidden_state
        return states_BTX.flatten(0, 1)[padded.positions_N]

    return _agree(
        model, expected_NX, lambda: _states(decoder, packed)[packed.positions_N], PROBE_TOLERANCE
    )


@torch.no_grad()
def varlen_is_exact(model: Any, decoder: Any) -> bool:
    """The same two rows give the same states through varlen.py as through buckets, up to half
    precision.
    """
    data, micro, device = _two_rows(decoder)
    buckets, segments = to_packed(data, micro, device), to_packed(data, micro, device, varlen=True)
    return _agree(
        model, lambda: _states(decoder, buckets), lambda: _states(decoder, segments), HALF_TOLERANCE
    )


def _two_rows(decoder: Any) -> tuple[TrainingData, MicroBatch, torch.device]:
    ids = np.array([1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 7, 8, 9, 0]) % decoder.config.vocab_size
    data = TrainingData.from_arrays(ids, [0, 7, 14], [1, 1], ["a", "b"])
    return data, MicroBatch(np.arange(2), np.array([0, 3])), next(decoder.parameters()).device


def _states(decoder: Any, batch: Packed) -> torch.Tensor:
    attention = usual_attention(decoder)
    with packing(decoder):
        return hidden_states(decoder, batch, attention)


def _agree(
    model: Any,
    expected: Callable[[], torch.Tensor],
    found: Callable[[], torch.Tensor],
    tolerance: float,
) -> bool:
    """In evaluation mode both work, and differ by no more than `tolerance` of the largest expected
    number.
    """
    was_training = model.training
    model.eval()
    try:
        expected_X, found_X = expected(), found()
    except (
        TypeError,
        ValueError,
        AttributeError,
        IndexError,
        RuntimeError,
        KeyError,
        NotImplementedError,
    ):
        return False  # a model with attention of its own says so in one of these ways
    finally:
        model.train(was_training)
    return bool((found_X - expected_X).abs().max() <= tolerance * expected_X.abs().max())


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _masks)
