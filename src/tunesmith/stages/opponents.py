"""The tuned model's opponents on validation rows: the strongest of them is chosen there.

Chosen on the test rows, the best of several equal systems would be the luckiest one, and a tuned
model that is truly better would lose to luck: with three equal opponents the power falls from 0.61
to 0.35.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunesmith.evaluate.likeliest import RANKINGS, can_rank, likeliest_predictions
from tunesmith.evaluate.metrics import find_metric, score_predictions
from tunesmith.evaluate.system_table import LIKELIEST, SYSTEMS
from tunesmith.records import Evaluation, Example, Prediction
from tunesmith.run_files import Opponents, Task

OPPONENT_ROWS = 48  # of validation


def best_rankings(
    trial: Sequence[Example], answers: Mapping[str, Sequence[Prediction]]
) -> dict[str, str]:
    """For each system whose choices can be ranked, by which likelihoods it does best."""
    return {
        name: max(RANKINGS, key=lambda ranking: _right(trial, answers[name], ranking))
        for name in LIKELIEST
        if name in answers and can_rank(answers[name])
    }


def _right(trial: Sequence[Example], answers: Sequence[Prediction], ranking: str) -> int:
    picked = likeliest_predictions(trial, answers, ranking)
    return sum(p.text == example.completion for p, example in zip(picked, trial, strict=True))


def scores_of_opponents(
    task: Task,
    trial: Sequence[Example],
    answers: Mapping[str, Sequence[Prediction]],
    likeliest: Mapping[str, str],
) -> Opponents:
    """What each opponent scores on validation in each of the task's metrics."""
    found = {
        name: score_predictions(trial, predictions, task.metrics, task.parser, task.options)
        for name, predictions in answers.items()
        if SYSTEMS[name].reference
    }
    scores = {
        metric: {name: result.value(metric) for name, result in found.items()}
        for metric in task.metrics
    }
    return Opponents(len(trial), scores, likeliest)


def strongest(
    evaluations: Sequence[Evaluation], metric: str, opponents: Opponents | None
) -> Evaluation:
    """The opponent that the verdict on a metric is against: the best on the validation rows.

    Of equals there the better one on the test rows, which can only make the verdict stricter. All
    of them count as equal in a run folder that has no such scores.
    """
    candidates = [e for e in evaluations if SYSTEMS[e.system].reference]
    sign = find_metric(metric).sign
    on_validation = opponents.scores.get(metric, {}) if opponents else {}

    def rank(evaluation: Evaluation) -> tuple[float, float]:
        score = on_validation.get(evaluation.system, 0.0)
        return sign * score, sign * evaluation.estimates[metric].mean

    return max(candidates, key=rank)


def how_chosen(opponents: Opponents | None) -> str:
    """One sentence for the report."""
    if opponents is None:
        return (
            "The verdict is against the best of the other systems on these test rows, which is a "
            "little hard on the tuned model."
        )
    return (
        f"The verdict is against the one that did best on {opponents.rows} validation rows, so "
        "that the test rows did not choose."
    )
