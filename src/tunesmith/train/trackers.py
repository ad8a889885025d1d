"""Where a run's numbers go: metrics.jsonl and trackers."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from tunesmith.errors import DataError, InputError
from tunesmith.progress import note
from tunesmith.rundir import DAMAGED, RunDir, write_atomic

StepMetrics = dict[str, float]
"""One line of metrics.jsonl: `step` (from 1), `epoch`, `loss` (nats per trained token), `grad_norm`
before clipping, `learning_rate`, `trained_tokens`, `raw_tokens`, `forward_tokens`, `seconds`, and
`validation_*` at the end of an epoch.
"""

Tracker = tuple[Callable[[StepMetrics], None], Callable[[], None]]
"""What a tracker does with a step's numbers, and at the end."""


class MetricsLog:
    """metrics.jsonl, with one JSON object per step, and the recipe's trackers.

    Everything a tracker shows is in metrics.jsonl too, so a run can be read without any of them.
    """

    def __init__(self, run: RunDir, report_to: Iterable[str], last_step: int) -> None:
        """Go on after `last_step`: what an interrupted run had written beyond it is removed."""
        keep_steps(run.metrics, last_step)
        self._trackers = [TRACKERS[name](run, last_step) for name in report_to]
        self._file: IO[str] = run.metrics.open("a", encoding="utf-8")

    def write(self, metrics: StepMetrics) -> None:
        """Add a step."""
        self._file.write(json.dumps(metrics) + "\n")
        self._file.flush()
        for report, _ in self._trackers:
            report(metrics)

    def sync(self) -> None:
        """Wait until all lines are on the disk.

        Called before a checkpoint is saved, so that a run resumed from it misses no line.
        """
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file and finish the trackers."""
        self._file.close()
        for _, close in self._trackers:
            close()


def keep_steps(path: Path, last_step: int) -> None:
    """Keep the lines up to `last_step`; a line torn by a crash goes too. Lines that should be there
    and are not, or are damaged, are said to be missing.
    """
    kept = {}
    for line in _lines(path):
        record = _step(line)
        if record is not None and record["step"] <= last_step:
            kept[record["step"]] = line + "\n"
    if len(kept) < last_step:
        note(
            f"{path}: the numbers of {last_step - len(kept):,} of the first {last_step:,} "
            "steps are missing or damaged, and so in the report; no weight depends on them"
        )
    write_atomic(path, "".join(kept.values()))


def _lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def read_metrics(path: Path) -> list[StepMetrics]:
    """All lines of a metrics.jsonl, in order of steps; DataError naming a line that is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path}: is missing", hint=DAMAGED) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {error}", hint=DAMAGED) from error
    steps = [_step(line) for line in lines]
    for number, step in enumerate(steps, start=1):
        if step is None:
            raise DataError(f"{path}:{number}: not the numbers of a step", hint=DAMAGED)
    return [step for step in steps if step is not None]


def steps_so_far(path: Path) -> list[StepMetrics]:
    """The lines of a metrics.jsonl that is being written, without one that is not whole yet; none
    where the file is not there.
    """
    return [step for line in _lines(path) if (step := _step(line)) is not None]


def _step(line: str) -> StepMetrics | None:
    """A line's numbers; None where it was torn or damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    numbers = isinstance(record, dict) and all(
        isinstance(value, int | float) for value in record.values()
    )
    return record if numbers and "step" in record else None


def _without_step(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if name != "step"}


def _tensorboard(run: RunDir, last_step: int) -> Tracker:
    # takes a second to import
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

    writer = SummaryWriter(str(run.tensorboard), purge_step=last_step + 1)

    def report(metrics: StepMetrics) -> None:
        for name, value in _without_step(metrics).items():
            writer.add_scalar(name, value, metrics["step"])

    return report, writer.close


def _wandb_like(package: str) -> Callable[[RunDir, int], Tracker]:
    """wandb, or trackio, which has the same interface."""

    def start(run: RunDir, last_step: int) -> Tracker:
        tracker = _imported(package)
        tracker.init(project="tunesmith", name=run.path.name)

        def report(metrics: StepMetrics) -> None:
            tracker.log(_without_step(metrics), step=metrics["step"])

        return report, tracker.finish

    return start


def _mlflow(run: RunDir, last_step: int) -> Tracker:
    tracker = _imported("mlflow")
    tracker.start_run(run_name=run.path.name)

    def report(metrics: StepMetrics) -> None:
        tracker.log_metrics(_without_step(metrics), step=metrics["step"])

    return report, tracker.end_run


def _imported(package: str) -> Any:
    """An optional package, under the name that `report_to` gives it; they have no types."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"report_to: {package} is not installed", hint=f"pip install {package}"
        ) from error


TRACKERS: dict[str, Callable[[RunDir, int], Tracker]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb_like("wandb"),
    "trackio": _wandb_like("trackio"),
    "mlflow": _mlflow,
}
