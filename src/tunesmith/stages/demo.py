"""The built-in rows as a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.recipe import BUILT_IN_MODEL, Recipe, build_recipe

ASSETS = Path(__file__).parents[1] / "assets"


def demo_recipe(folder: Path, model: str = BUILT_IN_MODEL) -> Recipe:
    """The built-in rows on the built-in base model, at sizes that take two minutes on two cores, or
    on another model at the usual settings.
    """
    built_in = {"num_train_epochs": 6, "learning_rate": 1e-3, "train_batch_size": 16}
    values: dict[str, Any] = {
        "model": model,
        "data": {
            "source": str(ASSETS / "reviews.csv"),
            "id": "id",
            "task": "classify",
            "columns": {"text": "review", "label": "sentiment"},
            "split": {"train": 0.6, "validation": 0.1, "test": 0.3},
        },
        "train": built_in if model == BUILT_IN_MODEL else {"num_train_epochs": 2},
        # other models are asked the retention suite, which has this text too
        "evaluation": {"panel": [str(ASSETS / "held_out.txt")] if model == BUILT_IN_MODEL else []},
        "output_dir": str(folder),
    }
    return build_recipe(values)[0]


def next_free(folder: Path) -> Path:
    """The folder itself, or the first of folder-2, folder-3 ... that does not exist."""
    number, candidate = 1, folder
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate
