"""Gates: what must be shown before a model is used, each passed only where the interval shows it.

A gate that looked at the value found alone would pass by luck half of the time at its limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tunesmith.evaluate.decisions import Broken, Gate, GateResult
from tunesmith.evaluate.metrics import find_metric
from tunesmith.evaluate.slices import row_by_row
from tunesmith.evaluate.statistics import estimate_mean
from tunesmith.records import Comparison, Estimate, Evaluation, RetentionRow

BROKEN = "largest_broken_share"


# ---- rows that broke


def right_or_wrong(metrics: Sequence[str]) -> str | None:
    """The first metric that calls each answer right or wrong, or by which accuracy is known; None
    where all are graded.
    """
    for name in metrics:
        metric = find_metric(name)
        if not metric.auxiliary and (metric.by_class or (metric.per_example and metric.binary)):
            return name
    return None


def broken_rows(
    before: Evaluation, tuned: Evaluation, metric: str, confidence: float = 0.95
) -> Broken:
    """Rows that `before` has right and `tuned` has wrong, as a share of all rows, on a metric that
    `right_or_wrong` gave. Both have the same examples in the same order.
    """
    (before, name), (tuned, _) = row_by_row(before, metric), row_by_row(tuned, metric)
    right_N, now_N = (np.asarray(e.scores[name]) == 1 for e in (before, tuned))
    broken_N = right_N & ~now_N
    return Broken(
        before=before.system,
        metric=name,
        n=len(broken_N),
        broken=int(broken_N.sum()),
        fixed=int((now_N & ~right_N).sum()),
        share=estimate_mean(broken_N.astype(float), tuned.clusters, confidence, proportion=True),
        unchanged=same_answers(before, tuned),
    )


def same_answers(before: Evaluation, tuned: Evaluation) -> bool:
    """Whether both give the same text to every row."""
    pairs = zip(before.predictions, tuned.predictions, strict=True)
    return all(a.text == b.text for a, b in pairs)


# ---- the gates


def gain_gate(limit: float, gain: Comparison, unchanged: bool) -> Gate:
    """Passed where the whole interval of the gain is at the limit or above, and above zero."""
    metric = find_metric(gain.metric)
    value, (low, high) = _of_sign(gain.difference, gain.ci, metric.sign)
    bound = limit * _scale(gain.metric)
    shown = low >= bound and low > 0
    return Gate(
        "least_gain",
        f"gain in {gain.metric} over {gain.a}",
        bound,
        value,
        (low, high),
        "failed" if unchanged else _result(shown, high < bound or high <= 0),
        _UNCHANGED if unchanged else f"the interval's lower end is {_at(low)}",
    )


def broken_gate(limit: float, broken: Broken) -> Gate:
    """Passed where the whole interval of the share of broken rows is at the limit or below."""
    low, high = broken.share.ci
    return Gate(
        BROKEN,
        f"rows right before ({broken.before}) and wrong now",
        limit,
        broken.share.mean,
        (low, high),
        "failed" if broken.unchanged else _result(high <= limit, low > limit),
        _UNCHANGED
        if broken.unchanged
        else f"{broken.broken} of {broken.n}; the interval's upper end is {_at(high)}",
    )


def retention_gates(limit: float, panel: Sequence[RetentionRow], unchanged: bool) -> list[Gate]:
    """One for each text or task: passed where the whole interval of the loss is at the limit or
    below.
    """
    gates = []
    for row in panel:
        sign = -find_metric(row.metric).sign
        value, (low, high) = _of_sign(row.difference, row.ci, sign)
        bound = limit * _scale(row.metric)
        gates.append(
            Gate(
                "largest_retention_loss",
                f"loss in {row.metric} on {row.name}",
                bound,
                value,
                (low, high),
                "failed" if unchanged else _result(high <= bound, low > bound),
                _UNCHANGED if unchanged else f"the interval's upper end is {_at(high)}",
            )
        )
    return gates


def not_measured(name: str, limit: float) -> Gate:
    """A gate on what was not measured is not passed."""
    nothing = (math.nan, math.nan)
    why = "it was not measured"
    return Gate(name, name.replace("_", " "), limit, math.nan, nothing, "cannot tell", why)


_UNCHANGED = "the tuned model gives the same answer to every test row: there is nothing to pass"


def _result(shown: bool, excluded: bool) -> GateResult:
    return "passed" if shown else "failed" if excluded else "cannot tell"


def _of_sign(value: float, ci: tuple[float, float], sign: int) -> tuple[float, tuple[float, float]]:
    """Zero has no sign: a loss of -0.0 would be shown so."""
    low, high = (ci[0], ci[1]) if sign > 0 else (-ci[1], -ci[0])
    return sign * value + 0.0, (low + 0.0, high + 0.0)


def _scale(metric: str) -> float:
    """Limits are shares: 0.02 is 2 points of accuracy, and of BLEU; other units are as they are."""
    return 100.0 if find_metric(metric).unit == "points" else 1.0


def _at(end: float) -> str:
    return "unknown" if math.isnan(end) else f"{end:.4g}"


# ---- for the command line


def failed_gates(report: Mapping[str, Any], broken_over: float | None = None) -> list[str]:
    """A sentence for each gate of report.json that is not passed, and for a share of broken rows
    that is not shown to be `broken_over` or less.
    """
    failed = [
        f"{gate['name']}: {gate['result']}: {gate['what']}, {gate['why']}, limit {gate['limit']:g}"
        for gate in report.get("gates") or ()
        if gate["result"] != "passed"
    ]
    if broken_over is None:
        return failed
    found = report.get("broken")
    if found is None:
        graded = "no answer is right or wrong by these metrics, so broken rows cannot be counted"
        return [*failed, f"broken rows: cannot tell: {graded}"]
    share = found["share"]
    low, high = (math.nan if end is None else end for end in share["ci"])  # JSON has no nan
    estimate = Estimate(share["mean"], share["n"], math.nan, (low, high))
    gate = broken_gate(broken_over, Broken(**{**found, "share": estimate}))
    if gate.result == "passed":
        return failed
    return [*failed, f"broken rows: {gate.result}: {gate.what}: {gate.why}, limit {gate.limit:g}"]
