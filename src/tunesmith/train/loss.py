"""The loss: the sum of -log p over the trained positions, and only these reach the language-model head.

The decoder runs over all input tokens, its hidden states are gathered at the trained positions, and the head with the
architecture's own scaling turns them into logits. `split_model` proves on four tokens that this gives the model's own
logits; a model for which it does not is run whole.

Legend: see tensors.py; L tokens of the line or of all padded rows, H hidden units, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from tunesmith.train.packed import hidden_states, packing, rows_of, usual_attention
from tunesmith.train.tensors import Batch, Packed

SLICE_LOGITS = 1 << 26
"""Most logits held at once (V * positions): 256 MiB in float32, and as much again for their gradient."""

Scale = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Parts:
    """A causal language model taken apart: logits = scale(head(decoder(ids))). `head` is None where that does not
    hold; the whole model is run then. `attention` is the name of the model's usual attention."""

    model: Any
    decoder: Any
    head: Any | None
    scale: Scale
    attention: str


def split_model(model: Any) -> Parts:
    """Find decoder, head and scaling of any causal LM of transformers, LoRA adapters in place included."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    decoder, head = inner.get_decoder(), inner.get_output_embeddings()
    attention = usual_attention(decoder)
    for scale in _scalings(inner.config.get_text_config()):
        if head is not None and decoder is not inner and _gives_the_logits(inner, decoder, head, scale):
            return Parts(inner, decoder, head, scale, attention)
    return Parts(inner, decoder, None, _unscaled, attention)


def nll_sum(parts: Parts, batch: Batch, label_smoothing: float = 0.0) -> torch.Tensor:
    """The summed negative log-likelihood of `labels_N` in nats, a float32 scalar with gradients.

    With label smoothing e, each position's loss is (1 - e) * nll + e * mean over V of -log p, as transformers has it.
    """
    if parts.head is None:
        return _nll_of_whole_model(parts.model, batch, label_smoothing)
    if isinstance(batch, Packed):
        with packing(parts.decoder):
            states_LH = hidden_states(parts.decoder, batch, parts.attention)
    else:
        states_LH = parts.decoder(input_ids=batch.input_ids_BT, use_cache=False).last_hidden_state.flatten(0, 1)
    states_NH = rows_of(states_LH, batch.positions_N)
    vocabulary = parts.head.weight.shape[0]
    if len(states_NH) * vocabulary <= SLICE_LOGITS:
        return _nll(parts, states_NH, batch.labels_N, label_smoothing)
    return _nll_in_slices(parts, states_NH, batch.labels_N, label_smoothing, max(1, SLICE_LOGITS // vocabulary))


def _nll(parts: Parts, states_NH: torch.Tensor, labels_N: torch.Tensor, label_smoothing: float) -> torch.Tensor:
    assert parts.head is not None
    logits_NV = parts.scale(parts.head(states_NH)).float()
    return F.cross_entropy(logits_NV, labels_N, reduction="sum", label_smoothing=label_smoothing)


def _nll_in_slices(
    parts: Parts, states_NH: torch.Tensor, labels_N: torch.Tensor, label_smoothing: float, size: int
) -> torch.Tensor:
    """Logits of one slice at a time, computed again in the backward pass. (torch 2.13's F.linear_cross_entropy, which
    does the same, took 3 to 12 times as long as whole logits on a CPU, and takes no soft caps.)"""
    total = states_NH.new_zeros((), dtype=torch.float32)
    # Autocast keeps one low-precision copy of the head, into which the slices' gradients would be summed in low
    # precision, which biases them. Without its cache each slice's gradient is added to the float32 one.
    with _autocast_without_cache(states_NH.device.type):
        for states_nH, labels_n in zip(states_NH.split(size), labels_N.split(size), strict=True):
            total = total + checkpoint(_nll, parts, states_nH, labels_n, label_smoothing, use_reentrant=False)
    return total


def _autocast_without_cache(device_type: str) -> AbstractContextManager[None]:
    if not torch.is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(device_type, dtype=torch.get_autocast_dtype(device_type), cache_enabled=False)


def _nll_of_whole_model(model: Any, batch: Batch, label_smoothing: float) -> torch.Tensor:
    assert not isinstance(batch, Packed), "rows are packed only where the model can be taken apart"
    logits_BTV = model(input_ids=batch.input_ids_BT, use_cache=False).logits
    logits_NV = logits_BTV.flatten(0, 1)[batch.positions_N].float()
    return F.cross_entropy(logits_NV, batch.labels_N, reduction="sum", label_smoothing=label_smoothing)


def _unscaled(logits_NV: torch.Tensor) -> torch.Tensor:
    return logits_NV


def _scalings(config: Any) -> list[Scale]:
    """What architectures do to the head's output, by their config keys: soft-capping (Gemma), dividing (Granite) or
    multiplying (HyperCLOVA X) by logits_scaling, multiplying by logit_scale (Cohere) or lm_head_multiplier."""
    cap = getattr(config, "final_logit_softcapping", None)
    if cap:
        return [lambda logits_NV: torch.tanh(logits_NV / cap) * cap]
    names = ("logits_scaling", "logit_scale", "lm_head_multiplier")
    by = next((getattr(config, name) for name in names if getattr(config, name, None) not in (None, 1)), None)
    if by is None:
        return [_unscaled]
    return [lambda logits_NV: logits_NV / by, lambda logits_NV: logits_NV * by]


@torch.no_grad()
def _gives_the_logits(model: Any, decoder: Any, head: Any, scale: Scale) -> bool:
    was_training = model.training
    model.eval()
    try:
        device = next(model.parameters()).device
        ids_BT = torch.arange(1, 5, device=device)[None] % head.weight.shape[0]
        expected_BTV = model(input_ids=ids_BT, use_cache=False).logits
        found_BTV = scale(head(decoder(input_ids=ids_BT, use_cache=False).last_hidden_state))
    except (TypeError, AttributeError, RuntimeError):
        return False
    finally:
        model.train(was_training)
    same_shape = found_BTV.shape == expected_BTV.shape
    return same_shape and torch.allclose(found_BTV.float(), expected_BTV.float(), rtol=1e-3, atol=1e-4)
