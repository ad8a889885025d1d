"""The tuned model in another place and number format: a folder, a .gguf file, or the hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tunesmith.artefacts import check
from tunesmith.errors import RecipeError
from tunesmith.models.save import save_model
from tunesmith.progress import progress
from tunesmith.rundir import RunDir
from tunesmith.stages.common import check_trained, load_tuned, run_recipe, tuned_chat
from tunesmith.stages.export_gguf import check_gguf, export_gguf
from tunesmith.stages.export_hub import check_hub, upload
from tunesmith.stages.preflight import check_new_folder
from tunesmith.stages.working import at_work

AGAIN = "run the same command again"


def export(run: RunDir, folder: Path, dtype: str) -> None:
    """Write `folder` in float32, bfloat16 or float16; RecipeError where it exists or cannot be
    made, DataError where there is no model, or it is not as training made it.
    """
    _check_new(folder)
    _check_model(run)
    _export(run, folder, dtype)


def export_file(run: RunDir, file: Path, dtype: str) -> None:
    """Write a .gguf file. RecipeError where it exists or cannot be made, DataError where there is
    no model, ModelError where it cannot be such a file, RunError where it was not read back.
    """
    if file.suffix != ".gguf":
        raise RecipeError(f"{file}: not the name of a .gguf file", hint=f"{file}.gguf")
    _check_new(file)
    _check_model(run)
    check_gguf(run)
    with at_work(file, "export", AGAIN):
        export_gguf(run, file, dtype)


def export_to_hub(run: RunDir, repo_id: str, dtype: str, public: bool) -> str:
    """Upload the folder that `export` writes, card included, as a new repository; its address.

    InputError where the hub cannot take it, DataError where there is no model.
    """
    _check_model(run)
    check_hub(repo_id)
    with tempfile.TemporaryDirectory(prefix="tunesmith-") as parent:
        folder = Path(parent) / "model"
        _export(run, folder, dtype)
        with progress(f"uploading to {repo_id}"):
            return upload(folder, repo_id, public)


def _check_new(path: Path) -> None:
    if path.exists():
        raise RecipeError(f"{path}: exists already", hint="give a name that does not exist")
    check_new_folder(path, f"export to {path}", "name another folder")


def _check_model(run: RunDir) -> None:
    check_trained(run)
    check(run, [run.threshold])


def _export(run: RunDir, folder: Path, dtype: str) -> None:
    recipe = run_recipe(run)
    names = ("README.md", run.original_chat_template.name, run.threshold.name)
    files = [run.model / name for name in names]
    with at_work(folder, "export", AGAIN), progress(f"writing the model in {dtype}"):
        model, chat = load_tuned(run, recipe, dtype, "cpu"), tuned_chat(run, recipe)
        budget = model.generation_config.max_new_tokens
        save_model(model, chat.tokenizer, folder, chat.stop_ids(model), budget, files)
