"""Attention by blocks against torch's attention under a mask, outputs and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tunesmith.train.packing import attention_cpu as module
from tunesmith.train.packing.attention_cpu import tree_attention
from tunesmith.train.packing.tensors import Block

# a beginning of 6 tokens, under it two rows, the first of which has two continuations; then a row
# of its own
BLOCKS = (
    Block(0, 6, 16),
    Block(6, 9, 13),
    Block(9, 11, 11),
    Block(11, 13, 13),
    Block(13, 16, 16),
    Block(16, 20, 20),
)


def line(heads: int) -> torch.Tensor:
    return torch.randn(1, 20, heads, 8).transpose(1, 2).requires_grad_()


def under_mask(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None = None
) -> torch.Tensor:
    seen_UU = torch.zeros(20, 20, dtype=torch.bool)
    for block in BLOCKS:
        seen_UU[block.start : block.end, block.keys] = True
    groups = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=seen_UU.tril(), scale=scale)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_blocks_give_the_attention_and_gradients_of_a_mask(
    heads: int, scale: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKWARD_KEYS", 4)
    torch.manual_seed(0)
    inputs, grad = (line(4), line(heads), line(heads)), torch.randn(1, 4, 20, 8)
    expected = under_mask(*inputs, scale)
    found = tree_attention(*inputs, BLOCKS, scale)
    pairs = zip(
        torch.autograd.grad(found, inputs, grad),
        torch.autograd.grad(expected, inputs, grad),
        strict=True,
    )
    for ours, theirs in [(found.detach(), expected.detach()), *pairs]:
        assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


def test_bfloat16_is_put_together_in_float32() -> None:
    torch.manual_seed(0)
    inputs = [line(2).detach().bfloat16() for _ in range(3)]
    exact = under_mask(*(tensor.float() for tensor in inputs))
    found = tree_attention(*inputs, BLOCKS, None)
    assert found.dtype == torch.bfloat16
    # no worse than one rounding of the exact result and one of each kernel's
    torch.testing.assert_close(found.float(), exact, rtol=2e-2, atol=1e-2)


def test_queries_and_keys_of_another_type_take_the_values() -> None:
    query, key, value = line(2), line(2), line(2).detach().bfloat16()
    assert tree_attention(query, key, value, BLOCKS, None).dtype == torch.bfloat16
