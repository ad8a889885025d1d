"""The strip at the head of a report: base, strongest opponent, linear and tuned model, with their
intervals on one scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.evaluate.metrics import find_metric, is_metric
from tunesmith.evaluate.system_table import BASE, LINEAR, TUNED
from tunesmith.records import Estimate
from tunesmith.report.content import Report
from tunesmith.report.format import lower_is_better, number, system_name
from tunesmith.report.words import plain_name

MAX_TICKS = 6


@dataclass(frozen=True, slots=True)
class StripRow:
    """A system's level in words, and where it is drawn: `at` and the interval's ends from 0 to 1 of
    the strip's width; `ends` is None without an interval.
    """

    label: str
    text: str
    at: float
    ends: tuple[float, float] | None
    marked: bool


@dataclass(frozen=True, slots=True)
class Strip:
    """`ticks` are (position from 0 to 1, text); `title` says what is measured, on how many rows."""

    title: str
    rows: tuple[StripRow, ...]
    ticks: tuple[tuple[float, str], ...]


def strip_of(report: Report) -> Strip | None:
    """None where nothing was measured in the primary metric."""
    metric = report.primary_metric
    found = {
        name: e.estimates[metric]
        for name in _shown(report)
        if (e := report.system(name)) and math.isfinite(e.estimates[metric].mean)
    }
    if not found:
        return None
    scale = _Scale.of(metric, list(found.values()))
    rows = tuple(
        StripRow(
            system_name(name),
            _words(metric, estimate),
            scale.place(estimate.mean),
            scale.ends(estimate.ci),
            name == TUNED,
        )
        for name, estimate in found.items()
    )
    n = max(estimate.n for estimate in found.values())
    lower = "; less is better" if lower_is_better(metric) else ""
    title = f"{plain_name(metric)} on {n:,} rows that training never saw{lower}"
    return Strip(title, rows, scale.ticks)


def _shown(report: Report) -> list[str]:
    """Base, the verdict's reference, the linear model and the tuned one, of those there are."""
    reference = report.comparison.a if report.comparison else BASE
    wanted = dict.fromkeys((BASE, reference, LINEAR, TUNED))
    measured = {e.system for e in report.evaluations if report.primary_metric in e.estimates}
    return [name for name in wanted if name in measured]


def _is_share(metric: str) -> bool:
    return is_metric(metric) and find_metric(metric).unit == "fraction"


def _words(metric: str, estimate: Estimate) -> str:
    """`88.9 % [84.2, 92.3]`, or a plain number where it is no share."""
    low, high = estimate.ci
    if _is_share(metric):
        level, ends = f"{100 * estimate.mean:.1f} %", f"[{100 * low:.1f}, {100 * high:.1f}]"
    else:
        level, ends = number(estimate.mean), f"[{number(low)}, {number(high)}]"
    return f"{level} {'(no interval)' if math.isnan(low) else ends}"


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    @classmethod
    def of(cls, metric: str, estimates: Sequence[Estimate]) -> _Scale:
        """Round numbers around everything that is drawn."""
        # slow to load, and only needed where a page is made
        from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

        values = [v for e in estimates for v in (e.mean, *e.ci) if math.isfinite(v)]
        steps = MaxNLocator(nbins=MAX_TICKS, steps=[1, 2, 5, 10])
        marks = [float(mark) for mark in steps.tick_values(min(values), max(values))]
        if _is_share(metric):
            marks = [mark for mark in marks if -1e-9 <= mark <= 1 + 1e-9]
        low, high = marks[0], marks[-1]
        ticks = tuple(((mark - low) / (high - low), _tick(metric, mark)) for mark in marks)
        return cls(low, high, ticks)

    def place(self, value: float) -> float:
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def ends(self, ci: tuple[float, float]) -> tuple[float, float] | None:
        return None if math.isnan(ci[0]) else (self.place(ci[0]), self.place(ci[1]))


def _tick(metric: str, mark: float) -> str:
    return f"{round(100 * mark, 6):g} %" if _is_share(metric) else f"{round(mark, 9):g}"
