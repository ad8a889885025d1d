"""benchmarks/fault_sweep.py: a few of its calls here, 40 of each stage in `make test-slow`; all of
them take an hour (docs/artefacts.md).
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tunesmith

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "fault_sweep.py"
pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or not sys.platform.startswith("linux"),
    reason="needs Linux and a C compiler",
)


def swept(folder: Path, *options: str) -> dict[str, Any]:
    source = str(Path(tunesmith.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), *options],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr[-2000:] + done.stdout[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_after_a_call_that_failed_the_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    found = swept(tmp_path, "--sample", "1", "--faults", "ENOSPC", "kill")
    assert found["broken"] == []
    assert found["counts"] == {
        stage: {"ENOSPC": 1, "kill": 1}
        for stage in ("prepare", "train", "evaluate", "report", "export")
    }


@pytest.mark.slow
def test_the_sweep_notices_a_model_that_is_written_under_its_own_name(tmp_path: Path) -> None:
    options = ("--sample", "12", "--faults", "kill", "--stages", "export", "--write-in-place")
    found = swept(tmp_path, *options)
    assert "counts as done, and exported/" in found["broken"][0]["problem"]


@pytest.mark.sweep
def test_after_any_of_many_calls_that_failed_the_run_goes_on_to_the_same_bits(
    tmp_path: Path,
) -> None:
    found = swept(tmp_path, "--sample", "40")
    assert found["broken"] == []
    for counts in found["counts"].values():
        assert len(set(counts.values())) == 1
        assert min(counts.values()) >= 40


def test_a_sample_is_spread_evenly_from_the_first_call_to_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    spread = importlib.import_module("fault_sweep").spread
    assert spread(485, 5) == [1, 122, 243, 364, 485]
    assert spread(4, 0) == spread(4, 9) == [1, 2, 3, 4]
    assert spread(485, 1) == [243]
