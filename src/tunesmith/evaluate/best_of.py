"""The best of several models on the same rows, and which of the others cannot be told from it."""

from __future__ import annotations

from collections.abc import Mapping

from tunesmith.evaluate.compare import Resampling
from tunesmith.evaluate.metrics import find_metric
from tunesmith.evaluate.tasks import compare_systems
from tunesmith.records import Evaluation


def best_of(models: Mapping[int, Evaluation], metric: str) -> int:
    """The number of the model with the best value; of equals, the first."""
    sign = find_metric(metric).sign
    return max(models, key=lambda number: sign * models[number].estimates[metric].mean)


def as_good_as_the_best(
    models: Mapping[int, Evaluation], metric: str, how: Resampling
) -> list[int]:
    """The numbers of the best model and of those whose difference from it, paired by row, may be
    zero. The best was picked by these rows, so all differences have to hold together: each interval
    has the confidence 1 - (1 - confidence) / differences (Bonferroni). A difference without an
    interval shows nothing.
    """
    best = best_of(models, metric)
    each = 1 - (1 - how["confidence"]) / max(1, len(models) - 1)
    intervals: Resampling = {**how, "confidence": each}
    return [
        number
        for number, model in models.items()
        if number == best
        or not _excludes_zero(compare_systems(models[best], model, metric, **intervals).ci)
    ]


def _excludes_zero(ci: tuple[float, float]) -> bool:
    return ci[0] > 0 or ci[1] < 0
