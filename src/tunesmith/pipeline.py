"""A whole run: prepare -> train -> evaluate -> verify -> report.

Each stage is a function on a run folder (stages/) and can be run by itself. A stage that is done
leaves its files; `resume` starts at the first stage that is not. The run folder appears when
preparation has succeeded, so bad input leaves nothing behind.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tunesmith.distributed.leading import Help, led, started_again
from tunesmith.progress import say, showing
from tunesmith.recipe import Recipe
from tunesmith.run_files import run_state
from tunesmith.rundir import RunDir
from tunesmith.stages.common import (
    check_evaluated,
    check_tuned,
    check_unchanged,
    open_run,
    run_recipe,
)
from tunesmith.stages.evaluate import answer_tuned, evaluate
from tunesmith.stages.held import help_by_lending, help_to_answer, help_to_hold
from tunesmith.stages.prepare import prepare
from tunesmith.stages.report import report
from tunesmith.stages.reproduce import Reproduction, check_whole, compare_with, recipe_again
from tunesmith.stages.seeds import copy_of, seed_folders
from tunesmith.stages.train import help_to_train, train
from tunesmith.stages.verify import verify
from tunesmith.stages.working import at_work
from tunesmith.train.processes import check_processes, check_single_process


def _tasks() -> Help:
    """What the other processes of a run can be asked to do."""
    return {
        "train": help_to_train,
        "hold": help_to_hold,
        "answer": help_to_answer,
        "lend": help_by_lending,
    }


@led(_tasks)
def run(recipe: Recipe, use_cache: bool = True, show_all: bool = False) -> dict[str, Any]:
    """All stages; the contents of report.json. `show_all`: every table on the terminal.

    Of several processes that torchrun started, one leads and gives the report; the others end here
    with it. Where torchrun has started them again, the run goes on where it was.
    """
    folder = Path(recipe.output_dir)
    if started_again() and _is_of(folder, recipe):
        return resume(folder, show_all)
    with showing():
        prepare(recipe, use_cache=use_cache)
        return _finish(RunDir(folder), show_all)


def _is_of(folder: Path, recipe: Recipe) -> bool:
    """Whether a folder is a run of this very recipe, prepared."""
    return run_state(RunDir(folder)).prepared and run_recipe(RunDir(folder)) == recipe


@led(_tasks)
def resume(folder: Path, show_all: bool = False) -> dict[str, Any]:
    """Go on at the first stage that is not done; DataError where what the run was made from, or
    what a stage has made, has changed. `show_all` is as of `run`, and so are several processes.
    """
    found = open_run(folder)
    check_processes(run_recipe(found).train)
    check_unchanged(found)
    for each in (found, *seed_folders(found, run_recipe(found))):
        _check_done(each)
    return _finish(found, show_all)


def _finish(run: RunDir, show_all: bool) -> dict[str, Any]:
    """The remaining stages, with the folder to ourselves from the first to the last."""
    with showing(), at_work(run.path, "the run", f"tunesmith resume {run.path}"):
        return _remaining_stages(run, show_all)


def reproduce(folder: Path, again: Path | None = None) -> Reproduction:
    """Run a finished run's recipe anew, in a folder `again` beside it, and compare what came out.

    Nothing is taken from the first run or from the cache. DataError where the first run is not
    finished, or something in it or something that it was made from has changed.
    """
    check_single_process()
    first = open_run(folder)
    check_unchanged(first)
    check_whole(first)
    recipe = recipe_again(first, again)
    run(recipe, use_cache=False)
    return compare_with(first, RunDir(Path(recipe.output_dir)))


def _check_done(run: RunDir) -> None:
    """What is done now, and not when it is needed after hours of training."""
    state = run_state(run)
    if state.trained:
        check_tuned(run)
    if state.trained and state.evaluated:  # else its answers may be those of the model before
        check_evaluated(run)


def _remaining_stages(first: RunDir, show_all: bool) -> dict[str, Any]:
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
            say(f"training with seed {recipe.train.seed + number}")
            train(other)
    if not run_state(first).evaluated:
        evaluate(first)
    for other in others:
        if not run_state(other).evaluated:
            say(f"evaluating what was trained in {other.path}")
            answer_tuned(other)
    if not run_state(first).verified:
        verify(first)
    return report(first, show_all)
