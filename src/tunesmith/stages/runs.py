"""`tunesmith runs`: every run under a folder, what is done of it, and what its report says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.errors import InputError, TunesmithError
from tunesmith.run_files import RunState, read_manifest, run_state
from tunesmith.rundir import RunDir, read_json

NOT_READABLE = "cannot be read"


@dataclass(frozen=True)
class RunRow:
    """A run in brief. `verdict` and `before`, `after` (the primary metric of the reference system
    and of the tuned model) are None where there is no report yet.
    """

    folder: str
    created: str
    state: str
    metric: str | None = None
    before: float | None = None
    after: float | None = None
    verdict: str | None = None


def runs(folder: Path) -> list[RunRow]:
    """The runs in a folder and in those below it, the newest last. InputError where it is none."""
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder", hint="name the one that your runs are in, such as runs"
        )
    found = {path.parent for path in folder.rglob("manifest.json")}
    # a run holds other runs where it was trained from several seeds
    outermost = [path for path in found if not {*path.parents} & found]
    return sorted((_row(path) for path in outermost), key=lambda row: (row.created, row.folder))


def _row(path: Path) -> RunRow:
    run = RunDir(path)
    try:
        created, state = read_manifest(run).created, _state(run_state(run))
        report = read_json(run.report_json) if run.report_json.exists() else None
    except (TunesmithError, ValueError):
        return RunRow(str(path), "", NOT_READABLE)
    return RunRow(str(path), created, state, **(_verdict(report) if report else {}))


def _state(state: RunState) -> str:
    names = ("evaluated", "trained", "prepared")
    return next(name for name in names if getattr(state, name))


def _verdict(report: Mapping[str, Any]) -> dict[str, Any]:
    asked = report["verdict"].get("questions") or [{}]
    task = asked[0]
    return {
        "metric": report["comparison"]["metric"],
        "before": task.get("before"),
        "after": task.get("after"),
        "verdict": report["verdict"].get("heading") or report["verdict"]["kind"],
    }
