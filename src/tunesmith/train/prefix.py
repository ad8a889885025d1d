"""Shared prefixes: the tokens that all rows of a micro-batch begin with go through the model once.

The prefix runs alone and leaves its keys and values in a cache that keeps gradients; the cache is repeated for each
row, and the rest of every row attends to it. Repeating sums the rows' gradients into the one prefix, so the result
is what computing the prefix once for each row would give, up to rounding.

Legend: see tensors.py; H hidden units.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers import DynamicCache

from tunesmith.train.tensors import Batch

ATTENTION_LAYERS = {"full_attention", "sliding_attention"}
PROBE_TOLERANCE = 1e-3


def hidden_states(decoder: Any, batch: Batch) -> torch.Tensor:
    """The decoder's last hidden states for `input_ids_BT`, each row preceded by the shared prefix: (B, T, H)."""
    if batch.prefix_P is None:
        states_BTH: torch.Tensor = decoder(input_ids=batch.input_ids_BT, use_cache=False).last_hidden_state
        return states_BTH
    # Built without the config: every layer then keeps all keys, and a sliding window is left to the attention mask.
    cache = DynamicCache()
    arguments = {_cache_argument(decoder): cache, "use_cache": True}
    decoder(input_ids=batch.prefix_P[None], **arguments)
    cache.batch_repeat_interleave(len(batch.input_ids_BT))
    shared_BTH: torch.Tensor = decoder(input_ids=batch.input_ids_BT, **arguments).last_hidden_state
    return shared_BTH


def _cache_argument(decoder: Any) -> str:
    """transformers calls it `cache` since 5.24, and `past_key_values` before."""
    return "cache" if "cache" in inspect.signature(decoder.forward).parameters else "past_key_values"


def why_not_shared(model: Any, decoder: Any) -> str:
    """Why prefixes cannot be shared on this model, or an empty string when they can."""
    config = model.config.get_text_config()
    if has_dropout(model):
        return "the model has dropout, which differs from row to row"
    if any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        return "gradient checkpointing drops the cache"
    other = set(getattr(config, "layer_types", None) or ATTENTION_LAYERS) - ATTENTION_LAYERS
    if other or getattr(model, "_is_stateful", False):
        return f"the model has layers other than attention ({', '.join(sorted(other)) or 'a state space'})"
    return "" if _cache_is_exact(decoder, config.vocab_size) else "the model's cache does not give the same states"


def has_dropout(model: Any) -> bool:
    """Dropout modules that act in training, or dropout rates that the config hands to attention."""
    modules = any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules())
    rates = model.config.get_text_config().to_dict()
    names = ("attention_dropout", "attn_pdrop", "dropout", "hidden_dropout")
    return modules or any(float(rates.get(name) or 0) > 0 for name in names)


@torch.no_grad()
def _cache_is_exact(decoder: Any, vocab_size: int) -> bool:
    device = next(decoder.parameters()).device
    ids_BT = torch.arange(1, 13, device=device).view(2, 6) % vocab_size
    ids_BT[1, :3] = ids_BT[0, :3]
    nothing = ids_BT.new_zeros(0)
    try:
        whole_BTH = hidden_states(decoder, Batch(None, ids_BT, nothing, nothing))
        shared_BTH = hidden_states(decoder, Batch(ids_BT[0, :3], ids_BT[:, 3:], nothing, nothing))
    except (TypeError, ValueError, AttributeError, IndexError, RuntimeError, NotImplementedError):
        return False  # a model that takes no DynamicCache says so in one of these ways
    scale = whole_BTH.abs().max().clamp_min(1e-6)
    return bool(((whole_BTH[:, 3:] - shared_BTH).abs().max() / scale) < PROBE_TOLERANCE)
