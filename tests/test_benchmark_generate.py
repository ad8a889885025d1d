"""benchmarks/generate.py runs, and its two systems give the same answers in float32."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from support import write_rows


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    monkeypatch.delitem(__import__("sys").modules, "generate", raising=False)
    return importlib.import_module("generate")


def test_both_systems_answer_alike_in_every_batch_size(
    benchmark: Any, tmp_path: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write_rows(tmp_path / "rows.csv", 12)
    sizes = ["--batch-sizes", "1", "3", "--rows", "7", "--repeats", "1", "--max-new-tokens", "5"]
    texts = ["--prompt", "{text}\\nlabel:", "--answer", "{label}", "--exemplars", "2"]
    found = benchmark.main(
        ["--model", str(tiny_model_dir), "--data", str(rows), "--dtypes", "float32", *sizes, *texts]
    )
    assert [(one.system, one.rows_at_once) for one in found] == [
        ("transformers", "1"),
        ("tunesmith", "1"),
        ("transformers", "3"),
        ("tunesmith", "3"),
        ("tunesmith", "its own"),
    ]
    assert all(one.answers == found[0].answers for one in found)
    assert capsys.readouterr().out.count("| 7 of 7 |") == 5
