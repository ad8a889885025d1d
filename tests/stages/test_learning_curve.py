"""The learning curve: nested parts, one test split, and a forecast with its error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import write_rows

from tunesmith.data.store import read_examples
from tunesmith.errors import RecipeError
from tunesmith.recipe import build_recipe
from tunesmith.rundir import RunDir, read_json
from tunesmith.stages.learning_curve import curve


def test_parts_are_nested_and_judged_on_the_same_rows(tmp_path: Path, tiny_model_dir: Path) -> None:
    values = {
        "model": str(tiny_model_dir),
        "data": {"source": str(write_rows(tmp_path / "rows.csv", 40)), "task": "classify/terse"},
        "train": {"num_train_epochs": 1},
        "evaluation": {"resamples": 200},
        "output_dir": str(tmp_path / "run"),
    }
    result = curve(build_recipe(values)[0], [1, 0.5])
    assert [point.rows for point in result.points] == [16, 32]
    run = tmp_path / "run"
    half, whole = (
        {e.id for e in read_examples(RunDir(run / "curve" / part).examples("train"))}
        for part in ("0.5", "1")
    )
    assert half < whole
    assert len(read_json(RunDir(run).seal)["uses"]) == 2
    assert result.last_difference.n == 4
    assert (run / "curve.svg").exists()
    text = (run / "curve.json").read_text(encoding="utf-8")
    written = json.loads(text, parse_constant=pytest.fail)  # no NaN: it is not JSON
    assert written["forecast"]["ci"] is None  # two parts
    assert written["forecast"]["level"] == result.forecast.level
    # four rows cannot show a gain in accuracy
    assert written["last_difference"]["smallest_detectable"] is None


def test_fractions_outside_zero_and_one_are_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="two or more, above 0, at most 1"):
        curve(build_recipe({"output_dir": str(tmp_path / "run")})[0], [0.5, 2])
    assert not (tmp_path / "run").exists()
