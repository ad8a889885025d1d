"""benchmarks/verdicts.py: its cases are what they are called, and our verdict on each kind."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def verdicts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("verdicts")


def test_pairs_differ_on_a_fifth_of_the_rows_and_by_the_gain(verdicts: ModuleType) -> None:
    base, tuned = map(np.array, verdicts._pair(np.random.default_rng(0), 100_000, 0.05))
    assert (base != tuned).mean() == pytest.approx(0.2, abs=0.005)
    assert (tuned - base).mean() == pytest.approx(0.05, abs=0.005)


def test_neither_an_identical_model_nor_one_row_of_fifty_is_called_better_by_us(
    verdicts: ModuleType,
) -> None:
    decide = verdicts.ours()
    same = [1] * 35 + [0] * 15
    assert decide((same, same)) == "cannot tell"
    assert decide((same, [1] * 36 + [0] * 14)) == "cannot tell"
    assert decide(([0] * 50, [1] * 50)) == "better"
    assert decide(([1] * 50, [0] * 50)) == "no"


def test_the_table_is_printed_without_other_tools(
    verdicts: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "_shuffled", lambda seeds: iter([([0, 1] * 20, [1, 0] * 20)]))
    verdicts.main(["--replications", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| better / cannot tell / no | tunesmith |"
    assert len(lines) == 2 + 8
