"""Systems of which many answers could not be read, and what label likelihoods say beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tunesmith.evaluate.system_table import BASE, SYSTEMS, TUNED
from tunesmith.evaluate.verdict import change, level
from tunesmith.records import Comparison, Evaluation, Unreadable

MANY = 0.1
"""The share of unreadable answers above which the format decides a comparison."""
RANKED = "choice_acc"

Compare = Callable[[Evaluation, Evaluation, str], Comparison]


def unreadable_systems(evaluations: Sequence[Evaluation], compare: Compare) -> list[Unreadable]:
    """Every system with many unreadable answers; none for free text, which is read as it is.

    `compare(a, b, metric)` is b minus a.
    """
    by_name = {evaluation.system: evaluation for evaluation in evaluations}
    found = []
    for evaluation in evaluations:
        share = unreadable_share(evaluation)
        if share > MANY:
            other = by_name.get(BASE) if evaluation.system == TUNED else evaluation
            found.append(_beside(evaluation.system, share, other, by_name.get(TUNED), compare))
    return found


def unreadable_share(evaluation: Evaluation) -> float:
    """The share of answers that could not be read, 0 to 1; 0 for free text."""
    if evaluation.details.get("parser", "text") == "text" or "valid" not in evaluation.estimates:
        return 0.0
    return 1 - evaluation.estimates["valid"].mean


def unreadable_notes(found: Sequence[Unreadable]) -> list[str]:
    """One sentence or two for each system."""
    return [_note(one) for one in found]


def _beside(
    system: str,
    share: float,
    other: Evaluation | None,
    tuned: Evaluation | None,
    compare: Compare,
) -> Unreadable:
    if other is None or tuned is None:
        return Unreadable(system, share)
    if RANKED not in other.estimates or RANKED not in tuned.estimates:
        return Unreadable(system, share)
    levels = (other.estimates[RANKED].mean, tuned.estimates[RANKED].mean)
    return Unreadable(system, share, compare(other, tuned, RANKED), levels)


def _note(one: Unreadable) -> str:
    said = (
        f"{_title(one.system)}: {100 * one.share:.0f} % of the answers could not be read: "
        "the format, not the knowledge, decides this comparison"
    )
    c = one.ranked
    if c is None or one.levels is None:
        return said
    before, after = (level(RANKED, value) for value in one.levels)
    return (
        f"{said}. By the likeliest label, which needs no reading: {_title(c.a)} {before}, "
        f"{_title(c.b)} {after}, {change(RANKED, c.difference, c.ci, c.note)}"
    )


def _title(system: str) -> str:
    return SYSTEMS[system].title if system in SYSTEMS else system
