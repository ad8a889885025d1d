"""One process at a time in a run folder, however the one before it ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_pipeline import recipe_for

from tunesmith import lock
from tunesmith.errors import InputError
from tunesmith.lock import locked
from tunesmith.stages.prepare import prepare


def in_a_child(work: Callable[[], None]) -> int:
    """What the child's `work` came to: 0, or 2 for an InputError."""
    child = os.fork()
    if child == 0:
        lock._held.clear()  # a process of its own, not a stage within ours
        code = 1
        try:
            work()
            code = 0
        except InputError:
            code = 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_folder_that_another_process_has_is_refused_by_its_number(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    reading, writing = os.pipe()

    def ask() -> None:
        try:
            with locked(folder):
                pass
        except InputError as error:
            os.write(writing, str(error).encode())
            raise

    with locked(folder):
        assert in_a_child(ask) == 2
    assert os.read(reading, 4096).decode() == (
        f"{folder}: process {os.getpid()} on {socket.gethostname()} is at work there\n"
        "hint: wait until it is done or stop it, or use another "
        "--output-dir (output_dir)"
    )
    os.close(reading)
    os.close(writing)


def test_a_lock_is_free_again_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "deep" / "run"
    with locked(folder):
        assert lock.lock_file(folder).exists()

    def take() -> None:
        with locked(folder):
            pass

    assert in_a_child(take) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_stage_locks_its_run_again_inside_the_whole_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with locked(folder):
        with locked(folder):
            pass
        assert lock.lock_file(folder).exists()


def test_two_names_of_one_folder_have_one_lock(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")

    def take() -> None:
        with locked(tmp_path / "link"):
            pass

    with locked(tmp_path / "run"):
        assert in_a_child(take) == 2


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def die() -> None:
        with locked(folder):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(die) == -signal.SIGKILL
    assert lock.lock_file(folder).exists()
    with locked(folder):
        assert json.loads(lock.lock_file(folder).read_text())["pid"] == os.getpid()


def write_owner(folder: Path, host: str, age: float) -> None:
    path = lock.lock_file(folder)
    path.write_text(json.dumps({"pid": 7, "host": host, "since": 0.0}))
    touched = time.time() - age
    os.utime(path, (touched, touched))


def test_another_hosts_lock_counts_while_it_is_touched(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_owner(folder, "elsewhere", age=lock.SILENCE / 2)
    with pytest.raises(InputError, match="process 7 on elsewhere is at work there"), locked(folder):
        pass
    assert json.loads(lock.lock_file(folder).read_text())["pid"] == 7
    write_owner(folder, "elsewhere", age=lock.SILENCE * 2)
    with locked(folder):
        assert json.loads(lock.lock_file(folder).read_text())["pid"] == os.getpid()


def test_a_lock_file_that_was_cut_off_is_nobodys(tmp_path: Path) -> None:
    lock.lock_file(tmp_path / "run").write_text('{"pid": 7, "ho')
    with locked(tmp_path / "run"):
        pass


def test_the_owner_touches_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT", 0.001)
    touched: list[int] = []
    utime = os.utime
    monkeypatch.setattr(lock.os, "utime", lambda fd: (touched.append(fd), utime(fd)))
    with locked(tmp_path / "run"):
        deadline = time.monotonic() + 30
        while not touched and time.monotonic() < deadline:
            os.sched_yield()
    assert touched


def test_where_no_lock_can_be_written_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(
            InputError, match=r"file/run: cannot be locked: .*/file: File exists\nhint: what is"
        ),
        locked(tmp_path / "file" / "run"),
    ):
        pass


def test_a_second_prepare_is_refused_and_takes_nothing_from_the_first(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    recipe = recipe_for(tmp_path, tiny_model_dir)
    first = tmp_path / ".run.0123456789ab.preparing"  # what the other process has done so far
    first.mkdir()
    (reading, ready), (waiting, done) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(done)
        with locked(tmp_path / "run"):
            os.write(ready, b"locked")
            os.read(waiting, 1)
        os._exit(0)
    os.read(reading, 6)
    try:
        with pytest.raises(InputError, match=f"run: process {child} on .* is at work there"):
            prepare(recipe)
        assert first.is_dir()
    finally:
        os.close(done)
        os.waitpid(child, 0)
        for descriptor in (reading, ready, waiting):
            os.close(descriptor)
    prepare(recipe)
    assert (tmp_path / "run" / "manifest.json").exists()
    assert not first.exists()  # nobody's any more
