"""The parts of benchmarks/gpu.py that need no GPU: its rows, TRL's settings, a table's line."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunesmith.machine import Machine
from tunesmith.train.roofline import lower_bound, model_size


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("gpu")


@pytest.mark.parametrize("shape", ["tiny", "Qwen3-0.6B"])
def test_rows_share_what_is_said_and_fit_the_vocabulary(gpu: Any, shape: str) -> None:
    data = gpu.made_rows("five fixed exemplars", 2, shape)
    shared = 740 // (16 if shape == "tiny" else 1)
    assert len(data) == 2 * 32
    assert all(np.array_equal(data.row(row)[:shared], data.row(0)[:shared]) for row in range(64))
    assert len({tuple(data.row(row)[shared : shared + 2]) for row in range(64)}) > 60
    assert data.input_ids.max() < gpu.SHAPES[shape].vocab_size
    assert data.num_trained.min() >= 1


def test_trls_settings_make_steps_of_the_same_rows(gpu: Any) -> None:
    for system in ("trl default", "trl tuned"):
        settings = gpu.trl_settings(system, "cuda", True)
        assert (
            settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]
            == gpu.BATCH_SIZE
        )
        assert settings["max_length"] is None
    tuned = gpu.trl_settings("trl tuned", "cuda", True)
    assert (tuned["padding_free"], tuned["use_liger_kernel"], tuned["gradient_checkpointing"]) == (
        True,
        True,
        False,
    )
    assert not gpu.trl_settings("trl tuned", "cuda", False)["padding_free"]
    assert not gpu.trl_settings("trl tuned", "cpu", False)["use_liger_kernel"]


def test_every_setting_is_one_of_trls(gpu: Any) -> None:
    trl = pytest.importorskip("trl", reason="trl is not installed")
    known = {field.name for field in dataclasses.fields(trl.SFTConfig)}
    assert set(gpu.trl_settings("trl tuned", "cuda", True)) <= known


def test_a_line_of_the_table_has_the_rate_and_the_share_of_the_peak(gpu: Any) -> None:
    data, machine = gpu.made_rows("long unique chat", 1, "tiny"), Machine(1e9, 1e9)
    size = model_size(gpu.SHAPES["tiny"])
    flops = lower_bound(data, size, machine, batch_size=32, epochs=1).flops
    found = {
        "seconds_per_step": 4 * flops / 1e9,
        "peak_bytes": 20 * size.parameters,
        "loss": 8.0,
        "attention": "sdpa",
    }
    cells = [
        cell.strip()
        for cell in gpu.table_row("tiny", "long unique chat", "trl", found, 1, machine).split("|")
    ]
    assert cells[3] == "trl (sdpa)"
    assert float(cells[4]) == pytest.approx(32 / found["seconds_per_step"], abs=0.05)
    assert cells[7:10] == [
        "20",
        "8.0000",
        "25%",
    ]  # four times as long as the matrix products alone would take
    failed = gpu.table_row("tiny", "long unique chat", "trl", {"error": "out of time"}, 1, machine)
    assert "not measured: out of time" in failed
    assert failed.count("|") == 10
