"""The plan of a run of several processes, made in a process of its own: it needs a group of
processes that do not exist, and the one that makes it is in one that does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

from tunesmith.errors import RunError
from tunesmith.ranks import world_size
from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.stages.common import run_recipe, training_data
from tunesmith.stages.memory import Fit, Fitted, Memory, memory_of, place_here, too_large

TORCHRUNS = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_")
"""How the variables begin by which a process knows that torchrun has started it."""


def planned_apart(folder: Path, memory_bytes: int, processes: int, with_changes: bool) -> Memory:
    """What `memory_of` says of a prepared run of so many processes, with as much memory for each.

    Raises RunError where it ends with an error.
    """
    command = [sys.executable, "-P", "-m", __name__, str(folder), str(memory_bytes)]
    command += [str(processes), str(int(with_changes))]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(TORCHRUNS)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RunError(f"{folder}: the plan of its memory ended with an error: {said[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    changes = tuple(Fitted(**change) for change in found.pop("changes"))
    return Memory(**found, changes=changes)


def check_fits_apart(run: RunDir, config: TrainConfig, resumed: bool) -> Fit:
    """How a training of several processes fits, each into its part of the memory; InputError where
    it does not, unless one that fitted is `resumed`.
    """
    asked = (run.path, place_here().memory, world_size())
    found = planned_apart(*asked, with_changes=False)
    if not found.fits and not resumed:
        raise too_large(run.path, planned_apart(*asked, with_changes=True))
    return Fit(config, found.peak_bytes)


def main(folder: str, memory_bytes: str, processes: str, with_changes: str) -> None:
    """The plan on stdout, as JSON."""
    run = RunDir(Path(folder))
    place = replace(place_here(), memory=int(memory_bytes), processes=int(processes))
    data, name = training_data(run, "train"), place.device.type
    print(json.dumps(asdict(memory_of(run_recipe(run), data, place, name, with_changes == "1"))))


if __name__ == "__main__":
    main(*sys.argv[1:])
