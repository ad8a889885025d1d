"""The loss: the sum of -log p over the trained positions, and only these reach the language-model
head.

The decoder runs over all input tokens, its hidden states are gathered at the trained positions, and
the head with the architecture's own scaling turns them into logits. `split_model` proves on four
tokens that this gives the model's own logits; a model for which it does not is run whole.

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

from tunesmith.train.packing.attention import hidden_states, packing, rows_of, usual_attention
from tunesmith.train.packing.tensors import Batch, Packed

SLICE_LOGITS = 1 << 24
"""Most logits held at once (V * positions): 64 MiB in float32."""

LARGE = 30.0  # logits at which every soft cap in use shows

Scale = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Parts:
    """A causal language model taken apart: logits = scale(head(decoder(ids))). `head` is None where
    that does not hold; the whole model is run then. `attention` is the name of the model's usual
    attention.
    """

    model: Any
    decoder: Any
    head: Any | None
    scale: Scale
    attention: str


def split_model(model: Any) -> Parts:
    """Find decoder, head and scaling of any causal LM of transformers, LoRA adapters in place
    included.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    decoder, head = _decoder_of(inner), inner.get_output_embeddings()
    attention = usual_attention(decoder)
    for scale in _scalings(inner.config.get_text_config()):
        if (
            head is not None
            and decoder is not inner
            and _gives_the_logits(inner, decoder, head, scale)
        ):
            return Parts(inner, decoder, head, scale, attention)
    return Parts(inner, decoder, None, _unscaled, attention)


def _decoder_of(model: Any) -> Any:
    """The part that turns token ids into hidden states. Some architectures name another part their
    decoder, such as the head (ModernBERT), or none (Llama 4 gives itself).
    """
    for part in (model.get_decoder(), model.base_model, getattr(model, "model", None)):
        if part is not model and hasattr(part, "config"):
            return part
    return model


def add_lookups_in_place(parts: Parts) -> None:
    """Where input embeddings and head are one matrix, autograd adds the lookup's gradient to the
    head's. Sparse, it is added to the rows looked up; dense, it would be a second matrix of that
    size, zeroed, and added whole. Only a CPU takes notice.
    """
    embedding = parts.model.get_input_embeddings()
    tied = (
        parts.head is not None
        and embedding.weight is parts.head.weight
        and embedding.weight.requires_grad
    )
    if tied and embedding.weight.device.type == "cpu":
        embedding.sparse = True


def nll_sum(parts: Parts, batch: Batch, label_smoothing: float = 0.0) -> torch.Tensor:
    """The summed negative log-likelihood of `labels_N` in nats, a float32 scalar with gradients.

    With label smoothing e, each position's loss is (1 - e) * nll + e * mean over V of -log p, as
    transformers has it.
    """
    if parts.head is None:
        return _nll_of_whole_model(parts.model, batch, label_smoothing)
    if isinstance(batch, Packed):
        with packing(parts.decoder):
            states_LH = hidden_states(parts.decoder, batch, parts.attention)
    else:
        states_LH = parts.decoder(
            input_ids=batch.input_ids_BT, use_cache=False
        ).last_hidden_state.flatten(0, 1)
    states_NH = rows_of(states_LH, batch.positions_N)
    vocabulary = parts.head.weight.shape[0]
    size = max(1, SLICE_LOGITS // vocabulary)
    if _is_plain(parts) and not label_smoothing:
        total: torch.Tensor = _PlainHead.apply(
            states_NH,
            parts.head.weight,
            batch.labels_N,
            size,
            parts.model.get_input_embeddings().sparse,
        )
        return total
    if len(states_NH) <= size:
        return _nll(parts, states_NH, batch.labels_N, label_smoothing)
    return _nll_in_slices(parts, states_NH, batch.labels_N, label_smoothing, size)


def _is_plain(parts: Parts) -> bool:
    """Logits are states @ weight.T, and gradients are asked for."""
    linear = (
        type(parts.head) is torch.nn.Linear and parts.head.bias is None and parts.scale is _unscaled
    )
    return linear and torch.is_grad_enabled()


class _PlainHead(torch.autograd.Function):
    """The summed loss of a head without bias or scaling, its gradients computed with it: d loss / d
    logits is the softmax minus one at the label, so a slice's logits are read, overwritten and done
    with. Under autocast the products are in its precision, as autocast has them; the softmax, and
    the sums over slices, are in float32. (torch 2.13's F.linear_cross_entropy, which does the same,
    took 3 to 12 times as long on a CPU.)
    """

    @staticmethod
    def forward(
        ctx: Any,
        states_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        labels_N: torch.Tensor,
        size: int,
        in_place: bool,
    ) -> torch.Tensor:
        device = states_NH.device.type
        dtype = (
            torch.get_autocast_dtype(device)
            if torch.is_autocast_enabled(device)
            else weight_VH.dtype
        )
        with torch.autocast(device, enabled=False):
            total, grad_states_NH, grad_weight_VH = _plain_loss(
                states_NH.to(dtype), weight_VH.to(dtype), labels_N, size, ctx.needs_input_grad[1]
            )
        ctx.save_for_backward(grad_states_NH.to(states_NH.dtype), weight_VH)
        ctx.grad_weight, ctx.in_place = grad_weight_VH, in_place
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_states_NH, weight_VH = ctx.saved_tensors
        grad_weight, ctx.grad_weight = ctx.grad_weight, None
        grad_weight = (
            grad_weight.mul_(grads[0]).to(weight_VH.dtype) if ctx.needs_input_grad[1] else None
        )
        if ctx.in_place:
            weight_VH.grad = (
                grad_weight if weight_VH.grad is None else weight_VH.grad.add_(grad_weight)
            )
            grad_weight = None
        return grad_states_NH * grads[0], grad_weight, None, None, None


def _plain_loss(
    states_NH: torch.Tensor,
    weight_VH: torch.Tensor,
    labels_N: torch.Tensor,
    size: int,
    weight_is_trained: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The loss in float32, and its gradients of the states and (float32; empty where not asked for)
    the weight.
    """
    total = states_NH.new_zeros((), dtype=torch.float32)
    grad_states_NH, grad_weight_VH = torch.empty_like(states_NH), torch.empty(0)
    for start in range(0, len(states_NH), size):
        states_nH, labels_n1 = states_NH[start : start + size], labels_N[start : start + size, None]
        logits_nV = states_nH @ weight_VH.T
        grad_nV = torch.softmax(logits_nV, -1, dtype=torch.float32)
        # -log p = (largest logit - the label's) - log(largest p): exact where p underflows or is
        # almost 1, and one pass of exponentials is enough.
        below_n = logits_nV.amax(-1).float() - logits_nV.gather(1, labels_n1)[:, 0].float()
        total += (below_n - grad_nV.amax(-1).log()).sum()
        grad_nV = grad_nV.scatter_add_(1, labels_n1, grad_nV.new_full(labels_n1.shape, -1.0)).to(
            states_NH.dtype
        )
        torch.mm(grad_nV, weight_VH, out=grad_states_NH[start : start + size])
        if weight_is_trained and not start:
            grad_weight_VH = (grad_nV.T @ states_nH).float()
        elif weight_is_trained and states_NH.dtype == torch.float32:
            grad_weight_VH.addmm_(grad_nV.T, states_nH)
        elif weight_is_trained:
            grad_weight_VH += grad_nV.T @ states_nH
    return total, grad_states_NH, grad_weight_VH


def _nll(
    parts: Parts, states_NH: torch.Tensor, labels_N: torch.Tensor, label_smoothing: float
) -> torch.Tensor:
    assert parts.head is not None
    logits_NV = parts.scale(parts.head(states_NH)).float()
    return F.cross_entropy(logits_NV, labels_N, reduction="sum", label_smoothing=label_smoothing)


def _nll_in_slices(
    parts: Parts, states_NH: torch.Tensor, labels_N: torch.Tensor, label_smoothing: float, size: int
) -> torch.Tensor:
    """Logits of one slice at a time, computed again in the backward pass. (torch 2.13's
    F.linear_cross_entropy, which does the same, took 3 to 12 times as long as whole logits on a
    CPU, and takes no soft caps.)
    """
    total = states_NH.new_zeros((), dtype=torch.float32)
    # Autocast keeps one low-precision copy of the head, into which the slices' gradients would be
    # summed in low precision, which biases them. Without its cache each slice's gradient is added
    # to the float32 one.
    with _autocast_without_cache(states_NH.device.type):
        for states_nH, labels_n in zip(states_NH.split(size), labels_N.split(size), strict=True):
            total = total + checkpoint(
                _nll, parts, states_nH, labels_n, label_smoothing, use_reentrant=False
            )
    return total


def _autocast_without_cache(device_type: str) -> AbstractContextManager[None]:
    if not torch.is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(
        device_type, dtype=torch.get_autocast_dtype(device_type), cache_enabled=False
    )


def _nll_of_whole_model(model: Any, batch: Batch, label_smoothing: float) -> torch.Tensor:
    assert not isinstance(batch, Packed), "rows are packed only where the model can be taken apart"
    logits_BTV = model(input_ids=batch.input_ids_BT, use_cache=False).logits
    logits_NV = logits_BTV.flatten(0, 1)[batch.positions_N].float()
    return F.cross_entropy(
        logits_NV, batch.labels_N, reduction="sum", label_smoothing=label_smoothing
    )


def _unscaled(logits_NV: torch.Tensor) -> torch.Tensor:
    return logits_NV


def _scalings(config: Any) -> list[Scale]:
    """What architectures do to the head's output, by their config keys: soft-capping (Gemma),
    dividing (Granite) or multiplying (HyperCLOVA X) by logits_scaling, multiplying by logit_scale
    (Cohere) or lm_head_multiplier.
    """
    cap = _first_of(config, "final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
    if cap:
        return [lambda logits_NV: torch.tanh(logits_NV / cap) * cap]
    names = ("logits_scaling", "logit_scale", "lm_head_multiplier", "logits_mup_width_multiplier")
    by = _first_of(config, *names)
    if by is None:
        return [_unscaled]
    return [lambda logits_NV: logits_NV / by, lambda logits_NV: logits_NV * by]


def _first_of(config: Any, *names: str) -> Any:
    return next(
        (getattr(config, name) for name in names if getattr(config, name, None) not in (None, 1)),
        None,
    )


@torch.no_grad()
def _gives_the_logits(model: Any, decoder: Any, head: Any, scale: Scale) -> bool:
    """Also from hidden states so large that logits are about LARGE: a soft cap hardly shows in
    small ones.
    """
    was_training = model.training
    model.eval()
    try:
        device = next(model.parameters()).device
        ids_BT = torch.arange(1, 5, device=device)[None] % head.weight.shape[0]
        states_BTH = decoder(input_ids=ids_BT, use_cache=False).last_hidden_state
        largest = float(head(states_BTH).abs().max())
        return all(
            _same_logits(model, ids_BT, states_BTH, head, scale, by)
            for by in (1.0, LARGE / (largest + 1e-6))
        )
    except (TypeError, AttributeError, RuntimeError):
        return False
    finally:
        model.train(was_training)


def _same_logits(
    model: Any, ids_BT: torch.Tensor, states_BTH: torch.Tensor, head: Any, scale: Scale, by: float
) -> bool:
    """Whether the model makes of the head's input, multiplied by `by`, what `scale` and the head
    make of it.
    """
    handle = head.register_forward_pre_hook(lambda _, args: (args[0] * by, *args[1:]))
    try:
        expected_BTV = model(input_ids=ids_BT, use_cache=False).logits.float()
        found_BTV = scale(head(states_BTH)).float()
    finally:
        handle.remove()
    return found_BTV.shape == expected_BTV.shape and torch.allclose(
        found_BTV, expected_BTV, rtol=1e-3, atol=1e-4
    )
