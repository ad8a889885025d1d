"""The loss: the sum of -log p over the trained positions, which alone go through the LM head.

In supervised fine-tuning most positions are prompt, and a head of 150,000 rows costs as much as
many layers, so computing logits only to mask them is the largest avoidable cost of a step. Here the
decoder runs over all input tokens, its hidden states are gathered at the trained positions, and
head and the architecture's own scaling turn these into logits. That needs to know how a model is
put together: `split_model` checks on four tokens that the parts give the model's own logits, and a
model for which they do not is run whole.

Shapes: see packing/tensors.py; L tokens of the line or of all padded rows, H hidden units, V
vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

import torch
import torch.distributed
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig, PreTrainedModel

from tunesmith.train.adapters import unwrap_peft
from tunesmith.train.packing.attention import hidden_states, packing, rows_of, usual_attention
from tunesmith.train.packing.tensors import Batch, Packed

SLICE_LOGITS = 1 << 24
"""Most logits in memory at a time (V * positions): 64 MiB in float32."""

LARGE = 30.0  # at logits of this size every soft cap in use shows

Scale = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Parts:
    """A causal language model taken apart: logits = scale(head(decoder(ids))).

    `head` is an `nn.Linear` or a layer with its interface, such as LoRA's; None where the equation
    does not hold, and then the whole model is run. `attention` is the attention implementation
    (transformers' name) that the model uses when no rows are packed.
    """

    model: PreTrainedModel
    decoder: PreTrainedModel
    head: torch.nn.Linear | None
    scale: Scale
    attention: str


class Objective(Protocol):
    """What training minimises, as the loop calls it for every micro-batch.

    The result is a float32 scalar with gradients, summed (not averaged) over the batch's trained
    positions: the loop divides by the number of trained tokens of the whole optimiser step, so that
    the update does not depend on how the step was cut into micro-batches. This quotient is what the
    log shows as `loss`. `nll_sum` is the usual objective; validation always reports `nll_sum`.
    """

    def __call__(self, parts: Parts, batch: Batch) -> torch.Tensor:
        """The summed loss of one micro-batch."""
        ...


def likelihood_objective(label_smoothing: float) -> Objective:
    """The recipe's objective: `nll_sum` with this much label smoothing."""
    return partial(nll_sum, label_smoothing=label_smoothing)


def split_model(model: PreTrainedModel) -> Parts:
    """Find decoder, head and scaling of any causal LM of transformers, with or without LoRA."""
    inner = unwrap_peft(model)
    decoder = decoder_of(inner)
    head = cast("torch.nn.Linear | None", inner.get_output_embeddings())
    attention = usual_attention(decoder)
    for scale in _scalings(inner.config.get_text_config()):
        if (
            head is not None
            and decoder is not inner
            and _gives_the_logits(inner, decoder, head, scale)
        ):
            return Parts(inner, decoder, head, scale, attention)
    return Parts(inner, decoder, None, _unscaled, attention)


def split_as_declared(model: PreTrainedModel) -> Parts:
    """As `split_model`, of a model without numbers, on which nothing can be checked."""
    inner = unwrap_peft(model)
    decoder, head = decoder_of(inner), inner.get_output_embeddings()
    scale = _scalings(inner.config.get_text_config())[0]
    whole = head is None or decoder is inner
    return Parts(
        inner,
        decoder,
        None if whole else cast(torch.nn.Linear, head),
        _unscaled if whole else scale,
        usual_attention(decoder),
    )


def decoder_of(model: PreTrainedModel) -> PreTrainedModel:
    """The part that turns token ids into hidden states, or the model itself where there is none.

    `get_decoder` alone is not enough: some architectures return another part, such as the head
    (ModernBERT), or the whole model (Llama 4).
    """
    for part in (model.get_decoder(), model.base_model, getattr(model, "model", None)):
        if part is not model and hasattr(part, "config"):
            return cast(PreTrainedModel, part)
    return model


def input_embeddings(model: PreTrainedModel) -> torch.nn.Embedding:
    """The model's input embeddings, typed as what they are in every causal LM."""
    return cast(torch.nn.Embedding, model.get_input_embeddings())


def add_lookups_in_place(parts: Parts) -> None:
    """Make the embedding lookup's gradient sparse where embeddings and head are one matrix.

    The gradient of a tied matrix is the head's plus the lookup's. A dense lookup gradient is a
    second V x H matrix, zeroed and added in full though only the rows that were looked up are not
    zero; a sparse one touches only these rows. It pays on a CPU.

    For this to work `_PlainHead` has to write the head's gradient into `weight.grad` itself, before
    autograd adds the sparse part to it. That is only right in one process: DDP and FSDP learn of a
    gradient through hooks on autograd's own accumulation, which such a write goes around, so ranks
    would silently train on gradients that were never reduced. With several processes nothing is
    switched on, and the gradient goes through autograd as usual.
    """
    embedding = input_embeddings(parts.model)
    tied = (
        parts.head is not None
        and embedding.weight is parts.head.weight
        and embedding.weight.requires_grad
    )
    if tied and embedding.weight.device.type == "cpu" and not _several_processes():
        embedding.sparse = True


def _several_processes() -> bool:
    group = torch.distributed.is_available() and torch.distributed.is_initialized()
    return group and torch.distributed.get_world_size() > 1


def nll_sum(parts: Parts, batch: Batch, label_smoothing: float = 0.0) -> torch.Tensor:
    """The summed negative log-likelihood of `labels_N` in nats, a float32 scalar with gradients.

    With label smoothing e, a position's loss is (1 - e) * nll + e * mean over V of -log p, as in
    transformers' LabelSmoother.
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
            input_embeddings(parts.model).sparse,  # see add_lookups_in_place
        )
        return total
    if len(states_NH) <= size:
        return _nll(parts, states_NH, batch.labels_N, label_smoothing)
    return _nll_in_slices(parts, states_NH, batch.labels_N, label_smoothing, size)


def _is_plain(parts: Parts) -> bool:
    """Whether logits are states @ weight.T and nothing else, and gradients are needed."""
    linear = (
        type(parts.head) is torch.nn.Linear and parts.head.bias is None and parts.scale is _unscaled
    )
    return linear and torch.is_grad_enabled()


class _Kept(Protocol):
    """What autograd keeps between the two passes of `_PlainHead`."""

    saved_tensors: tuple[torch.Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    grad_weight: torch.Tensor
    in_place: torch.Tensor | None

    def save_for_backward(self, *tensors: torch.Tensor) -> None: ...


class _PlainHead(torch.autograd.Function):
    """The summed loss of a head without bias or scaling, with gradients from the forward pass.

    d loss / d logits is the softmax minus one at the label, so the gradients need nothing that the
    loss has not computed already: a slice's logits are read, overwritten and discarded, and the
    backward pass only multiplies by the incoming gradient. Under autocast the matrix products run
    in its precision, as they would without this function; the softmax and the sums over slices are
    in float32. (torch 2.13's F.linear_cross_entropy has the same idea and took 3 to 12 times as
    long on a CPU.)

    `in_place` writes the weight's gradient into `weight.grad` and returns none; for one process
    only, see `add_lookups_in_place`.
    """

    @staticmethod
    def forward(
        ctx: _Kept,
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
        # itself, and not as saved: what saved-tensor hooks give back is another tensor
        ctx.grad_weight, ctx.in_place = grad_weight_VH, weight_VH if in_place else None
        return total

    @staticmethod
    def backward(ctx: _Kept, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_states_NH, weight_VH = ctx.saved_tensors
        grad_states_NH = grad_states_NH * grads[0]
        if not ctx.needs_input_grad[1]:
            return grad_states_NH, None, None, None, None
        grad_weight_VH = ctx.grad_weight.mul_(grads[0]).to(weight_VH.dtype)
        del ctx.grad_weight  # as large as the head
        if ctx.in_place is None:
            return grad_states_NH, grad_weight_VH, None, None, None
        assert not _several_processes(), "hooks of DDP and FSDP would not see this gradient"
        before = ctx.in_place.grad
        ctx.in_place.grad = grad_weight_VH if before is None else before.add_(grad_weight_VH)
        return grad_states_NH, None, None, None, None


def _plain_loss(
    states_NH: torch.Tensor,
    weight_VH: torch.Tensor,
    labels_N: torch.Tensor,
    size: int,
    weight_is_trained: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The loss (float32 scalar), its gradient by the states (N, H) and by the weight (V, H).

    The weight's gradient is float32, and empty where the weight is not trained.
    """
    total = states_NH.new_zeros((), dtype=torch.float32)
    grad_states_NH, grad_weight_VH = torch.empty_like(states_NH), torch.empty(0)
    for start in range(0, len(states_NH), size):
        states_nH, labels_n1 = states_NH[start : start + size], labels_N[start : start + size, None]
        logits_nV = states_nH @ weight_VH.T
        grad_nV = torch.softmax(logits_nV, -1, dtype=torch.float32)
        # -log p(label) = (largest logit - label's logit) - log(largest p). Taking the log of the
        # label's own p would give infinity where it underflows; this is exact there and where p is
        # almost 1, and needs no second pass of exponentials over V.
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
    """The loss of any head and scaling, a slice of logits at a time, recomputed in backward.

    (torch 2.13's F.linear_cross_entropy does the same, but took 3 to 12 times as long as unsliced
    logits on a CPU, and knows no soft caps.)
    """
    total = states_NH.new_zeros((), dtype=torch.float32)
    # Autocast caches one bfloat16 copy of the head, and autograd would sum the slices' gradients on
    # that copy, in bfloat16, where later slices are rounded away. Without the cache each slice has
    # its own copy, and its gradient is added to the float32 one.
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


def _nll_of_whole_model(
    model: PreTrainedModel, batch: Batch, label_smoothing: float
) -> torch.Tensor:
    assert not isinstance(batch, Packed), "rows are packed only where the model can be taken apart"
    logits_BTV = model(input_ids=batch.input_ids_BT, use_cache=False).logits
    logits_NV = logits_BTV.flatten(0, 1)[batch.positions_N].float()
    return F.cross_entropy(
        logits_NV, batch.labels_N, reduction="sum", label_smoothing=label_smoothing
    )


def _unscaled(logits_NV: torch.Tensor) -> torch.Tensor:
    return logits_NV


def _scalings(config: PreTrainedConfig) -> list[Scale]:
    """What the architecture may do to the head's output, going by its config's keys.

    Soft-capping (Gemma), division (Granite) or multiplication (HyperCLOVA X) by logits_scaling,
    multiplication by logit_scale (Cohere) or lm_head_multiplier. One key is used in both ways, so
    there may be two candidates; `_gives_the_logits` decides.
    """
    cap = _first_of(config, "final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
    if cap:
        return [lambda logits_NV: torch.tanh(logits_NV / cap) * cap]
    names = ("logits_scaling", "logit_scale", "lm_head_multiplier", "logits_mup_width_multiplier")
    by = _first_of(config, *names)
    if by is None:
        return [_unscaled]
    return [lambda logits_NV: logits_NV / by, lambda logits_NV: logits_NV * by]


def _first_of(config: PreTrainedConfig, *names: str) -> float | None:
    """The first of these keys that is set and is not 1, which scales nothing."""
    found = (getattr(config, name, None) for name in names)
    return next((value for value in found if value not in (None, 1)), None)


@torch.no_grad()
def _gives_the_logits(
    model: PreTrainedModel, decoder: PreTrainedModel, head: torch.nn.Linear, scale: Scale
) -> bool:
    """Whether scale(head(decoder(ids))) equals the model's logits on four tokens.

    Tried once more with hidden states scaled up until the largest logit is about LARGE: a soft cap
    hardly changes small logits, and would be missed.
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
    model: PreTrainedModel,
    ids_BT: torch.Tensor,
    states_BTH: torch.Tensor,
    head: torch.nn.Linear,
    scale: Scale,
    by: float,
) -> bool:
    """Whether the model's logits are scale(head(by * states)) when the head is given by * states.

    The hook multiplies it inside the model and in the direct call alike.
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
