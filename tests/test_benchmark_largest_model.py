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
    adamw, adafactor, eight_bit = (float(cell.split()[0]) for cell in rows[2][2:])
    # at least 16, 8 and 6 bytes a parameter of weights, gradients and state; gradients one by one
    assert adamw > 12 * 0.596
    assert adamw > adafactor > eight_bit > 4 * 0.596
    assert rows[-1] == ["9 GB", "-", "Qwen3-0.6B", "Qwen3-0.6B"]
