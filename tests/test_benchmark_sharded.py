"""benchmarks/sharded.py, on a tiny model: what each process loads and what its line of JSON has."""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from on_ranks import on_ranks

FILE = Path(__file__).parents[1] / "benchmarks" / "sharded.py"


def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("sharded_benchmark", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(options: argparse.Namespace, printed: Path) -> None:
    """A rank's share, whose leader writes to a file what it would print."""
    module = benchmark()
    module.process_group = lambda: module.nullcontext()  # there is one already
    module.print = lambda line, flush: printed.write_text(line)
    module.measure(options)


@pytest.mark.parametrize("whole", [False, True])
def test_a_line_has_the_time_and_memory_of_every_process(tmp_path: Path, whole: bool) -> None:
    benchmark().made_model(32, 2).save_pretrained(tmp_path / "model")
    options = argparse.Namespace(rows=4, steps=3, model=str(tmp_path / "model"), whole=whole)
    on_ranks(2, measured, options, tmp_path / "line.json")
    found = json.loads((tmp_path / "line.json").read_text())
    assert found["ranks"] == 2
    assert len(found["losses"]) == 3
    assert found["fastest"] <= found["seconds"] <= found["slowest"]
    for name in ("cpu_seconds", "libraries_mb", "loaded_mb", "steps_mb", "peak_mb"):
        assert len(found[name]) == 2
    for before, after in (("libraries", "loaded"), ("loaded", "steps"), ("steps", "peak")):
        assert all(a <= b for a, b in zip(found[f"{before}_mb"], found[f"{after}_mb"], strict=True))
