"""metrics.jsonl after a crash, and trackers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tunesmith.errors import InputError
from tunesmith.rundir import RunDir
from tunesmith.train.trackers import MetricsLog, keep_steps, read_metrics


def test_lines_beyond_the_checkpoint_and_a_torn_line_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "lo')
    keep_steps(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_lines_that_are_missing_before_the_checkpoint_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st\0p": 3}\n{"step": 5}\n')
    keep_steps(path, 5)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n{"step": 5}\n'
    assert capsys.readouterr().err == (
        f"note: {path}: the numbers of 2 of the first 5 steps are missing or damaged, and so in "
        "the report; no weight depends on them\n"
    )
    keep_steps(path, 2)
    assert capsys.readouterr().err == ""


def test_a_log_goes_on_after_the_last_step(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for last in (0, 1):
        log = MetricsLog(run, [], last)
        log.write({"step": last + 1, "loss": 0.5})
        log.write({"step": last + 2, "loss": 0.25})
        log.close()
    assert [record["step"] for record in read_metrics(run.metrics)] == [1, 2, 3]


def test_a_tracker_that_is_not_installed_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError, match="report_to: mlflow is not installed") as error:
        MetricsLog(RunDir(tmp_path), ["mlflow"], 0)
    assert error.value.hint == "pip install 'tunesmith[trackers]'"


def test_the_lines_are_read_without_torch() -> None:
    code = "import sys, tunesmith.stages.watch; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
