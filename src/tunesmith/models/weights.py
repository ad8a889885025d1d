"""Are these the model's weights? Files that are whole, every tensor there and in its shape, no NaN
and no infinity.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import TypedDict

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from tunesmith.errors import ModelError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
NAMED = 3  # tensors that an error names

Shape = tuple[int, ...]


class LoadingInfo(TypedDict, total=False):
    """What `output_loading_info` gives; a mismatch is (tensor, shape found, shape wanted)."""

    missing_keys: set[str]
    unexpected_keys: set[str]
    mismatched_keys: set[tuple[str, Shape, Shape]]
    error_msgs: list[str]


Loaded = tuple[PreTrainedModel, LoadingInfo]


def weight_files(folder: Path, named: str | None = None) -> list[Path]:
    """The safetensors files that transformers reads from a folder (`named` by its config, or by
    their usual names); ModelError where one is missing.
    """
    if named is not None and not (
        named.endswith((".safetensors", ".safetensors.index.json")) and "/" not in named
    ):
        raise ModelError(
            f"{folder}: its config names {named} as weights",
            hint="tunesmith reads safetensors only",
        )
    first = next(
        (
            folder / file
            for file in ([named] if named else [SINGLE, INDEX])
            if (folder / file).exists()
        ),
        None,
    )
    if first is None:
        found = ", ".join(sorted(file.name for file in folder.glob("*.safetensors"))[:NAMED])
        raise ModelError(
            f"{folder}: neither {named or f'{SINGLE} nor {INDEX}'}, only {found or 'other files'}",
            hint="the folder is not whole: copy or download it again",
        )
    if first.suffix != ".json":
        return [first]
    try:
        names = sorted(set(json.loads(first.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(
            f"{first}: not an index of weights", hint="copy or download the folder again"
        ) from error
    missing = [name for name in names if not (folder / Path(name).name).exists()]
    if missing:
        raise ModelError(
            f"{folder}: {len(missing)} of {len(names)} files of weights are missing: "
            f"{_some(missing)}",
            hint="the folder is not whole: copy or download it again",
        )
    return [folder / Path(name).name for name in names]


def read_header(folder: Path, named: str | None = None) -> dict[str, Shape]:
    """The shape of every tensor, from the first bytes of each file; ModelError where a file is cut
    short.
    """
    shapes: dict[str, Shape] = {}
    for file in weight_files(folder, named):
        with opened(file) as tensors:
            shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    return shapes


def stored_tensors(folder: Path, named: str | None = None) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of a folder, one in memory at a time."""
    for file in weight_files(folder, named):
        with opened(file) as tensors:
            for name in tensors.keys():  # noqa: SIM118
                yield name, tensors.get_tensor(name)


def owners(files: Iterable[Path]) -> dict[str, Path]:
    """The file that each tensor is in."""
    found: dict[str, Path] = {}
    for path in files:
        with opened(path) as file:
            found |= dict.fromkeys(file.keys(), path)
    return found


def opened(file: Path) -> safe_open:
    """A safetensors file, its header read; ModelError where it is none or cut short."""
    try:
        return safe_open(file, "pt")
    except (SafetensorError, OSError) as error:
        with file.open("rb") as start:
            pointer = start.read(24).startswith(b"version https://git-lfs")
        reason = (
            "a pointer of Git LFS, not the weights"
            if pointer
            else f"damaged or cut short ({error})"
        )
        hint = "`git lfs pull` fetches them" if pointer else "copy or download it again"
        raise ModelError(f"{file}: {reason}", hint=hint) from error


def check_loaded(name: str, info: LoadingInfo, is_part: bool = False) -> None:
    """ModelError for what transformers only reports: tensors that are missing (it draws them at
    random), not of this model (it leaves them out), or of another shape. What it counts as harmless
    (tied weights, old buffers) is. Where the model `is_part` of what the folder holds, the tensors
    of the other parts are rightly left out.
    """
    unexpected = set() if is_part else info["unexpected_keys"]
    for what, tensors in (
        ("missing from the weights", info["missing_keys"]),
        ("not of this model", unexpected),
    ):
        if tensors:
            raise ModelError(
                f"{name}: {_count(tensors)} {what}: {_some(tensors)}",
                hint="config.json and the weights do not belong together, or the folder is not "
                "whole",
            )
    if info["mismatched_keys"]:
        tensor, found, wanted = min(info["mismatched_keys"])
        raise ModelError(
            f"{name}: {_count(info['mismatched_keys'])} of another shape: {tensor} is "
            f"{_shape(found)}, config.json says {_shape(wanted)}",
            hint="config.json and the weights do not belong together",
        )
    if info.get("error_msgs"):
        raise ModelError(f"{name}: {info['error_msgs'][0]}")


def check_finite(name: str, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """ModelError naming the first tensors with a NaN or an infinity in them."""
    refuse_not_finite(name, not_finite(tensors))


@torch.no_grad()
def not_finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> list[str]:
    """The names of the tensors with a NaN or an infinity in them."""
    return [tensor for tensor, values in tensors if not _is_finite(values)]


def refuse_not_finite(name: str, bad: Sequence[str]) -> None:
    """ModelError naming the first of a model's `bad` tensors, where there are any."""
    if bad:
        raise ModelError(
            f"{name}: NaN or infinity in {_count(bad)}: {_some(bad)}",
            hint="the model was damaged when it was trained, converted or copied; get it again",
        )


def _is_finite(values: torch.Tensor) -> bool:
    """By the extremes, which keep a NaN: many times as fast as asking each number."""
    if not values.is_floating_point() or not values.numel() or values.is_meta:
        return True
    if values.element_size() == 1:
        values = values.float()
    return all(bool(extreme.isfinite()) for extreme in torch.aminmax(values))


def _count(tensors: Sized) -> str:
    return f"{len(tensors)} tensor{'s' if len(tensors) > 1 else ''}"


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:NAMED]) + (", ..." if len(ordered) > NAMED else "")


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a number"
