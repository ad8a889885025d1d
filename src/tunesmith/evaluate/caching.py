"""How far a model's cache can be relied on, tried out on a dozen tokens.

Architectures differ in what they make of padding, of positions that are given to them and of rows
that are taken out of a cache. What is tried is what generate.py does, from the fastest way down to
the one that is always right: to read the whole row again for each token.

Shape suffixes: B rows, T tokens, S tokens seen so far, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tunesmith.evaluate.forward import Inputs, Traits, cached_prefix, repeated
from tunesmith.models.architectures import UNSUITED

TOLERANCE = 1e-3  # of the largest logit
HALF_TOLERANCE = 0.05
# For `ordinary`: the first three are shared, the last is the token that is written next.
ROWS = ([3, 4, 5, 6, 7, 8, 9, 12], [3, 4, 5, 10, 11, 12])
SHARED = 3


class Caching(IntEnum):
    """Each but the first does what those above it do, and more."""

    NONE = 0  # no cache, or one that gives other answers
    ALONE = 1  # one row at a time
    DROPS = 2  # rows of equal length, of which those that are done leave the batch
    PLACED = 3  # positions are given, not counted by the model
    PADS = 4  # rows of different lengths, padded on the left
    SHARES = 5  # a cached prefix of all rows, with padding between it and the rest of a row


_known: WeakKeyDictionary[PreTrainedModel, Caching] = WeakKeyDictionary()


def caching(model: PreTrainedModel, kind: Traits) -> Caching:
    """The furthest that is exact; found once for a model. The model is in evaluation mode, without
    gradients.
    """
    if model not in _known:
        _known[model] = _find(model, kind)
    return _known[model]


def _find(model: PreTrainedModel, kind: Traits) -> Caching:
    if not kind.cache_name:
        return Caching.NONE
    rows = [ordinary(model, row) for row in ROWS]
    first_V, second_V = (_plain(model, kind, row) for row in rows)
    tries: dict[Caching, tuple[Callable[[], Tensor], Tensor]] = {
        Caching.SHARES: (lambda: _padded(model, kind, rows, SHARED), second_V),
        Caching.PADS: (lambda: _padded(model, kind, rows, 0), second_V),
        Caching.PLACED: (
            lambda: _equal(model, kind, [rows[0][::-1], rows[0]], placed=True),
            first_V,
        ),
        Caching.DROPS: (lambda: _equal(model, kind, [rows[0][::-1], rows[0]]), first_V),
        Caching.ALONE: (lambda: _equal(model, kind, rows[:1]), first_V),
    }
    if kind.recurrent:
        del tries[Caching.SHARES], tries[Caching.PADS]
    for level, (attempt, expected_V) in tries.items():
        if agrees(attempt, expected_V, kind):
            return level
    return Caching.NONE


def ordinary(model: PreTrainedModel, row: Sequence[int]) -> list[int]:
    """Token ids from the middle of the vocabulary, an equal one for an equal number.

    Vocabularies begin and end with control tokens. In a row of those, which no text holds, a
    pretrained model's activations are hundreds of times as large as usual, and in bfloat16 its
    logits are little but rounding: every way to compute them looks wrong.
    """
    vocabulary = cast("int", model.get_input_embeddings().num_embeddings)
    return [(vocabulary // 2 + number) % vocabulary for number in row]


def _plain(model: PreTrainedModel, kind: Traits, ids: list[int]) -> Tensor:
    last_V: Tensor = (
        model(input_ids=torch.tensor([ids], device=kind.device), use_cache=False)
        .logits[0, -1]
        .float()
    )
    return last_V


def agrees(attempt: Callable[[], Tensor], expected_V: Tensor, kind: Traits) -> bool:
    """Whether logits that are computed another way are the expected ones, to rounding.

    Relative to the largest; False too where the model cannot be run that way.
    """
    try:
        found_V = attempt().float()
    except UNSUITED:
        return False
    tolerance = TOLERANCE if kind.dtype == torch.float32 else HALF_TOLERANCE
    return bool((found_V - expected_V).abs().max() <= tolerance * expected_V.abs().max())


def _padded(model: PreTrainedModel, kind: Traits, rows: list[list[int]], shared: int) -> Tensor:
    """The logits after the second row's last token, the first row having left the batch."""
    rests = [row[shared:-1] for row in rows]
    longest = max(len(rest) for rest in rests)
    input_BT = torch.tensor(
        [[0] * (longest - len(rest)) + rest for rest in rests], device=kind.device
    )
    seen_BT = torch.tensor(
        [[0] * (longest - len(rest)) + [1] * len(rest) for rest in rests], device=kind.device
    )
    mask_BS = torch.cat([seen_BT.new_ones(len(rows), shared), seen_BT], dim=1)
    positions_BT = (mask_BS.cumsum(-1) - 1).clamp(min=0)[:, shared:]
    cache = repeated(cached_prefix(model, kind, rows[0][:shared]), len(rows))
    inputs: Inputs = {
        "input_ids": input_BT,
        "attention_mask": mask_BS,
        kind.cache_name: cache,
    }
    if kind.takes_positions:
        inputs["position_ids"] = positions_BT
    cache = getattr(model(**inputs, use_cache=True), kind.cache_name)
    cache.reorder_cache(torch.tensor([1], device=kind.device))
    inputs = {"input_ids": input_BT.new_tensor([rows[1][-1:]]), kind.cache_name: cache}
    inputs["attention_mask"] = torch.cat([mask_BS[1:], mask_BS.new_ones(1, 1)], dim=1)
    if kind.takes_positions:
        inputs["position_ids"] = positions_BT[1:, -1:] + 1
    last_V: Tensor = model(**inputs, use_cache=True).logits[0, -1]
    return last_V


def _equal(
    model: PreTrainedModel, kind: Traits, rows: list[list[int]], placed: bool = False
) -> Tensor:
    """The same for the last of rows of equal length, without a mask."""
    input_BT = torch.tensor([row[:-1] for row in rows], device=kind.device)
    next_BT = torch.tensor([rows[-1][-1:]], device=kind.device)
    first: Inputs = {"input_ids": input_BT}
    second: Inputs = {"input_ids": next_BT}
    if placed and kind.takes_positions:
        first["position_ids"] = torch.arange(input_BT.shape[1], device=kind.device).expand_as(
            input_BT
        )
        second["position_ids"] = torch.full_like(next_BT, input_BT.shape[1])
    cache = getattr(model(**first, use_cache=True), kind.cache_name)
    if len(rows) > 1:
        cache.reorder_cache(torch.tensor([len(rows) - 1], device=kind.device))
    last_V: Tensor = model(**second, **{kind.cache_name: cache}, use_cache=True).logits[0, -1]
    return last_V
