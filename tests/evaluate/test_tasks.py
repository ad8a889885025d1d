"""A mixture's tasks, each by its own parser and metric, and the verdict over all: by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from mixture_rows import ALL, BASE, FIELDS, JSON, LABELS, MIXTURE, MOOD, OPTIONS, TUNED, evaluation

from tunesmith.errors import DataError, RecipeError
from tunesmith.evaluate.metrics import OVER_TASKS, check_recipe_metrics, find_metric, metric_names
from tunesmith.evaluate.tasks import (
    compare_over_tasks,
    complete,
    evaluate_task,
    over_tasks,
    share_of,
    stand_ins,
    validation_scores,
)
from tunesmith.records import Example, Prediction, TaskEvaluation
from tunesmith.run_files import Task


def test_each_task_is_read_and_scored_as_its_own_record_says() -> None:
    found = evaluation("base", BASE)
    assert {name: task.metric for name, task in found.tasks.items()} == {
        "mood": "accuracy",
        "fields": "json_f1",
    }
    assert found.tasks["mood"].evaluation.scores["accuracy"] == [1, 0, 0, 0]
    assert found.tasks["fields"].evaluation.scores["json_f1"] == [0, 0.5]
    assert found.tasks["fields"].evaluation.scores["valid_json"] == [0, 1]


def test_the_mean_over_tasks_counts_each_task_once() -> None:
    """(1/4 + (0 + 1/2) / 2) / 2 = 1/4, and (3/4 + 3/4) / 2 = 3/4, though one has twice the rows."""
    base, tuned = evaluation("base", BASE), evaluation("tuned", TUNED)
    assert base.estimates[OVER_TASKS].mean == pytest.approx(1 / 4)
    assert tuned.estimates[OVER_TASKS].mean == pytest.approx(3 / 4)
    assert tuned.estimates[OVER_TASKS].n == 6
    assert base.scores[OVER_TASKS] == [1, 0, 0, 0, 0, 0.5]
    assert base.estimates["valid"].mean == pytest.approx(4 / 6)


def test_warnings_name_their_task_and_the_parser_is_given_where_all_have_one() -> None:
    both = evaluation("base", BASE)
    assert "parser" not in both.details
    alone = replace(MIXTURE, tasks={"mood": LABELS})
    assert evaluation("base", BASE[:4], alone).details["parser"] == "choice"
    warned = replace(both.tasks["mood"].evaluation, details={"warnings": ["few rows"]})
    again = over_tasks("base", {"mood": TaskEvaluation("accuracy", warned)}, 0.95)
    assert again.details["warnings"] == ["mood: few rows"]


def test_the_gain_over_tasks_by_hand() -> None:
    """Moods 0, 1, 1, 0: variance of the mean 1/12; fields 1, 0: 1/4; both over 4: 1/12 in all."""
    c = compare_over_tasks(evaluation("base", BASE), evaluation("tuned", TUNED), **OPTIONS)
    assert (c.a, c.b, c.metric, c.n, c.clusters) == ("base", "tuned", OVER_TASKS, 6, 6)
    assert c.difference == pytest.approx(1 / 2)
    assert c.se_clustered == pytest.approx(math.sqrt(1 / 12))
    assert c.se == pytest.approx(math.sqrt(1 / 12))
    assert (c.wins, c.ties, c.losses) == (3, 3, 0)
    assert -1 <= c.ci[0] < 0.5 < c.ci[1] <= 1


def test_the_p_over_tasks_is_the_share_of_swaps_that_gain_as_much() -> None:
    """Gains 1/8 and 1/8 (moods) and 1/4 (fields) add to 1/2 with one sign in 2 of 8 cases."""
    c = compare_over_tasks(evaluation("base", BASE), evaluation("tuned", TUNED), **OPTIONS)
    assert c.p == pytest.approx(2 / 8, abs=0.04)


def test_a_pair_is_compared_by_example_whatever_the_order_of_the_rows() -> None:
    base = evaluation("base", BASE)
    order = [5, 3, 1, 4, 2, 0]
    rows = [ALL[i] for i in order]
    predictions = [Prediction(ALL[i].id, TUNED[i], stopped=True, num_tokens=1) for i in order]
    shuffled = evaluate_task("tuned", "test", rows, predictions, MIXTURE)
    found = compare_over_tasks(base, shuffled, **OPTIONS)
    assert found.difference == pytest.approx(1 / 2)
    assert found.se_clustered == pytest.approx(math.sqrt(1 / 12))


def test_points_count_as_shares_and_errors_have_no_place_in_the_mean() -> None:
    assert share_of("accuracy") == 1.0
    assert share_of("bleu") == 0.01
    assert [share_of(name) for name in ("mae", "ter", "pearson", "perplexity")] == [None] * 4
    bleu = Task(
        "mixture",
        metrics=(OVER_TASKS,),
        tasks={"mood": LABELS, "fields": Task("free", "text", ("bleu",))},
    )
    found = evaluation("base", BASE, bleu)
    of_bleu = found.tasks["fields"].evaluation.estimates["bleu"].mean
    assert of_bleu > 1
    assert found.estimates[OVER_TASKS].mean == pytest.approx((1 / 4 + of_bleu / 100) / 2)


def test_only_systems_that_answered_every_task_are_compared_over_all() -> None:
    """The commonest answer of one task and the best constant one of the other are one system."""
    moods = replace(MIXTURE, tasks={"mood": LABELS})
    rows = MOOD
    majority = evaluate_task(
        "majority",
        "test",
        rows,
        [Prediction(e.id, "good", True, 0) for e in rows],
        moods,
    )
    linear = replace(majority, system="tfidf_linear")
    constant = evaluate_task(
        "constant",
        "test",
        JSON,
        [Prediction(e.id, '{"a": 1}', True, 0) for e in JSON],
        replace(MIXTURE, tasks={"fields": FIELDS}),
    )
    found = complete([evaluation("base", BASE), majority, constant, linear], 0.95)
    assert [e.system for e in found] == ["base", "constant"]
    of_fields = constant.tasks["fields"].evaluation.estimates["json_f1"].mean
    assert found[1].estimates[OVER_TASKS].mean == pytest.approx((1 / 2 + of_fields) / 2)
    likeliest = replace(majority, system="base_likeliest")  # there is none without choices
    ranked = complete([evaluation("base", BASE), likeliest], 0.95)[1]
    assert ranked.estimates[OVER_TASKS].mean == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert stand_ins("base_few_shot_likeliest") == [
        "base_few_shot_likeliest", "base_few_shot", "base",
    ]  # fmt: skip


def test_a_checkpoint_is_chosen_by_the_mean_over_the_tasks_that_have_validation_rows() -> None:
    """Residuals of moods: variance 3/4 in all on 3 degrees of freedom, of fields 1/8 on 1: 7/32
    for every row; standard error sqrt(7/32 (1/4 + 1/2)) / 2.
    """

    def predictions(rows: list[Example], texts: list[str]) -> list[Prediction]:
        return [Prediction(e.id, t, True, 1) for e, t in zip(rows, texts, strict=True)]

    mean, error = validation_scores(ALL, predictions(ALL, BASE), MIXTURE)
    assert mean == pytest.approx(1 / 4)
    assert error == pytest.approx(math.sqrt(7 / 32 * 3 / 4) / 2)
    mean, error = validation_scores(MOOD[:1], predictions(MOOD[:1], ["good"]), MIXTURE)
    assert (mean, error) == (1.0, None)


def test_the_mean_over_tasks_cannot_be_asked_for() -> None:
    assert find_metric(OVER_TASKS).title == "Mean over tasks"
    assert OVER_TASKS not in metric_names()
    with pytest.raises(RecipeError, match="task_mean is computed by itself"):
        check_recipe_metrics([OVER_TASKS])
    with pytest.raises(DataError, match="not a metric of answers"):
        evaluate_task(
            "base",
            "test",
            MOOD,
            [Prediction(e.id, "", True, 1) for e in MOOD],
            Task(metrics=(OVER_TASKS,)),
        )
