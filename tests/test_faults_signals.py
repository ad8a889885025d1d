"""Ctrl-C, SIGTERM and SIGUSR1 in every stage: the run says what is kept, how to go on, and ends
with a code of its own.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from test_pipeline import recipe_for

from tunesmith import pipeline, stages
from tunesmith.cli_boundary import guarded
from tunesmith.errors import InterruptedRun
from tunesmith.run_files import run_state
from tunesmith.rundir import RunDir, leftovers, temporary_name
from tunesmith.seal import read_seal
from tunesmith.signals import stopping_on_signals, told_to_stop
from tunesmith.stages.working import at_work, stage

CODES = [(signal.SIGINT, "Ctrl-C", 130), (signal.SIGTERM, "SIGTERM", 143)]
CODES += [(signal.SIGUSR1, "SIGUSR1", 138)]


@pytest.mark.parametrize("number, name, code", CODES)
def test_a_stage_that_is_stopped_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int, name: str, code: int
) -> None:
    @stage("evaluation")
    def work(run: RunDir) -> None:
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    assert guarded(lambda: work(RunDir(tmp_path / "run"))) == code
    assert capsys.readouterr().err == (
        f"error: evaluation was interrupted by {name}; what was finished before it is kept\n"
        f"hint: tunesmith resume {tmp_path / 'run'}\n"
    )
    assert signal.getsignal(number) == before


def test_a_real_run_that_is_stopped_in_each_stage_is_gone_on_with(
    tmp_path: Path,
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = recipe_for(tmp_path, tiny_model_dir)
    run, again = RunDir(tmp_path / "run"), f"tunesmith resume {tmp_path / 'run'}"

    def stopped(module: object, function: str, command: Callable[[], object]) -> str:
        with monkeypatch.context() as patched:
            patched.setattr(module, function, lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
            assert guarded(command) == 143
        assert leftovers(run.path) == []
        return capsys.readouterr().err[-200:]

    def resume() -> object:
        return pipeline.resume(run.path)

    said = stopped(stages.prepare, "write_seal", lambda: pipeline.run(recipe))
    assert "preparation was interrupted by SIGTERM" in said
    assert said.endswith("hint: run the same command again\n")
    assert not run.path.exists()
    said = stopped(stages.train, "save_model", lambda: pipeline.run(recipe))
    assert "training was interrupted by SIGTERM" in said
    assert said.endswith(f"hint: {again}\n")
    said = stopped(stages.evaluate, "measure_retention", resume)
    assert "evaluation was interrupted by SIGTERM" in said
    assert not run_state(run).evaluated
    said = stopped(stages.verify, "verify_folder", resume)
    assert "verification was interrupted by SIGTERM" in said
    said = stopped(stages.report, "write_report", resume)
    assert "the report was interrupted by SIGTERM" in said
    assert guarded(resume) == 0
    assert len(read_seal(run).uses) == 1


@pytest.mark.parametrize("number, name, code", CODES)
def test_between_stages_a_signal_ends_the_command_too(
    capsys: pytest.CaptureFixture[str], number: int, name: str, code: int
) -> None:
    assert guarded(lambda: os.kill(os.getpid(), number)) == code
    assert f"error: interrupted by {name}\nhint: `tunesmith resume" in capsys.readouterr().err


def test_the_innermost_stage_is_the_one_that_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(InterruptedRun, match=r"^the report was interrupted"),
        stopping_on_signals(),
        at_work(tmp_path / "run", "the run", "again"),
        at_work(tmp_path / "run", "the report", "again"),
    ):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup and `&` do
    try:
        with stopping_on_signals(), told_to_stop() as asked:
            os.kill(os.getpid(), signal.SIGINT)
            assert not asked
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_second_signal_does_not_wait_for_the_step() -> None:
    first: list[int] = []

    def work() -> None:
        with told_to_stop() as asked:
            os.kill(os.getpid(), signal.SIGINT)
            first.append(asked.number)
            os.kill(os.getpid(), signal.SIGTERM)
            first.append(0)

    assert guarded(work) == 143
    assert first == [signal.SIGINT]


def test_outside_the_main_thread_nothing_is_set() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def work() -> None:
        with stopping_on_signals(), told_to_stop() as asked:
            found.append((bool(asked), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, before)]


def test_what_a_dead_process_left_is_swept_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir(tmp_path / "run")
    run.model.mkdir(parents=True)
    (run.model / "config.json").write_text("{}")
    whole_model = temporary_name(run.model)
    older = (run.path / ".model.4711.tmp", run.path / "checkpoints" / ".step-000004.tmp")
    for folder in (whole_model, *older, temporary_name(run.path, "preparing")):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
    (run.path / ".report.json.0123456789ab.tmp").write_text("{")
    others = [tmp_path / ".run.notes.tmp", tmp_path / ".running.0123456789ab.preparing"]
    others += [run.path / ".gitignore"]
    for path in others:
        path.write_text("a user's")
    with at_work(run.path, "evaluation", "again"):
        assert leftovers(run.path) == []
    assert "note: removed what an interrupted process left" in capsys.readouterr().err
    assert [path.exists() for path in others] == [True] * 3
    assert sorted(path.name for path in run.path.iterdir()) == [
        ".gitignore", "checkpoints", "model"
    ]  # fmt: skip


def test_temporary_names_of_one_file_are_never_the_same() -> None:
    assert len({temporary_name(Path("model")) for _ in range(100)}) == 100
