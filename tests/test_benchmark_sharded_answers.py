"""benchmarks/sharded_answers.py and sharded_memory.py, on tiny models and two processes."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from on_ranks import on_ranks
from transformers import AutoModelForCausalLM

FOLDER = Path(__file__).parents[1] / "benchmarks"


def benchmark(name: str) -> Any:
    """The script, as Python runs it: its own folder is first where modules are looked for."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "path", [str(FOLDER), *sys.path])
        return importlib.import_module(name)


def told_by(name: str, printed: Path, *arguments: Any) -> None:
    """A rank's share, whose leader writes to a file what it would print."""
    module = benchmark(name)
    module.process_group = nullcontext  # there is one already
    module.print = lambda line, flush: printed.write_text(line)
    module.measure(*arguments)


def test_whole_copies_and_a_sharded_model_give_the_same_answers(tmp_path: Path) -> None:
    benchmark("sharded").made_model(32, 2).save_pretrained(tmp_path / "model")
    found = []
    for whole in (True, False):
        options = argparse.Namespace(rows=3, tokens=4, model=str(tmp_path / "model"), whole=whole)
        on_ranks(2, told_by, "sharded_answers", tmp_path / "line.json", options)
        found.append(json.loads((tmp_path / "line.json").read_text()))
        for name in ("cpu_seconds", "libraries_mb", "loaded_mb", "answered_mb"):
            assert len(found[-1][name]) == 2
    assert found[0]["answers"] == found[1]["answers"]


def test_a_line_has_planned_beside_the_largest_of_the_measured(tmp_path: Path) -> None:
    module = benchmark("sharded_memory")
    case = module.Case(2, 32, 300, 16, 4, train={"dtype": "float32"})
    AutoModelForCausalLM.from_config(module.config_of(case)).save_pretrained(tmp_path / "model")
    line = tmp_path / "line.json"
    on_ranks(2, told_by, "sharded_memory", line, asdict(case), str(tmp_path / "model"))
    peaks = json.loads(line.read_text())
    assert len(peaks) == 2
    assert min(peaks) > 1e8
    plan = dict.fromkeys((*module.NAMES, "libraries"), 10_000_000)
    plan |= {"parameters": 2_000_000, "total": 80_000_000}
    row = module.table_row(case, 2, plan, [100_000_000, 90_000_000])
    assert row.startswith("| 2 | 2.0 M, 2 x 32, tied | 4 x 16 | float32 |  | 10 |")
    assert row.endswith("| 80 | 90, 100 | -20.0% |")
