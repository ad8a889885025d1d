"""A whole run: prepare -> train -> evaluate -> verify -> report.

Each stage is a function on a run folder (stages/) and can be run by itself. A stage that is done
leaves its files; `resume` starts at the first stage that is not. The run folder appears when
preparation has succeeded, so bad input leaves nothing behind.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tunesmith.recipe import Recipe
from tunesmith.run_files import run_state
from tunesmith.rundir import RunDir
from tunesmith.stages.common import check_unchanged, open_run, run_recipe
from tunesmith.stages.evaluate import answer_tuned, evaluate
from tunesmith.stages.prepare import prepare
from tunesmith.stages.report import report
from tunesmith.stages.seeds import copy_of, seed_folders
from tunesmith.stages.train import train
from tunesmith.stages.verify import verify
from tunesmith.stages.working import at_work
from tunesmith.train.processes import check_single_process


def run(recipe: Recipe) -> dict[str, Any]:
    """All stages; the contents of report.json."""
    prepare(recipe)
    return _finish(RunDir(Path(recipe.output_dir)))


def resume(folder: Path) -> dict[str, Any]:
    """Go on at the first stage that is not done; DataError where what the run was made from has
    changed.
    """
    check_single_process()
    found = open_run(folder)
    check_unchanged(found)
    return _finish(found)


def _finish(run: RunDir) -> dict[str, Any]:
    """The remaining stages, with the folder to ourselves from the first to the last."""
    with at_work(run.path, "the run", f"tunesmith resume {run.path}"):
        return _remaining_stages(run)


def _remaining_stages(first: RunDir) -> dict[str, Any]:
    """The first training, those with other seeds, their answers, and the report of all."""
    recipe = run_recipe(first)
    others = seed_folders(first, recipe)
    if not run_state(first).trained:
        train(first)
    for number, other in enumerate(others, start=1):
        if not run_state(other).prepared:
            shutil.rmtree(other.path, ignore_errors=True)  # a copy that was interrupted
            changes = {"seed": recipe.train.seed + number, "seeds": 1}
            config = recipe.train.model_copy(update=changes)
            copy_of(first, other.path, recipe.model_copy(update={"train": config}))
        if not run_state(other).trained:
            train(other)
    if not run_state(first).evaluated:
        evaluate(first)
    for other in others:
        if not run_state(other).evaluated:
            answer_tuned(other)
    if not run_state(first).verified:
        verify(first)
    return report(first)
