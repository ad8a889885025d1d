"""A safetensors file written and read one tensor at a time, for tensors that are not all to be in
memory together. safetensors' own writer takes all of them at once.

The format, by https://huggingface.co/docs/safetensors: eight bytes with the header's length, a JSON
header with dtype, shape and place of each tensor, then their numbers one after the other. As
safetensors does it, those with the widest numbers come first, so that all are aligned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open

from tunesmith.train.offload import memory_of

ALIGNED = 8
DTYPES = {
    torch.float64: "F64",
    torch.int64: "I64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.bool: "BOOL",
}


def save_one_by_one(
    tensors: Mapping[str, torch.Tensor],
    path: Path,
    numbers: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    """Write tensors of which some are on the meta device; `numbers` gives what they stand for.

    Raises OSError where the disk is full.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header, end = {}, 0
    for name in order:
        tensor, start = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        about = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape)}
        header[name] = about | {"data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNED)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            found = numbers(tensors[name]).detach().cpu().contiguous()
            file.write(memory_of(found))


class OneByOne(Mapping[str, torch.Tensor]):
    """The tensors of a file, each read when it is asked for; none is kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with safe_open(path, framework="pt") as file:
            self._names = list(file.keys())

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._names:
            raise KeyError(name)
        with safe_open(self._path, framework="pt") as file:
            # what is given is mapped, and pages of the file would stay with the process
            found: torch.Tensor = file.get_tensor(name).clone()
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
