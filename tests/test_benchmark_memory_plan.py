"""benchmarks/memory_plan.py on one tiny case, in two processes as it runs."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("memory_plan")


def test_a_fresh_process_needs_what_is_planned(bench: Any) -> None:
    """The parameters here are few, so that this is about what libraries take and how it is told."""
    case = bench.Case(**asdict(bench.TINY) | {"train": bench.FLOAT})
    plan = bench.in_its_own_process("planned", case)
    peak = bench.in_its_own_process("measured", case)["total"]
    assert (
        plan["total"]
        == sum(
            plan[name]
            for name in ("weights", "gradients", "optimizer", "activations", "logits", "holes")
        )
        + plan["libraries"]
    )
    assert plan["total"] == pytest.approx(peak, rel=0.1)


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
    assert {case.length for case in cases} == {64, 128, 256, 512}
    keys = [key for case in cases for key in case.train]
    assert {"gradient_checkpointing", "optim", "lora", "max_batch_tokens"} <= set(keys)
