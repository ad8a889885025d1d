"""A key-value cache of fixed places for rows: nothing grows, moves or is padded while answers are written.

A row's tokens begin at 0 in its slot, whatever else is in the batch, and a slot whose row is answered takes the next
one. `filling` reads prompts into slots; without it a forward pass is one token for every slot.

Legend: R slots, S positions of a slot, b prompts being read, P tokens of the prefix they share, T of the longest rest,
H heads of keys and values, D numbers of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class Slots(Cache):
    """`positions_R` is where each slot's next token goes; `prefix` the cache of a batch of one after P tokens."""

    def __init__(self, rows: int, size: int, num_layers: int, device: torch.device, prefix: Any | None = None) -> None:
        self.size, self.num_rows = size, rows
        self.positions_R = torch.zeros(rows, dtype=torch.long, device=device)
        self.rows_R = torch.arange(rows, device=device)
        self.filled: Tensor | None = None  # the slots being filled
        self.seen = 0  # positions that some slot has reached
        kept = [(layer.keys, layer.values) for layer in prefix.layers] if prefix is not None else [None] * num_layers
        self.shared = 0 if prefix is None else int(kept[0][0].shape[2])
        super().__init__(layers=[_Slots(self, before) for before in kept])

    @contextmanager
    def filling(self, slots: Sequence[int], lengths: Sequence[int]) -> Iterator[None]:
        """The forward pass in here reads the rests of prompts of `lengths` tokens into these slots, padded after."""
        self.filled = torch.tensor(slots, device=self.positions_R.device)
        try:
            yield
        finally:
            self.positions_R[self.filled] = torch.tensor(lengths, device=self.positions_R.device)
            self.filled = None

    def mask(self, dtype: torch.dtype) -> Tensor:
        """What each slot's next token sees, as (R, 1, 1, positions that some slot has reached)."""
        self.seen = int(self.positions_R.max()) + 1
        unseen_RS = torch.arange(self.seen, device=self.positions_R.device) > self.positions_R[:, None]
        mask_RS = torch.zeros(unseen_RS.shape, dtype=dtype, device=unseen_RS.device)
        return mask_RS.masked_fill_(unseen_RS, torch.finfo(dtype).min)[:, None, None]

    def keep(self, slots: Sequence[int]) -> None:
        """Leave these slots alone, in this order."""
        kept = torch.tensor(slots, device=self.positions_R.device)
        self.positions_R, self.rows_R, self.num_rows = self.positions_R[kept], self.rows_R[: len(slots)], len(slots)
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[kept], layer.values[kept]


class _Slots(CacheLayerMixin):
    """One layer's keys and values (R, H, S, D)."""

    is_sliding = False

    def __init__(self, slots: Slots, prefix: tuple[Tensor, Tensor] | None) -> None:
        super().__init__()
        self.slots, self.prefix = slots, prefix

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = (
            new.new_zeros(self.slots.num_rows, new.shape[1], self.slots.size, new.shape[3])
            for new in (key_states, value_states)
        )
        if self.prefix is not None:
            for kept, before_1HPD in zip((self.keys, self.values), self.prefix, strict=True):
                kept[:, :, : self.slots.shared] = before_1HPD
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Put the new tokens in their places; what attention sees of the cache, theirs included."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        slots, pairs = self.slots, ((self.keys, key_states), (self.values, value_states))
        if slots.filled is None:
            for kept, new_RH1D in pairs:
                kept[slots.rows_R, :, slots.positions_R] = new_RH1D[:, :, 0]
            return self.keys[:, :, : slots.seen], self.values[:, :, : slots.seen]
        end = slots.shared + key_states.shape[2]
        for kept, new_bHTD in pairs:
            kept[slots.filled, :, slots.shared : end] = new_bHTD
        if self.prefix is None:
            return key_states, value_states
        found = [
            torch.cat([before_1HPD.expand(len(new_bHTD), -1, -1, -1), new_bHTD], dim=2)
            for before_1HPD, (_, new_bHTD) in zip(self.prefix, pairs, strict=True)
        ]
        return found[0], found[1]

    def get_seq_length(self) -> int:
        return self.slots.shared if self.slots.filled is not None else self.slots.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return self.slots.size
