"""Trackers that are really run: offline, in the run folder, and with no step twice."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers.integrations import integration_utils
from transformers.trainer_callback import TrainerCallback

from tunesmith.errors import InputError
from tunesmith.packages import installed
from tunesmith.rundir import RunDir
from tunesmith.train.callbacks import HINT
from tunesmith.train.trackers import MetricsLog

SETTINGS = {"learning_rate": 1e-5, "lora": {"r": 4}}
Curve = list[tuple[int, float]]


def loss_at(step: int, take: int = 0) -> float:
    """Of a step; another one when the step is taken again."""
    return step / 8 + take / 16


def take_steps(run: RunDir, name: str, done: int, upto: int, take: int = 0) -> None:
    log = MetricsLog(run, [name], done, SETTINGS)
    for step in range(done + 1, upto + 1):
        log.write({"step": step, "loss": loss_at(step, take), "validation_loss": 2.0})
    log.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run folder, away from the home and the working directory, without a network."""

    def refuse(connecting: socket.socket, address: Any) -> None:
        if connecting.family != socket.AF_UNIX:
            raise AssertionError(f"connects to {address}")
        connect(connecting, address)

    connect = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for name in ("run", "home", "work"):
        (tmp_path / name).mkdir()
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return RunDir(tmp_path / "run")


def assert_all_is_in_the_run(run: RunDir) -> None:
    above = run.path.parent
    files = [path.relative_to(above) for path in above.rglob("*") if path.is_file()]
    assert {path.parts[0] for path in files} == {"run"}


def events(run: RunDir) -> EventAccumulator:
    found = EventAccumulator(str(run.tensorboard))
    found.Reload()
    return found


def of_mlflow(run: RunDir) -> tuple[list[Curve], Any, float]:
    import mlflow  # noqa: PLC0415 - optional

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        client = mlflow.MlflowClient((run.path / "mlflow").as_uri())
        runs = sorted(client.search_runs(["0"]), key=lambda found: found.info.start_time)
        curves = [  # written by several threads
            sorted((m.step, m.value) for m in client.get_metric_history(found.info.run_id, "loss"))
            for found in runs
        ]
    return curves, runs[-1].data.params["learning_rate"], runs[-1].data.metrics["eval_loss"]


def of_trackio(run: RunDir) -> tuple[list[Curve], Any, float]:
    from trackio.sqlite_storage import SQLiteStorage  # noqa: PLC0415 - optional

    names = [found["name"] for found in SQLiteStorage.get_run_records("tunesmith")]
    logs = [SQLiteStorage.get_logs("tunesmith", name) for name in names]
    curves = [[(log["train/global_step"], log["train/loss"]) for log in one] for one in logs]
    settings = SQLiteStorage.get_run_config("tunesmith", names[-1])
    assert settings is not None
    return curves, settings["learning_rate"], logs[-1][-1]["eval/loss"]


def records(file: Path) -> Iterator[bytes]:
    """Of a .wandb file: seven bytes, then LevelDB's log format, in blocks of 32 KiB."""
    data, place, whole = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        size, kind = struct.unpack_from("<HB", data, place + 4)
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # full, last
            yield whole
            whole = b""


def of_wandb(run: RunDir) -> tuple[list[Curve], Any, float]:
    from wandb.proto.wandb_internal_pb2 import Record  # noqa: PLC0415 - optional

    curves, settings, last = [], "", 0.0
    for file in sorted(run.path.rglob("*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        curve = []
        for data in records(file):
            record = Record.FromString(data)
            items = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            if "train/global_step" in items:
                curve.append((items["train/global_step"], items["train/loss"]))
                last = items["eval/loss"]
            for item in record.config.update:
                settings = item.value_json if item.key == "learning_rate" else settings
        curves.append(curve)
    return curves, settings, last


READERS: dict[str, Callable[[RunDir], tuple[list[Curve], Any, float]]] = {
    "mlflow": of_mlflow,
    "trackio": of_trackio,
    "wandb": of_wandb,
}


@pytest.mark.parametrize("name", READERS)
def test_a_resumed_run_is_whole_and_offline_and_in_the_run_folder(
    name: str, run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    if not installed(name):  # not importorskip: trackio takes its folder when it is imported
        pytest.skip(f"needs {name}: {HINT}")
    take_steps(run, name, 0, 3)
    take_steps(run, name, 2, 4, take=1)
    curves, learning_rate, eval_loss = READERS[name](run)
    first = [(step, loss_at(step)) for step in (1, 2, 3)]
    assert curves == [first, [*first[:2], (3, loss_at(3, 1)), (4, loss_at(4, 1))]]
    assert (float(learning_rate), eval_loss) == (1e-5, 2.0)
    assert_all_is_in_the_run(run)
    assert capsys.readouterr().out == ""  # which is for results


def test_tensorboard_gets_the_numbers_under_the_names_of_a_trainer(run: RunDir) -> None:
    take_steps(run, "tensorboard", 0, 1)
    assert [(event.step, event.value) for event in events(run).Scalars("train/loss")] == [
        (1, 0.125)
    ]
    assert [event.value for event in events(run).Scalars("eval/loss")] == [2.0]
    assert_all_is_in_the_run(run)


def test_in_tensorboard_a_step_that_is_taken_again_is_there_once(run: RunDir) -> None:
    take_steps(run, "tensorboard", 0, 3)
    take_steps(run, "tensorboard", 2, 4, take=1)
    assert [(event.step, event.value) for event in events(run).Scalars("train/loss")] == [
        (1, loss_at(1)),
        (2, loss_at(2)),
        (3, loss_at(3, 1)),
        (4, loss_at(4, 1)),
    ]


def test_two_runs_of_one_process_are_apart(run: RunDir) -> None:
    pytest.importorskip("mlflow", reason=f"needs mlflow: {HINT}")
    other = RunDir(run.path / "other")
    other.path.mkdir()
    take_steps(run, "mlflow", 0, 1)
    take_steps(other, "mlflow", 0, 2)
    assert of_mlflow(run)[0] == [[(1, 0.125)]]
    assert of_mlflow(other)[0] == [[(1, 0.125), (2, 0.25)]]


# ---- without the packages


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a fake of MLflow's callback is told, and the variables that it sees."""
    told: list[Any] = []

    class Fake(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            told.append((args.to_dict(), json.loads(args.to_json_string()) == args.to_dict()))
            told.append(os.environ["MLFLOW_TRACKING_URI"])

        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            told.append((state.global_step, kwargs["logs"]))

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            told.append("ended")

    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace())
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "mlflow", Fake)
    return told


def test_a_callback_is_started_told_the_earlier_steps_fed_and_ended(
    run: RunDir, heard: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run.metrics.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 9.0}\n')
    log = MetricsLog(run, ["mlflow"], 1, SETTINGS)
    log.write({"step": 2, "loss": 0.25, "validation_accuracy": 1.0})
    log.close()
    assert heard == [
        (SETTINGS, True),
        (run.path / "mlflow").as_uri(),
        (1, {"loss": 0.5}),
        (2, {"loss": 0.25, "eval_accuracy": 1.0}),
        "ended",
    ]
    assert "MLFLOW_TRACKING_URI" not in os.environ  # set for the time of the run alone


def test_what_the_environment_says_stays(
    run: RunDir, heard: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example")
    take_steps(run, "mlflow", 0, 0)
    assert heard[1] == "http://tracking.example"


def test_a_tracker_that_cannot_be_started_is_one_error_and_ends_the_others(
    run: RunDir, heard: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            raise ConnectionError("nobody\nanswers")

    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace())
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "trackio", Broken)
    with pytest.raises(InputError, match="report_to: trackio cannot be started: nobody answers"):
        MetricsLog(run, ["mlflow", "trackio"], 0, SETTINGS)
    assert heard[-1] == "ended"
