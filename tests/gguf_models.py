"""Tiny models of every architecture that is written as .gguf, and tokenizers for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tunesmith.models.gguf_tokenizer import TokenizerFields, splitter, tokenizer_fields
from tunesmith.models.gguf_write import round_weights, write_gguf

TEXTS = ["<s>He's got 12345 of them,  naïve\n\n", " 3.14 we'LL see <|think|>日本語</s>"]


WORDS = ["he 12345 123 12 we'll see them naïve got"]


def tokenizer(pre: str, words: list[str] = WORDS) -> Any:
    """A trained BPE tokenizer with one of llama.cpp's splitting rules, and an added word."""
    inner = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    inner.pre_tokenizer = splitter(pre)
    inner.decoder = decoders.ByteLevel()
    names = ["<s>", "</s>", "<pad>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=names, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(words * 3, trainer)
    found = hf.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    found.add_tokens(["<|think|>"])
    found.chat_template = "{{ bos_token }}{{ messages[0].content }}"
    return found


def ropes(kind: str) -> dict[str, Any]:
    """A rotary base of its own, where a file says it."""
    theta = 10_000.0 if kind == "stablelm" else 5000.0
    plain: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    if kind == "gemma3_text":
        return {"full_attention": plain, "sliding_attention": plain | {"rope_theta": 10_000.0}}
    rotated = {"stablelm": 0.25, "nemotron": 0.5, "minimax_m2": 0.5}
    return plain | ({"partial_rotary_factor": rotated[kind]} if kind in rotated else {})


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
COMMON = SIZES | {
    "intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 128,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
RECURRENT = {
    "head_dim": 64, "num_hidden_layers": 4, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    "qwen3": {"head_dim": 128},
    "gemma2": {"head_dim": 256, "sliding_window": 8},
    # of its layers every sixth sees everything
    "gemma3_text": {"head_dim": 256, "sliding_window": 8, "num_hidden_layers": 6},
    "mistral": {"sliding_window": None},
    "qwen2_moe": EXPERTS,
    "qwen3_moe": EXPERTS | {"norm_topk_prob": True, "head_dim": 16},
    "qwen3_5_text": RECURRENT,
    "qwen3_5_moe_text": EXPERTS
    | RECURRENT
    | {"moe_intermediate_size": 24, "shared_expert_intermediate_size": 40},
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_multiple_of": 8, "norm_eps": 1e-4},
    "stablelm": {"head_dim": None, "layer_norm_eps": 1e-4, "use_qkv_bias": True},
    "minimax_m2": {"num_local_experts": 4, "num_experts_per_tok": 2},
}
"""What a tiny model has besides `COMMON`."""
ALONE: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
    "falcon": SIZES | {"max_position_embeddings": 128},
    "bloom": SIZES | {"layer_norm_epsilon": 1e-4},
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 6, "conv_kernel": 3},
}
"""What one has without any of it."""


def tiny_config(kind: str, tied: bool, **changes: Any) -> Any:
    values = ALONE.get(kind, COMMON | OWN.get(kind, {}))
    if kind not in ("gpt2", "bloom", "mamba"):
        values = values | {"rope_parameters": ropes(kind)}
    values = values | changes
    return hf.AutoConfig.for_model(
        kind, vocab_size=320, tie_word_embeddings=tied, bos_token_id=0, eos_token_id=1,
        pad_token_id=2, **values,
    )  # fmt: skip


def model(kind: str, tied: bool = False, **changes: Any) -> Any:
    config = tiny_config(kind, tied, **changes)
    torch.manual_seed(3)
    found = hf.AutoModelForCausalLM.from_config(config).eval()
    saved = found.state_dict()
    for weight in saved.values():  # biases and norms as well are not what they began as
        weight.add_(torch.randn_like(weight) * 0.1)
    return found


def written(found: Any, tokens: Any, file: Path, dtype: str) -> TokenizerFields:
    fields = tokenizer_fields(tokens, [1], found.config.vocab_size)
    round_weights(found, dtype)
    write_gguf(found, fields, file, dtype, "tiny")
    return fields


def ids_of(tokens: Any) -> list[list[int]]:
    return [tokens(text, add_special_tokens=False)["input_ids"] for text in TEXTS]


READ_BACK = (
    ("llama", "gpt-2", "bfloat16", True),
    ("llama", "llama-bpe", "float32", False),
    ("llama", "smollm", "float16", False),
    ("qwen2", "qwen2", "float16", True),
    ("qwen3", "qwen2", "bfloat16", False),
    ("mistral", "llama-bpe", "bfloat16", False),
    ("phi3", "dbrx", "bfloat16", False),
    ("gpt2", "gpt-2", "float16", True),
    ("gpt2", "gpt-2", "bfloat16", False),
    ("gemma2", "gpt-2", "bfloat16", True),
    ("gemma3_text", "gpt-2", "float16", True),
    ("qwen2_moe", "qwen2", "bfloat16", False),
    ("qwen3_moe", "qwen2", "float16", False),
    ("qwen3_5_text", "qwen35", "bfloat16", True),
    ("qwen3_5_moe_text", "qwen35", "float16", False),
    ("lfm2", "llama-bpe", "bfloat16", True),
    ("stablelm", "qwen2", "float16", False),
    ("nemotron", "gpt-2", "bfloat16", False),
    ("falcon", "falcon", "bfloat16", True),
    ("bloom", "bloom", "float16", True),
    ("mamba", "gpt-2", "bfloat16", True),
    ("minimax_m2", "gpt-2", "bfloat16", False),
)
LINEAR, FULL = "linear_attention", "full_attention"
VARIANTS: tuple[tuple[str, bool, dict[str, Any]], ...] = (
    ("stablelm", False, {"use_parallel_residual": True, "use_qkv_bias": False}),
    ("bloom", True, {"num_attention_heads": 6, "hidden_size": 48}),  # no power of two
    ("lfm2", False, {"conv_L_cache": 4, "layer_types": [FULL, "conv"]}),
    ("lfm2", True, {"block_auto_adjust_ff_dim": False}),
    ("mamba", False, {"time_step_rank": 5}),
    ("qwen3_5_text", False, {"linear_num_value_heads": 2, "layer_types": [LINEAR, FULL] * 2}),
    ("qwen3_5_text", True, {"linear_key_head_dim": 64, "linear_value_head_dim": 64}),
    ("qwen3_5_moe_text", True, {"num_experts": 8, "num_experts_per_tok": 3}),
    ("qwen2_moe", False, {"num_experts_per_tok": 4}),
    ("falcon", True, {"num_attention_heads": 2}),
)
"""Settings that a file says, on other values."""
