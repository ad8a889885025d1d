"""A run of several processes is planned in a process of its own, and refused where it is too large.

`planned_apart` starts that process; what it gives is held against the same plan made here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import classify_values

from tunesmith import stages
from tunesmith.errors import InputError, RunError
from tunesmith.recipe import build_recipe
from tunesmith.rundir import RunDir
from tunesmith.stages import planned_apart as apart
from tunesmith.stages.common import run_recipe, training_data
from tunesmith.stages.memory import Memory, memory_of
from tunesmith.train.memory_plan import Place


@pytest.fixture
def run(tmp_path: Path, tiny_model_dir: Path) -> RunDir:
    values = classify_values(tmp_path, tiny_model_dir, dtype="float32")
    stages.prepare.prepare(build_recipe(values)[0])
    return RunDir(tmp_path / "run")


def test_the_plan_of_two_processes_is_that_made_without_any(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "nowhere"}.items():
        monkeypatch.setenv(name, value)  # which must not reach that process
    found = apart.planned_apart(run.path, 1 << 40, 2)
    place = Place(torch.device("cpu"), 1 << 40, processes=2)
    here = memory_of(run_recipe(run), training_data(run, "train"), place, "cpu")
    assert found.parts is not None
    assert here.parts is not None
    libraries = found.parts["libraries"]  # of another process
    assert libraries > 0
    parts = here.parts | {"libraries": libraries}
    peak = found.peak_bytes
    assert found == replace(here, parts=parts, peak_bytes=peak)
    assert peak == sum(parts.values())


def test_a_training_too_large_for_its_processes_is_refused_with_what_makes_it_fit(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = run_recipe(run).train
    fit = apart.check_fits_apart(run, config, resumed=False)
    assert fit.train == config
    assert fit.planned > 1_000_000
    place = replace(apart.place_here(), memory=1_000_000)
    monkeypatch.setattr(apart, "place_here", lambda: place)
    with pytest.raises(InputError) as error:
        apart.check_fits_apart(run, config, resumed=False)
    assert " of memory for each of 2 processes, and there are 1 MiB\nhint: " in str(error.value)
    assert "smaller model" in str(error.value)  # none of the changes is enough
    assert apart.check_fits_apart(run, config, resumed=True).planned > 1_000_000


def test_an_error_of_the_other_process_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"the plan of its memory ended with an error: .*no run"):
        apart.planned_apart(tmp_path / "no run", 1 << 40, 2)


def test_a_plan_that_cannot_be_made_refuses_nothing(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = Memory("cpu", 1, unknown="a model that asks about numbers")
    monkeypatch.setattr(apart, "planned_apart", lambda *_, **__: unknown)
    assert apart.check_fits_apart(run, run_recipe(run).train, resumed=False).planned == 0
