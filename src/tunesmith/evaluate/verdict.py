"""The sentence with numbers that a comparison comes down to: better, not better, or cannot tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tunesmith.evaluate.metrics import find_metric
from tunesmith.evaluate.power import rows_needed
from tunesmith.records import Comparison, Estimate

VerdictKind = Literal["better", "not better", "cannot tell"]


@dataclass(frozen=True)
class Verdict:
    """A verdict and the sentence that gives its numbers."""

    kind: VerdictKind
    sentence: str


def verdict(
    comparison: Comparison,
    *,
    confidence: float = 0.95,
    p: float | None = None,
    estimates: tuple[Estimate, Estimate] | None = None,
) -> Verdict:
    """Whether b is better than a, in one sentence with its numbers.

    better: the interval of the gain is above zero and p is below 1 - confidence (`p` replaces the
    comparison's own where several metrics are judged, see statistics.holm). not better: the gain is
    zero or less, so that a gain of the size that these rows can show is ruled out. cannot tell:
    everything else, and the rows that would tell. `estimates` of a and b put their means into the
    sentence.
    """
    c = comparison
    p_text = _p_text(c.p) if p is None else f"{_p_text(p)} after Holm"
    p = c.p if p is None else p
    sign = find_metric(c.metric).sign
    low, high = sorted(sign * end for end in c.ci)
    gain = sign * c.difference
    numbers = _numbers(c, p_text, confidence, estimates)
    if math.isnan(c.se_clustered):
        what = "rows" if c.clusters == c.n else "groups"
        return Verdict(
            "cannot tell",
            f"Cannot tell with {_rows_text(c)}: two {what} at least are needed for an interval.",
        )
    if c.wins == c.losses == 0 and c.difference == 0:
        return Verdict(
            "cannot tell",
            f"Cannot tell: {c.b} and {c.a} have the same {c.metric} on each of {_rows_text(c)}.",
        )
    if low > 0 and p < 1 - confidence:
        return Verdict("better", f"{c.b} is better than {c.a}: {numbers}.")
    if high < 0 and p < 1 - confidence:
        return Verdict("not better", f"{c.b} is not better than {c.a}, it is worse: {numbers}.")
    if gain <= 0:
        room = _amount(c.metric, max(0.0, high))
        return Verdict(
            "not better",
            f"{c.b} is not better than {c.a}: {numbers}; a gain above {room} is ruled out.",
        )
    needed = f"{rows_needed(c, confidence):,}"
    return Verdict(
        "cannot tell",
        f"Cannot tell with {_rows_text(c)} whether {c.b} is better than {c.a}; "
        f"about {needed} rows would: {numbers}.",
    )


def beside_linear(
    comparison: Comparison, estimates: tuple[Estimate, Estimate], confidence: float = 0.95
) -> str:
    """What the linear baseline says about the verdict.

    It costs a thousandth of a model: whoever hears only that the tuned model beats its base might
    pay for nothing. `comparison` is b minus the linear baseline, `estimates` are those of the
    linear baseline and of b.
    """
    c = comparison
    sign = find_metric(c.metric).sign
    low, high = sorted(sign * end for end in c.ci)
    ends = ", ".join(_amount(c.metric, end).removesuffix(" points") for end in c.ci)
    numbers = (
        f"{_level(c.metric, estimates[1].mean)} against {_level(c.metric, estimates[0].mean)}, "
        f"{_amount(c.metric, c.difference)} ({100 * confidence:g} % interval [{ends}])"
    )
    linear = "a linear model on TF-IDF features"
    if low > 0:
        return f"It is also better than {linear}: {numbers}."
    if high < 0:
        return f"But {linear} is better still, and far cheaper: {numbers}."
    return f"These rows cannot tell it from {linear}, which is far cheaper: {numbers}."


def _numbers(
    c: Comparison, p_text: str, confidence: float, estimates: tuple[Estimate, Estimate] | None
) -> str:
    means = ""
    if estimates:
        means = (
            f"{_level(c.metric, estimates[1].mean)} against {_level(c.metric, estimates[0].mean)}, "
        )
    low, high = (_amount(c.metric, end).removesuffix(" points") for end in c.ci)
    return (
        f"{c.metric} {means}{_amount(c.metric, c.difference)} "
        f"({100 * confidence:g} % interval [{low}, {high}], {p_text}; "
        f"better on {c.wins}, equal on {c.ties}, worse on {c.losses} of {c.n} rows)"
    )


def _p_text(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"


def _rows_text(c: Comparison) -> str:
    return _count(c.n, "row") + (f" in {_count(c.clusters, 'group')}" if c.clusters != c.n else "")


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def _level(metric: str, mean: float) -> str:
    unit = find_metric(metric).unit
    if unit == "fraction":
        return f"{100 * mean:.1f} %"
    return f"{mean:.1f}" if unit == "points" else f"{mean:.3f}"


def _amount(metric: str, difference: float) -> str:
    unit = find_metric(metric).unit
    if unit == "plain":
        return f"{difference:+.3f}"
    return f"{difference * (100 if unit == 'fraction' else 1):+.1f} points"
