"""Is a .gguf file that was written the model? It is read back by transformers and compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from tunesmith.models.gguf import read_gguf
from tunesmith.models.gguf_architectures import ARCHITECTURES, Architecture
from tunesmith.models.gguf_metadata import (
    feed_forward_length,
    head_dim,
    norm_epsilon,
    rope_dimensions,
    rope_theta,
)
from tunesmith.models.gguf_tokenizer import READ_AS_GPT2, TokenizerFields, splitter

SIZES = (
    "max_position_embeddings", "hidden_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "vocab_size", "hidden_act", "tie_word_embeddings", "sliding_window",
    "layer_types", "num_experts", "num_experts_per_tok", "norm_topk_prob", "moe_intermediate_size",
    "shared_expert_intermediate_size", "conv_L_cache", "conv_kernel", "state_size",
    "time_step_rank", "linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim",
    "linear_value_head_dim", "linear_conv_kernel_dim",
)  # fmt: skip
"""Of the config of a model that has them."""
FLOAT32 = 1e-6
"""Relative error of a number that is kept in float32."""
LOGITS = 1e-4
"""Relative to the largest logit; the file's rope base and epsilon are rounded to float32."""


def difference(
    file: Path,
    model: PreTrainedModel,
    fields: TokenizerFields,
    texts: list[str],
    token_ids: list[list[int]],
) -> str:
    """The first thing in which the file is not the model (float32, on the CPU), or not its
    tokenizer on these texts; empty where there is none. ModelError where it cannot be read.
    """
    read, tokenizer = read_gguf(file)
    if fields.pre in READ_AS_GPT2:
        tokenizer.backend_tokenizer.pre_tokenizer = splitter(fields.pre)
    found = [
        *_sizes(model.config, read.config),
        *_tensors(model, read),
        *_tokens(tokenizer, fields, texts, token_ids),
    ]
    return found[0] if found else next(_logits(model, read, token_ids), "")


def _sizes(ours: PreTrainedConfig, read: PreTrainedConfig) -> Iterator[str]:
    pairs = [
        (key, getattr(ours, key), getattr(read, key, None)) for key in SIZES if hasattr(ours, key)
    ]
    for key, a, b in [("model_type", _kind(ours).read_as, read.model_type), *pairs]:
        if a != b:
            yield f"{key} is {b!r} in the file, {a!r} in the model"
    numbers = {
        "head_dim": (head_dim(ours), head_dim(read)),
        "the feed-forward width": (feed_forward_length(ours), feed_forward_length(read)),
        "the number of rotated dimensions": (rope_dimensions(ours), rope_dimensions(read)),
        "the norms' epsilon": (norm_epsilon(ours), norm_epsilon(read)),
        "rope_theta": (rope_theta(ours) or 0.0, rope_theta(read) or 0.0),
    }
    for key, (a, b) in numbers.items():
        if abs(a - b) > FLOAT32 * abs(a):
            yield f"{key} is {b!r} in the file, {a!r} in the model"


def _kind(config: PreTrainedConfig) -> Architecture:
    return ARCHITECTURES[config.model_type]


def _tensors(ours: PreTrainedModel, read: PreTrainedModel) -> Iterator[str]:
    wanted, found = ours.state_dict(), read.state_dict()
    for name in sorted({*wanted} ^ {*found}):
        yield f"the tensor {name} is in one of file and model alone"
    for name in sorted({*wanted} & {*found}):
        if not torch.equal(wanted[name], found[name]):
            yield f"the tensor {name} has other numbers in the file"


def _tokens(
    tokenizer: PreTrainedTokenizerBase,
    fields: TokenizerFields,
    texts: list[str],
    token_ids: list[list[int]],
) -> Iterator[str]:
    if tokenizer.chat_template != fields.chat_template:
        yield "the chat template is another one"
    if tokenizer.eos_token_id != fields.stop_ids[0]:
        yield f"the stop token is {tokenizer.eos_token_id}, not {fields.stop_ids[0]}"
    for text, wanted in zip(texts, token_ids, strict=True):
        found = tokenizer(text, add_special_tokens=False)["input_ids"]
        if found != wanted:
            yield f"the prompt {text[:60]!r} has other token ids by the file"


def _logits(
    ours: PreTrainedModel, read: PreTrainedModel, token_ids: list[list[int]]
) -> Iterator[str]:
    with torch.no_grad():
        for ids in token_ids[:1]:
            row = torch.tensor([ids])
            a, b = (model(input_ids=row).logits for model in (ours, read.eval()))
            if (a - b).abs().max() > LOGITS * a.abs().max():
                yield "the logits of a prompt are others"
