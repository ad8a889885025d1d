"""Random models of several architectures, prompts for them, and a model that counts."""

from __future__ import annotations

import random
from typing import Any

import torch
import transformers as hf
from support import tiny_llama

VOCABULARY = 61


def tiny(kind: str, window: int = 8) -> Any:
    """A random model with weights large enough that its answers depend on the prompt."""
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    more: dict[str, Any] = {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}
    common: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": False,
        "eos_token_id": 1,
        "bos_token_id": 0,
    }
    configs = {
        "llama": lambda: hf.LlamaConfig(**sizes, **more, **common, max_position_embeddings=128),
        "qwen3": lambda: hf.Qwen3Config(**sizes, **more, **common, max_position_embeddings=128),
        "gemma3": lambda: hf.Gemma3TextConfig(
            **sizes,
            **more,
            **common,
            sliding_window=window,
            layer_types=["sliding_attention", "full_attention"],
        ),
        "gpt2": lambda: hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=128, **common),
        "bloom": lambda: hf.BloomConfig(hidden_size=32, n_layer=2, n_head=4, **common),
        "mamba": lambda: hf.MambaConfig(
            hidden_size=32, num_hidden_layers=2, state_size=4, **common
        ),
    }
    torch.manual_seed(3)
    model = hf.AutoModelForCausalLM.from_config(configs[kind]()).eval()
    for weight in model.parameters():
        weight.data.mul_(3.0 if weight.ndim > 1 else 1.0)
    return model


def prompts_of(n: int, shared: int = 0, seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    beginning = [rng.randrange(2, VOCABULARY) for _ in range(shared)]
    return [
        beginning + [rng.randrange(2, VOCABULARY) for _ in range(rng.randint(1, 20))]
        for _ in range(n)
    ]


def counting() -> Any:
    """A model whose next token is the last one + 1 (below 32), so that answers can be written by
    hand.
    """
    model = tiny_llama(vocab_size=32)
    model.model.embed_tokens.weight.data = torch.eye(32)
    model.lm_head = torch.nn.Linear(32, 32, bias=False)
    model.lm_head.weight.data = torch.eye(32).roll(1, dims=0)
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.data.zero_()
        layer.mlp.down_proj.weight.data.zero_()
    return model
