"""benchmarks/memory_savings.py on a tiny shape, and what its table says."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("memory_savings")


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_has_each_way_beside_the_plain_one(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, which loads nothing again; the figures are those of any process."""
    tiny = type(bench.SMOLLM2)(**bench.TINY.to_dict() | {"vocab_size": 300})
    monkeypatch.setattr(bench, "SMOLLM2", tiny)
    monkeypatch.setattr(bench, "TINY", tiny)
    ways = {"planned": bench.planned, "measured": bench.measured}
    monkeypatch.setattr(bench, "in_its_own_process", lambda what, case: ways[what](case))
    bench.main(["--steps", "2", "--ways", "plain", "the four together", "Adafactor"])
    plain, four, adafactor = (cells_of(line) for line in capsys.readouterr().out.splitlines()[-3:])
    assert (plain[2], plain[5], plain[-1]) == ("100%", "0", "yes")
    assert (four[-1], four[7]) == ("yes", plain[7])
    assert adafactor[-1] == "no"


def test_a_line_says_what_is_saved_and_how_far_the_plan_is_off(bench: Any) -> None:
    plain = {"total": 200e6, "sha256": "a"}
    plan = {"total": 110e6, "away": 50e6}
    found = {"total": 100e6, "seconds": 1.5, "loss": 2.0, "sha256": "b"}
    assert bench.table_row("it", plan, found, plain) == (
        "| it | 100 | 50% | 110 | +10.0% | 50 | 1.50 | 2.0000 | no |"
    )


def test_each_option_is_measured_by_itself_and_all_of_them_together(bench: Any) -> None:
    single = [keys for keys in bench.WAYS.values() if len(keys) == 1]
    options = {key for keys in single for key in keys}
    assert options == {
        "optim_in_backward", "offload_optimizer", "offload_activations",
        "gradient_checkpointing", "optim", "weights_dtype",
    }  # fmt: skip
    assert set(bench.WAYS["all together"]) == options
