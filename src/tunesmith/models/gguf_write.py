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
from tunesmith.models.gguf_architectures import ARCHITECTURES, REFUSED
from tunesmith.models.gguf_layouts import in_float32, parts
from tunesmith.models.gguf_metadata import add_sizes
from tunesmith.models.gguf_tokenizer import HINT, TokenizerFields, add_tokenizer

if TYPE_CHECKING:
    from gguf import TensorNameMap

FORMATS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
FILE_TYPES = {"float32": "ALL_F32", "float16": "MOSTLY_F16", "bfloat16": "MOSTLY_BF16"}


def check_writable(config: PreTrainedConfig) -> None:
    """ModelError, naming the key, where a model is not what llama.cpp would compute from a file."""
    check_package("a .gguf file")
    kind = config.model_type
    if kind in REFUSED:
        raise ModelError(
            f"{kind} models are not written as .gguf: transformers does not read back "
            f"{REFUSED[kind]}",
            hint=HINT,
        )
    if kind not in ARCHITECTURES:
        raise ModelError(
            f"{kind} models are not written as .gguf; {', '.join(ARCHITECTURES)} are", hint=HINT
        )
    wrong = ARCHITECTURES[kind].wrong(config)
    if wrong:
        key, found, wanted = wrong
        raise ModelError(
            f"{kind} with {key} = {found!r} is not written as .gguf, only {wanted!r}", hint=HINT
        )


def round_weights(model: PreTrainedModel, dtype: str) -> None:
    """Round a float32 model in place to what the file will hold: matrices to `dtype`, norms and
    decays to what is left after something was added or a logarithm taken. ModelError where a number
    becomes infinite.
    """
    kind = ARCHITECTURES[model.config.model_type]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(kind.kept(name, weight))
            if not in_float32(name, weight):
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
    add_sizes(writer, config)
    add_tokenizer(writer, fields)
    for key, weight, is_float32 in _tensors(model):
        kind = gguf.GGMLQuantizationType["F32" if is_float32 else FORMATS[dtype]]
        writer.add_tensor(key, gguf.quantize(weight.numpy(), kind), raw_dtype=kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _tensors(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Name in the file, its numbers, and whether they stay in float32; ModelError for a tensor
    without a name there.
    """
    import gguf  # noqa: PLC0415 - an extra, whose presence was checked

    config = model.config
    found = ARCHITECTURES[config.model_type]
    kind = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[found.name]
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    inner = f"{model.base_model_prefix}."
    for name, weight in _saved(model):
        plain = weight.detach()
        if found.is_shifted(name):
            plain = plain + found.added_to_norms
        written = found.written(config, name, plain)
        for part, numbers in parts(name, written):
            key = _name(names, part) or _name(names, part.removeprefix(inner))  # BLOOM's are bare
            if key is None:
                raise ModelError(f"{name}: a .gguf file has no name for this tensor", hint=HINT)
            yield key, numbers.contiguous(), in_float32(name, written)


def _name(names: TensorNameMap, name: str) -> str | None:
    found: str | None = names.get_name(name, try_suffixes=(".weight", ".bias"))
    return found


def _saved(model: PreTrainedModel) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters and saved buffers; tied weights come once, under the embeddings' name."""
    saved = model.state_dict()
    yield from model.named_parameters()
    yield from ((name, buffer) for name, buffer in model.named_buffers() if name in saved)
