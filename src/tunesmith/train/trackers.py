"""Where a run's numbers go: metrics.jsonl and trackers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tunesmith.errors import DataError
from tunesmith.progress import note
from tunesmith.rundir import DAMAGED, RunDir, write_atomic

if TYPE_CHECKING:
    from tunesmith.train.callbacks import Tracker

StepMetrics = dict[str, float]
"""One line of metrics.jsonl: `step` (from 1), `epoch`, `loss` (nats per trained token), `grad_norm`
before clipping, `learning_rate`, `trained_tokens`, `raw_tokens`, `forward_tokens`, `seconds`, and
`validation_*` at the end of an epoch, with `epochs_without_improvement` where that can stop it.
"""
WAITED = "epochs_without_improvement"


class MetricsLog:
    """metrics.jsonl, with one JSON object per step, and the recipe's trackers.

    Everything a tracker shows is in metrics.jsonl too, so a run can be read without any of them.
    """

    def __init__(
        self,
        run: RunDir,
        report_to: Iterable[str],
        last_step: int,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """Go on after `last_step`: what an interrupted run had written beyond it is removed. The
        trackers show `settings` as the run's configuration.
        """
        # transformers: `watch`, which reads metrics.jsonl, starts without it
        from tunesmith.train.callbacks import start  # noqa: PLC0415

        earlier = keep_steps(run.metrics, last_step)
        self._trackers: list[Tracker] = []
        with ExitStack() as started:  # closes those before one that cannot be started
            for name in report_to:
                tracker = start(name, run, last_step, earlier, settings or {})
                self._trackers.append(tracker)
                started.callback(tracker.close)
            self._ending = started.pop_all()
        self._file: IO[str] = run.metrics.open("a", encoding="utf-8")

    def write(self, metrics: StepMetrics) -> None:
        """Add a step."""
        self._file.write(json.dumps(metrics) + "\n")
        self._file.flush()
        for tracker in self._trackers:
            tracker.report(metrics)

    def sync(self) -> None:
        """Wait until all lines are on the disk.

        Called before a checkpoint is saved, so that a run resumed from it misses no line.
        """
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file and finish the trackers."""
        self._file.close()
        self._ending.close()


def keep_steps(path: Path, last_step: int) -> list[StepMetrics]:
    """Keep the lines up to `last_step`, and give their numbers; a line torn by a crash goes too.
    Lines that should be there and are not, or are damaged, are said to be missing.
    """
    kept = dict[float, tuple[str, StepMetrics]]()
    for line in _lines(path):
        record = _step(line)
        if record is not None and record["step"] <= last_step:
            kept[record["step"]] = (line, record)
    if len(kept) < last_step:
        note(
            f"{path}: the numbers of {last_step - len(kept):,} of the first {last_step:,} "
            "steps are missing or damaged, and so in the report; no weight depends on them"
        )
    write_atomic(path, "".join(f"{line}\n" for line, _ in kept.values()))
    return [record for _, record in kept.values()]


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
