"""The plan of a run of several processes, made in a process of its own: it needs a group of
processes that do not exist, and the one that makes it is in one that does.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

from tunesmith.ranks import world_size
from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.stages.common import run_recipe, training_data
from tunesmith.stages.memory import Fit, Fitted, Memory, memory_of, place_here, too_large
from tunesmith.stages.other_process import answer_of


def planned_apart(folder: Path, memory_bytes: int, processes: int) -> Memory:
    """What `memory_of` says of a prepared run of so many processes, with as much memory for each.

    Raises RunError where it ends with an error.
    """
    found = answer_of(
        ["-m", __name__, str(folder), str(memory_bytes), str(processes)],
        f"{folder}: the plan of its memory ended with an error",
        environment=os.environ | {"WORLD_SIZE": "1"},  # it is none of torchrun's
    )
    changes = tuple(Fitted(**change) for change in found.pop("changes"))
    return Memory(**found, changes=changes)


def check_fits_apart(run: RunDir, config: TrainConfig, resumed: bool) -> Fit:
    """How a training of several processes fits, each into its part of the memory; InputError where
    it does not, unless one that fitted is `resumed`.
    """
    found = planned_apart(run.path, place_here().memory, world_size())
    if not found.fits and not resumed:
        raise too_large(run.path, found)
    return Fit(config, found.peak_bytes)


def main(folder: str, memory_bytes: str, processes: str) -> None:
    """The plan on stdout, as JSON."""
    run = RunDir(Path(folder))
    place = replace(place_here(), memory=int(memory_bytes), processes=int(processes))
    data, name = training_data(run, "train"), place.device.type
    print(json.dumps(asdict(memory_of(run_recipe(run), data, place, name))))


if __name__ == "__main__":
    main(*sys.argv[1:])
