"""Forward passes that every evaluation shares: a cached prefix, batches by token budget, the head
only where asked.

Shape suffixes: B rows of a batch, T tokens of the longest row, N chosen positions, E tokens asked
for after one of them, H hidden size, V vocabulary.
"""

from __future__ import annotations

import copy
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from tunesmith.errors import DataError, ModelError
from tunesmith.models.load import max_positions

# a prefix of fewer tokens, or for fewer rows, is not worth its own forward pass
MIN_SHARED_TOKENS = 16
MIN_SHARING_ROWS = 8
CPU_PASS_TOKENS = 2048  # larger passes are slower on a CPU: their activations leave its caches
ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}
MAX_LOGITS = 1 << 26  # elements of one chunk of logits: 256 MiB in float32

Inputs: TypeAlias = "dict[str, Tensor | Cache | bool | None]"
"""The keyword arguments of a forward pass."""


@dataclass(frozen=True)
class Traits:
    """What decides how a model can be run.

    `cache_name` is empty for a model without a cache. `masked`: every layer is attention under the
    mask we pass, so that a tree of tokens can be one sequence. `recurrent`: a layer reads what
    attention's mask hides, as states, convolutions and indexers do. `window`: how many tokens back
    its sliding or chunked layers see, None without such.
    """

    cache_name: str
    takes_positions: bool
    masked: bool
    recurrent: bool
    window: int | None
    limit: int
    num_layers: int
    device: torch.device
    dtype: torch.dtype


def traits(model: PreTrainedModel) -> Traits:
    """Read off the model's config and the signature of its forward."""
    # peft's wrapper hides the signature
    inner: nn.Module = getattr(model, "get_base_model", lambda: model)()
    names = inspect.signature(inner.forward).parameters
    config = model.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    slides = "sliding_attention" in layers or getattr(config, "layer_types", None) is None
    windows = [getattr(config, "sliding_window", None)] if slides else []
    windows += (
        [getattr(config, "attention_chunk_size", None)] if "chunked_attention" in layers else []
    )
    if "local" in getattr(config, "attention_layers", ()):  # GPT-Neo
        windows.append(config.window_size)
    recurrent = bool(getattr(inner, "_is_stateful", False)) or not layers <= ATTENTION
    cache_name = next(
        (name for name in ("cache", "past_key_values", "cache_params") if name in names), ""
    )
    attention = getattr(config, "_attn_implementation", "eager") in ("sdpa", "eager")
    plain = layers <= {"full_attention", "sliding_attention"} and not getattr(
        config, "alibi", False
    )
    weights = cast("Tensor", model.get_input_embeddings().weight)
    return Traits(
        cache_name=cache_name,
        takes_positions="position_ids" in names,
        masked=attention
        and plain
        and not recurrent
        and "position_ids" in names
        and bool(cache_name),
        recurrent=recurrent,
        window=min((size for size in windows if size), default=None),
        limit=max_positions(model.config),
        num_layers=getattr(config, "num_hidden_layers", 0),  # BLT has several, one for each part
        device=weights.device,
        dtype=weights.dtype,
    )


def in_dtype(model: PreTrainedModel, dtype: str) -> PreTrainedModel:
    """The model with its weights in `dtype`, a copy where they are in another; the original stays
    as it is.

    Buffers keep their numbers: rotary frequencies are float32 in a bfloat16 model too. Weights that
    are tied stay so.
    """
    wanted = getattr(torch, dtype)
    floats = [weight for weight in model.parameters() if weight.is_floating_point()]
    if all(weight.dtype == wanted for weight in floats):
        return model
    copies = {id(w): torch.nn.Parameter(w.detach().to(wanted), requires_grad=False) for w in floats}
    # the new weights are taken from the memo: the old ones are not copied
    copied: PreTrainedModel = copy.deepcopy(model, memo=copies)
    copied.eval()
    return copied


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[Traits]:
    """Without dropout and gradients; the model is left in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield traits(model)
    finally:
        model.train(was_training)


def check_lengths(prompts: Sequence[Sequence[int]], extra: Sequence[int], limit: int) -> None:
    """DataError for an empty prompt, ModelError for the first row whose prompt and `extra` tokens
    exceed the limit.
    """
    for row, (prompt, more) in enumerate(zip(prompts, extra, strict=True)):
        if not prompt:
            raise DataError(f"row {row}: a prompt of 0 tokens")
        if len(prompt) + more > limit:
            raise ModelError(
                f"row {row}: {len(prompt)} prompt tokens + {more} answer tokens, "
                f"the model reads {limit}",
                hint="shorten the prompt or the answer (evaluation.max_new_tokens)",
            )


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all sequences begin with."""
    # the smallest and the largest are the first to differ
    first, last = min(sequences), max(sequences)  # type: ignore[type-var]
    return next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b),
        min(len(first), len(last)),
    )


def prefix_groups(prompts: Sequence[Sequence[int]]) -> list[tuple[int, list[int]]]:
    """(tokens of the shared prefix, rows) that together hold every row once; a prefix leaves each
    prompt a token.

    One group where all prompts begin alike; several wordings become a group each.
    """
    return _split_group(prompts, list(range(len(prompts)))) if prompts else []


def _split_group(prompts: Sequence[Sequence[int]], rows: list[int]) -> list[tuple[int, list[int]]]:
    shared = common_prefix([prompts[row] for row in rows])
    shared = min(shared, min(len(prompts[row]) for row in rows) - 1)
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row in rows:
        alike[tuple(prompts[row][shared : shared + MIN_SHARED_TOKENS])].append(row)
    groups, rest = [], []
    for beginning, members in alike.items():
        worth_it = len(beginning) == MIN_SHARED_TOKENS and MIN_SHARING_ROWS <= len(members) < len(
            rows
        )
        if worth_it:
            groups += _split_group(prompts, members)
        else:
            rest += members
    return ([(shared, sorted(rest))] if rest else []) + groups


def token_batches(
    rows: Sequence[int], lengths: Sequence[int], batch_tokens: int
) -> Iterator[list[int]]:
    """Rows in batches, the longest first, padded size at most `batch_tokens` (a longer row is a
    batch to itself).

    `lengths[i]` belongs to row i of the whole evaluation, not to `rows[i]`.
    """
    ordered = sorted(rows, key=lambda row: (-lengths[row], row))
    start = 0
    while start < len(ordered):
        size = max(1, batch_tokens // max(1, lengths[ordered[start]]))
        yield ordered[start : start + size]
        start += size


def pass_tokens(kind: Traits, batch_tokens: int) -> int:
    """The tokens of one forward pass that keeps no cache."""
    return min(batch_tokens, CPU_PASS_TOKENS) if kind.device.type == "cpu" else batch_tokens


def cached_prefix(model: PreTrainedModel, kind: Traits, ids: Sequence[int]) -> Cache | None:
    """The cache after `ids` for a batch of one; None for no ids."""
    if not ids:
        return None
    output = model(
        input_ids=torch.tensor([list(ids)], device=kind.device), use_cache=True, logits_to_keep=1
    )
    cache: Cache = getattr(output, kind.cache_name)
    return cache


def repeated(cache: Cache | None, rows: int) -> Cache | None:
    """A copy of a batch-of-one cache for `rows` rows."""
    if cache is None:
        return None
    again = copy.deepcopy(cache)
    again.batch_repeat_interleave(rows)
    return again


def target_logprobs(
    model: PreTrainedModel,
    where: tuple[Tensor, Tensor],
    places_E: Tensor,
    targets_E: Tensor,
    inputs: Inputs,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Log p of token `targets_E[e]` in nats, and the token that greedy decoding would take there.

    The token is asked for after position number `places_E[e]` of the N chosen (rows, positions).
    """
    result_E = torch.zeros(len(places_E), dtype=torch.float64, device=places_E.device)
    likeliest_E = torch.zeros(len(places_E), dtype=torch.long, device=places_E.device)
    for chunk, logits_NV in _chosen_logits(model, where, inputs):
        here = ((places_E >= chunk.start) & (places_E < chunk.stop)).nonzero()[:, 0]
        places, targets = places_E[here] - chunk.start, targets_E[here]
        result_E[here] = (logits_NV[places, targets] - logits_NV.logsumexp(-1)[places]).double()
        likeliest_E[here] = logits_NV.argmax(-1)[places]
    return result_E.cpu().numpy(), likeliest_E.cpu().numpy()


_Hook: TypeAlias = "Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor]]"


def last_logits(model: PreTrainedModel, last_B: Tensor, inputs: Inputs) -> Tensor:
    """Logits in float32 after position `last_B[b]` of each row, from one forward pass; (B, V)."""
    rows_B = torch.arange(len(last_B), device=last_B.device)
    return _with_head_input(
        model,
        model.get_output_embeddings(),
        lambda _, args: (args[0][rows_B, last_B][None],),
        inputs,
    )


def _chosen_logits(
    model: PreTrainedModel, where: tuple[Tensor, Tensor], inputs: Inputs
) -> Iterator[tuple[slice, Tensor]]:
    """Logits in float32 of the chosen (row, position) pairs of one forward pass, in chunks: (slice
    of N, logits_NV).

    The head is called by the model itself, with its input replaced, so that soft caps and scales
    stay exact. Later chunks cost a forward pass of one token each.
    """
    head = model.get_output_embeddings()
    size = max(1, MAX_LOGITS // head.weight.shape[0])
    chosen_NH = torch.empty(0)

    def choose(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        nonlocal chosen_NH
        chosen_NH = args[0][where]
        return (chosen_NH[None, :size],)

    yield slice(0, size), _with_head_input(model, head, choose, inputs)
    one_token: Inputs = {
        "input_ids": cast("Tensor", inputs["input_ids"])[:1, :1],
        "use_cache": False,
    }
    for start in range(size, len(chosen_NH), size):
        chunk = slice(start, start + size)
        yield (
            chunk,
            _with_head_input(
                model, head, lambda *_, chunk=chunk: (chosen_NH[None, chunk],), one_token
            ),
        )


def _with_head_input(
    model: PreTrainedModel, head: nn.Module, hook: _Hook, inputs: Inputs
) -> Tensor:
    handle = head.register_forward_pre_hook(hook)
    try:
        logits: Tensor = model(**inputs).logits[0].float()
        return logits
    finally:
        handle.remove()
