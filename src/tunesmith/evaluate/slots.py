"""A key-value cache of fixed places for rows: nothing grows, moves or is padded while answers are
written.

A row's tokens begin at the start of its slot, whatever else is in the batch, and a slot whose row
is answered takes the next one. `filling` reads prompts into slots; without it a forward pass is one
token for every slot.

A prefix that all prompts begin with is copied into every slot or, with `apart`, is kept once and
read once for all rows: attention to it and to a row's own tokens are put together by their
log-sum-exps, exact up to rounding. That attention is used without a prefix too: it reads the keys
and values of a group of heads once, where transformers copies them for every head in every step.

Legend: R slots, S positions of a slot, b prompts being read, P tokens of the prefix they share, T
of the longest rest, H heads of keys and values, G query heads for each of them, N heads of queries,
D numbers of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.cache_utils import Cache, CacheLayerMixin

NAME = "tunesmith_slots"
# settings of attention that the log-sum-exps do not account for
CHANGES_SCORES = ("softcap", "s_aux", "position_bias")

_flash: Callable[..., tuple[Tensor, Tensor]] = (
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
)


class Slots(Cache):
    """`positions_R` is where each slot's next token stands in its row; `size` counts the prefix
    only where that is copied. `prefix` is the cache of a batch of one after P tokens.
    """

    def __init__(
        self,
        rows: int,
        size: int,
        num_layers: int,
        device: torch.device,
        prefix: Cache | None = None,
        apart: bool = False,
    ) -> None:
        before = _keys_and_values(prefix) if prefix is not None else []
        self.shared = before[0][0].shape[2] if prefix is not None else 0
        self.apart = apart
        self.start = 0 if self.apart else self.shared  # of a row's own tokens in its slot
        self.size, self.num_rows = size, rows
        self.positions_R = torch.zeros(rows, dtype=torch.long, device=device)
        self.rows_R = torch.arange(rows, device=device)
        self.filled: Tensor | None = None  # the slots being filled
        self.seen = 0  # places that some slot has reached
        self.running: _Slots | None = None  # the layer whose attention comes next
        pairs: Sequence[tuple[Tensor, Tensor] | None] = before or [None] * num_layers
        super().__init__(layers=[_Slots(self, pair) for pair in pairs])

    @property
    def places_R(self) -> Tensor:
        """Where each slot's next token goes."""
        return self.positions_R - (self.shared - self.start)

    @contextmanager
    def attending(self, config: PreTrainedConfig) -> Iterator[None]:
        """In here the model's attention is `_attend` if the prefix is kept apart."""
        usual, token = config._attn_implementation, _running.set(self)
        config._attn_implementation = NAME if self.apart else usual
        try:
            yield
        finally:
            config._attn_implementation = usual
            _running.reset(token)

    @contextmanager
    def filling(self, slots: Sequence[int], lengths: Sequence[int]) -> Iterator[None]:
        """The forward pass in here reads the rests of prompts of `lengths` tokens into these slots,
        padded after.
        """
        self.filled = torch.tensor(slots, device=self.positions_R.device)
        try:
            yield
        finally:
            self.positions_R[self.filled] = torch.tensor(lengths, device=self.positions_R.device)
            self.filled = None

    def mask(self, dtype: torch.dtype) -> Tensor:
        """What each slot's next token sees, as (R, 1, 1, places that some slot has reached)."""
        self.seen = max(0, int(self.places_R.max())) + 1
        unseen_RS = torch.arange(self.seen, device=self.positions_R.device) > self.places_R[:, None]
        mask_RS = torch.zeros(unseen_RS.shape, dtype=dtype, device=unseen_RS.device)
        return mask_RS.masked_fill_(unseen_RS, torch.finfo(dtype).min)[:, None, None]

    def keep(self, slots: Sequence[int]) -> None:
        """Leave these slots alone, in this order."""
        kept = torch.tensor(slots, device=self.positions_R.device)
        self.positions_R, self.rows_R, self.num_rows = (
            self.positions_R[kept],
            self.rows_R[: len(slots)],
            len(slots),
        )
        for layer in cast("list[_Slots]", self.layers):
            layer.keys, layer.values = layer.keys[kept], layer.values[kept]


def _keys_and_values(cache: Cache) -> list[tuple[Tensor, Tensor]]:
    """Of every layer, (1, H, P, D) each; AttributeError for layers that are not attention."""
    return [(layer.keys, layer.values) for layer in cast("list[Any]", cache.layers)]


class _Slots(CacheLayerMixin):
    """One layer's keys and values (R, H, S, D)."""

    is_sliding = False
    keys: Tensor
    values: Tensor

    def __init__(self, slots: Slots, prefix: tuple[Tensor, Tensor] | None) -> None:
        super().__init__()
        self.slots, self.prefix = slots, prefix

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = (
            new.new_zeros(self.slots.num_rows, new.shape[1], self.slots.size, new.shape[3])
            for new in (key_states, value_states)
        )
        if self.prefix is not None and not self.slots.apart:
            for kept, before_1HPD in zip((self.keys, self.values), self.prefix, strict=True):
                kept[:, :, : self.slots.shared] = before_1HPD
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Put the new tokens in their places; what attention sees of the slots, theirs included."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        slots, pairs = self.slots, ((self.keys, key_states), (self.values, value_states))
        slots.running = self
        if slots.filled is None:
            # a slot that was never filled is written to and not read
            places_R = slots.places_R.clamp(min=0)
            for kept, new_RH1D in pairs:
                kept[slots.rows_R, :, places_R] = new_RH1D[:, :, 0]
            return self.keys[:, :, : slots.seen], self.values[:, :, : slots.seen]
        for kept, new_bHTD in pairs:
            kept[slots.filled, :, slots.start : slots.start + new_bHTD.shape[2]] = new_bHTD
        if slots.apart or self.prefix is None:
            return key_states, value_states
        found = [
            torch.cat([before_1HPD.expand(len(new_bHTD), -1, -1, -1), new_bHTD], dim=2)
            for before_1HPD, (_, new_bHTD) in zip(self.prefix, pairs, strict=True)
        ]
        return found[0], found[1]

    def get_seq_length(self) -> int:
        return self.slots.start if self.slots.filled is not None else self.slots.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return self.slots.size


_running: ContextVar[Slots] = ContextVar("the slots that the model writes in")


def _attend(
    module: nn.Module,
    query_bNTD: Tensor,
    key_bHSD: Tensor,
    value_bHSD: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **settings: object,
) -> tuple[Tensor, None]:
    """What transformers calls as its attention function where a prefix is kept apart.

    Returns (b, T, N, D), and None for the attention weights. ValueError where it cannot be right.
    """
    if any(settings.get(name) is not None for name in CHANGES_SCORES):
        raise ValueError(f"attention with one of {CHANGES_SCORES}")
    slots, shape, heads = _running.get(), query_bNTD.shape, key_bHSD.shape[1]
    layer, slots.running = slots.running, None
    if layer is None:
        raise ValueError("attention without the cache's layer")
    if shape[2] == 1:  # the heads of a group are one head's queries
        query_bNTD = query_bNTD.reshape(shape[0], heads, -1, shape[3])
    queries = query_bNTD.shape
    if attention_mask is not None:
        attention_mask = attention_mask.expand(-1, -1, queries[2], -1)
    own_bNTD, own_bNT = _flash(
        query_bNTD, key_bHSD, value_bHSD, 0.0, shape[2] > 1, attn_mask=attention_mask, scale=scaling
    )
    if layer.prefix is None:
        return own_bNTD.reshape(shape).transpose(1, 2), None
    line_1NUD = query_bNTD.transpose(0, 1).reshape(1, queries[1], -1, queries[3])
    early_1NUD, early_1NU = _flash(line_1NUD, *layer.prefix, 0.0, False, scale=scaling)
    early_bNTD = early_1NUD.view(queries[1], queries[0], *queries[2:]).transpose(0, 1)
    early_bNT = early_1NU.view(queries[1], queries[0], queries[2]).transpose(0, 1)
    share_bNT = (early_bNT - own_bNT).sigmoid().to(own_bNTD.dtype)
    found_bNTD: Tensor = own_bNTD.lerp(early_bNTD, share_bNT[..., None])
    return found_bNTD.reshape(shape).transpose(1, 2), None


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, lambda **_: None)
