"""Attention over segments, with a stand-in for torch's CUDA kernel: the loss and gradients of
transformers.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.attention.varlen
from loss_oracle import ARCHITECTURES, alone, assert_same, build, example, examples, ours, reference
from transformers.masking_utils import (
    causal_mask_function,
    chunked_causal_mask_function,
    sliding_window_causal_mask_function,
)

from tunesmith.recipe import TrainConfig
from tunesmith.train import settings
from tunesmith.train.loss import split_model
from tunesmith.train.packing import attention, attention_cuda
from tunesmith.train.packing import plan as plan_module
from tunesmith.train.packing.attention import varlen_is_exact
from tunesmith.train.packing.attention_cuda import Segments, segments_of, why_not_varlen, window_of
from tunesmith.train.packing.plan import MicroBatch, TrainingData, cut
from tunesmith.train.packing.tensors import to_packed
from tunesmith.train.settings import settle

PLAIN = ["llama", "qwen3", "gemma3", "mistral", "phi3", "granite", "olmo2"]
CUDA = torch.device("cuda")


def reference_varlen_attn(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> torch.Tensor:
    """What the documentation of torch.nn.attention.varlen says, segment by segment: the ends of
    queries and keys are lined up, and key k is seen by query q where q - left <= k <= q + right, a
    negative side being open.
    """
    pieces = []
    for q0, q1, k0, k1 in zip(cu_seq_q, cu_seq_q[1:], cu_seq_k, cu_seq_k[1:], strict=False):
        assert q1 - q0 <= max_q
        assert k1 - k0 <= max_k
        at_q1 = torch.arange(int(q1 - q0))[:, None] + int((k1 - k0) - (q1 - q0))
        apart_qk = torch.arange(int(k1 - k0))[None] - at_q1
        left, right = window_size
        seen_qk = ((left < 0) | (apart_qk >= -left)) & ((right < 0) | (apart_qk <= right))
        q, k, v = (x.transpose(0, 1) for x in (query[q0:q1], key[k0:k1], value[k0:k1]))
        out_HQD = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=seen_qk, scale=scale, enable_gqa=enable_gqa
        )
        pieces.append(out_HQD.transpose(0, 1))
    return torch.cat(pieces)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The windows that the kernel was called with."""
    windows = []

    def called(*arguments: Any, **options: Any) -> torch.Tensor:
        windows.append(options["window_size"])
        return reference_varlen_attn(*arguments, **options)

    monkeypatch.setattr(attention_cuda, "varlen_attn", called)
    return windows


def shared_rows() -> tuple[list[Any], TrainingData, MicroBatch]:
    """Seven rows that begin alike; two have the same prompt, one is the beginning of another."""
    rows = examples()
    rows.append(example("same prompt", [*rows[1].input_ids[:15], 7, 2], 15))
    rows.append(example("beginning", rows[3].input_ids[:19], 17))
    data = TrainingData.from_examples(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "MIN_SHARED", 4)
        (micro,) = cut(data, np.arange(len(rows)), 4096, share_prefixes=True)
    assert sorted(micro.shared.tolist()) == [0, 9, 9, 9, 9, 15, 18]
    return rows, data, micro


@pytest.mark.parametrize("name", PLAIN)
def test_shared_tokens_through_segments_give_the_loss_and_gradients_of_transformers(
    name: str, stand_in: list[tuple[int, int]]
) -> None:
    model = build(name)
    rows, data, micro = shared_rows()
    assert_same(ours(model, [to_packed(data, micro, varlen=True)]), reference(model, rows))
    # SHAPE's windows of 5 tokens are the token itself and 4 to its left
    sliding = {
        "gemma3": {(4, 0), (-1, 0)},
        "qwen3": {(-1, 0), (4, 0)},
        "mistral": {(4, 0)},
        "phi3": {(4, 0)},
    }
    assert set(stand_in) == sliding.get(name, {(-1, 0)})


@pytest.mark.parametrize("name", PLAIN)
def test_rows_that_share_nothing_through_segments_give_the_same(
    name: str, stand_in: list[tuple[int, int]]
) -> None:
    model, rows = build(name), examples()
    batch = to_packed(TrainingData.from_examples(rows), alone(len(rows)), varlen=True)
    assert_same(ours(model, [batch]), reference(model, rows))
    assert stand_in


def test_segments_worked_out_by_hand() -> None:
    # rows 7 8 9 10 11 | 7 8 9 20 | 7 8 9 (nothing of its own): the line is 7 8 9 10 11 20
    paths = [np.array([0, 1, 2, 3, 4]), np.array([0, 1, 2, 5]), np.array([0, 1, 2])]
    found = segments_of(paths, np.array([5, 1, 0]))
    assert found.path_K.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 5]
    assert found.starts_q.tolist() == [0, 5, 6]
    assert found.starts_k.tolist() == [0, 5, 9]
    assert (found.max_q, found.max_k) == (5, 5)
    assert (found.starts_q.dtype, found.starts_k.dtype) == (
        torch.int32,
        torch.int32,
    )  # the kernel takes no others


def made_segments() -> Segments:
    return segments_of([np.arange(3)], np.array([3]))


def test_a_sliding_window_of_five_is_the_token_and_four_to_its_left() -> None:
    assert window_of(made_segments(), sliding_window_causal_mask_function(5), 5).left == 4
    assert window_of(made_segments(), sliding_window_causal_mask_function(1), 1).left == 0
    assert window_of(made_segments(), causal_mask_function, None).left == -1


def test_other_masks_are_refused() -> None:
    others = [
        (chunked_causal_mask_function(5, torch.zeros(1, dtype=torch.long)), 5),
        (sliding_window_causal_mask_function(6), 5),
        (causal_mask_function, 5),
        (sliding_window_causal_mask_function(5), None),
        (lambda b, h, q, k: q >= 0, None),
    ]
    for mask_function, size in others:
        with pytest.raises(NotImplementedError, match="neither causal nor sliding"):
            window_of(made_segments(), mask_function, size)


def test_only_models_with_plain_attention_are_found_exact(stand_in: list[tuple[int, int]]) -> None:
    for name in ARCHITECTURES:
        model = build(name)
        has_soft_caps = name == "gemma2"
        assert varlen_is_exact(model, split_model(model).decoder) == (not has_soft_caps), name


def test_a_kernel_that_lines_up_the_beginnings_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def top_left(*arguments: Any, **options: Any) -> torch.Tensor:
        query, key, value, starts_q, starts_k, *_ = arguments
        pieces = []
        for q0, q1, k0, _ in zip(starts_q, starts_q[1:], starts_k, starts_k[1:], strict=False):
            n = q1 - q0
            sizes = (torch.tensor([0, n]), torch.tensor([0, n]), int(n), int(n))
            pieces.append(
                reference_varlen_attn(
                    query[q0:q1], key[k0 : k0 + n], value[k0 : k0 + n], *sizes, **options
                )
            )
        return torch.cat(pieces)

    monkeypatch.setattr(attention_cuda, "varlen_attn", top_left)
    model = build("llama")
    assert not varlen_is_exact(model, split_model(model).decoder)


def test_heads_that_the_kernel_does_not_take_are_refused(stand_in: list[tuple[int, int]]) -> None:
    line_1HUD = torch.randn(1, 2, 3, 12)
    window = window_of(made_segments(), causal_mask_function, None)
    with pytest.raises(NotImplementedError, match="heads of 12 and 12 numbers"):
        attention_cuda.attend(line_1HUD, line_1HUD, line_1HUD, window)


def test_it_is_used_on_cuda_in_half_precision_without_dropout_only() -> None:
    assert why_not_varlen(torch.device("cpu"), torch.bfloat16, False) == "no NVIDIA GPU"
    assert why_not_varlen(CUDA, torch.float32, False) == "torch.float32 is not half precision"
    assert why_not_varlen(CUDA, torch.bfloat16, True) == "the model has dropout"
    assert why_not_varlen(CUDA, torch.bfloat16, False) == ""


def test_this_torchs_kernel_takes_the_arguments_it_is_given() -> None:
    wanted = inspect.signature(reference_varlen_attn).parameters
    found = inspect.signature(torch.nn.attention.varlen.varlen_attn).parameters
    assert [name for name in wanted if name not in found] == []
    positional = [name for name, p in found.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]


def test_a_torch_without_it_or_with_fewer_arguments_keeps_the_buckets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention_cuda, "varlen_attn", None)
    assert "has no varlen_attn with windows" in why_not_varlen(CUDA, torch.bfloat16, False)
    monkeypatch.setattr(attention_cuda, "varlen_attn", lambda query, key, value, is_causal: None)
    assert "has no varlen_attn with windows" in why_not_varlen(CUDA, torch.bfloat16, False)


def test_a_run_settles_on_it_and_builds_its_batches(
    stand_in: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "why_not_varlen", lambda *_: "")
    rows, data, micro = shared_rows()
    model = build("qwen3")
    found, notes = settle(
        split_model(model), data, TrainConfig(dtype="bfloat16"), torch.device("cpu")
    )
    assert found.varlen
    assert notes == []
    stand_in.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        nll, gradients = ours(model, [found.batch(data, micro, torch.device("cpu"))])
    assert stand_in
    expected_nll, expected = reference(model, rows)
    assert nll == pytest.approx(expected_nll, rel=1e-2)
    for name, gradient in expected.items():
        cosine = torch.nn.functional.cosine_similarity(
            gradients[name].flatten(), gradient.flatten(), dim=0
        )
        assert float(cosine) > 0.99, name


def test_a_model_with_other_attention_keeps_the_buckets_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings, "why_not_varlen", lambda *_: "")
    monkeypatch.setattr(
        attention, "attend", lambda *_, **__: (_ for _ in ()).throw(NotImplementedError)
    )
    data = TrainingData.from_examples(examples())
    found, notes = settle(split_model(build("llama")), data, TrainConfig(), torch.device("cpu"))
    assert not found.varlen
    assert notes == [
        "attention runs on padded groups of rows: the model's is not plain causal or sliding"
    ]
