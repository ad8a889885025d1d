"""A pytest plugin, `-p one_line_summary`: the last line says how many tests passed, failed and were
skipped, and the minutes that they took. `make test-slow` loads it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sized

import pytest

STARTED = pytest.StashKey[float]()
LINE = pytest.StashKey[str]()


def summary_line(stats: Mapping[str, Sized], seconds: float) -> str:
    """Of the reports by outcome, as pytest's terminal reporter keeps them; an error in a fixture
    is a failure too.
    """
    number = {name: len(stats.get(name, ())) for name in ("passed", "failed", "error", "skipped")}
    return (
        f"{number['passed']:,} passed, {number['failed'] + number['error']:,} failed, "
        f"{number['skipped']:,} skipped, {seconds / 60:.1f} minutes"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Before anything is collected."""
    config.stash[STARTED] = time.monotonic()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """When all reports are there; pytest writes its own last line after this."""
    seconds = time.monotonic() - config.stash[STARTED]
    config.stash[LINE] = summary_line(terminalreporter.stats, seconds)


def pytest_unconfigure(config: pytest.Config) -> None:
    """After everything else has been written."""
    print(config.stash.get(LINE, "no test was run"))
