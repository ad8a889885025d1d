"""benchmarks/load.py: what it counts, and a few of its runs; docs/benchmarks.md has the figures."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tunesmith

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "load.py"
KEPT_BEFORE = 1.0
"""MB a run that 60 runs grew by at the end, before the model of each was let go."""


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("load")


def measured(*options: str) -> dict[str, Any]:
    source = str(Path(tunesmith.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_growth_is_that_of_the_second_half(load: Any) -> None:
    """Of 8 runs the last four: 12 and 14 MB, then 16 and 18, four more over two runs."""
    assert load.growth([1, 5, 9, 10, 12, 14, 16, 18]) == {"mb_per_run": 2.0}
    assert load.growth([700, 800, 801, 801, 801, 801]) == {"mb_per_run": 0.0}


def test_an_error_is_quoted_without_the_process(load: Any) -> None:
    said = "note: x\nerror: one: process 123 on host is at work there\nhint: wait\n"
    assert load.error_of(said) == "error: one: process N on host is at work there"


def test_room_on_disk_is_counted_by_checkpoint(load: Any, tmp_path: Path) -> None:
    for step, size in ((1, 10), (2, 30)):
        folder = tmp_path / f"step-00000{step}"
        folder.mkdir()
        (folder / "a").write_bytes(b"x" * size)
        (folder / "b").write_bytes(b"x")
    assert load.room(tmp_path) == (2, 42, 31)


@pytest.mark.sweep
def test_many_runs_in_one_process_do_not_grow(tmp_path: Path) -> None:
    found = measured("repeat", str(tmp_path), "--runs", "40")
    assert len(found["resident_mb"]) == 40
    assert found["mb_per_run"] < KEPT_BEFORE


@pytest.mark.sweep
def test_runs_side_by_side_share_a_cache_and_one_folder_has_one_winner(tmp_path: Path) -> None:
    found = measured("side-by-side", str(tmp_path), "--runs", "4")
    assert found["own_folders"]["exit_codes"] == [0] * 4
    assert found["own_folders"]["different_models"] == 1
    together = found["one_folder"]
    assert together["exit_codes"] == [0, 2, 2, 2]
    assert together["seconds"][-2] < together["seconds"][-1]
    for said in together["said"]:
        assert "is at work there" in said or "exists already" in said


@pytest.mark.sweep
def test_a_checkpoint_after_every_step_is_bounded_and_each_can_be_resumed_from(
    tmp_path: Path,
) -> None:
    found = measured("every-step", str(tmp_path), "--steps", "9", "--resumes", "3")
    assert found["resumed_after"] == [1, 4, 8]
    assert found["same_weights"] == [True] * 3
    # the newest two of the default save_total_limit, the best, and the one just written
    assert found["most_checkpoints"] <= 4
    assert found["most_checkpoint_bytes"] <= 4 * found["bytes_of_one"]
