"""The sentence with numbers that a comparison comes down to: better, not better, or cannot tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

from tunesmith.evaluate.metrics import find_metric
from tunesmith.evaluate.power import rows_to_tell
from tunesmith.records import Comparison, Estimate

VerdictKind = Literal["better", "not better", "cannot tell"]


@dataclass(frozen=True)
class Verdict:
    """A verdict and the sentence that gives its numbers."""

    kind: VerdictKind
    sentence: str


def default_margin(metric: str, baseline: float) -> float:
    """The gain that counts, in the metric's own unit, where the recipe names none.

    One point or a tenth of the baseline's error, whichever is less: going from 99 to 99.5 % halves
    the errors, though it is half a point. A measure of error without a scale takes a tenth of the
    baseline's value, a score without one 0.01.
    """
    kind = find_metric(metric)
    if kind.unit == "plain":
        return 0.01 if kind.higher_is_better else abs(baseline) / 10
    point = 0.01 if kind.unit == "fraction" else 1.0
    error = 100 * point - baseline if kind.higher_is_better else baseline
    return max(0.0, min(point, error / 10))


def verdict(
    comparison: Comparison,
    *,
    confidence: float = 0.95,
    p: float | None = None,
    estimates: tuple[Estimate, Estimate] | None = None,
    margin: float = 0.0,
) -> Verdict:
    """Whether b is better than a, in one sentence with its numbers.

    better: the interval of the gain is above zero and p is below 1 - confidence (`p` replaces the
    comparison's own where several metrics are judged, see statistics.holm). not better: the whole
    interval is below `margin`, so that a gain that counts is ruled out. cannot tell: everything
    else, whatever the sign of the difference, and what would tell. `estimates` of a and b put their
    means into the sentence.
    """
    c = comparison
    p_text = _p_text(c.p) if p is None else f"{_p_text(p)} after Holm"
    p = c.p if p is None else p
    low, high = find_metric(c.metric).gain_interval(c.ci)
    numbers = _numbers(c, p_text, confidence, estimates)
    beyond_rows = _no_verdict_possible(c, confidence)
    if beyond_rows:
        return Verdict("cannot tell", beyond_rows)
    significant = p < 1 - confidence
    if low > 0 and high < margin and significant:
        return Verdict(
            "not better",
            f"{c.b} is better than {c.a} by less than the margin of "
            f"{_margin(c.metric, margin)}: {numbers}.",
        )
    if low > 0 and significant:
        return Verdict("better", f"{c.b} is better than {c.a}: {numbers}.")
    if high < 0 and significant:
        return Verdict("not better", f"{c.b} is not better than {c.a}, it is worse: {numbers}.")
    if high < margin:
        return Verdict(
            "not better",
            f"{c.b} is not better than {c.a}: {numbers}; a gain of "
            f"{_margin(c.metric, margin)} or more is ruled out.",
        )
    return Verdict(
        "cannot tell",
        f"Cannot tell with {_rows_text(c)} whether {c.b} is better than {c.a}"
        f"{_what_would_tell(c, confidence)}: {numbers}.",
    )


def _no_verdict_possible(c: Comparison, confidence: float) -> str:
    """Why no difference, however large, could be told with these rows; empty where one could."""
    what = "row" if c.clusters == c.n else "group"
    if c.wins == c.losses == 0 and c.difference == 0:
        return f"Cannot tell: {c.b} and {c.a} have the same {c.metric} on each of {_rows_text(c)}."
    least = fewest_units(confidence)
    if c.clusters < least:
        return (
            f"Cannot tell with {_rows_text(c)}: with fewer than {least} {what}s no difference, "
            f"however large, has a p below {1 - confidence:.2g}; {least - c.clusters} more "
            f"{what}{'' if least - c.clusters == 1 else 's'} at least are needed."
        )
    if math.isnan(c.ci[0]):
        why = c.note or f"two {what}s at least are needed for an interval"
        return f"Cannot tell with {_rows_text(c)}: {why}."
    return ""


def fewest_units(confidence: float = 0.95) -> int:
    """The fewest rows, or groups of rows, with which an exact paired test can reject.

    If all C of them change in one direction the two-sided p is 2 / 2^C.
    """
    return math.floor(1 - math.log2(1 - confidence) + 1e-9) + 1


def _what_would_tell(c: Comparison, confidence: float) -> str:
    found = rows_to_tell(c, confidence)
    return f"; {found.words(partial(amount, c.metric))}" if found else ""


def _numbers(
    c: Comparison, p_text: str, confidence: float, estimates: tuple[Estimate, Estimate] | None
) -> str:
    means = ""
    if estimates:
        means = (
            f"{level(c.metric, estimates[1].mean)} against {level(c.metric, estimates[0].mean)}, "
        )
    return (
        f"{c.metric} {means}{amount(c.metric, c.difference)} "
        f"({100 * confidence:g} % interval {_ends(c.metric, c.ci)}, {p_text}; "
        f"better on {c.wins}, equal on {c.ties}, worse on {c.losses} of {c.n} rows)"
    )


def _margin(metric: str, margin: float) -> str:
    return amount(metric, margin).removeprefix("+")


def _p_text(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"


def _rows_text(c: Comparison) -> str:
    return _count(c.n, "row") + (f" in {_count(c.clusters, 'group')}" if c.clusters != c.n else "")


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def level(metric: str, mean: float) -> str:
    """A metric's value as sentences give it: 88.9 %, 31.2 or 1.570."""
    unit = find_metric(metric).unit
    if unit == "fraction":
        return f"{100 * mean:.1f} %"
    return f"{mean:.1f}" if unit == "points" else f"{mean:.3f}"


def amount(metric: str, difference: float) -> str:
    """A difference with its sign: +7.2 points or +0.031."""
    unit = find_metric(metric).unit
    if unit == "plain":
        return f"{difference:+.3f}"
    return f"{difference * (100 if unit == 'fraction' else 1):+.1f} points"


def change(metric: str, difference: float, ci: tuple[float, float], note: str = "") -> str:
    """A difference with its interval: `+7.2 points [+2.0, +12.4]`, or with the note that says why
    there is none.
    """
    if any(map(math.isnan, ci)):
        return f"{amount(metric, difference)} (no interval{f': {note}' if note else ''})"
    return f"{amount(metric, difference)} {_ends(metric, ci)}"


def _ends(metric: str, ci: tuple[float, float]) -> str:
    low, high = (amount(metric, end).removesuffix(" points") for end in ci)
    return f"[{low}, {high}]"
