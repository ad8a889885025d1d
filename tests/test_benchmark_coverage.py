"""benchmarks/coverage.py: its tables, and that its truths are those of its data."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunesmith.evaluate.metrics import find_metric

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "coverage.py"


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Any:
    # by its path: coverage.py is also the name of a package
    spec = importlib.util.spec_from_file_location("simulated_coverage", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "simulated_coverage", module)
    spec.loader.exec_module(module)
    return module


def test_every_named_truth_is_that_of_the_data(simulation: Any) -> None:
    rng = np.random.default_rng(0)
    for cases, two in ((simulation.ONE_SYSTEM, False), (simulation.TWO_SYSTEMS, True)):
        for case in cases:
            if case.truth is None:
                continue
            rows = case.draw(rng, 90_000)
            value, ones, half = find_metric(case.metric).value, np.ones((1, 90_000)), rows.shape[1]
            half //= 2
            found = (
                value(ones, rows[:, half:]) - value(ones, rows[:, :half])
                if two
                else value(ones, rows)
            )
            scores = rows[:, half:] - rows[:, :half] if two else rows
            near = max(0.006, 4 * float(scores[:, 0].std()) / 300)  # 4 standard errors of a mean
            assert found[0] == pytest.approx(case.truth, rel=0.03, abs=near), case.name


def test_the_truth_of_clustered_rows_is_that_of_their_data(simulation: Any) -> None:
    rng, number_N = np.random.default_rng(0), np.repeat(np.arange(30_000), 2)
    for case in simulation.ONE_CLUSTERED:
        rows = case.draw(rng, 30_000, number_N)
        assert rows.mean() == pytest.approx(case.truth, abs=0.02), case.name
    for case in simulation.TWO_CLUSTERED:
        rows = case.draw(rng, 30_000, number_N)
        assert (rows[:, 1] - rows[:, 0]).mean() == pytest.approx(0, abs=0.01), case.name


def test_a_case_is_a_line_of_the_table(simulation: Any, capsys: pytest.CaptureFixture[str]) -> None:
    simulation.print_tables(4, "discordant")
    lines = capsys.readouterr().out.splitlines()
    (found,) = (line for line in lines if line.startswith("| accuracy, 0 % and 2 %"))
    cells = [cell.strip() for cell in found.strip("|").split("|")]
    assert len(cells) == 1 + len(simulation.SIZES)
    assert all(0 <= float(cell) <= 1 for cell in cells[1:])


def test_every_case_stands_in_the_documentation(simulation: Any) -> None:
    text = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    cases = (
        *simulation.ONE_SYSTEM,
        *simulation.ONE_CLUSTERED,
        *simulation.TWO_SYSTEMS,
        *simulation.TWO_CLUSTERED,
    )
    assert [case.name for case in cases if f"| {case.name} |" not in text] == []


def test_where_no_data_set_has_an_interval_there_is_a_dash(simulation: Any) -> None:
    assert simulation.Tally(0.0, math.nan).cell == "-"
    assert simulation.Tally(0.5, 0.95).cell == "0.950 (50%)"
    assert simulation.Tally(1.0, 0.95).cell == "0.950"
