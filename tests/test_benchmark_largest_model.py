"""benchmarks/largest_model.py on its smallest shapes: published parameter counts, and smaller
states make room for larger models.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest


def test_the_table_has_published_parameter_counts_and_what_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    bench = importlib.import_module("largest_model")
    monkeypatch.setattr(bench, "MEMORIES", (9,))
    bench.main(["--shapes", "Qwen3-0.6B"])
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("|")
    ]
    assert rows[2][:2] == ["Qwen3-0.6B", "596,049,920"]
    adamw, in_ram, in_ram_in_backward, adafactor, eight_bit, in_backward, all_of_it = (
        float(cell.split()[0]) for cell in rows[2][2:]
    )
    # at least 16, 8 and 6 bytes a parameter of weights, gradients and state; gradients one by one
    assert adamw > 12 * 0.596
    assert adamw > adafactor > eight_bit > 4 * 0.596
    # without the states 8 bytes a parameter, without the gradients 4; in bfloat16 as many, because
    # weights are in float32 before they are in bfloat16
    assert adamw > in_ram > 8 * 0.596
    assert in_ram > in_ram_in_backward > 4 * 0.596
    assert eight_bit > in_backward >= all_of_it >= 4 * 0.596
    assert rows[-1][:2] == ["9 GB", "-"]
    assert set(rows[-1][2:]) == {"Qwen3-0.6B"}
