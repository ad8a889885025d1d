"""Parts of the test split, each judged by itself: where is the tuned model worse than before?"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np

from tunesmith.data.sources.cells import is_blank, key_text, number
from tunesmith.evaluate.compare import estimate_metric
from tunesmith.evaluate.decisions import SliceFinding, SliceRow
from tunesmith.evaluate.metrics import find_metric
from tunesmith.evaluate.power import smallest_detectable_effect
from tunesmith.evaluate.statistics import (
    cluster_numbers,
    holm,
)
from tunesmith.records import Comparison, Estimate, Evaluation, Example, TaskEvaluation

MAX_VALUES = 20
"""Parts that a column or the labels are divided into; the rarest become one."""
MAX_PLAIN_NUMBERS = 10
"""Different numbers up to which each is a part of its own, as with ratings; more are cut at their
quartiles."""
MISSING, OTHER = "(missing)", "(other)"
MARGIN = 0.1
"""A slice that cannot show a difference of ten points is too small to judge."""
PRIOR_ROWS = 10
"""The whole split counts as this many rows of a slice when the spread of its differences is
estimated: five rows without a change do not show that nothing can change."""


@dataclass(frozen=True)
class Slicing:
    """One way to divide the test split: `values[i]` names the part of example i."""

    name: str
    values: tuple[str, ...]


Against = Callable[[Evaluation, Sequence[Evaluation], str], Comparison]
"""The tuned model, in all its trainings, minus the first, on a metric."""
Level = Callable[[Sequence[Evaluation], str], Estimate]
"""The mean over the tuned model's trainings of a metric."""


# ---- how to divide


def slicings(
    examples: Sequence[Example], columns: Sequence[tuple[str, Sequence[object]]]
) -> list[Slicing]:
    """By each of the user's columns (name, the value of each example), by label, prompt length and
    source; without those that put all examples in one part, and those that divide as another does.
    """
    ways = [
        *(Slicing(name, by_value(cells)) for name, cells in columns),
        *_by_label(examples),
        Slicing("prompt length", by_length([_prompt_length(example) for example in examples])),
        Slicing("source", by_source([example.source for example in examples])),
    ]
    found: dict[tuple[int, ...], Slicing] = {}
    for way in ways:
        found.setdefault(tuple(cluster_numbers(way.values, len(way.values)).tolist()), way)
    return [way for parts, way in found.items() if len(set(parts)) > 1]


def by_value(cells: Sequence[object]) -> tuple[str, ...]:
    """The part of each cell of a column.

    More than ten different numbers are cut at their quartiles; of more than twenty other values the
    most frequent are kept, and the rest is one part.
    """
    texts = [" ".join((key_text(cell) or MISSING).split()) for cell in cells]
    numbers = [number(cell) for cell in cells if not is_blank(cell)]
    finite = [number for number in numbers if number is not None]
    if len(finite) == len(numbers) and len(set(finite)) > MAX_PLAIN_NUMBERS:
        cuts = _cuts(finite, (0.25, 0.5, 0.75))
        return tuple(text if text == MISSING else _between(float(text), cuts) for text in texts)
    return _most_frequent(texts)


def _by_label(examples: Sequence[Example]) -> list[Slicing]:
    """By the right answer, where all examples have the same choices; else an answer is no class."""
    if not examples or len({example.choices for example in examples}) > 1:
        return []
    if not examples[0].choices:
        return []
    return [Slicing("label", _most_frequent([example.completion for example in examples]))]


def by_length(lengths: Sequence[int]) -> tuple[str, ...]:
    """Short, medium and long, cut at the terciles; lengths in characters."""
    low, high = (int(cut) for cut in _cuts(lengths, (1 / 3, 2 / 3)))
    names = (f"short (to {low:,})", f"medium (to {high:,})", f"long (over {high:,})")
    return tuple(names[(length > low) + (length > high)] for length in lengths)


def by_source(sources: Sequence[str]) -> tuple[str, ...]:
    """The file of each `file:line`, by its name alone unless two files share it."""
    paths = [source.rpartition(":")[0] or source for source in sources]
    names = Counter(Path(path).name for path in set(paths))
    return _most_frequent(
        [Path(path).name if names[Path(path).name] == 1 else path for path in paths]
    )


def _prompt_length(example: Example) -> int:
    return len(example.prompt) + sum(len(turn.content) for turn in example.history)


def _cuts(numbers: Sequence[float], shares: Sequence[float]) -> list[float]:
    """The quantiles, each a value of the column, so that no part's name has made-up decimals."""
    cuts = np.quantile(np.asarray(numbers, float), shares, method="inverted_cdf")
    return [float(cut) for cut in cuts]


def _between(number: float, cuts: Sequence[float]) -> str:
    """Which part of a column of numbers; parts between equal cuts have no rows."""
    place = sum(number > cut for cut in cuts)
    if place == 0:
        return f"up to {cuts[0]:g}"
    if place == len(cuts):
        return f"over {cuts[-1]:g}"
    return f"over {cuts[place - 1]:g}, up to {cuts[place]:g}"


def _most_frequent(texts: Sequence[str]) -> tuple[str, ...]:
    """The texts, those beyond the most frequent replaced; of equally frequent ones the first stay,
    in alphabetical order.
    """
    counts = Counter(texts)
    if len(counts) <= MAX_VALUES:
        return tuple(texts)
    ranked = sorted(counts, key=lambda text: (-counts[text], text))
    kept = set(ranked[: MAX_VALUES - 1])
    return tuple(text if text in kept else OTHER for text in texts)


# ---- judging each part


def row_by_row(evaluation: Evaluation, metric: str) -> tuple[Evaluation, str]:
    """The evaluation, and the metric by which its slices are judged: the metric itself, or accuracy
    for one by class, because a part of one class has no macro F1. Of a mixture, whose tasks a slice
    may cut in pieces, the mean of its rows.
    """
    found = find_metric(metric)
    if found.per_example or not found.by_class:
        return dataclasses.replace(evaluation, tasks={}), metric
    right_N = found.row_quality(evaluation.rows[metric])
    rows = {**evaluation.rows, "accuracy": right_N.reshape(-1, 1)}
    scores = {**evaluation.scores, "accuracy": right_N.tolist()}
    return dataclasses.replace(evaluation, rows=rows, scores=scores), "accuracy"


def judge_slices(
    reference: Evaluation,
    tuned: Sequence[Evaluation],
    ways: Sequence[Slicing],
    metric: str,
    against: Against,
    level_of: Level,
    confidence: float,
) -> list[SliceRow]:
    """Every part of every slicing on a metric that `row_by_row` gave, the worst first.

    p is adjusted over all of them (Holm). `reference` and each training in `tuned` have the same
    examples in the same order, which are those of the slicings.
    """
    if not ways:
        return []
    parts = [(way, value) for way in ways for value in sorted(set(way.values))]
    kept = [[value == name for value in way.values] for way, name in parts]
    pairs = [(subset(reference, keep), [subset(one, keep) for one in tuned]) for keep in kept]
    compared = [against(a, b, metric) for a, b in pairs]
    adjusted = holm([1.0 if math.isnan(c.p) else c.p for c in compared])
    whole = against(reference, tuned, metric)
    estimates = [(estimate_of(a, metric, confidence), level_of(b, metric)) for a, b in pairs]
    level = estimate_of(reference, metric, confidence).mean
    rows = []
    for (way, name), c, p, (before, after) in zip(
        parts, compared, adjusted, estimates, strict=True
    ):
        detectable = _detectable(c, whole, confidence)
        finding = _finding(c, p, detectable, len(parts), _margin(metric, level), confidence)
        rows.append(SliceRow(way.name, name, before, after, c, p, detectable, finding))
    return sorted(rows, key=lambda row: _worst_first(row, find_metric(metric).sign))


def subset(evaluation: Evaluation, keep: Sequence[bool]) -> Evaluation:
    """The evaluation of some of its examples, and of the tasks that they are of. Scores and rows
    are taken, no answer is read again; it has no estimates.
    """
    mask_N, ids = np.array(keep, dtype=bool), list(compress(evaluation.example_ids, keep))
    return dataclasses.replace(
        evaluation,
        example_ids=ids,
        clusters=list(compress(evaluation.clusters, keep)),
        predictions=list(compress(evaluation.predictions, keep)),
        scores={name: list(compress(of, keep)) for name, of in evaluation.scores.items()},
        estimates={},
        rows={name: rows_ND[mask_N] for name, rows_ND in evaluation.rows.items()},
        tasks=_tasks_of(evaluation.tasks, set(ids)),
    )


def _tasks_of(
    tasks: Mapping[str, TaskEvaluation], ids: Collection[str]
) -> dict[str, TaskEvaluation]:
    """Those that have one of the examples, with their own of them."""
    found = {}
    for name, (metric, whole) in tasks.items():
        keep = [example_id in ids for example_id in whole.example_ids]
        if any(keep):
            found[name] = TaskEvaluation(metric, subset(whole, keep))
    return found


def estimate_of(evaluation: Evaluation, name: str, confidence: float) -> Estimate:
    """A metric's estimate from the rows alone: a `subset` has none."""
    return estimate_metric(
        find_metric(name), evaluation.rows[name], evaluation.clusters, confidence
    )


def _detectable(part: Comparison, whole: Comparison, confidence: float) -> float:
    """The smallest difference that the slice shows with 80 % power.

    The variance of one row's difference is that in the slice and that in the whole split, weighted
    by their rows, the latter as PRIOR_ROWS: in a handful of rows without a change it would be 0.
    """
    variances = [
        0.0 if math.isnan(c.se_clustered) else c.se_clustered**2 * c.n for c in (part, whole)
    ]
    weights = [0.0 if math.isnan(part.se_clustered) else part.n, PRIOR_ROWS]
    variance = float(np.average(variances, weights=weights))
    if variance == 0:  # the two systems differ nowhere, in no row of the whole split
        return 0.0
    return smallest_detectable_effect(part.n, math.sqrt(variance), confidence=confidence)


def least_clusters(num_slices: int, confidence: float) -> int:
    """Rows (or groups) below which no result could be significant after Holm's adjustment.

    Where all of n rows change to the same side, the two-sided p of McNemar's test and of random
    swaps is 2 / 2^n; the smallest of `num_slices` p-values is multiplied by their number.
    """
    return math.ceil(math.log2(2 * num_slices / (1 - confidence)) - 1e-9)


def _margin(metric: str, level: float) -> float:
    """Ten points; where a metric has no such scale, a tenth of the reference system's value."""
    unit = find_metric(metric).unit
    return MARGIN * {"fraction": 1.0, "points": 100.0, "plain": abs(level)}[unit]


def _finding(
    c: Comparison, p: float, detectable: float, slices: int, margin: float, confidence: float
) -> SliceFinding:
    low, high = find_metric(c.metric).gain_interval(c.ci)
    if p < 1 - confidence and high < 0:
        return "worse"
    if p < 1 - confidence and low > 0:
        return "better"
    enough = c.clusters >= least_clusters(slices, confidence) and detectable <= margin
    return "no difference shown" if enough else "too small to judge"


def _worst_first(row: SliceRow, sign: int) -> tuple[int, float, str, str]:
    """A large loss in three rows says little, so what is too small to judge comes last."""
    order: tuple[SliceFinding, ...] = (
        "worse",
        "no difference shown",
        "better",
        "too small to judge",
    )
    gain = sign * row.comparison.difference
    return order.index(row.finding), gain, row.slicing, row.value
