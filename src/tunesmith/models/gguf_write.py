"""A model as a .gguf file for llama.cpp: Llama, Qwen2 and Qwen3, in F32, F16 or BF16.

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
from tunesmith.models.gguf_tokenizer import HINT, TokenizerFields, add_tokenizer

if TYPE_CHECKING:
    from gguf import GGUFWriter

ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""model_type and general.architecture alike."""
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
    rope = getattr(config, "rope_parameters", None) or {}
    found: dict[str, object] = {
        "hidden_act": config.hidden_act,
        "rope_type": rope.get("rope_type", "default"),
        "attention_bias": getattr(config, "attention_bias", False),
        "mlp_bias": getattr(config, "mlp_bias", False),
        "use_sliding_window": getattr(config, "use_sliding_window", False),
    }
    wanted: dict[str, object] = dict.fromkeys(found, False)
    wanted |= {"hidden_act": "silu", "rope_type": "default"}
    if kind == "qwen3":  # transformers reads no other from a file, so that none could be checked
        found["head_dim"], wanted["head_dim"] = config.head_dim, 128
    for key, value in found.items():
        if value != wanted[key]:
            raise ModelError(
                f"{kind} with {key} = {value!r} is not written as .gguf, only {wanted[key]!r}",
                hint=HINT,
            )


def round_weights(model: PreTrainedModel, dtype: str) -> None:
    """Round a float32 model's matrices in place to what the file will hold; vectors stay, as
    llama.cpp computes with norms and biases in F32. ModelError where a number becomes infinite.
    """
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.copy_(weight.to(getattr(torch, dtype)))
            if not weight.isfinite().all():
                raise ModelError(f"{name}: too large for {dtype}", hint="--dtype bfloat16")


def write_gguf(
    model: PreTrainedModel, fields: TokenizerFields, file: Path, dtype: str, name: str
) -> None:
    """Write a float32 model whose weights `round_weights` has rounded to `dtype`."""
    import gguf  # noqa: PLC0415 - an extra, whose presence was checked

    config = model.config
    writer = gguf.GGUFWriter(file, config.model_type)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[FILE_TYPES[dtype]])
    _add_sizes(writer, config)
    add_tokenizer(writer, fields)
    for key, weight in _tensors(model):
        kind = gguf.GGMLQuantizationType[FORMATS[dtype] if weight.ndim > 1 else "F32"]
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


def _add_sizes(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(head_dim(config))
    writer.add_key_length(head_dim(config))
    writer.add_value_length(head_dim(config))
    writer.add_vocab_size(config.vocab_size)


def _tensors(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Name in the file and weights; ModelError for a tensor without a name there."""
    import gguf  # noqa: PLC0415 - an extra, whose presence was checked

    config = model.config
    kind = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[config.model_type]
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    # named_parameters gives tied weights once, under the embeddings' name
    for name, weight in model.named_parameters():
        key = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if key is None:
            raise ModelError(f"{name}: a .gguf file has no name for this tensor", hint=HINT)
        part, plain = name.split(".")[-2], weight.detach().contiguous()
        if config.model_type == "llama" and part in heads:
            plain = _interleaved(plain, heads[part])
        yield key, plain


def _interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of queries or keys [heads * head_dim, hidden] as llama.cpp's Llama rotates them: the
    number i of a head's first half beside the number i of its second half (`permute` in llama.cpp's
    convert_hf_to_gguf.py).
    """
    halves = weight.reshape(heads, 2, -1, *weight.shape[1:])
    return halves.transpose(1, 2).reshape(weight.shape).contiguous()
