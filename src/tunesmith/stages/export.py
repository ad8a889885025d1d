"""The tuned model in another folder and number format, with its tokenizer and card."""

from __future__ import annotations

from pathlib import Path

from tunesmith.errors import RecipeError
from tunesmith.models.save import save_model
from tunesmith.rundir import RunDir
from tunesmith.stages.common import load_tuned, run_recipe, tuned_chat
from tunesmith.stages.preflight import check_new_folder
from tunesmith.stages.working import at_work


def export(run: RunDir, folder: Path, dtype: str) -> None:
    """Write `folder` in float32, bfloat16 or float16; RecipeError where it exists or cannot be
    made.
    """
    if folder.exists():
        raise RecipeError(f"{folder}: exists already", hint="name a folder that does not exist")
    check_new_folder(folder, f"export to {folder}", "name another folder")
    with at_work(folder, "export", "run the same command again"):
        _export(run, folder, dtype)


def _export(run: RunDir, folder: Path, dtype: str) -> None:
    recipe = run_recipe(run)
    model, chat = load_tuned(run, recipe, dtype, "cpu"), tuned_chat(run, recipe)
    budget = model.generation_config.max_new_tokens
    names = ("README.md", run.original_chat_template.name, run.threshold.name)
    files = [run.model / name for name in names]
    save_model(model, chat.tokenizer, folder, chat.stop_ids(model), budget, files)
