"""Where a run's numbers go: metrics.jsonl, trackers, and a bar on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tunesmith.errors import InputError
from tunesmith.rundir import RunDir, write_atomic

Record = dict[str, Any]
Report = Callable[[Record], None]


class MetricsLog:
    """One JSON object a line and step in metrics.jsonl, and the same numbers to the trackers asked
    for.
    """

    def __init__(self, run: RunDir, report_to: Iterable[str], last_step: int) -> None:
        """Go on after `last_step`: what an interrupted run had written beyond it is removed."""
        keep_steps(run.metrics, last_step)
        self._trackers = [TRACKERS[name](run, last_step) for name in report_to]
        self._file: IO[str] = run.metrics.open("a", encoding="utf-8")

    def write(self, record: Record) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        for report, _ in self._trackers:
            report(record)

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
        for _, close in self._trackers:
            close()


def keep_steps(path: Path, last_step: int) -> None:
    """Keep the lines up to `last_step`; a line torn by a crash goes too."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if record["step"] <= last_step:
            kept.append(line + "\n")
    write_atomic(path, "".join(kept))


def read_metrics(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _numbers(record: Record) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in record.items()
        if isinstance(value, int | float) and name != "step"
    }


def _tensorboard(run: RunDir, last_step: int) -> tuple[Report, Callable[[], None]]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(run.tensorboard), purge_step=last_step + 1)

    def report(record: Record) -> None:
        for name, value in _numbers(record).items():
            writer.add_scalar(name, value, record["step"])

    return report, writer.close


def _wandb_like(package: str) -> Callable[[RunDir, int], tuple[Report, Callable[[], None]]]:
    """wandb, and trackio, which has the same interface."""

    def start(run: RunDir, last_step: int) -> tuple[Report, Callable[[], None]]:
        tracker = _imported(package)
        tracker.init(project="tunesmith", name=run.path.name)
        return lambda record: tracker.log(_numbers(record), step=record["step"]), tracker.finish

    return start


def _mlflow(run: RunDir, last_step: int) -> tuple[Report, Callable[[], None]]:
    tracker = _imported("mlflow")
    tracker.start_run(run_name=run.path.name)
    return lambda record: tracker.log_metrics(
        _numbers(record), step=record["step"]
    ), tracker.end_run


def _imported(package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"report_to: {package} is not installed", hint=f"pip install {package}"
        ) from error


TRACKERS: dict[str, Callable[[RunDir, int], tuple[Report, Callable[[], None]]]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb_like("wandb"),
    "trackio": _wandb_like("trackio"),
    "mlflow": _mlflow,
}


class Bar:
    """Steps done, loss, trained tokens a second and time left, on stderr."""

    def __init__(self, total: int, done: int) -> None:
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  {task.fields[rate]:.0f} trained tokens/s"),
            TimeRemainingColumn(),
        )
        console = Console(file=sys.stderr)
        self._progress = Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        )
        self._task = self._progress.add_task(
            "", total=total, completed=done, loss=float("nan"), rate=0.0
        )
        self._progress.start()

    def update(self, record: Record) -> None:
        rate = record["trained_tokens"] / max(record["seconds"], 1e-9)
        self._progress.update(self._task, completed=record["step"], loss=record["loss"], rate=rate)

    def close(self) -> None:
        self._progress.stop()
