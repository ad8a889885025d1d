"""The learning curve: the same recipe on nested parts of its training rows, judged on the same test
rows.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from tunesmith.data.store import read_examples
from tunesmith.errors import RecipeError
from tunesmith.evaluate.compare import compare, plain
from tunesmith.evaluate.forecast import Forecast, forecast
from tunesmith.evaluate.parse import Json
from tunesmith.progress import say, showing
from tunesmith.recipe import Recipe
from tunesmith.records import Comparison, Evaluation
from tunesmith.report.charts import learning_curve_chart
from tunesmith.report.content import CurvePoint
from tunesmith.report.plots import draw
from tunesmith.run_files import read_manifest
from tunesmith.rundir import RunDir, write_atomic, write_json
from tunesmith.seal import open_seal
from tunesmith.stages.common import answered_in
from tunesmith.stages.evaluate import answer_tuned
from tunesmith.stages.prepare import prepare
from tunesmith.stages.report import tuned_evaluation
from tunesmith.stages.seeds import copy_of, seal_files
from tunesmith.stages.train import train
from tunesmith.stages.working import at_work


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
    if len(parts) < 2 or not all(0 < part <= 1 for part in parts):  # nan is neither
        raise RecipeError(
            f"fractions {', '.join(f'{f:g}' for f in fractions)}",
            hint="two or more, above 0, at most 1",
        )
    whole = RunDir(Path(recipe.output_dir))
    with showing():
        prepare(recipe, trainings=len(parts))
        return _alone(whole, recipe, parts)


def _alone(whole: RunDir, recipe: Recipe, parts: Sequence[float]) -> Curve:
    """With the folder to ourselves."""
    with at_work(whole.path, "the learning curve", "start it again in another output_dir"):
        return _curve(whole, recipe, parts)


def _curve(whole: RunDir, recipe: Recipe, parts: Sequence[float]) -> Curve:
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
    last = compare(
        evaluations[-2],
        evaluations[-1],
        primary,
        resamples=recipe.evaluation.resamples,
        confidence=recipe.evaluation.confidence,
    )
    expected = forecast(
        [point.rows for point in points],
        [point.estimate for point in points],
        primary,
        recipe.evaluation.confidence,
    )
    result = Curve(primary, tuple(points), last, expected)
    write_json(whole.path / "curve.json", to_json(result))
    return result


def to_json(curve: Curve) -> dict[str, Json]:
    """The contents of curve.json; numbers that are not finite are null."""
    return plain(asdict(curve))


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
