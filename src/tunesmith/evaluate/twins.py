"""The test rows that have a near-twin among the training rows, and the score without them: what a
model has nearly seen, it need not have understood.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tunesmith.evaluate.slices import Against, subset
from tunesmith.evaluate.tasks import counted, estimate_system
from tunesmith.evaluate.verdict import amount, change, default_margin, level, verdict
from tunesmith.records import Comparison, Evaluation, Example, TwinScores

MIN_ROWS = 2  # of one row there is no interval


def twin_scores(
    test: Mapping[str, Example],
    twins: Collection[str],
    systems: tuple[Evaluation, Sequence[Evaluation]],
    whole: Comparison,
    against: Against,
    *,
    confidence: float = 0.95,
    margin: float | None = None,
) -> TwinScores:
    """The scores without the rows whose ids are in `twins`.

    `test` are the examples by id, `systems` the reference system and the tuned model, in each of
    its trainings; `whole` is their comparison on all rows.
    """
    reference, tuned = systems
    answered = {test[example_id].row_id for example_id in reference.example_ids}
    near = answered & set(twins)
    too_few = len(answered) - len(near) < MIN_ROWS

    def left(evaluation: Evaluation) -> Evaluation:
        return subset(evaluation, [test[i].row_id not in near for i in evaluation.example_ids])

    metric, others = whole.metric, left(reference)
    too_few = too_few or (bool(reference.tasks) and not counted(others.tasks))
    if not near or too_few:
        said = _counted(len(near), len(answered), too_few)
        return TwinScores(len(answered), len(near), said)
    without = against(others, [left(one) for one in tuned], metric)
    before = estimate_system(others, metric, confidence).mean
    levels = before, before + without.difference
    counts = default_margin(metric, before) if margin is None else margin
    kinds = [verdict(c, confidence=confidence, margin=counts).kind for c in (whole, without)]
    changed = "" if kinds[0] == kinds[1] else f" By these alone the verdict is: {kinds[1]}."
    said = (
        f"{_counted(len(near), len(answered), too_few)} {_numbers(without, levels, whole)}{changed}"
    )
    return TwinScores(len(answered), len(near), said, without, levels)


def _counted(near: int, rows: int, too_few: bool) -> str:
    if not near:
        return f"None of the {rows:,} test rows has a near-twin in training."
    if too_few:
        return (
            f"{near:,} of the {rows:,} test rows have a near-twin in training: too few are left to "
            "judge without them."
        )
    have = "has" if near == 1 else "have"
    return f"{near:,} of the {rows:,} test rows {have} a near-twin in training."


def _numbers(without: Comparison, levels: tuple[float, float], whole: Comparison) -> str:
    metric = without.metric
    before, after = (level(metric, value) for value in levels)
    gain = change(metric, without.difference, without.ci, without.note)
    return (
        f"Without them: {metric} {after} against {before}, {gain}; with all rows "
        f"{amount(metric, whole.difference)}."
    )
