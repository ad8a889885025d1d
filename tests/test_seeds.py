"""Several seeds: every training's answers count, and the interval grows by the variance between them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from support import write_rows

from tunesmith import pipeline
from tunesmith.recipe import build_recipe
from tunesmith.records import Comparison
from tunesmith.seeds import with_seeds


def test_the_interval_holds_the_variance_between_trainings() -> None:
    one = Comparison("base", "tuned", "accuracy", 0.1, 0.03, 0.03, (0.04, 0.16), 0.001, 9, 80, 1, 90, 90, 0.1)
    found, note = with_seeds(one, [0.1, 0.2, 0.3], 0.95)
    se = math.sqrt(0.03**2 + 0.1**2 / 3)  # the standard deviation of 0.1, 0.2, 0.3 is 0.1
    assert found.difference == pytest.approx(0.2)
    assert found.ci == pytest.approx((0.2 - 1.959964 * se, 0.2 + 1.959964 * se))
    assert "standard deviation between runs 0.100" in note


def test_a_run_with_two_seeds_trains_twice_and_says_so(tmp_path: Path, tiny_model_dir: Path) -> None:
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
    assert report["comparison"]["test"] == "normal, 2 trainings"
