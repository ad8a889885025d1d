"""The tuned model in another folder and number format, with its tokenizer and card."""

from __future__ import annotations

from pathlib import Path

from tunesmith.artefacts import check
from tunesmith.errors import DataError, RecipeError
from tunesmith.models.save import save_model
from tunesmith.progress import progress
from tunesmith.run_files import run_state
from tunesmith.rundir import RunDir
from tunesmith.stages.common import check_tuned, load_tuned, run_recipe, tuned_chat
from tunesmith.stages.preflight import check_new_folder
from tunesmith.stages.working import at_work


def export(run: RunDir, folder: Path, dtype: str) -> None:
    """Write `folder` in float32, bfloat16 or float16; RecipeError where it exists or cannot be
    made, DataError where there is no model, or it is not as training made it.
    """
    if folder.exists():
        raise RecipeError(f"{folder}: exists already", hint="name a folder that does not exist")
    check_new_folder(folder, f"export to {folder}", "name another folder")
    if not run_state(run).trained:
        raise DataError(
            f"{run.path}: no tuned model in this run",
            hint=f"finish it with `tunesmith resume {run.path}`",
        )
    check_tuned(run)
    check(run, [run.threshold])
    with (
        at_work(folder, "export", "run the same command again"),
        progress(f"writing the model in {dtype}"),
    ):
        _export(run, folder, dtype)


def _export(run: RunDir, folder: Path, dtype: str) -> None:
    recipe = run_recipe(run)
    model, chat = load_tuned(run, recipe, dtype, "cpu"), tuned_chat(run, recipe)
    budget = model.generation_config.max_new_tokens
    names = ("README.md", run.original_chat_template.name, run.threshold.name)
    files = [run.model / name for name in names]
    save_model(model, chat.tokenizer, folder, chat.stop_ids(model), budget, files)
