"""Attention of short rows, all scores written out, against torch's attention under a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tunesmith.train.short_attention import short_attention, short_rows
from tunesmith.train.tensors import Packed, _paths

OWN, SHARED = np.array([9, 3, 7, 1, 4]), np.array([0, 6, 8, 0, 1])  # the fourth row shares nothing, the fifth with it
U = int(OWN.sum())


def line(heads: int) -> torch.Tensor:
    return torch.randn(1, U, heads, 8).transpose(1, 2).requires_grad_()


def rows() -> Any:
    nothing = torch.zeros(U, dtype=torch.int64)
    return short_rows(Packed(nothing, nothing, OWN, SHARED, nothing, nothing).buckets)


def under_mask(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None = None) -> torch.Tensor:
    seen_UU = torch.zeros(U, U, dtype=torch.bool)
    for path, own in zip(_paths(OWN, SHARED), OWN, strict=True):
        for at in range(len(path) - own, len(path)):
            seen_UU[path[at], path[: at + 1]] = True
    groups = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=seen_UU, scale=scale)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_short_rows_have_the_attention_and_gradients_of_a_mask(heads: int, scale: float | None) -> None:
    torch.manual_seed(0)
    inputs, grad = (line(4), line(heads), line(heads)), torch.randn(1, 4, U, 8)
    expected, found = under_mask(*inputs, scale), short_attention(*inputs, rows(), scale)
    pairs = zip(torch.autograd.grad(found, inputs, grad), torch.autograd.grad(expected, inputs, grad), strict=True)
    for ours, theirs in [(found.detach(), expected.detach()), *pairs]:
        assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


def test_bfloat16_is_one_rounding_of_each_operand_away() -> None:
    torch.manual_seed(0)
    query, key, value = line(4), line(2), line(2)
    value_bf16 = value.detach().bfloat16().requires_grad_()
    grad = torch.randn(1, 4, U, 8).bfloat16()
    found = short_attention(query, key, value_bf16, rows(), None)
    expected = under_mask(query, key, value)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=2e-2, atol=1e-2)
    ours = torch.autograd.grad(found, (query, key, value_bf16), grad)
    theirs = torch.autograd.grad(expected, (query, key, value), grad.float())
    for a, b in zip(ours, theirs, strict=True):
        assert float((a.float() - b).norm()) <= 0.02 * float(b.norm())
