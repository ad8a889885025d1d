"""Llama-like layers under autocast on a CPU, with fewer passes over memory between their matrix products.

As transformers writes them, autocast casts a norm's output once for each projection that reads it, and its backward
pass casts and adds up as many gradients in float32. While a training step runs, here a norm hands out bfloat16 at once,
and a gated feed-forward has one product for gate and up, and one backward pass written out. The numbers that go into a
product are the same as before; the gradients that a norm's readers send back are added up in bfloat16.

Only layers of a known build are taken over (no names of models are looked at), only where their output agrees, and only
under autocast; all else, float32 and generation included, runs as the model has it.

Legend: L tokens of all rows, H hidden units, I units of the feed-forward, X any leading dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F

LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
TOLERANCE = 0.03  # bfloat16 has 8 bits

Forward = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def lean(decoder: Any, dtype: str) -> Iterator[None]:
    """The decoder's norms and feed-forwards are these, where they fit and `dtype` is bfloat16."""
    found = [] if dtype != "bfloat16" else _replacements(decoder)
    for module, forward in found:
        module.forward = forward
    try:
        yield
    finally:
        for module, _ in found:
            del module.forward  # the class's own again


def _replacements(decoder: Any) -> list[tuple[Any, Forward]]:
    if next(decoder.parameters()).device.type != "cpu":
        return []
    layers = [
        layer for layer in getattr(decoder, "layers", ()) if {name for name, _ in layer.named_children()} == LAYER
    ]
    norms = [norm for layer in layers for norm in (layer.input_layernorm, layer.post_attention_layernorm)]
    feeds = [layer.mlp for layer in layers]
    found: list[tuple[Any, Forward]] = [(norm, _lean_norm(norm)) for norm in norms if _is_norm(norm)]
    found += [(feed, _lean_feed_forward(feed)) for feed in feeds if _is_feed_forward(feed)]
    return [pair for pair in found if _agrees(*pair)]


def _is_norm(module: Any) -> bool:
    named = type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon")
    return _is_untouched(module) and named and [name for name, _ in module.named_parameters()] == ["weight"]


def _is_feed_forward(module: Any) -> bool:
    children = dict(module.named_children())
    linears = [children.pop(name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    plain = all(type(each) is torch.nn.Linear and each.bias is None and _is_untouched(each) for each in linears)
    gates = all(
        isinstance(each, torch.nn.SiLU) or type(each).__name__ == "SiLUActivation" for each in children.values()
    )
    return _is_untouched(module) and plain and gates and len(children) == 1


def _is_untouched(module: Any) -> bool:
    """Nobody has put a forward of their own or a hook in."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return "forward" not in vars(module) and not any(hooks)


@torch.no_grad()
def _agrees(module: Any, forward: Forward) -> bool:
    """On four rows of random numbers, under autocast."""
    width = next(module.parameters()).shape[-1]
    states_XH = torch.randn(1, 4, width, generator=torch.Generator().manual_seed(0))
    try:
        with torch.autocast("cpu", torch.bfloat16):
            expected, found = module(states_XH).float(), forward(states_XH).float()
    except (TypeError, RuntimeError, AttributeError):
        return False
    return expected.shape == found.shape and bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max())


def _lean_norm(module: Any) -> Forward:
    usual: Forward = module.forward

    def forward(states_XH: torch.Tensor) -> torch.Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return usual(states_XH)
        out_XH: torch.Tensor = _Norm.apply(states_XH, module.weight, module.variance_epsilon)
        return out_XH

    return forward


def _lean_feed_forward(module: Any) -> Forward:
    usual: Forward = module.forward
    weights = [getattr(module, f"{name}_proj").weight for name in ("gate", "up", "down")]

    def forward(states_XH: torch.Tensor) -> torch.Tensor:
        if not torch.is_autocast_enabled("cpu"):
            return usual(states_XH)
        out_LH: torch.Tensor = _FeedForward.apply(states_XH.flatten(0, -2), *weights)
        return out_LH.view(states_XH.shape)

    return forward


class _Norm(torch.autograd.Function):
    """RMSNorm in float32, its output in bfloat16; kept are the input, which the residual stream keeps anyway, and each
    row's 1 / root mean square."""

    @staticmethod
    def forward(ctx: Any, states_XH: torch.Tensor, weight_H: torch.Tensor, epsilon: float) -> torch.Tensor:
        norm_X1 = torch.linalg.vector_norm(states_XH, dim=-1, keepdim=True, dtype=torch.float32)
        inverse_X1 = norm_X1.square_().div_(states_XH.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(states_XH, weight_H, inverse_X1)
        out_XH: torch.Tensor = (states_XH * inverse_X1).mul_(weight_H).bfloat16()
        return out_XH

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states_XH, weight_H, inverse_X1 = ctx.saved_tensors
        normed_XH, grad_XH = states_XH * inverse_X1, grads[0].float()
        product_LH = (grad_XH * normed_XH).flatten(0, -2)
        grad_weight_H = product_LH.sum(0).to(weight_H.dtype)
        mean_X1 = (product_LH @ weight_H.float()).div_(len(weight_H)).view_as(inverse_X1)
        grad_XH = grad_XH.mul(weight_H).addcmul_(normed_XH, mean_X1, value=-1).mul_(inverse_X1)
        return grad_XH.to(states_XH.dtype), grad_weight_H, None


class _FeedForward(torch.autograd.Function):
    """down(silu(gate(x)) * up(x)) in bfloat16, gate and up side by side."""

    @staticmethod
    def forward(
        ctx: Any, states_LH: torch.Tensor, gate_IH: torch.Tensor, up_IH: torch.Tensor, down_HI: torch.Tensor
    ) -> torch.Tensor:
        size = len(gate_IH)
        both_2IH = gate_IH.new_empty(2 * size, gate_IH.shape[1], dtype=torch.bfloat16)
        both_2IH[:size], both_2IH[size:] = gate_IH, up_IH
        down, states = down_HI.bfloat16(), states_LH.bfloat16()
        with torch.autocast("cpu", enabled=False):
            both_L2I = states @ both_2IH.T
            active_LI = F.silu(both_L2I[:, :size])
            gated_LI = active_LI * both_L2I[:, size:]
            out_LH = gated_LI @ down.T
        ctx.save_for_backward(states, both_2IH, down, both_L2I, active_LI, gated_LI)
        ctx.dtypes = (states_LH.dtype, gate_IH.dtype)
        return out_LH

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        states_LH, both_2IH, down_HI, both_L2I, active_LI, gated_LI = ctx.saved_tensors
        (states_dtype, dtype), size = ctx.dtypes, down_HI.shape[1]
        grad_LH = grads[0].bfloat16()
        grad_gated_LI = grad_LH @ down_HI
        grad_both_L2I = torch.empty_like(both_L2I)
        torch.mul(grad_gated_LI, active_LI, out=grad_both_L2I[:, size:])
        torch.ops.aten.silu_backward.grad_input(
            grad_gated_LI.mul_(both_L2I[:, size:]), both_L2I[:, :size], grad_input=grad_both_L2I[:, :size]
        )
        grad_states = (grad_both_L2I @ both_2IH).to(states_dtype) if ctx.needs_input_grad[0] else None
        grad_weights: list[torch.Tensor | None] = [None, None, None]
        if any(ctx.needs_input_grad[1:3]):
            grad_both_2IH = grad_both_L2I.T @ states_LH
            grad_weights[:2] = [grad_both_2IH[:size].to(dtype), grad_both_2IH[size:].to(dtype)]
        if ctx.needs_input_grad[3]:
            grad_weights[2] = (grad_LH.T @ gated_LI).to(dtype)
        return grad_states, *grad_weights
