"""A model as a .gguf file for llama.cpp, in F32, F16 or BF16, of an architecture in
gguf_architectures.py.

The keys and the tensors' names are the gguf package's. Anything that such a file cannot say, or
that transformers could not read back from one, is refused before the weights are loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from tunesmith.errors import ModelError
from tunesmith.models.gguf import check_package
from tunesmith.models.gguf_architectures import (
    ARCHITECTURES,
    norm_epsilon,
    rope_theta,
    setting,
)
from tunesmith.models.gguf_tokenizer import HINT, TokenizerFields, add_tokenizer

if TYPE_CHECKING:
    from gguf import GGUFWriter

FORMATS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
FILE_TYPES = {"float32": "ALL_F32", "float16": "MOSTLY_F16", "bfloat16": "MOSTLY_BF16"}


def check_writable(config: PreTrainedConfig) -> None:
    """ModelError, naming the key, where a model is not what llama.cpp would compute from a file."""
    check_package("a .gguf file")
    kind = config.model_type
    if kind not in ARCHITECTURES:
        raise ModelError(
            f"{kind} models are not written as .gguf; {', '.join(ARCHITECTURES)} are", hint=HINT
        )
    for key, wanted in ARCHITECTURES[kind].wanted.items():
        found = setting(config, key)
        if found != wanted and not (wanted is False and found is None):
            raise ModelError(
                f"{kind} with {key} = {found!r} is not written as .gguf, only {wanted!r}",
                hint=HINT,
            )


def round_weights(model: PreTrainedModel, dtype: str) -> None:
    """Round a float32 model in place to what the file will hold: matrices to `dtype`, norms to what
    is left of them after something was added. Norms and biases are computed with in F32 by
    llama.cpp. ModelError where a number becomes infinite.
    """
    kind = ARCHITECTURES[model.config.model_type]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if kind.is_shifted(name):
                weight.add_(kind.added_to_norms).sub_(kind.added_to_norms)
            elif not kind.in_float32(name, weight):
                weight.copy_(weight.to(getattr(torch, dtype)))
            if not weight.isfinite().all():
                raise ModelError(f"{name}: too large for {dtype}", hint="--dtype bfloat16")


def write_gguf(
    model: PreTrainedModel, fields: TokenizerFields, file: Path, dtype: str, name: str
) -> None:
    """Write a float32 model whose weights `round_weights` has rounded to `dtype`."""
    import gguf  # noqa: PLC0415 - an extra, whose presence was checked

    config = model.config
    writer = gguf.GGUFWriter(file, ARCHITECTURES[config.model_type].name)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[FILE_TYPES[dtype]])
    _add_sizes(writer, config)
    add_tokenizer(writer, fields)
    for key, weight, in_float32 in _tensors(model):
        kind = gguf.GGMLQuantizationType["F32" if in_float32 else FORMATS[dtype]]
        writer.add_tensor(key, gguf.quantize(weight.numpy(), kind), raw_dtype=kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def head_dim(config: PreTrainedConfig) -> int:
    """Numbers in one attention head's query."""
    found = getattr(config, "head_dim", None)
    return int(found or config.hidden_size // config.num_attention_heads)


def feed_forward_length(config: PreTrainedConfig) -> int:
    """Numbers inside a feed-forward layer; GPT-2's are four times the hidden ones."""
    return int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)


def _add_sizes(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(feed_forward_length(config))
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(getattr(config, "num_key_value_heads", config.num_attention_heads))
    epsilon, is_rms = norm_epsilon(config)
    (writer.add_layer_norm_rms_eps if is_rms else writer.add_layer_norm_eps)(epsilon)
    theta = rope_theta(config)
    if theta is not None:
        writer.add_rope_freq_base(theta)
        writer.add_rope_dimension_count(head_dim(config))
    writer.add_key_length(head_dim(config))
    writer.add_value_length(head_dim(config))
    writer.add_vocab_size(config.vocab_size)
    _add_attention(writer, config)


def _add_attention(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    """What some architectures' attention has besides."""
    window = getattr(config, "sliding_window", None)
    if window or config.model_type == "phi3":  # llama.cpp gives Phi-3 one unless it is told of none
        writer.add_sliding_window(window or 0)
    for key, add in (
        ("attn_logit_softcapping", writer.add_attn_logit_softcapping),
        ("final_logit_softcapping", writer.add_final_logit_softcapping),
        ("original_max_position_embeddings", writer.add_rope_scaling_orig_ctx_len),
    ):
        value = getattr(config, key, None)
        if value is not None:
            add(value)


def _tensors(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Name in the file, its numbers, and whether they stay in float32; ModelError for a tensor
    without a name there.
    """
    import gguf  # noqa: PLC0415 - an extra, whose presence was checked

    config = model.config
    found = ARCHITECTURES[config.model_type]
    kind = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[found.name]
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    # named_parameters gives tied weights once, under the embeddings' name
    for name, weight in model.named_parameters():
        key = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if key is None:
            raise ModelError(f"{name}: a .gguf file has no name for this tensor", hint=HINT)
        plain = weight.detach()
        if found.is_shifted(name):
            plain = plain + found.added_to_norms
        yield key, found.written(config, name, plain).contiguous(), found.in_float32(name, weight)
