"""The built-in base model, changed into one that a run has to refuse."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from defect_kinds.job import Job, good_rows


def copy_base(folder: Path) -> Path:
    """A copy of the built-in base model in a folder."""
    from tunesmith.models.load import resolve_model

    return Path(shutil.copytree(resolve_model("built-in"), folder / "model"))


def changed_model(change: Callable[[Path], object]) -> Callable[[Job], list[str]]:
    """The good rows for the built-in model after a change, which is given the model's folder."""

    def inject(job: Job) -> list[str]:
        model = copy_base(job.folder)
        change(model)
        return job.prepare(job.csv(good_rows()), f"model={model}")

    return inject


def change_tensors(model: Path, change: Callable[[dict[str, Any]], None]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(model / "model.safetensors")
    change(tensors)
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


def with_a_nan(model: Path) -> None:
    """One weight is NaN, as a training that diverged leaves it."""

    def change(tensors: dict[str, Any]) -> None:
        tensors[min(tensors)].view(-1)[0] = float("nan")

    change_tensors(model, change)


def without_a_tensor(model: Path) -> None:
    def change(tensors: dict[str, Any]) -> None:
        del tensors[max(name for name in tensors if "layers" in name)]

    change_tensors(model, change)
