"""benchmarks/memory_plan.py on one tiny case, and what its table says."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("memory_plan")


def test_the_table_has_a_tiny_case(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, which loads nothing again; the figures are those of any process."""
    ways = {"planned": bench.planned, "measured": bench.measured}
    monkeypatch.setattr(bench, "in_its_own_process", lambda what, case: ways[what](case))
    monkeypatch.setattr(bench, "CASES", (replace(bench.TINY, train=bench.FLOAT),))
    monkeypatch.setattr("sys.argv", ["memory_plan.py", "--cases", "0"])
    bench.main()
    line = capsys.readouterr().out.splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:3] == ["0.0 M, 1 x 32, tied", "2 x 16", "float32"]
    *parts, total, measured = (int(cell) for cell in cells[4:13])
    assert sum(parts) == pytest.approx(total, abs=4)  # each is rounded
    assert 0 < total <= measured + 50


def test_a_line_says_how_far_the_plan_is_off(bench: Any) -> None:
    names = ("weights", "gradients", "optimizer", "activations", "logits", "holes", "libraries")
    plan = dict.fromkeys(names, 10_000_000) | {"total": 70_000_000, "parameters": 2_500_000}
    line = bench.table_row(bench.CASES[3], plan, 80_000_000)
    assert line == (
        "| 2.5 M, 8 x 512 | 8 x 256 | float32 | gradient_checkpointing True | 10 | 10 | 10 | 10 | "
        "10 | 10 | 10 | 70 | 80 | -12.5% |"
    )


def test_the_cases_are_as_many_and_as_varied_as_the_docs_say(bench: Any) -> None:
    cases = bench.CASES
    assert len(cases) >= 12
    assert {case.train["dtype"] for case in cases} == {"float32", "bfloat16"}
    assert {case.length for case in cases} == {64, 128, 256, 384, 512, 1024}
    keys = [key for case in cases for key in case.train]
    assert {"gradient_checkpointing", "optim", "lora", "max_batch_tokens"} <= set(keys)
