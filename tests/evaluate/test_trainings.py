"""Several trainings of a mixture, and of two runs: by hand, and by simulation."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from mixture_rows import ALL, BASE, JSON, MOOD, OPTIONS, TUNED, evaluation

from tunesmith.evaluate.compare import Resampling, compare, evaluate
from tunesmith.evaluate.metrics import OVER_TASKS
from tunesmith.evaluate.slices import row_by_row, subset
from tunesmith.evaluate.task_mean import mean_over_trainings
from tunesmith.evaluate.tasks import compare_over_tasks, gain_shares
from tunesmith.evaluate.trainings import compare_pairs, mean_estimate, mean_of_seeds
from tunesmith.evaluate.twins import twin_scores
from tunesmith.records import Comparison, Estimate, Evaluation, Example, Prediction, TaskReport
from tunesmith.stages.task_verdicts import task_report

SECOND = ["good", "bad", "bad", "good", '{"a": 1, "b": 2}', '{"a": 1, "b": 3}']
"""Accuracy 2/4; F1 1 and 1."""
HOW = Resampling(confidence=0.95, resamples=300, seed=0)


def report_of(*trainings: list[str]) -> TaskReport:
    first, *later = (evaluation("tuned", texts) for texts in trainings)
    return task_report([evaluation("base", BASE), first], [], later=(later, []), **OPTIONS)


# ---- mixtures


def test_with_one_training_a_mixture_is_judged_as_it_was_to_the_last_bit() -> None:
    """The numbers are those of the code that knew one training only."""
    found = report_of(TUNED)
    assert found.trained is not None
    expected = Comparison(
        a="base", b="tuned", metric="task_mean", difference=0.5, se=0.28867513459481287,
        se_clustered=0.2886751345948129, ci=(-0.9631498844413346, 1.0), p=0.25, wins=3, ties=3,
        losses=0, n=6, clusters=6, smallest_detectable=0.8087479899175994,
        test="approximate randomisation, 2,000 swaps",
    )  # fmt: skip
    assert found.trained.these == expected
    assert found.trained.means["tuned"] == Estimate(
        0.75, 6, 0.1767766952966369, (0.18741765919295394, 1.0)
    )
    assert [v.comparison.ci for v in found.verdicts] == [
        (-0.23483625468189595, 0.8499610108477158),
        (-0.6064043415762292, 0.998451109337296),
    ]


def test_two_trainings_over_two_tasks_by_hand() -> None:
    """Gains of the moods 0 1 1 0 and 0 1 0 0, of the fields 1 0 and 1 1/2: both trainings gain 1/2.

    With the clusters' moves of the mean, the first training has the variance
    4/3 (4 / 4) / 64 + 2 (2 / 4) / 16 = 1/12, the second 4/3 (3/4) / 64 + 2 (1/8) / 16 = 1/32, and
    both together 4/3 (1/2) / 64 + 2 (1/4) / 16 = 1/24. They lie no further apart than rows alone
    would put them, so the variance of their mean is (1/12 + 1/32 + 2/24) / 4 = 19/384.
    """
    over = report_of(TUNED, SECOND).trained
    assert over is not None
    assert over.these.difference == pytest.approx(1 / 2)
    assert over.these.se_clustered == pytest.approx(math.sqrt(19 / 384))
    assert (over.these.runs, over.these.test) == (2, "Student's t, 2 trainings")
    # better in one training or both: two moods and both fields
    assert (over.these.wins, over.these.ties, over.these.losses) == (4, 2, 0)
    assert over.means["tuned"].mean == pytest.approx((3 / 4 + 3 / 4 + 2 / 4 + 1) / 4)
    assert over.means["tuned"].mean - over.means["base"].mean == pytest.approx(1 / 2)


def test_tasks_as_a_sample_hold_the_luck_of_training() -> None:
    """Gains 1/2 1/2 and 1/4 3/4: 3/8 and 5/8 by task, standard error 1/8 with one degree of
    freedom. A second training that gains 0 and 1/4 less brings luck: t(1) of both parts.
    """
    over = report_of(TUNED, SECOND).trained
    assert over is not None
    assert over.others.se_clustered == pytest.approx(1 / 8)
    assert over.others.clusters == 2
    assert over.others.p == pytest.approx(2 * scipy.stats.t.sf(4, 1))
    assert over.others.test == "Student's t, 2 tasks and 2 trainings"
    worse = report_of(TUNED, ["good", "what?", "bad", "good", '{"a": 1, "b": 2}', "no"]).trained
    assert worse is not None
    # trainings gain 1/2 1/2 and 0 1/4: means 1/2 and 1/8
    assert worse.others.difference == pytest.approx(5 / 16)
    assert worse.others.se_runs > 0
    assert worse.others.se_clustered > 1 / 16  # that of the tasks' means, 1/4 and 3/8


def test_each_task_is_judged_by_the_mean_over_its_trainings() -> None:
    mood, fields = report_of(TUNED, SECOND).verdicts
    assert mood.comparison.difference == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert fields.comparison.difference == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert mood.estimates["tuned"].mean == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert mood.comparison.runs == fields.comparison.runs == 2


def test_held_out_tasks_are_judged_by_all_trainings_too() -> None:
    first, second = evaluation("tuned", TUNED), evaluation("tuned", SECOND)
    found = task_report([], [evaluation("base", BASE), first], later=([], [second]), **OPTIONS)
    assert found.held_out is not None
    assert found.held_out.comparison.runs == 2
    assert all(v.comparison.runs == 2 for v in found.verdicts)
    assert found.held_out.means["tuned"].mean == pytest.approx((5 / 8 + 7 / 8) / 2)


def test_a_mixtures_evaluation_has_means_in_every_number_and_task() -> None:
    trainings = [evaluation("tuned", TUNED), evaluation("tuned", SECOND)]
    found = mean_of_seeds(trainings, HOW)
    assert found.estimates[OVER_TASKS].mean == pytest.approx((5 / 8 + 7 / 8) / 2)
    assert found.tasks["mood"].evaluation.estimates["accuracy"].mean == pytest.approx(5 / 8)
    assert found.estimates["valid"].mean == 1
    assert found.predictions == trainings[0].predictions


def holds(outer: tuple[float, float], inner: tuple[float, float]) -> bool:
    return outer[0] <= inner[0] + 1e-12 and inner[1] <= outer[1] + 1e-12


def test_trainings_that_answer_alike_are_no_new_evidence() -> None:
    """Neither in a task nor over the tasks is the interval shorter than that of one of them."""
    one, three = report_of(TUNED).trained, report_of(TUNED, TUNED, TUNED).trained
    assert one is not None
    assert three is not None
    assert three.these.se_clustered == pytest.approx(one.these.se_clustered)
    assert three.these.ci == pytest.approx(one.these.ci)
    for v, w in zip(report_of(TUNED).verdicts, report_of(TUNED, TUNED).verdicts, strict=True):
        assert holds(w.comparison.ci, v.comparison.ci)
        assert holds(w.estimates["tuned"].ci, v.estimates["tuned"].ci)


def test_where_nothing_varies_the_interval_is_that_of_one_training() -> None:
    right = [example.completion for example in ALL]
    trainings = [evaluation("tuned", right)] * 2
    level = mean_estimate(trainings, OVER_TASKS, HOW)
    assert level.ci == trainings[0].estimates[OVER_TASKS].ci
    assert level.ci[0] < level.mean == 1
    found, _ = compare_pairs([(trainings[0], one) for one in trainings], OVER_TASKS, HOW)
    assert found.ci[0] < found.difference == 0 < found.ci[1]
    assert found.p == 1


def test_right_in_no_row_of_a_few_that_differ_is_not_certain() -> None:
    """Two trainings that gain one row of forty, the same one: the interval is one training's."""
    truth = [0] * 40
    base, tuned = answered("base", truth), answered("tuned", [1, *truth[1:]])
    alone = compare(base, tuned, "accuracy", **HOW)
    found, _ = compare_pairs([(base, tuned)] * 2, "accuracy", HOW)
    assert found.ci[0] <= alone.ci[0] < 0 < alone.ci[1] <= found.ci[1]
    assert found.p >= alone.p


# ---- parts of the rows


def test_a_part_of_a_mixture_is_a_part_of_each_of_its_tasks() -> None:
    """Without two moods and a field: 0 1 and 1 gained."""
    keep = [example.id in ("mood0", "mood1", "fields0") for example in ALL]
    part = subset(evaluation("tuned", TUNED), keep)
    assert {name: list(t.evaluation.example_ids) for name, t in part.tasks.items()} == {
        "mood": ["mood0", "mood1"],
        "fields": ["fields0"],
    }
    assert list(subset(part, [True, True, False]).tasks) == ["mood"]
    assert row_by_row(part, OVER_TASKS)[0].tasks == {}


def test_without_near_twins_a_mixture_is_judged_on_the_rows_that_are_left() -> None:
    """Without a mood that was gained: 0, 1 and 0 of moods, 1 and 0 of fields: (1/3 + 1/2) / 2."""
    base, tuned = evaluation("base", BASE), evaluation("tuned", TUNED)
    whole = compare_over_tasks(base, tuned, **OPTIONS)

    def against(a: Evaluation, trainings: Any, metric: str) -> Comparison:
        return compare_pairs([(a, one) for one in trainings], metric, HOW)[0]

    by_id = {example.id: example for example in ALL}
    found = twin_scores(by_id, {"mood1"}, (base, [tuned]), whole, against)
    assert found.without is not None
    assert found.without.n == 5
    assert found.without.difference == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert found.levels == pytest.approx(((1 / 3 + 1 / 4) / 2, (2 / 3 + 3 / 4) / 2))
    most = {example.id for example in (*MOOD[1:], *JSON[1:])}
    assert twin_scores(by_id, most, (base, [tuned]), whole, against).without is None


# ---- two runs, training by training


def answered(system: str, right: list[int], metric: str = "accuracy") -> Evaluation:
    examples = [
        Example(f"e{i}", f"r{i}", "", "", truth, (truth,), ("bad", "good"))
        for i, truth in enumerate(["good", "bad"] * (len(right) // 2))
    ]
    other = {"good": "bad", "bad": "good"}
    predictions = [
        Prediction(e.id, e.completion if is_right else other[e.completion], True, 1)
        for e, is_right in zip(examples, right, strict=True)
    ]
    return evaluate(system, "test", examples, predictions, [metric], "choice")


def test_pairs_have_differences_of_their_own_and_their_luck_cancels() -> None:
    """The first training of both is right on ten rows more: the pairs gain the same ten rows."""
    few, many = [1] * 10 + [0] * 30, [1] * 20 + [0] * 20
    pairs = [
        (answered("a", few), answered("b", [*few[:30], *[1] * 10])),
        (answered("a", many), answered("b", [*many[:30], *[1] * 10])),
    ]
    found, differences = compare_pairs(pairs, "accuracy", HOW)
    assert differences == pytest.approx([1 / 4, 1 / 4])
    assert (found.wins, found.ties, found.losses) == (10, 30, 0)
    one = compare(*pairs[0], "accuracy", **HOW)
    assert found.se_clustered == pytest.approx(one.se_clustered)
    assert found.se_runs == 0


def test_differences_by_pair_are_crossed_by_hand() -> None:
    """Differences of the pairs 1 0 0 0 and 1 1 0 0: means 1/4 and 1/2, variances of the means
    (3/4) / 12 = 1/16 and 1 / 12, covariance (1/2) / 12 = 1/24. The means' variance over the pairs
    is 1/32, so of their mean 1/64, which is more than half of what rows alone would cause.
    """
    base, trainings = [0, 0, 0, 0], ([1, 0, 0, 0], [1, 1, 0, 0])
    pairs = [(answered("a", base), answered("b", right)) for right in trainings]
    found, differences = compare_pairs(pairs, "accuracy", HOW)
    assert differences == pytest.approx([1 / 4, 1 / 2])
    assert found.se_clustered == pytest.approx(math.sqrt(1 / 24 + 1 / 64))
    backwards = subset_in_order(pairs[1][1], [3, 2, 1, 0])
    again, _ = compare_pairs([pairs[0], (pairs[1][0], backwards)], "accuracy", HOW)
    assert again == found


def subset_in_order(evaluation: Evaluation, order: list[int]) -> Evaluation:
    return replace(
        evaluation,
        example_ids=[evaluation.example_ids[i] for i in order],
        rows={name: rows[order] for name, rows in evaluation.rows.items()},
    )


def test_a_corpus_metric_takes_each_trainings_own_reference() -> None:
    rng = np.random.default_rng(0)

    def drawn(name: str, share: float) -> Evaluation:
        return answered(name, (rng.random(60) < share).astype(int).tolist(), "macro_f1")

    pairs = [(drawn("a", 0.6), drawn("b", 0.8)) for _ in range(3)]
    found, differences = compare_pairs(pairs, "macro_f1", HOW)
    singles = [compare(a, b, "macro_f1", **HOW).difference for a, b in pairs]
    assert differences == pytest.approx(singles)
    assert found.difference == pytest.approx(np.mean(singles))
    assert found.ci[0] < found.difference < found.ci[1]
    shared, _ = compare_pairs([(pairs[0][0], b) for _, b in pairs], "macro_f1", HOW)
    assert shared.difference != found.difference


# ---- coverage


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("power")


def test_intervals_over_tasks_and_trainings_cover_the_truth(power: Any) -> None:
    """Three trainings on four tasks, 0.05 between trainings; 0.95 of 200 has a standard error of
    0.015. The interval of the comparison holds this one.
    """
    rng, truth, covered = np.random.default_rng(0), float(np.mean(power.GAINS)), 0
    for _ in range(200):
        pairs = power.mixture(np.array(power.GAINS), 3, 0.05, False, rng)
        found = mean_over_trainings([gain_shares(a, b, 0.95) for a, b in pairs])
        covered += abs(found.mean - truth) <= found.half_width(0.95)
    assert 0.92 <= covered / 200 <= 0.99
