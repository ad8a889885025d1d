"""A search is judged on validation rows alone, goes on where it was, and says what it cannot
tell.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import write_rows
from typer.testing import CliRunner

from tunesmith.cli import app
from tunesmith.errors import BadLossError, InputError, InterruptedRun, RecipeError, RunError
from tunesmith.recipe import Recipe, build_recipe, dump_recipe, load_recipe
from tunesmith.rundir import RunDir, read_json
from tunesmith.stages import tune as stage
from tunesmith.stages.tune import Tuning, nearest, tune
from tunesmith.train.search import Point

pytest.importorskip("optuna")


class Killed(BaseException):
    """As kill -9: nothing catches it."""


def recipe(folder: Path, model: Path, name: str = "run", **train: Any) -> Recipe:
    rows = folder / "rows.csv"
    values = {
        "model": str(model),
        "data": {"source": str(rows if rows.exists() else write_rows(rows, 40))},
        "train": {"num_train_epochs": 1, "learning_rate": 1e-4, "report_to": [], **train},
        "evaluation": {"resamples": 100},
        "output_dir": str(folder / name),
    }
    values["data"] |= {"task": "classify/terse"}
    return build_recipe(values)[0]


def timeless(found: Tuning) -> Tuning:
    trials = tuple(replace(trial, seconds=0.0) for trial in found.trials)
    return replace(found, trials=trials, recipe="", sentence=found.sentence)


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> Path:
    return tiny_model_dir


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Tuning:
    folder = tmp_path_factory.mktemp("search")
    return tune(recipe(folder, tiny_model_dir), trials=4)


def test_the_test_split_is_neither_answered_nor_its_use_counted(undisturbed: Tuning) -> None:
    run = RunDir(Path(undisturbed.recipe).parent)
    trials = [run, *(RunDir(run.path / "trials" / str(n)) for n in (1, 2, 3, 4))]
    for one in trials:
        assert read_json(one.seal)["uses"] == []
    assert list(run.path.rglob("evaluation/*/test.parquet")) == []
    assert len(list(run.path.rglob("evaluation/tuned/validation.parquet"))) == 4


def test_the_table_has_each_trial_and_best_yaml_the_chosen_one(undisturbed: Tuning) -> None:
    assert [trial.number for trial in undisturbed.trials] == [1, 2, 3, 4]
    assert [trial.learning_rate for trial in undisturbed.trials[:3]] == [1e-4, 3.3e-5, 3e-4]
    for trial in undisturbed.trials:
        assert trial.estimate is not None
        assert trial.estimate.n == undisturbed.rows == 4
        assert trial.seconds > 0
    chosen = undisturbed.trials[undisturbed.chosen - 1]
    found = load_recipe(Path(undisturbed.recipe))[0]
    assert found.train.learning_rate == chosen.learning_rate
    assert found.output_dir.endswith("run-best")
    written = read_json(Path(undisturbed.recipe).with_name("tune.json"))
    assert written["chosen"] == undisturbed.chosen


def test_four_rows_tell_nothing_apart_and_the_default_is_taken(undisturbed: Tuning) -> None:
    assert all(trial.as_good_as_best for trial in undisturbed.trials)
    assert undisturbed.chosen == 1
    assert undisturbed.sentence.startswith("4 validation rows cannot tell all 4 trials from the")


def test_a_finished_trial_leaves_no_weights_behind(undisturbed: Tuning) -> None:
    trials = Path(undisturbed.recipe).parent / "trials"
    assert list(trials.rglob("*.safetensors")) == []


@pytest.mark.parametrize("moment", ["copy_of", "train", "_answer", "add_trial"])
def test_killed_anywhere_the_same_command_comes_to_the_same_end(
    tmp_path: Path, model: Path, undisturbed: Tuning, monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:  # fmt: skip
    real, calls = getattr(stage, moment), list[int]()

    def killed(*args: Any) -> Any:
        calls.append(1)
        found = real(*args)
        if len(calls) == 2:
            raise Killed
        return found

    wanted = recipe(tmp_path, model)
    with monkeypatch.context() as patch:
        patch.setattr(stage, moment, killed)
        with pytest.raises(Killed):
            tune(wanted, trials=4)
    assert timeless(tune(wanted, trials=4)) == timeless(undisturbed)


def test_more_trials_are_added_to_those_that_are_there(
    tmp_path: Path, model: Path, undisturbed: Tuning
) -> None:
    wanted = recipe(tmp_path, model)
    tune(wanted, trials=2)
    assert timeless(tune(wanted, trials=4)) == timeless(undisturbed)
    assert len(tune(wanted, trials=1).trials) == 4


def test_ctrl_c_keeps_finished_trials_and_does_not_send_to_resume_a_trial(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stage.train

    def interrupted(run: RunDir) -> None:
        if run.path.name == "2":
            raise InterruptedRun(
                "interrupted by SIGINT after step 1 of 2, which is saved", "x", 130
            )
        real(run)

    wanted = recipe(tmp_path, model)
    with monkeypatch.context() as patch:
        patch.setattr(stage, "train", interrupted)
        with pytest.raises(InterruptedRun) as caught:
            tune(wanted, trials=3)
    assert caught.value.hint.startswith("the same command goes on there; ")
    assert caught.value.exit_code == 130
    found = tune(wanted, trials=1)
    assert found.sentence == "Trial 1 is the only one that was finished: nothing was compared."


def test_a_training_that_explodes_is_a_failed_trial_and_the_search_goes_on(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stage.train

    def exploding(run: RunDir) -> None:
        if stage.run_recipe(run).train.learning_rate == 3e-4:
            raise BadLossError("step 2: the loss is nan")
        real(run)

    monkeypatch.setattr(stage, "train", exploding)
    found = tune(recipe(tmp_path, model), trials=3)
    assert [trial.failed for trial in found.trials] == ["", "", "step 2: the loss is nan"]
    assert (found.trials[2].estimate, found.chosen) == (None, 1)
    monkeypatch.setattr(stage, "train", lambda _: _explode())
    with pytest.raises(RunError, match="all 1 trials failed; the first: step 1: nan"):
        tune(recipe(tmp_path, model, "other"), trials=1)


def _explode() -> None:
    raise BadLossError("step 1: nan")


def test_no_trial_is_begun_after_the_time_limit(tmp_path: Path, model: Path) -> None:
    with pytest.raises(RunError, match="no trial was finished in this time"):
        tune(recipe(tmp_path, model), trials=3, minutes=0)


def test_a_search_for_another_recipe_is_not_continued(tmp_path: Path, model: Path) -> None:
    tune(recipe(tmp_path, model), trials=1)
    with pytest.raises(RecipeError, match="there is a search for another recipe"):
        tune(recipe(tmp_path, model, weight_decay=0.1), trials=2)


def test_without_optuna_nothing_is_begun(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match="needs optuna"):
        tune(recipe(tmp_path, model), trials=1)
    assert not (tmp_path / "run").exists()


def test_the_nearest_by_ratio_is_taken_then_by_epochs() -> None:
    default = Point(1e-4, 3)
    assert nearest({1: Point(2e-5, 3), 2: Point(3e-4, 3), 3: Point(9e-4, 3)}, default) == 2
    assert nearest({1: Point(1e-4, 1), 2: Point(1e-4, 4), 3: Point(3e-4, 3)}, default) == 2
    assert nearest({4: Point(2e-4, 3), 3: Point(5e-5, 3)}, default) == 3


def test_the_command_prints_a_table_the_sentence_and_the_next_command(
    tmp_path: Path, model: Path
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(recipe(tmp_path, model)), encoding="utf-8")
    args = ["tune", str(path), "--trials", "2", "--max-epochs", "2"]
    printed = CliRunner().invoke(app, args).stdout
    assert "learning rate" in printed
    assert "cannot tell all 2 trials from the best" in printed
    assert f"next: tunesmith run {tmp_path / 'run' / 'best.yaml'}" in printed
    assert json.loads(CliRunner().invoke(app, [*args, "--json"]).stdout)["chosen"] == 1
