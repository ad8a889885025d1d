"""Several seeds: every training's answers count, and the interval grows by the variance between
them.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from support import write_rows

from tunesmith import pipeline
from tunesmith.recipe import build_recipe
from tunesmith.records import Comparison
from tunesmith.stages.seeds import with_seeds


def test_the_interval_holds_the_variance_between_trainings() -> None:
    one = Comparison(
        "base", "tuned", "accuracy", 0.1, 0.03, 0.03, (0.04, 0.16), 0.001, 9, 80, 1, 90, 90, 0.1
    )
    found, note = with_seeds(one, [0.1, 0.2, 0.3], 0.95)
    se = math.sqrt(0.03**2 + 0.1**2 / 3)  # the standard deviation of 0.1, 0.2, 0.3 is 0.1
    # Satterthwaite: se^4 = 0.0042333^2 over 0.0009^2 / 89 + 0.0033333^2 / 2, so 3.22 degrees of
    # freedom
    t = scipy.stats.t.ppf(0.975, 0.00423333**2 / (0.0009**2 / 89 + 0.00333333**2 / 2))
    assert found.difference == pytest.approx(0.2)
    assert found.ci == pytest.approx((0.2 - t * se, 0.2 + t * se), abs=1e-6)
    assert "standard deviation between runs 0.100" in note


def test_intervals_over_three_trainings_cover_the_truth_in_93_to_97_percent() -> None:
    """Of the gain of a recipe, over the test rows and the luck of training; one training alone does
    not.
    """
    rng = np.random.default_rng(0)
    covered = alone = 0
    for _ in range(1000):
        of_rows = rng.normal(0, 0.03)  # the same test rows for every training
        differences = [0.1 + of_rows + rng.normal(0, 0.03) for _ in range(3)]
        first = differences[0]
        one = Comparison(
            "base",
            "tuned",
            "accuracy",
            first,
            0.03,
            0.03,
            (first - 0.0588, first + 0.0588),
            0.1,
            9,
            80,
            1,
            90,
            90,
            0.1,
        )
        found, _ = with_seeds(one, differences, 0.95)
        covered += found.ci[0] <= 0.1 <= found.ci[1]
        alone += one.ci[0] <= 0.1 <= one.ci[1]
    assert 930 <= covered <= 970
    assert alone < 880


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
