"""Several seeds: every training's answers count, the tuned model's numbers are their means, and the
interval holds the luck of training without counting the rows' noise twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from judged_run import judged_run
from mixture_rows import ALL, BASE, MIXTURE, TUNED, examples
from support import write_rows

from tunesmith import pipeline, stages
from tunesmith.errors import DataError
from tunesmith.evaluate.compare import Resampling, compare, evaluate
from tunesmith.evaluate.crossed import CrossedMean, crossed_mean, mean_covariance, row_covariance
from tunesmith.evaluate.slices import Slicing, judge_slices
from tunesmith.evaluate.statistics import standard_error, weighted_mean
from tunesmith.evaluate.trainings import against_seeds, mean_estimate, mean_of_seeds
from tunesmith.recipe import Recipe, build_recipe
from tunesmith.records import Evaluation, Example, Prediction
from tunesmith.run_files import Task
from tunesmith.rundir import RunDir
from tunesmith.stages import report as report_stage
from tunesmith.stages.common import run_recipe

HOW = Resampling(confidence=0.95, resamples=300, seed=0)


def right_and_wrong(
    system: str, right: Sequence[int], metrics: Sequence[str] = ("accuracy",)
) -> Evaluation:
    """One row each, 1 right and 0 wrong; the right answers alternate."""
    truth = ["good" if i % 2 else "bad" for i in range(len(right))]
    other = {"good": "bad", "bad": "good"}
    examples = [
        Example(f"e{i}", f"r{i}", "", "", answer, (answer,), ("bad", "good"))
        for i, answer in enumerate(truth)
    ]
    predictions = [
        Prediction(f"e{i}", answer if is_right else other[answer], True, 1)
        for i, (answer, is_right) in enumerate(zip(truth, right, strict=True))
    ]
    return evaluate(system, "test", examples, predictions, metrics, "choice")


# ---- rows and trainings


def test_the_variance_of_two_trainings_on_four_rows_by_hand() -> None:
    """Analysis of variance of rows x trainings: rows 1 1, 1 0, 0 0, 0 1 have the means 1, 1/2, 0
    and 1/2, so that the mean squares are 2 (1/4 + 1/4) / 3 = 1/3 between rows, 0 between trainings,
    which have the mean 1/2 both, and (2 - 1) / 3 = 1/3 in what is left.
    """
    scores_NK = np.array([[1.0, 1], [1, 0], [0, 0], [0, 1]])
    found = crossed_mean(scores_NK.mean(axis=0), mean_covariance(scores_NK, list("abcd")), 4)
    assert found.mean == 0.5
    assert found.rows_variance == pytest.approx((1 / 3) / (4 * 2))
    assert found.runs_variance == found.luck_variance == found.spread == 0


def test_the_parts_are_those_of_the_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    scores_NK = rng.normal(0, 1, (50, 1)) + rng.normal(0, 0.5, (50, 3)) + np.array([0, 0.5, 1.0])
    rows, runs = scores_NK.mean(axis=1, keepdims=True), scores_NK.mean(axis=0)
    rest = scores_NK - rows - runs + scores_NK.mean()
    of_rows, of_runs, of_rest = (
        3 * rows.var(ddof=1),
        50 * runs.var(ddof=1),
        (rest**2).sum() / (49 * 2),
    )
    found = crossed_mean(runs, mean_covariance(scores_NK, list(map(str, range(50)))), 50)
    assert found.rows_variance + found.runs_variance == pytest.approx(
        (of_rows + of_runs - of_rest) / 150
    )
    assert found.luck_variance == pytest.approx((of_runs - of_rest) / 150)


def test_covariances_by_formula_and_by_resampling_agree() -> None:
    rng = np.random.default_rng(0)
    scores_NK = rng.normal(0, 1, (200, 1)) + rng.normal(0, 1, (200, 2))
    clusters = [str(i // 2) for i in range(200)]
    formula = mean_covariance(scores_NK, clusters)
    columns = [scores_NK[:, [j]] for j in (0, 1)]
    drawn = row_covariance(weighted_mean, columns, [], clusters, resamples=4000, seed=0)
    assert drawn == pytest.approx(formula, rel=0.15)
    for j in (0, 1):
        assert math.sqrt(formula[j, j]) == pytest.approx(standard_error(scores_NK[:, j], clusters))


def test_the_interval_is_students_where_one_of_the_two_errors_is_absent() -> None:
    of_runs = CrossedMean(0.2, 0.0, 0.01, 0.01, 0.17, 100, 3)
    assert of_runs.half_width(0.95) == pytest.approx(0.1 * scipy.stats.t.ppf(0.975, 2))
    assert of_runs.p() == pytest.approx(2 * scipy.stats.t.sf(2, 2), rel=1e-6)
    of_rows = CrossedMean(0.2, 0.01, 0.0, 0.0, 0.0, 100, 3)
    assert of_rows.p() == pytest.approx(2 * scipy.stats.t.sf(2, 99), rel=1e-6)
    both = CrossedMean(0.2, 0.01, 0.01, 0.01, 0.1, 100, 3)
    assert both.half_width(1 - both.p()) == pytest.approx(0.2)


def test_a_mean_that_is_zero_but_for_rounding_has_p_1() -> None:
    assert CrossedMean(1e-17, 0.01, 0.01, 0.01, 0.1, 100, 3).p() == 1
    assert CrossedMean(0.0, 0.01, 0.01, 0.01, 0.1, 100, 3).p() == 1


@pytest.mark.parametrize("runs", [2, 3, 5])
@pytest.mark.parametrize("luck", [0.0, 0.03])
def test_intervals_over_trainings_cover_the_truth(runs: int, luck: float) -> None:
    """Of the gain of a recipe over the test rows and the luck of training; was .985 without luck
    and .87 with two runs and some. The bounds are those of docs/power.md and two standard errors.
    """
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        own = rng.normal(0, luck, runs)
        scores_NK = 0.1 + own + rng.normal(0, 0.4, (100, 1)) + rng.normal(0, 0.3, (100, runs))
        covariance = mean_covariance(scores_NK, list(map(str, range(100))))
        found = crossed_mean(scores_NK.mean(axis=0), covariance, 100)
        covered += abs(found.mean - 0.1) <= found.half_width(0.95)
    assert 930 <= covered <= (985 if runs == 2 else 980)


# ---- one set of numbers


def test_all_numbers_of_several_trainings_are_means_over_them() -> None:
    base = right_and_wrong("base", [0, 0, 0, 0, 1, 1, 1, 1] * 5)
    tuned = [
        right_and_wrong("tuned", [1, 1, 0, 0, 1, 1, 1, 0] * 5),
        right_and_wrong("tuned", [1, 0, 0, 1, 1, 1, 1, 1] * 5),
    ]
    found, note = against_seeds(base, tuned, "accuracy", HOW)
    level = mean_of_seeds(tuned, HOW).estimates["accuracy"]
    assert level.mean == pytest.approx((5 / 8 + 6 / 8) / 2)
    assert found.difference == pytest.approx(level.mean - 0.5)
    # rows 1, 2 and 4 are better in one training or both, the last one is worse in one
    assert (found.wins, found.ties, found.losses) == (15, 20, 5)
    assert (found.runs, found.test) == (2, "Student's t, 2 trainings")
    assert found.ci[0] < found.difference < found.ci[1]
    assert level.ci[0] < level.mean < level.ci[1]
    assert "+0.125, +0.250" in note
    assert "two trainings say little about their spread" in note


def test_slices_are_judged_by_the_mean_over_the_trainings() -> None:
    base = right_and_wrong("base", [0] * 40)
    tuned = [
        right_and_wrong("tuned", [1] * 20 + [0] * 20),
        right_and_wrong("tuned", [1] * 20 + [1, 0] * 10),
    ]
    rows = judge_slices(
        base,
        tuned,
        [Slicing("half", ("first",) * 20 + ("second",) * 20)],
        "accuracy",
        lambda a, b, metric: against_seeds(a, b, metric, HOW)[0],
        lambda b, metric: mean_estimate(b, metric, HOW),
        0.95,
    )
    found = {row.value: (row.tuned.mean, row.comparison.difference) for row in rows}
    assert found == {"first": (1.0, 1.0), "second": (0.25, 0.25)}
    assert all(row.comparison.runs == 2 for row in rows)


def test_a_corpus_metric_has_means_over_the_trainings_too() -> None:
    rng = np.random.default_rng(0)
    base = right_and_wrong("base", rng.integers(0, 2, 60).tolist(), ["accuracy", "macro_f1"])
    tuned = [
        right_and_wrong("tuned", (rng.random(60) < 0.9).astype(int).tolist(), ["macro_f1"])
        for _ in range(3)
    ]
    found, _ = against_seeds(base, tuned, "macro_f1", HOW)
    singles = [compare(base, one, "macro_f1", resamples=300).difference for one in tuned]
    level = mean_of_seeds(tuned, HOW).estimates["macro_f1"]
    assert found.difference == pytest.approx(np.mean(singles))
    assert level.mean - base.estimates["macro_f1"].mean == pytest.approx(found.difference)
    assert 0 < found.ci[0] < found.difference < found.ci[1]
    assert level.ci[1] <= 1


def test_one_training_is_compared_as_ever() -> None:
    base, tuned = right_and_wrong("base", [0, 0, 1, 1]), right_and_wrong("tuned", [1, 0, 1, 1])
    assert against_seeds(base, [tuned], "accuracy", HOW) == (
        compare(base, tuned, "accuracy", resamples=300),
        "",
    )
    assert mean_of_seeds([tuned], HOW) is tuned


def test_perfect_trainings_stay_at_1_with_an_interval_below() -> None:
    level = mean_of_seeds([right_and_wrong("tuned", [1] * 30)] * 2, HOW).estimates["accuracy"]
    assert level.mean == level.ci[1] == 1
    assert 0.8 < level.ci[0] < 1


def test_without_an_interval_for_one_training_there_is_none_for_several() -> None:
    base, tuned = (
        replace(right_and_wrong(name, [1, 0, 1]), clusters=["same"] * 3)
        for name in ("base", "tuned")
    )
    found, _ = against_seeds(base, [tuned, tuned], "accuracy", HOW)
    assert all(map(math.isnan, found.ci))
    assert math.isnan(found.smallest_detectable)


def test_wordings_apart_are_means_over_the_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (right_and_wrong("tuned", [right] * 10) for right in (1, 0))
    monkeypatch.setattr(report_stage, "system_evaluations", lambda *args: [first])
    monkeypatch.setattr(report_stage, "_other_trainings", lambda *args: [second])
    recipe = Recipe.model_validate({"data": {"source": "rows.csv"}})
    task = Task(family="classify", held_out_wordings=("never seen",))
    found = report_stage._by_wording(RunDir(tmp_path), recipe, [], task)
    assert [one.estimates["accuracy"].mean for (one,) in found.values()] == [0.5, 0.5]


# ---- runs of several trainings, as they stand in their folders


UNSEEN = Task("classify", "choice", ("accuracy",), held_out=True)
SEEN_AND_UNSEEN = replace(MIXTURE, tasks={**MIXTURE.tasks, "sign": UNSEEN})
ROWS = [*ALL, *examples("sign", ["plus"], ("plus", "minus"))]
FIRST = [*TUNED, "minus"]
SECOND = ["good", "bad", "bad", "good", '{"a": 1, "b": 2}', '{"a": 1, "b": 3}', "plus"]
"""Moods 2/4 right, fields both, the sign too."""


def trained_run(folder: Path, *trainings: Sequence[str], task: Task = SEEN_AND_UNSEEN) -> RunDir:
    """A run whose tuned model has given these answers to ALL, by training."""
    answers = {"base": [*BASE, "minus"], "tuned": trainings[0]}
    run = judged_run(folder, ROWS, answers, task, seeds=len(trainings))
    for number, texts in enumerate(trainings[1:], start=1):
        judged_run(folder / "seeds" / str(number), ROWS, {"tuned": texts}, task)
    return run


def test_all_numbers_of_a_mixture_are_means_over_its_trainings(tmp_path: Path) -> None:
    run = trained_run(tmp_path / "run", FIRST, SECOND)
    found = report_stage.build_report(run, run_recipe(run), [])
    level = next(e for e in found.evaluations if e.system == "tuned").estimates["task_mean"]
    assert level.mean == pytest.approx((3 / 4 + 3 / 4 + 2 / 4 + 1) / 4)
    assert found.comparisons[0].difference == pytest.approx(level.mean - 1 / 4)
    assert found.tasks is not None
    assert found.tasks.trained is not None
    assert found.tasks.trained.these == found.comparisons[0]
    assert [v.comparison.runs for v in found.tasks.verdicts] == [2, 2, 2]
    assert found.tasks.verdicts[2].held_out
    assert found.tasks.verdicts[2].estimates["tuned"].mean == pytest.approx(1 / 2)
    (said,) = [note for note in found.notes if "trainings" in note]
    assert "2 trainings with different seeds: task_mean differs from base by +0.500, +0.500" in said


def test_held_out_wordings_of_a_mixture_are_means_over_its_trainings(tmp_path: Path) -> None:
    task = replace(SEEN_AND_UNSEEN, held_out_wordings=("never seen",))
    run = trained_run(tmp_path / "run", FIRST, SECOND, task=task)
    rows = [replace(e, template="never seen" if i % 2 else "t") for i, e in enumerate(ROWS)]
    found = report_stage._by_wording(run, run_recipe(run), rows, task)
    seen, unseen = (
        next(e for e in systems if e.system == "tuned").estimates["task_mean"].mean
        for systems in found.values()
    )
    # moods 0 and 2, moods 1 and 3; a single row of fields has no place in the mean
    assert seen == pytest.approx((2 / 2 + 1 / 2) / 2)
    assert unseen == pytest.approx((1 / 2 + 1 / 2) / 2)


@pytest.mark.parametrize(
    ("a", "b", "runs", "said"),
    [
        (2, 2, 2, "note: 2 trainings of each, paired by their place: task_mean differs by"),
        (3, 2, 2, "note: 2 trainings of each, the first of 3 of"),
        (2, 1, 1, "only the first is compared): the interval leaves out how much trainings"),
        (1, 1, 1, "note: one training of each: the interval leaves out how much trainings"),
    ],
)
def test_two_runs_are_compared_by_as_many_trainings_as_both_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], a: int, b: int, runs: int, said: str
) -> None:
    """The base's answers against those of the first training, and of both."""
    before = trained_run(tmp_path / "a", *[[*BASE, "minus"]] * a)
    after = trained_run(tmp_path / "b", *[FIRST, SECOND][:b])
    found = stages.compare.compare_runs(before, after)["comparison"]
    assert (found["runs"], found["metric"], found["n"]) == (runs, "task_mean", 6)
    assert found["difference"] == pytest.approx(1 / 2)
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_training_that_was_not_evaluated_is_named(tmp_path: Path) -> None:
    run = trained_run(tmp_path / "run", FIRST, SECOND)
    (tmp_path / "run" / "seeds" / "1" / "evaluation" / "tuned" / "test.parquet").unlink()
    with pytest.raises(DataError, match="seeds/1: not evaluated yet") as error:
        stages.compare.compare_runs(run, run)
    assert error.value.hint == f"`tunesmith resume {run.path}` first"


def test_a_run_with_two_seeds_trains_twice_and_says_so(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    values = {
        "model": str(tiny_model_dir),
        "data": {"source": str(write_rows(tmp_path / "rows.csv", 40)), "task": "classify/terse"},
        "train": {"num_train_epochs": 1, "seeds": 2},
        "evaluation": {"resamples": 200, "few_shot": 0},
        "output_dir": str(tmp_path / "run"),
    }
    report = pipeline.run(build_recipe(values)[0])
    assert (tmp_path / "run" / "seeds" / "1" / "model" / "model.safetensors").exists()
    assert any("2 trainings with different seeds" in note for note in report["run"]["notes"])
    assert report["comparison"]["test"] == "Student's t, 2 trainings"
    numbers = report["comparison"]
    level = report["evaluations"]["tuned"]["accuracy"]["mean"]
    assert numbers["runs"] == 2
    against = report["evaluations"][numbers["a"]]["accuracy"]["mean"]
    assert level - against == pytest.approx(numbers["difference"])
    assert all(c["runs"] == 2 for c in report["comparisons"])
    assert report["slices"]
    assert all(row["comparison"]["runs"] == 2 for row in report["slices"])
    same = stages.compare.compare_runs(RunDir(tmp_path / "run"), RunDir(tmp_path / "run"))
    assert (same["comparison"]["runs"], same["comparison"]["difference"]) == (2, 0)
    other = tmp_path / "run" / "seeds" / "1" / "evaluation" / "tuned" / "test.parquet"
    other.write_bytes(other.read_bytes() + b" ")
    for again in (stages.report.report, lambda run: pipeline.resume(run.path)):
        with pytest.raises(DataError, match=r"seeds/1/evaluation/tuned/test.parquet: changed"):
            again(RunDir(tmp_path / "run"))
