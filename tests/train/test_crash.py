"""kill -9 at random moments: resumed, a run ends with the weights of an undisturbed one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunesmith.train.checkpoint import latest_checkpoint
from tunesmith.train.trackers import read_metrics

HERE = Path(__file__).parent
KILLS = 20
NUM_STEPS = 60  # 3 epochs of 40 rows, 2 a step


def final_weights(run: Path) -> bytes:
    checkpoint = latest_checkpoint(run / "checkpoints")
    assert checkpoint is not None
    assert checkpoint.step == NUM_STEPS
    return (checkpoint.path / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_killed_twenty_times_at_random_moments_the_final_weights_are_bit_identical(
    tmp_path: Path,
) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]),
        "OMP_NUM_THREADS": "1",
    }
    script = [sys.executable, str(HERE / "crash_rounds.py"), str(tmp_path), str(KILLS)]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith(f"{KILLS} kills")
    undisturbed = final_weights(tmp_path / "whole")
    losses = [record["loss"] for record in read_metrics(tmp_path / "whole" / "metrics.jsonl")]
    runs = sorted(tmp_path.glob("run-*"))
    assert runs
    for run in runs:
        assert final_weights(run) == undisturbed
        records = read_metrics(run / "metrics.jsonl")
        assert [record["step"] for record in records] == list(range(1, NUM_STEPS + 1))
        assert [record["loss"] for record in records] == losses
