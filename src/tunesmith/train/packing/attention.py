"""Attention over packed rows, put under transformers' models from outside.

While `packing` is on, the decoder runs over one line of tokens without padding (packing/tensors.py
explains the layout) as if it were one sequence. All layers but attention treat each token by itself
and need no change. For attention, transformers has two registries that a model looks its
implementation up in by the name in `config._attn_implementation`: one for the function that builds
the mask, one for the attention function itself. Under the name "tunesmith_packed" both are ours:

- `_masks` is called once per kind of layer (full, sliding, chunked), with the model's own rule as a
  function of two positions. It returns that rule and the batch, an object that goes through the
  model where its mask tensor would
- `_attend` is called by every layer with queries, keys and values of the whole line, and with that
  object. Each row's own tokens are the queries, and its path the keys and values. It has three
  ways to compute this:

    attention_cuda.py  torch's varlen_attn on a GPU, for causal and sliding rules in half precision
    attention_cpu.py   flash attention in blocks, for plain causal attention on a CPU
    buckets            for everything else: rows gathered and padded in a few groups, then the
                       attention function that the model would have used (sdpa or its own eager
                       one), with a mask from the model's rule at the tokens' depths

Gradients need no care: where rows share tokens, the gather's backward pass adds up what each row
contributes, so the update is that of computing every row by itself, up to rounding.

Not every model allows this. `why_not_packed` runs two short rows packed and padded and compares the
hidden states; where they differ, or the model never calls us, the run uses padded rows and says so.

Shapes: see packing/tensors.py; H heads, D numbers of a head, X any.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tunesmith.models.architectures import UNSUITED
from tunesmith.train.packing.attention_cpu import tree_attention
from tunesmith.train.packing.attention_cuda import Window, attend, window_of
from tunesmith.train.packing.plan import MicroBatch, TrainingData
from tunesmith.train.packing.tensors import Bucket, Packed, to_packed, to_padded

NAME = "tunesmith_packed"
ATTENTION_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
PROBE_TOLERANCE = 1e-4  # relative to the largest hidden state, as HALF_TOLERANCE
HALF_TOLERANCE = 0.03  # bfloat16 has 8 significant bits

MaskFunction = Callable[..., torch.Tensor]
"""transformers' rule of a kind of layer: (batch, head, query, key) indices that broadcast, to a
boolean tensor of whether the query sees the key.
"""


@dataclass(frozen=True)
class _Masks:
    """Goes through the model in place of its attention mask; one for each kind of layer.

    `attention` is the implementation that the model uses without packing; in a `causal` layer every
    token of this batch sees all of its row before it (a sliding window longer than the longest row
    is causal too).
    """

    batch: Packed
    mask_function: MaskFunction
    attention: str
    dtype: torch.dtype
    causal: bool

    def __getitem__(self, key: tuple[slice, ...]) -> _Masks:
        """The same masks for `mask[:, :]`, as Gemma 4 slices them; no part can be cut out."""
        if any(part not in (slice(None), slice(0, None)) for part in key):
            raise TypeError(f"no part {key} of a packed mask")
        return self

    @cached_property
    def of_buckets(self) -> tuple[torch.Tensor | None, ...]:
        """A (b, 1, Q, K) mask for each bucket, or None where plain causal attention does."""
        return tuple(_mask(bucket, self) for bucket in self.batch.buckets)


# transformers calls `_masks` deep inside the decoder and passes on nothing of ours, so the batch
# reaches it this way; a context variable, so that threads do not see each other's.
_running: ContextVar[tuple[Packed, str]] = ContextVar(
    "the packed batch in the model, and its usual attention"
)


@contextmanager
def packing(decoder: PreTrainedModel) -> Iterator[None]:
    """The decoder's attention works on packed rows inside.

    From the forward pass to the end of the backward pass, because gradient checkpointing runs the
    layers again in there.
    """
    before = decoder.config._attn_implementation
    decoder.config._attn_implementation = NAME
    try:
        yield
    finally:
        decoder.config._attn_implementation = before


def hidden_states(decoder: PreTrainedModel, batch: Packed, attention: str) -> torch.Tensor:
    """The decoder's last hidden states (U, hidden units) of a line; `packing` has to be on.

    `attention` is what `usual_attention` was before.
    """
    token = _running.set((batch, attention))
    try:
        states_1UH: torch.Tensor = decoder(
            input_ids=batch.input_ids_U[None],
            position_ids=batch.depth_U[None],
            # Depths jump back where a row starts. Without a mask transformers would take these
            # jumps for its own kind of packing, sequences one after another that share nothing.
            attention_mask=torch.ones_like(batch.input_ids_U[None]),
            use_cache=False,
        ).last_hidden_state
    finally:
        _running.reset(token)
    return states_1UH[0]


def rows_of(table_LX: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """table_LX[index], of shape (*index.shape, X).

    An embedding lookup instead of indexing: its backward pass is faster, and adds up rows that were
    taken repeatedly in the same order each time, so that runs repeat bit for bit.
    """
    return F.embedding(index, table_LX)


def why_not_packed(model: PreTrainedModel, decoder: PreTrainedModel) -> str:
    """Why rows cannot be packed for this model, or an empty string when they can.

    A recurrent layer carries its state from token to token along the line, across rows.
    """
    other = why_no_line(model, decoder)
    if other:
        return other
    return "" if _packing_is_exact(model, decoder) else "the model's attention cannot be taken over"


def why_no_line(model: PreTrainedModel, decoder: PreTrainedModel) -> str:
    """What of `why_not_packed` its config tells, without running the model."""
    other = set(getattr(decoder.config, "layer_types", None) or ()) - ATTENTION_LAYERS
    if other or getattr(model, "_is_stateful", False):
        kinds = ", ".join(sorted(other)) or "a state space"
        return f"the model has layers other than attention ({kinds})"
    return ""


def has_dropout(model: PreTrainedModel) -> bool:
    """Whether anything is random in training, so that equal prefixes must not be computed once.

    Dropout modules, and the rates of dropout, layer dropping or a router's jitter that an
    architecture passes from its config to functions.
    """
    modules = any(
        isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules()
    )
    return modules or _has_rate(model.config.get_text_config().to_dict())


def _has_rate(config: Mapping[str, object]) -> bool:
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


def usual_attention(decoder: PreTrainedModel) -> str:
    """The implementation that computes buckets: "eager" where the model has it, else "sdpa".

    Flash attention, which takes no masks, is replaced by torch's sdpa.
    """
    return "eager" if decoder.config._attn_implementation == "eager" else "sdpa"


def _masks(
    *,
    mask_function: MaskFunction,
    dtype: torch.dtype,
    local_size: int | None = None,
    **_: object,
) -> _Masks | Window:
    """What transformers calls to build an attention mask, once per kind of layer.

    `local_size` is the sliding window. transformers passes sizes and padding too, of no use here.
    """
    batch, attention = _running.get()
    if batch.segments is not None:
        return window_of(batch.segments, mask_function, local_size)
    # Whether the rule is plain causal for rows as short as these: most sliding windows are not
    # reached, and a faster way is open then.
    at_T = torch.arange(batch.longest, device=batch.depth_U.device)
    seen_11TT = mask_function(
        *at_T.new_zeros(2, 1, 1, 1, 1), at_T[None, None, :, None], at_T[None, None, None]
    )
    causal = torch.equal(seen_11TT, (at_T <= at_T[:, None])[None, None])
    return _Masks(batch, mask_function, attention, dtype, causal)


def _mask(bucket: Bucket, masks: _Masks) -> torch.Tensor | None:
    """The model's rule at the depths of a bucket's queries and keys, as (b, 1, Q, K).

    Boolean for sdpa, to be added for eager attention; None for sdpa's own causal mask. A key's
    depth is its place in the path.
    """
    zero = bucket.depth_bQ.new_zeros(1, 1, 1, 1)
    keys_111K = torch.arange(bucket.path_bK.shape[1], device=zero.device)[None, None, None]
    seen_b1QK: torch.Tensor = masks.mask_function(
        zero, zero, bucket.depth_bQ[:, None, :, None], keys_111K
    )
    if masks.attention == "eager":
        lowest = torch.finfo(masks.dtype).min
        return torch.zeros_like(seen_b1QK, dtype=masks.dtype).masked_fill(~seen_b1QK, lowest)
    # sdpa's is_causal lines up the first query with the first key: wrong where the queries are the
    # end of a row whose beginning is shared.
    return None if masks.causal and not bucket.shares else seen_b1QK


def _attend(
    module: torch.nn.Module,
    query_1HUD: torch.Tensor,
    key_1HUD: torch.Tensor,
    value_1HUD: torch.Tensor,
    attention_mask: _Masks | Window,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in place of an attention function; returns (1, U, H, D), no weights.

    `settings` are what the architecture passes beside: scaling, dropout, soft caps, sinks ...
    """
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
    query_1HUD: torch.Tensor,
    value_1HUD: torch.Tensor,
    masks: _Masks,
    settings: Mapping[str, object],
) -> bool:
    """Whether it is plain causal attention on a CPU, which attention_cpu.py computes.

    Windows that are reached, dropout, and values of another head size than keys take the buckets.
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


def _function(
    module: torch.nn.Module, attention: str
) -> Callable[..., tuple[torch.Tensor, torch.Tensor | None]]:
    """The attention function of transformers by this name.

    Eager attention is not in its registry: every architecture has one in its own source file.
    """
    if attention == "eager":
        source = sys.modules[type(module).__module__]
        return source.eager_attention_forward  # type: ignore[no-any-return]
    return ALL_ATTENTION_FUNCTIONS[attention]  # type: ignore[no-any-return]


@torch.no_grad()
def _packing_is_exact(model: PreTrainedModel, decoder: PreTrainedModel) -> bool:
    """Whether two rows of six tokens, three of them shared, come out the same packed and padded."""
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
def varlen_is_exact(model: PreTrainedModel, decoder: PreTrainedModel) -> bool:
    """Whether the same two rows have the same states by attention_cuda.py as by buckets.

    Up to half precision, which is all that its kernel has; the model is run as autocast has it.
    """
    data, micro, device = _two_rows(decoder)
    buckets, segments = to_packed(data, micro, device), to_packed(data, micro, device, varlen=True)
    return _agree(
        model, lambda: _states(decoder, buckets), lambda: _states(decoder, segments), HALF_TOLERANCE
    )


def _two_rows(decoder: PreTrainedModel) -> tuple[TrainingData, MicroBatch, torch.device]:
    ids = np.array([1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 7, 8, 9, 0]) % decoder.config.vocab_size
    data = TrainingData.from_arrays(ids, [0, 7, 14], [1, 1], ["a", "b"])
    return data, MicroBatch(np.arange(2), np.array([0, 3])), next(decoder.parameters()).device


def _states(decoder: PreTrainedModel, batch: Packed) -> torch.Tensor:
    attention = usual_attention(decoder)
    with packing(decoder):
        return hidden_states(decoder, batch, attention)


def _agree(
    model: PreTrainedModel,
    expected: Callable[[], torch.Tensor],
    found: Callable[[], torch.Tensor],
    tolerance: float,
) -> bool:
    """Whether both work in eval mode and agree, relative to the largest expected number; up to half
    precision where the weights are gathered in it, as those of a sharded model are.
    """
    was_training = model.training
    model.eval()
    try:
        expected_X, found_X = expected(), found()
    except UNSUITED:
        return False  # how a model that is built otherwise shows it, when it is given our masks
    finally:
        model.train(was_training)
    if expected_X.dtype != torch.float32:
        tolerance = HALF_TOLERANCE
    return bool((found_X - expected_X).abs().max() <= tolerance * expected_X.abs().max())


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _masks)
