"""The tuned model in another folder and number format, with its tokenizer and card."""

from __future__ import annotations

import shutil
from pathlib import Path

from tunesmith.errors import RecipeError
from tunesmith.models.save import save_model
from tunesmith.rundir import RunDir
from tunesmith.stages.common import load_tuned, run_recipe, tuned_chat


def export(run: RunDir, folder: Path, dtype: str) -> None:
    """Write `folder` in float32, bfloat16 or float16; RecipeError where it exists."""
    if folder.exists():
        raise RecipeError(f"{folder}: exists already", hint="name a folder that does not exist")
    recipe = run_recipe(run)
    model, chat = load_tuned(run, recipe, dtype, "cpu"), tuned_chat(run, recipe)
    budget = model.generation_config.max_new_tokens
    save_model(model, chat.tokenizer, folder, chat.stop_ids(model), budget)
    for name in ("README.md", run.original_chat_template.name, run.threshold.name):
        if (run.model / name).exists():
            shutil.copy(run.model / name, folder / name)
