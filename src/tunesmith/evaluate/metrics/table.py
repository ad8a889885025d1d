"""The table of metrics: tunesmith's own, and those that installed packages add.

A package adds a metric by an entry point of the group `tunesmith.metrics`, which gives a `Metric`:

    [project.entry-points."tunesmith.metrics"]
    loudness = "my_package.metrics:loudness"

Its name can then be used like those of tunesmith's own: in a recipe, in a task family's file and in
`tunesmith score --metric`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from tunesmith.errors import DataError, RecipeError, TemplateError, did_you_mean
from tunesmith.evaluate.metrics import (
    classification,
    exact,
    general,
    likelihood,
    multilabel,
    regression,
    rouge,
    semantic,
    squad,
    tagging,
    translation,
)
from tunesmith.evaluate.metrics.base import Answers, Metric
from tunesmith.evaluate.statistics import Floats
from tunesmith.records import Prediction

ENTRY_POINTS = "tunesmith.metrics"

METRICS: dict[str, Metric] = {
    **classification.METRICS,
    **exact.METRICS,
    **squad.METRICS,
    **rouge.METRICS,
    **translation.METRICS,
    **semantic.METRICS,
    **regression.METRICS,
    **multilabel.METRICS,
    **tagging.METRICS,
    **likelihood.METRICS,
}
"""tunesmith's own metrics of answers, in the order in which they are shown."""

GENERAL: dict[str, Metric] = general.METRICS
"""What is computed for every system whatever the task."""

OVER_TASKS = "task_mean"
"""The metric of a mixture: the mean over its tasks of each one's primary metric. It is computed
from the tasks' own scores (evaluate/tasks.py) and not from answers, so no recipe can ask for it."""


def _not_of_answers(answers: Answers) -> Floats:
    raise DataError(
        f"{OVER_TASKS} is the mean over the tasks of a mixture, not a metric of answers",
        hint="score the answers of each task by its own metrics",
    )


_OVER_TASKS = {OVER_TASKS: Metric("Mean over tasks", _not_of_answers)}

GROUPS = {
    "rouge": ("rouge1", "rouge2", "rougeL", "rougeLsum"),
    "f1": ("macro_f1", "micro_f1", "weighted_f1"),
    "squad": ("squad_em", "token_f1"),
}
"""Names that `tunesmith score --metric` takes for several metrics."""


def metric_names() -> list[str]:
    """The metrics of answers that there are: tunesmith's own, then those of installed packages."""
    return [*METRICS, *_installed()]


def is_metric(name: str) -> bool:
    """Whether `find_metric` knows the name."""
    return name in {**METRICS, **GENERAL, **_OVER_TASKS} or name in _installed()


def find_metric(name: str) -> Metric:
    """A metric or a general one by name.

    Raises:
        RecipeError: no metric has this name, or the package that adds it is faulty.
    """
    installed = _installed()  # first, so that a clash of names is always found
    if name in METRICS:
        return METRICS[name]
    if name in GENERAL:
        return GENERAL[name]
    if name in _OVER_TASKS:
        return _OVER_TASKS[name]
    if name in installed:
        return _load(name)
    raise RecipeError(f"unknown metric {name!r}", hint=did_you_mean(name, metric_names()))


def find_metrics(names: Sequence[str]) -> dict[str, Metric]:
    """Metrics by name, in the order given; RecipeError as for one."""
    return {name: find_metric(name) for name in names}


@cache
def _installed() -> dict[str, EntryPoint]:
    """The entry points by name, not loaded; RecipeError where two metrics have one name."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name in {**METRICS, **GENERAL, **_OVER_TASKS} or entry.name in found:
            other = f"of {_package(found[entry.name])}" if entry.name in found else "of tunesmith"
            raise RecipeError(
                f"the metric {entry.name!r} of {_package(entry)} has the name of one {other}",
                hint=f"rename its entry point in the group {ENTRY_POINTS!r}, or uninstall it",
            )
        found[entry.name] = entry
    return found


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


@cache
def _load(name: str) -> Metric:
    entry = _installed()[name]
    try:
        metric = entry.load()
    except (ImportError, AttributeError) as error:
        raise RecipeError(
            f"the metric {name!r} of {_package(entry)} cannot be loaded: {error}",
            hint=f"its entry point is {entry.value!r}",
        ) from error
    if not isinstance(metric, Metric):
        raise RecipeError(
            f"the metric {name!r} of {_package(entry)} is a {type(metric).__name__}",
            hint=f"{entry.value!r} must be a tunesmith.evaluate.metrics.Metric",
        )
    return metric


# ---- which metrics fit


def check_recipe_metrics(names: Sequence[str]) -> None:
    """Check `evaluation.metrics` of a recipe.

    Raises:
        RecipeError: a metric is unknown, or baselines without a model cannot have it.
    """
    for name, metric in find_metrics(names).items():
        if name == OVER_TASKS:
            raise RecipeError(
                f"evaluation.metrics: {name} is computed by itself where there are several tasks",
                hint="leave it out",
            )
        if metric.needs != "text":
            raise RecipeError(f"evaluation.metrics: {_NO_BASELINE.format(name)}", hint=_LEAVE_OUT)


def check_template_metrics(template: str, names: Sequence[str]) -> None:
    """Check the metrics that a prompt template or its family names.

    Raises:
        TemplateError: as for a recipe; the message names the template.
    """
    for name in names:
        if not is_metric(name):
            raise TemplateError(
                f"{template}: unknown metric {name!r}", hint=did_you_mean(name, metric_names())
            )
        if find_metric(name).needs != "text":
            raise TemplateError(f"{template}: {_NO_BASELINE.format(name)}", hint=_LEAVE_OUT)


_NO_BASELINE = "{} is a metric of likelihoods, which a baseline without a model has not"
_LEAVE_OUT = "leave it out: it is shown beside the metrics wherever there are likelihoods"


def likelihood_metrics(predictions: Sequence[Prediction]) -> list[str]:
    """The metrics of likelihoods that can be computed from what every prediction holds."""
    held = {
        "choice_logprobs": all(prediction.choice_logprobs for prediction in predictions),
        # runs that an older tunesmith answered have none
        "choice_logprobs_without_stop": all(p.choice_logprobs_without_stop for p in predictions),
        "reference_logprob": all(prediction.reference_tokens for prediction in predictions),
    }
    return [name for name in metric_names() if held.get(find_metric(name).needs, False)]
