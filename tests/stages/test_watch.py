"""`tunesmith watch`: what it serves, to whom, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from support import write_rows

from tunesmith.errors import DataError
from tunesmith.lock import locked
from tunesmith.recipe import TrainConfig, build_recipe
from tunesmith.rundir import RunDir
from tunesmith.stages.prepare import prepare
from tunesmith.stages.watch import Server, page, server_for, training_sentence


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """60 rows: 48 of them are trained, in 2 epochs of 3 steps."""
    folder = tmp_path_factory.mktemp("watch")
    values = {
        "data": {
            "source": str(write_rows(folder / "rows.csv")),
            "task": "classify",
            "columns": {"text": "text", "label": "label"},
        },
        "train": {"num_train_epochs": 2, "train_batch_size": 16},
        "output_dir": str(folder / "run<b>"),
    }
    prepare(build_recipe(values)[0], use_cache=False)
    return RunDir(folder / "run<b>")


@contextmanager
def serving(run: RunDir) -> Iterator[Server]:
    with server_for(run.path) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server: Server, path: str = "/", host: str = "", method: str = "GET") -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or server.hosts[0])
    connection.endheaders()
    return connection.getresponse()


def write_steps(run: RunDir, n: int, torn: str = "") -> None:
    lines = [
        json.dumps({"step": i, "epoch": i / 3, "loss": 1 / i, "seconds": 2.0} | validated(i))
        for i in range(1, n + 1)
    ]
    run.metrics.write_text("\n".join([*lines, torn]), encoding="utf-8")


def validated(step: int) -> dict[str, float]:
    return {"validation_loss": 0.5, "validation_accuracy": 0.75} if step % 3 == 0 else {}


def test_the_page_grows_with_the_run_and_reloads_itself(prepared: RunDir) -> None:
    with serving(prepared) as server:
        before = ask(server).read().decode()
        write_steps(prepared, 3, torn='{"step": 4, "lo')
        after = ask(server).read().decode()
        prepared.metrics.unlink()
    assert '<meta http-equiv="refresh"' in before
    assert "<strong>Preparation</strong>: done" in before
    assert "Raw rows" in before
    assert "data:image/svg" not in before
    # 16 rows in 2 s, and 3 steps are left
    assert "Step 3 of 6, loss 0.3333, 8 rows/s, about 6.0 s of steps left" in after
    assert after.count("data:image/svg") == 2
    assert "run&lt;b&gt;" in after
    assert "<b>" not in after


def test_it_says_whether_a_process_is_at_work(prepared: RunDir) -> None:
    assert "No process is at work" in page(prepared).decode()
    assert "<strong>Training</strong>: not done" in page(prepared).decode()
    with locked(prepared.path):
        assert "A process is at work" in page(prepared).decode()
        assert "<strong>Training</strong>: at work" in page(prepared).decode()


def test_when_the_report_is_written_it_is_served_as_it_is(
    prepared: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunesmith.stages.watch.is_made", lambda run, path: path.exists())
    prepared.report_html.write_bytes(b"<h1>better</h1>")
    try:
        with serving(prepared) as server:
            for path in ("/", "/report.html", "/?again"):
                assert ask(server, path).read() == b"<h1>better</h1>"
            head = ask(server, method="HEAD")
            assert (head.status, head.getheader("Content-Length"), head.read()) == (200, "15", b"")
    finally:
        prepared.report_html.unlink()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost", "127.0.0.1:1"])
def test_a_request_under_another_name_is_refused(prepared: RunDir, host: str) -> None:
    with serving(prepared) as server:
        found = ask(server, host=host)
        assert found.status == 403
        assert b"Raw rows" not in found.read()
        assert ask(server, host=f"localhost:{server.server_port}").status == 200


@pytest.mark.parametrize(
    "path", ["/manifest.json", "/../manifest.json", "/report.html/../recipe.yaml", "//x/", "/data"]
)
def test_nothing_but_the_report_is_served(prepared: RunDir, path: str) -> None:
    with serving(prepared) as server:
        assert ask(server, path).status == 404
        assert ask(server, method="POST").status == 501


def test_only_this_machine_can_connect_and_pages_load_nothing(prepared: RunDir) -> None:
    with serving(prepared) as server:
        assert server.server_address[0] == "127.0.0.1"
        policy = ask(server).getheader("Content-Security-Policy") or ""
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy


def test_a_file_that_is_being_replaced_is_told_and_not_an_error(
    prepared: RunDir, tmp_path: Path
) -> None:
    other = RunDir(tmp_path / "run")
    other.path.mkdir()
    other.manifest.write_text("{}", encoding="utf-8")
    text = page(other).decode()
    assert "Not readable now" in text
    assert f"{other.manifest}: " in text


def test_a_run_that_is_being_prepared_can_be_watched_and_a_typing_mistake_not(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match="gone: not a run folder"):
        server_for(tmp_path / "gone")
    with locked(tmp_path / "soon"):
        server_for(tmp_path / "soon").server_close()
        assert "<strong>Preparation</strong>: at work" in page(RunDir(tmp_path / "soon")).decode()


def test_the_folder_that_one_is_in_can_be_watched_under_its_name(
    prepared: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(prepared.path)
    with server_for(Path()) as server:
        assert server.run.path.name == prepared.path.name
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(DataError, match=r"^\.: not a run folder"):
        server_for(Path())


def test_after_the_last_step_no_time_is_left() -> None:
    history = [{"step": 6.0, "loss": 0.25, "seconds": 1.0}]
    assert training_sentence(history, 6, TrainConfig()) == "Step 6 of 6, loss 0.25"


def test_early_stopping_makes_the_time_left_a_bound_and_its_end_is_said() -> None:
    config = TrainConfig(early_stopping_patience=1)
    step = {"step": 2.0, "loss": 0.25, "seconds": 2.0}
    said = training_sentence([step], 6, config)
    assert said == "Step 2 of 6, loss 0.25, 8 rows/s, at most 8.0 s of steps left"
    assert training_sentence([step | {"epochs_without_improvement": 0}], 6, config) == said
    ended = training_sentence([step | {"epochs_without_improvement": 1}], 6, config)
    assert ended == "Step 2 of 6, loss 0.25; stopped early: no better for 1 of 1 epochs"


def test_the_command_says_its_address_and_ends_with_ctrl_c(prepared: RunDir) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tunesmith.cli", "watch", str(prepared.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        deadline = time.monotonic() + 60  # of a machine under load; it takes no such time
        connection = HTTPConnection(url.removeprefix("http://").strip("/"), timeout=60)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
    finally:
        process.kill()
    assert process.returncode == 0
    assert said == "note: open it in a browser on this machine; Ctrl-C ends it\n"
