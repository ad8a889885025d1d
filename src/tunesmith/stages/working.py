"""What every stage does around its work: it has the run folder to itself, removes what dead
processes left in it, and says how to go on where a signal stops it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from tunesmith.errors import InterruptedRun
from tunesmith.lock import locked
from tunesmith.progress import note
from tunesmith.progress import working as at_stage
from tunesmith.rundir import RunDir, leftovers
from tunesmith.signals import Interrupted, exit_code, name_of

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def stage(
    name: str,
) -> Callable[
    [Callable[Concatenate[RunDir, Arguments], Result]],
    Callable[Concatenate[RunDir, Arguments], Result],
]:
    """A function of a run folder as a stage of that `name` (see `at_work`)."""

    def decorate(
        work: Callable[Concatenate[RunDir, Arguments], Result],
    ) -> Callable[Concatenate[RunDir, Arguments], Result]:
        @wraps(work)
        def working(run: RunDir, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            with at_work(run.path, name, f"tunesmith resume {run.path}"), at_stage(name):
                return work(run, *args, **kwargs)

        return working

    return decorate


@contextmanager
def at_work(folder: Path, name: str, how_to_go_on: str) -> Iterator[None]:
    """Work on a folder that may be still to appear. Raises InputError where another process does,
    and InterruptedRun where a signal comes.
    """
    with locked(folder):
        sweep(folder)
        try:
            yield
        except Interrupted as signal:
            raise InterruptedRun(
                f"{name} was interrupted by {name_of(signal.number)}; "
                "what was finished before it is kept",
                hint=how_to_go_on,
                exit_code=exit_code(signal.number),
            ) from signal


def sweep(folder: Path) -> None:
    """Remove unfinished files and folders. They are a dead process's: whoever holds the lock has
    made none yet.
    """
    found = [path for path in leftovers(folder) if path.exists()]
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if found:
        names = ", ".join(path.name for path in found[:3])
        note(f"removed what an interrupted process left in {folder}: {names}")
