"""A mixture of several tasks: each system's mean over them, and what two systems differ by.

Each task counts the same, however many rows it has, in its own primary metric. Metrics of 0 to 100
points count as fractions; errors, correlations and others without such a scale have no place in the
mean, and neither has a task whose test rows are all one group.

Two questions have two intervals (task_mean.py). Over *these* tasks the only chance is which rows
were drawn. For *other* tasks like these, the tasks are themselves the sample.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np
from scipy import stats

from tunesmith.evaluate.compare import Resampling, compare, evaluate
from tunesmith.evaluate.metrics import (
    GENERAL,
    OVER_TASKS,
    find_metric,
    likelihood_metrics,
    score_predictions,
)
from tunesmith.evaluate.power import POWER
from tunesmith.evaluate.slices import estimate_of
from tunesmith.evaluate.statistics import (
    NO_INTERVAL,
    Floats,
    approximate_randomisation,
    estimate_mean,
)
from tunesmith.evaluate.system_table import BASE, BASE_FEW_SHOT, LIKELIEST
from tunesmith.evaluate.task_mean import (
    MeanOfTasks,
    Share,
    cluster_influence,
    mean_of_a_sample,
    mean_of_tasks,
)
from tunesmith.records import (
    Comparison,
    Estimate,
    Evaluation,
    EvaluationDetails,
    Example,
    Prediction,
    TaskEvaluation,
)
from tunesmith.run_files import Task

STAND_INS = {
    "constant": "majority",
    LIKELIEST[BASE]: BASE,
    LIKELIEST[BASE_FEW_SHOT]: BASE_FEW_SHOT,
    BASE_FEW_SHOT: BASE,
}
"""Over all tasks a system that has not answered a task is this one there: the best constant answer
is for free text what the commonest one is for labels, there is no likeliest choice where there are
no choices, and no exemplar where a prompt leaves no room for any."""
Tasks = Mapping[str, TaskEvaluation]


def share_of(metric: str) -> float | None:
    """The factor that makes a value of the metric a fraction; None for a metric that has no place
    in a mean over tasks.
    """
    kind = find_metric(metric)
    if not kind.higher_is_better:
        return None
    return {"fraction": 1.0, "points": 0.01}.get(kind.unit)


# ---- one system


def evaluate_task(
    system: str,
    split: str,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    task: Task,
    confidence: float = 0.95,
) -> Evaluation:
    """A system's answers, read and scored as the task says; of a mixture each task as its own says,
    and then over all those that have a row among the examples.

    Raises as compare.evaluate.
    """
    if not task.tasks:
        metrics = [*task.metrics, *likelihood_metrics(predictions)]
        return evaluate(
            system,
            split,
            examples,
            predictions,
            metrics,
            task.parser,
            metric_options=task.options,
            confidence=confidence,
        )
    found = {}
    for name, own in task.tasks.items():
        rows = [i for i, example in enumerate(examples) if example.task == name]
        if rows:
            mine, answers = [examples[i] for i in rows], [predictions[i] for i in rows]
            scored = evaluate_task(system, split, mine, answers, own, confidence)
            found[name] = TaskEvaluation(own.primary, scored)
    return over_tasks(system, found, confidence)


def over_tasks(system: str, tasks: Tasks, confidence: float) -> Evaluation:
    """One evaluation of several, which are of the same system on the rows of different tasks.

    Its primary metric is OVER_TASKS; the general metrics are of all rows together.
    """
    found = [task.evaluation for task in tasks.values()]
    clusters = [cluster for e in found for cluster in e.clusters]
    rows = {name: np.concatenate([e.rows[name] for e in found]) for name in GENERAL}
    estimates = {
        name: estimate_mean(rows[name][:, 0], clusters, confidence, metric.binary)
        for name, metric in GENERAL.items()
    }
    if counted(tasks):
        estimates = {OVER_TASKS: level_over_tasks(tasks, confidence), **estimates}
    if own := _row_scores(tasks):
        rows[OVER_TASKS] = np.array(own).reshape(-1, 1)
    warnings = [
        f"{name}: {text}"
        for name, task in tasks.items()
        for text in task.evaluation.details.get("warnings", ())
    ]
    details: EvaluationDetails = {"warnings": warnings}
    parsers = {evaluation.details.get("parser", "text") for evaluation in found}
    if len(parsers) == 1:
        details["parser"] = parsers.pop()
    return Evaluation(
        system=system,
        split=found[0].split,
        example_ids=[example_id for e in found for example_id in e.example_ids],
        clusters=clusters,
        predictions=[prediction for e in found for prediction in e.predictions],
        scores={name: own_rows[:, 0].tolist() for name, own_rows in rows.items()},
        estimates=estimates,
        details=details,
        rows=rows,
        tasks=tasks,
    )


def estimate_system(evaluation: Evaluation, metric: str, confidence: float) -> Estimate:
    """The metric of a system; of a `subset`, which has no estimates, computed now."""
    if known := evaluation.estimates.get(metric):
        return known
    if metric == OVER_TASKS and evaluation.tasks:
        return level_over_tasks(evaluation.tasks, confidence)
    return estimate_of(evaluation, metric, confidence)


def stand_ins(system: str) -> list[str]:
    """The system itself and what it is, in this order, on tasks that it has not answered."""
    found = [system]
    while found[-1] in STAND_INS:
        found.append(STAND_INS[found[-1]])
    return found


def complete(evaluations: Sequence[Evaluation], confidence: float) -> list[Evaluation]:
    """The systems that have answered every task, themselves or by their stand-ins: they alone can
    be compared over all of them.
    """
    by_name = {evaluation.system: evaluation for evaluation in evaluations}
    order = max((e.tasks for e in evaluations), key=len, default={})
    every = set(order)
    found = []
    for system, evaluation in by_name.items():
        tasks: dict[str, TaskEvaluation] = {}
        for other in stand_ins(system):
            tasks = {**(by_name[other].tasks if other in by_name else {}), **tasks}
        if set(evaluation.tasks) == every:
            found.append(evaluation)
        elif set(tasks) == every:
            ordered = {name: tasks[name] for name in order}
            found.append(over_tasks(system, ordered, confidence))
    return found


def counted(tasks: Tasks) -> Tasks:
    """Those that have a place in the mean."""
    return {
        name: task
        for name, task in tasks.items()
        if share_of(task.metric) is not None and len(set(task.evaluation.clusters)) > 1
    }


def _row_scores(tasks: Tasks) -> list[float]:
    """Each row's own share; none where the metric of a task is of all its rows, or has no place."""
    found: list[float] = []
    for metric, evaluation in tasks.values():
        share = share_of(metric)
        if share is None or not find_metric(metric).per_example:
            return []
        found += [share * score for score in evaluation.scores[metric]]
    return found


def level_over_tasks(tasks: Tasks, confidence: float) -> Estimate:
    """The mean over the tasks that have a place in it, of which there is one at least."""
    in_mean = counted(tasks)
    mean = mean_of_tasks(level_shares(tasks, confidence), confidence)
    n = sum(len(task.evaluation.example_ids) for task in in_mean.values())
    return Estimate(mean.mean, n, mean.se, (max(0.0, mean.ci[0]), min(1.0, mean.ci[1])))


def level_shares(tasks: Tasks, confidence: float) -> list[Share]:
    """What each task that has a place in the mean gives to it."""
    shares = []
    for metric, evaluation in counted(tasks).values():
        found = estimate_system(evaluation, metric, confidence)
        change = cluster_influence(
            find_metric(metric), evaluation.rows[metric], evaluation.clusters
        )
        shares.append(_share(share_of(metric) or 0.0, found.mean, found.ci, change))
    return shares


def _share(
    share: float, value: float, ci: tuple[float, float], influence: Mapping[str, float]
) -> Share:
    changes = {cluster: share * change for cluster, change in influence.items()}
    return Share(share * value, (share * ci[0], share * ci[1]), changes)


def validation_scores(
    examples: Sequence[Example], predictions: Sequence[Prediction], task: Task
) -> tuple[float, float | None]:
    """The mean over a mixture's tasks of the primary metrics, by which a checkpoint is chosen, and
    its standard error; tasks without a row, and those without a place in the mean, are left out.

    The error is that of rows within their tasks, whose variance is taken as one for all tasks: a
    task may have a single row. None where a metric is of all rows, or no task has two.
    """
    means: list[float] = []
    residuals: list[float] = []
    weights: list[float] = []
    known = True
    for name, own_task in task.tasks.items():
        rows = [i for i, example in enumerate(examples) if example.task == name]
        share, primary = share_of(own_task.primary), own_task.primary
        if not rows or share is None:
            continue
        found = score_predictions(
            [examples[i] for i in rows],
            [predictions[i] for i in rows],
            own_task.metrics,
            own_task.parser,
            own_task.options,
        )
        if primary in found.corpus:
            means.append(share * found.corpus[primary])
            known = False
            continue
        scores = share * np.array(found.scores[primary])
        means.append(float(scores.mean()))
        residuals += (scores - scores.mean()).tolist()
        weights.append(1 / len(rows))
    freedom = len(residuals) - len(weights)
    if not known or freedom < 1:
        return float(np.mean(means)), None
    variance = sum(residual**2 for residual in residuals) / freedom
    return float(np.mean(means)), math.sqrt(variance * sum(weights)) / len(means)


# ---- two systems


def compare_systems(
    a: Evaluation, b: Evaluation, metric: str, **options: Unpack[Resampling]
) -> Comparison:
    """`b` minus `a` as compare.compare has it, or over the tasks of a mixture."""
    if metric == OVER_TASKS and a.tasks:
        return compare_over_tasks(a, b, **options)
    return compare(a, b, metric, **options)


def compare_over_tasks(a: Evaluation, b: Evaluation, **options: Unpack[Resampling]) -> Comparison:
    """The mean over these tasks of b's gain in each one's primary metric, paired by row.

    The interval is task_mean's; p is of approximate randomisation over the clusters of all tasks
    together. Won, tied and lost rows are of all tasks. Raises DataError as compare.compare.
    """
    names = list(counted(a.tasks))
    each = {
        name: compare(
            a.tasks[name].evaluation, b.tasks[name].evaluation, a.tasks[name].metric, **options
        )
        for name in names
    }
    shares = [
        _gain(a.tasks[name], b.tasks[name], found.difference, found.ci)
        for name, found in each.items()
    ]
    found = mean_of_tasks(shares, options["confidence"])
    n = sum(c.n for c in each.values())
    by_row = [(share_of(c.metric) or 0.0) * c.se / len(names) for c in each.values()]
    return Comparison(
        a=a.system,
        b=b.system,
        metric=OVER_TASKS,
        difference=found.mean,
        se=math.hypot(*by_row),
        se_clustered=found.se,
        ci=_in_range(found.ci),
        p=_randomised(a, b, names, options["resamples"], options["seed"]),
        wins=sum(c.wins for c in each.values()),
        ties=sum(c.ties for c in each.values()),
        losses=sum(c.losses for c in each.values()),
        n=n,
        clusters=found.clusters,
        smallest_detectable=_detectable(found, options["confidence"]),
        test=f"approximate randomisation, {options['resamples']:,} swaps",
    )


def gain_shares(a: Evaluation, b: Evaluation, confidence: float) -> list[Share]:
    """What b's gain in each task that has a place in the mean gives to it; without intervals."""
    return [
        _gain(before, after, _difference(before, after, confidence), NO_INTERVAL)
        for before, after in _task_pairs(a, b)
    ]


def task_gains(a: Evaluation, b: Evaluation, confidence: float) -> list[float]:
    """b's gain in each task that has a place in the mean, as a share."""
    return [
        (share_of(before.metric) or 0.0) * _difference(before, after, confidence)
        for before, after in _task_pairs(a, b)
    ]


def _task_pairs(a: Evaluation, b: Evaluation) -> list[tuple[TaskEvaluation, TaskEvaluation]]:
    return [(before, b.tasks[name]) for name, before in counted(a.tasks).items()]


def as_a_sample(these: Comparison, gains: Sequence[float], confidence: float) -> Comparison:
    """`these`, the comparison over these tasks, for tasks of which these are a sample, from the
    gain in each; a cluster is then a task.
    """
    found, p = mean_of_a_sample(gains, confidence)
    return replace(
        these,
        se_clustered=found.se,
        ci=_in_range(found.ci),
        p=p,
        clusters=len(gains),
        smallest_detectable=_detectable(found, confidence),
        test=f"Student's t, {len(gains)} tasks",
        note="two tasks whose gains differ are needed for an interval over tasks"
        if math.isnan(p)
        else "",
    )


def _in_range(ci: tuple[float, float]) -> tuple[float, float]:
    """A difference of two shares is between -1 and 1."""
    low, high = np.clip(ci, -1.0, 1.0)
    return float(low), float(high)


def _detectable(found: MeanOfTasks, confidence: float) -> float:
    """The smallest mean gain that is found with 80 % power: (z_(1-alpha/2) + z_power) standard
    errors (Miller 2024, section 5).
    """
    return float(stats.norm.ppf((1 + confidence) / 2) + stats.norm.ppf(POWER)) * found.se


def _difference(a: TaskEvaluation, b: TaskEvaluation, confidence: float) -> float:
    before, after = (estimate_system(t.evaluation, t.metric, confidence).mean for t in (a, b))
    return after - before


def _gain(
    a: TaskEvaluation, b: TaskEvaluation, difference: float, ci: tuple[float, float]
) -> Share:
    metric = find_metric(a.metric)
    before, after = (
        cluster_influence(metric, rows, a.evaluation.clusters) for rows in _paired(a, b)
    )
    change = {cluster: after[cluster] - before[cluster] for cluster in before}
    return _share(share_of(a.metric) or 0.0, difference, ci, change)


def _paired(a: TaskEvaluation, b: TaskEvaluation) -> tuple[Floats, Floats]:
    """The rows of both in the order of a's examples."""
    place = {example_id: i for i, example_id in enumerate(b.evaluation.example_ids)}
    order = [place[example_id] for example_id in a.evaluation.example_ids]
    return a.evaluation.rows[a.metric], b.evaluation.rows[a.metric][order]


def _randomised(
    a: Evaluation, b: Evaluation, names: Sequence[str], resamples: int, seed: int
) -> float:
    """Two-sided p, by swapping the two systems' answers to the rows of a cluster, which may be rows
    of several tasks.
    """
    pairs = [_paired(a.tasks[name], b.tasks[name]) for name in names]
    metrics = [a.tasks[name].metric for name in names]
    width = max(before.shape[1] for before, _ in pairs)

    def together(side: int) -> Floats:
        """Rows of all tasks, the number of the task before its own numbers."""
        return np.concatenate(
            [
                np.pad(pair[side], ((0, 0), (1, width - pair[side].shape[1])))
                + np.eye(1, width + 1) * number
                for number, pair in enumerate(pairs)
            ]
        )

    def value(weights_RN: Floats, rows_ND: Floats) -> Floats:
        total = np.zeros(len(weights_RN))
        for number, (metric, (before, _)) in enumerate(zip(metrics, pairs, strict=True)):
            own = rows_ND[:, 0] == number
            kind, columns = find_metric(metric), slice(1, 1 + before.shape[1])
            found = kind.value(weights_RN[:, own], rows_ND[own, columns])
            total += (share_of(metric) or 0.0) * found
        return total / len(metrics)

    clusters = [cluster for name in names for cluster in a.tasks[name].evaluation.clusters]
    return approximate_randomisation(value, together(0), together(1), clusters, resamples, seed)
