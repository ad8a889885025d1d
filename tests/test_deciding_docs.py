"""docs/deciding.md: its recipes are valid, and its code does what the report does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tunesmith.evaluate.calibration import Ranked
from tunesmith.evaluate.decisions import Threshold
from tunesmith.recipe import build_recipe
from tunesmith.run_files import write_record
from tunesmith.rundir import RunDir

PAGE = (Path(__file__).parents[1] / "docs" / "deciding.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_recipe_is_valid(text: str) -> None:
    assert build_recipe(yaml.safe_load(text))[0].evaluation


@pytest.mark.parametrize(
    "logprobs, threshold, answers", [((-0.1, -5.0), 0.9, True), ((-1.0, -1.2), 0.9, False)]
)
def test_the_code_reads_the_saved_threshold(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logprobs: tuple[float, float],
    threshold: float,
    answers: bool,
) -> None:
    write_record(
        RunDir(tmp_path).threshold,
        Threshold(1.5, threshold, 0.95, 0.95, 100, 80, 79, 0.95, 94, ("no", "yes")),
    )
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"choice_log_likelihoods": np.array(logprobs)}
    [code] = blocks("python")
    exec(code, names)  # the page's own code
    rows = Ranked(np.array([logprobs]), np.array([0]), np.array([1.0]), ["a"])
    assert names["confidence"] == pytest.approx(rows.confidence(1.5)[0])
    assert names["answers_itself"] == answers
