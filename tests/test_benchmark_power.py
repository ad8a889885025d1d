"""benchmarks/power.py runs, and its simulations are of what they say they are."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("power")


def test_simulated_rows_have_the_gain_and_the_discordance(power: Any) -> None:
    values = power.differences(0.1, 0.3, (200_000,), np.random.default_rng(0))
    assert values.mean() == pytest.approx(0.1, abs=0.005)
    assert np.abs(values).mean() == pytest.approx(0.3, abs=0.005)
    alike = power.in_clusters(0.1, 0.3, 1.0, [3, 2], np.random.default_rng(0))
    assert len(set(alike[:3])) == len(set(alike[3:])) == 1


def test_every_table_is_printed(
    power: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["power.py", "--replications", "12"])
    power.main()
    out = capsys.readouterr().out
    assert out.count("\n| --- ") == 7
    assert "nan" not in out
