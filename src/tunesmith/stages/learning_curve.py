"""The learning curve: the same recipe on nested parts of its training rows, judged on the same test
rows.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tunesmith.data.store import read_examples
from tunesmith.errors import RecipeError
from tunesmith.evaluate.compare import compare
from tunesmith.progress import say
from tunesmith.recipe import Recipe
from tunesmith.records import Comparison, Evaluation
from tunesmith.report.charts import learning_curve_chart
from tunesmith.report.content import CurvePoint
from tunesmith.report.plots import draw
from tunesmith.run_files import read_manifest, write_record
from tunesmith.rundir import RunDir, write_atomic
from tunesmith.seal import open_seal
from tunesmith.stages.common import answered_in
from tunesmith.stages.evaluate import answer_tuned
from tunesmith.stages.prepare import prepare
from tunesmith.stages.report import tuned_evaluation
from tunesmith.stages.seeds import copy_of, seal_files
from tunesmith.stages.train import train

Z = 1.96


@dataclass(frozen=True)
class Forecast:
    """The metric's change with each doubling of the labels, its 95 % interval, and a sentence."""

    per_doubling: float
    ci: tuple[float, float]
    sentence: str


@dataclass(frozen=True)
class Curve:
    """What curve.json holds; `last_difference` compares the two largest parts."""

    metric: str
    points: tuple[CurvePoint, ...]
    last_difference: Comparison
    forecast: Forecast


def curve(recipe: Recipe, fractions: Sequence[float]) -> Curve:
    """Train on each fraction and score the tuned models on the test split; curve.json, curve.svg
    and curve.png.

    A smaller part is inside every larger one. Raises RecipeError for fractions outside (0, 1] or
    fewer than two.
    """
    parts = sorted(set(fractions))
    if len(parts) < 2 or parts[0] <= 0 or parts[-1] > 1:
        raise RecipeError(
            f"fractions {', '.join(f'{f:g}' for f in fractions)}",
            hint="two or more, above 0, at most 1",
        )
    whole = RunDir(Path(recipe.output_dir))
    prepare(recipe, trainings=len(parts))
    points, evaluations = [], []
    primary = read_manifest(whole).task.primary
    answered_in(whole, recipe)  # decided once, for all parts
    for fraction in parts:
        part = _part(whole, recipe, fraction)
        say(f"training on {fraction:g} of the rows")
        train(part)
        answer_tuned(part)
        found = _evaluation(part, recipe, f"{fraction:g}")
        open_seal(whole, found.example_ids, f"learning curve, {fraction:g} of the training rows")
        rows = len(read_examples(part.examples("train")))
        points.append(CurvePoint(fraction, rows, found.estimates[primary]))
        evaluations.append(found)
    chart = learning_curve_chart(points, primary)
    if chart is not None:
        plot = draw(chart)
        write_atomic(whole.path / "curve.svg", plot.svg)
        write_atomic(whole.path / "curve.png", plot.png)
    last = compare(evaluations[-2], evaluations[-1], primary, resamples=recipe.evaluation.resamples)
    result = Curve(primary, tuple(points), last, _forecast(points, primary))
    write_record(whole.path / "curve.json", result)
    return result


def _part(whole: RunDir, recipe: Recipe, fraction: float) -> RunDir:
    """A run folder with a part of the training rows; groups stay together."""
    part = copy_of(whole, whole.path / "curve" / f"{fraction:g}", recipe)
    table = pq.read_table(whole.examples("train"))
    groups = table["group"].to_pylist()
    order = sorted(
        set(groups),
        key=lambda group: hashlib.sha256(f"{recipe.data.split.seed}/{group}".encode()).digest(),
    )
    kept = set(order[: math.ceil(fraction * len(order))])
    pq.write_table(table.filter([group in kept for group in groups]), part.examples("train"))
    seal_files(whole, part)
    return part


def _evaluation(part: RunDir, recipe: Recipe, name: str) -> Evaluation:
    test, task = read_examples(part.examples("test")), read_manifest(part).task
    return replace(tuned_evaluation(part, recipe, test, task), system=name)


def _forecast(points: Sequence[CurvePoint], metric: str) -> Forecast:
    """What twice the labels would bring: the slope of the metric over log2(rows), weighted by the
    standard errors.

    With two points the slope is their difference per doubling; its error is theirs together.
    """
    x = np.log2([point.rows for point in points])
    y = np.array([point.estimate.mean for point in points])
    se = np.maximum([point.estimate.se for point in points], 1e-9)
    weights = 1 / se**2
    centre = np.average(x, weights=weights)
    spread = float((weights * (x - centre) ** 2).sum())
    slope = float((weights * (x - centre) * y).sum()) / spread
    error = Z / math.sqrt(spread)
    sentence = (
        f"Twice the labels would likely change {metric} by {slope:+.3f} (95 % interval "
        f"{slope - error:+.3f} to {slope + error:+.3f}), if it goes on as it did from "
        f"{points[0].rows:,} to {points[-1].rows:,} examples."
    )
    return Forecast(slope, (slope - error, slope + error), sentence)
