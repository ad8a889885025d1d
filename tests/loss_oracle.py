"""Tiny random models of many architectures, rows for them, and the oracle: transformers' own loss
and gradients.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tunesmith.records import IGNORE_INDEX, TokenizedExample
from tunesmith.train.loss import nll_sum, split_model
from tunesmith.train.packing.plan import MicroBatch
from tunesmith.train.packing.tensors import Batch

VOCABULARY = 61
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOWS = {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]}
GPT2_SHAPE = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama_tied": ("Llama", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 5}),
    "gemma2": ("Gemma2", {**WINDOWS, "query_pre_attn_scalar": 8, "final_logit_softcapping": 2.0}),
    "gemma3": ("Gemma3", {**WINDOWS, "query_pre_attn_scalar": 8}),
    "mistral": ("Mistral", {"sliding_window": 5}),
    "phi3": ("Phi3", {"sliding_window": 5, "resid_pdrop": 0.0}),
    "gpt2": ("GPT2", {**GPT2_SHAPE, **NO_DROPOUT}),
    "gpt_neox": ("GPTNeoX", {}),
    "olmo2": ("Olmo2", {}),
    "granite": (
        "Granite",
        {"logits_scaling": 3.0, "embedding_multiplier": 2.0, "residual_multiplier": 0.5},
    ),
    "cohere": ("Cohere", {"logit_scale": 0.5}),
}


def build(name: str) -> Any:
    kind, changes = ARCHITECTURES[name]
    config_class = getattr(transformers, {"Gemma3": "Gemma3TextConfig"}.get(kind, f"{kind}Config"))
    shape = changes if kind == "GPT2" else {**SHAPE, **changes}
    torch.manual_seed(0)
    model = getattr(transformers, {"GPT2": "GPT2LMHeadModel"}.get(kind, f"{kind}ForCausalLM"))(
        config_class(**shape)
    )
    with torch.no_grad():  # larger than at initialisation, so that soft caps and windows matter
        for parameter in model.parameters():
            parameter.copy_(
                torch.randn_like(parameter) * 0.2 + (1.0 if parameter.ndim == 1 else 0.0)
            )
    return model.train()


def example(name: str, ids: list[int], num_prompt_tokens: int) -> TokenizedExample:
    labels = [IGNORE_INDEX] * num_prompt_tokens + ids[num_prompt_tokens:]
    return TokenizedExample(name, ids, labels, num_prompt_tokens)


def examples() -> list[TokenizedExample]:
    """Five rows of 12 to 20 tokens that share their first 9, as rows under one instruction do."""
    random = np.random.default_rng(1)
    shared = random.integers(3, VOCABULARY, 9).tolist()
    sizes = [(3, 2), (6, 4), (4, 1), (8, 3), (3, 6)]
    return [
        example(f"r{i}", shared + random.integers(3, VOCABULARY, own + answer).tolist(), 9 + own)
        for i, (own, answer) in enumerate(sizes)
    ]


def reference(model: Any, rows: list[TokenizedExample]) -> tuple[float, dict[str, torch.Tensor]]:
    """Summed loss over trained tokens and its gradients, one row at a time, as transformers
    computes them.
    """
    model.zero_grad()
    total = 0.0
    for row in rows:
        ids_BT, labels_BT = torch.tensor([row.input_ids]), torch.tensor([row.labels])
        nll = (
            model(input_ids=ids_BT, labels=labels_BT).loss
            * (labels_BT[:, 1:] != IGNORE_INDEX).sum()
        )
        nll.backward()
        total += nll.item()
    return total, gradients(model)


def ours(model: Any, parts_of_step: list[Batch]) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    parts = split_model(model)
    assert parts.head is not None
    total = 0.0
    for batch in parts_of_step:
        nll = nll_sum(parts, batch)
        nll.backward()
        total += nll.item()
    return total, gradients(model)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(
    found: tuple[float, dict[str, torch.Tensor]], expected: tuple[float, dict[str, torch.Tensor]]
) -> None:
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        assert float((found[1][name] - gradient).abs().max()) <= 1e-5 * float(
            gradient.abs().max()
        ), name


def alone(num_rows: int) -> MicroBatch:
    return MicroBatch(np.arange(num_rows), np.zeros(num_rows, dtype=np.int64))
