"""The same recipe trained with several seeds, and what the luck of one training adds to the
interval.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats

from tunesmith.evaluate.compare import Resampling, compare
from tunesmith.evaluate.crossed import CrossedMean, crossed_mean, mean_covariance, row_covariance
from tunesmith.evaluate.metrics import Metric, find_metric
from tunesmith.evaluate.power import POWER
from tunesmith.evaluate.slices import estimate_of
from tunesmith.evaluate.statistics import Floats, wilson_interval, wins_ties_losses
from tunesmith.recipe import Recipe, dump_recipe
from tunesmith.records import SPLITS, Comparison, Estimate, Evaluation
from tunesmith.run_files import read_manifest, write_record
from tunesmith.rundir import RunDir, file_sha256, write_atomic
from tunesmith.stages.common import check_prepared, list_prepared


def copy_of(whole: RunDir, folder: Path, recipe: Recipe) -> RunDir:
    """A run folder with the same prepared rows and another recipe (seed, output_dir ...). It
    appears when all is there. DataError where the rows are not those that were prepared.
    """
    check_prepared(whole)
    part = RunDir(folder.with_name(f".{folder.name}.copying"))
    shutil.rmtree(part.path, ignore_errors=True)
    part.examples("train").parent.mkdir(parents=True)
    for split in SPLITS:
        shutil.copy(whole.examples(split), part.examples(split))
    for path in (
        whole.seal,
        whole.ledger,
        whole.chat_template,
        whole.original_chat_template,
        whole.answered_in,
    ):
        if path.exists():
            (part.path / path.relative_to(whole.path)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, part.path / path.relative_to(whole.path))
    write_atomic(part.recipe, dump_recipe(recipe.model_copy(update={"output_dir": str(folder)})))
    seal_files(whole, part)
    part.path.rename(folder)
    return RunDir(folder)


def seal_files(whole: RunDir, part: RunDir) -> None:
    """Write the part's manifest, which is the whole's with the hashes of the part's own files, and
    its list of artefacts.
    """
    manifest = read_manifest(whole)
    own = {name: file_sha256(part.path / name) for name in manifest.files}
    write_record(part.manifest, replace(manifest, files=own, artefacts=True))
    list_prepared(part)


def seed_folders(run: RunDir, recipe: Recipe) -> list[RunDir]:
    """Where the second and later trainings live; none for `train.seeds: 1`."""
    first = recipe.train.seed
    return [
        RunDir(run.path / "seeds" / str(seed))
        for seed in range(first + 1, first + recipe.train.seeds)
    ]


def mean_of_seeds(tuned: Sequence[Evaluation], how: Resampling) -> Evaluation:
    """The first training's evaluation with every estimate that of the mean over all trainings, for
    a training of this recipe and not for one lucky run. Answers and scores by row stay the first
    training's.
    """
    first = tuned[0]
    if len(tuned) == 1:
        return first
    estimates = {name: mean_estimate(tuned, name, how) for name in first.estimates}
    details = first.details.copy()
    details["given_valid"] = _mean_given_valid([e.details["given_valid"] for e in tuned])
    return replace(first, estimates=estimates, details=details)


def _mean_given_valid(found: Sequence[Mapping[str, Estimate]]) -> dict[str, Estimate]:
    """The mean over the trainings, without an interval: each has other valid answers."""
    return {
        name: Estimate(
            float(np.mean([estimates[name].mean for estimates in found])),
            sum(estimates[name].n for estimates in found),
            math.nan,
            (math.nan, math.nan),
        )
        for name in found[0]
        if all(name in estimates for estimates in found)
    }


def against_seeds(
    reference: Evaluation, tuned: Sequence[Evaluation], metric: str, how: Resampling
) -> tuple[Comparison, str]:
    """The mean of the trainings minus the reference; with one training the plain comparison. Also a
    note, empty for one training.

    The interval is that of crossed rows and trainings (evaluate/crossed.py). A row is won where the
    mean over the trainings is better. No interval is given where one training has none.

    Raises:
        DataError: as `compare`.
    """
    first = compare(reference, tuned[0], metric, **how)
    if len(tuned) == 1:
        return first, ""
    kind = find_metric(metric)
    rows = [_aligned(evaluation, reference, metric) for evaluation in tuned]
    own = _rows(reference, metric)
    base = _value(kind, own)
    differences = [_value(kind, rows_ND) - base for rows_ND in rows]
    quality = np.mean([kind.row_quality(rows_ND) for rows_ND in rows], axis=0)
    wins, ties, losses = wins_ties_losses(kind.row_quality(own), quality)
    found = _crossed(differences, kind, rows, own, reference.clusters, how)
    counted = replace(first, wins=wins, ties=ties, losses=losses, runs=len(tuned))
    return _judged(counted, found, how["confidence"]), _note(first, differences, found)


def _judged(counted: Comparison, found: CrossedMean, confidence: float) -> Comparison:
    """The comparison with the mean's numbers; without an interval where one training has none."""
    known = all(map(math.isfinite, counted.ci)) and math.isfinite(found.se)
    half = found.half_width(confidence) if known else math.nan
    return replace(
        counted,
        difference=found.mean,
        se=found.se,
        se_clustered=found.se,
        ci=(found.mean - half, found.mean + half),
        p=found.p() if known else counted.p,
        smallest_detectable=_detectable(found, confidence) if known else math.nan,
        se_runs=math.sqrt(found.luck_variance),
        test=f"Student's t, {found.runs} trainings" if known else counted.test,
    )


def _detectable(found: CrossedMean, confidence: float) -> float:
    return found.half_width(confidence) + float(stats.norm.ppf(POWER)) * found.se


def _note(first: Comparison, differences: Sequence[float], found: CrossedMean) -> str:
    few = "; two trainings say little about their spread" if found.runs == 2 else ""
    return (
        f"{found.runs} trainings with different seeds: {first.metric} differs from {first.a} by "
        + ", ".join(f"{difference:+.3f}" for difference in differences)
        + f" (standard deviation between runs {found.spread:.3f}{few}); all numbers of the tuned "
        "model are means over them and their intervals include it; single answers, and what is "
        "counted or decided by them (rows that broke, when the model may answer), are the first "
        "training's"
    )


def mean_estimate(tuned: Sequence[Evaluation], metric: str, how: Resampling) -> Estimate:
    """The mean over the trainings, with the interval of crossed rows and trainings; of one
    training its own estimate. No interval where the first training has none.
    """
    first, kind = _estimate(tuned[0], metric, how), find_metric(metric)
    if len(tuned) == 1:
        return first
    means = [first.mean, *(_estimate(one, metric, how).mean for one in tuned[1:])]
    rows = [_aligned(evaluation, tuned[0], metric) for evaluation in tuned]
    found = _crossed(means, kind, rows, None, tuned[0].clusters, how)
    if not all(map(math.isfinite, (*first.ci, found.se))):
        return replace(first, mean=found.mean, se=found.se, ci=(math.nan, math.nan))
    return replace(first, mean=found.mean, se=found.se, ci=_within(found, kind, first, how))


def _estimate(evaluation: Evaluation, metric: str, how: Resampling) -> Estimate:
    """The training's own; a `subset` has none yet."""
    known = evaluation.estimates.get(metric)
    return known or estimate_of(evaluation, metric, how["confidence"])


def _within(
    found: CrossedMean, kind: Metric, first: Estimate, how: Resampling
) -> tuple[float, float]:
    """The interval of a level, inside what the metric can be: Wilson's at the number of rows whose
    binomial variance gives this width (Korn and Graubard 1998), for right and wrong.
    """
    half = found.half_width(how["confidence"])
    if kind.binary:
        z = float(stats.norm.ppf((1 + how["confidence"]) / 2))
        certain = found.mean * (1 - found.mean)
        n = certain * (z / half) ** 2 if half > 0 and certain > 0 else float(found.clusters)
        n = min(n, float(first.n * found.runs))
        return wilson_interval(found.mean * n, n, how["confidence"])
    low, high = kind.kind.bounds
    return max(low, found.mean - half), min(high, found.mean + half)


def _crossed(
    values: Sequence[float],
    kind: Metric,
    rows: Sequence[Floats],
    reference_ND: Floats | None,
    clusters: Sequence[str],
    how: Resampling,
) -> CrossedMean:
    """The mean of the trainings' values of a metric, less the reference's if there is one."""
    if kind.per_example:
        scores_NK = np.stack([rows_ND[:, 0] for rows_ND in rows], axis=1)
        if reference_ND is not None:
            scores_NK = scores_NK - reference_ND[:, :1]
        covariance_KK = mean_covariance(scores_NK, clusters)
    else:
        covariance_KK = row_covariance(
            kind.value,
            rows,
            reference_ND,
            clusters,
            resamples=how["resamples"],
            seed=how["seed"],
        )
    return crossed_mean(np.asarray(values), covariance_KK, len(set(clusters)))


def _value(kind: Metric, rows_ND: Floats) -> float:
    return float(kind.value(np.ones((1, len(rows_ND))), rows_ND)[0])


def _rows(evaluation: Evaluation, metric: str) -> Floats:
    if metric in evaluation.rows:
        return evaluation.rows[metric]
    return np.asarray(evaluation.scores[metric], dtype=float).reshape(-1, 1)


def _aligned(evaluation: Evaluation, other: Evaluation, metric: str) -> Floats:
    """rows_ND in the other's order of examples."""
    place = {example_id: i for i, example_id in enumerate(evaluation.example_ids)}
    return _rows(evaluation, metric)[[place[example_id] for example_id in other.example_ids]]
