"""training.json holds what was measured, and can be read back, also from older versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import tiny_llama

from tunesmith.machine import Machine
from tunesmith.recipe import TrainConfig
from tunesmith.records import TrainingFacts
from tunesmith.train import facts as module
from tunesmith.train.facts import facts_to_json, read_facts, training_facts, write_facts
from tunesmith.train.loop import TrainResult
from tunesmith.train.packing.plan import TrainingData

RESULT = TrainResult(
    best_step=2,
    steps=4,
    history=[{"step": 2, "epoch": 1, "loss": 0.5}, {"step": 4, "epoch": 2, "loss": 0.75}],
    notes=["rows are padded"],
    seconds=8.0,
    trained_tokens=12,
    raw_tokens=40,
    forward_tokens=30,
    dtype="bfloat16",
)
OF_THE_LOOP = {
    "best_step": 2,
    "steps": 4,
    "history": RESULT.history,
    "notes": ["rows are padded"],
    "seconds": 8.0,
    "trained_tokens": 12,
    "raw_tokens": 40,
    "forward_tokens": 30,
}


def test_speed_is_rows_of_all_epochs_and_the_limit_is_that_of_the_dtype_computed_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probed = []

    def probe(device: torch.device, dtype: torch.dtype) -> Machine:
        probed.append(dtype)
        return Machine(flops_per_second=1e30, bytes_per_second=1e6)  # the bytes decide

    monkeypatch.setattr(module, "probe_machine", probe)
    model = tiny_llama()
    data = TrainingData.from_arrays(range(20), [0, 5, 10, 15, 20], [2] * 4, list("abcd"))
    found = training_facts(RESULT, model, data, TrainConfig(num_train_epochs=3, train_batch_size=2))
    parameters = sum(p.numel() for p in model.parameters())
    least = 3 * 2 * 40 * parameters / 1e6  # epochs, steps, bytes a parameter
    assert probed == [torch.bfloat16]
    assert found.rows_per_second == 1.5  # 3 epochs of 4 rows in 8 s
    assert found.parameters == parameters
    assert found.least_seconds == pytest.approx(least, abs=1e-6)
    assert found.fraction_of_limit == pytest.approx(least / 8, abs=1e-6)
    assert found.peak_memory_bytes > 1 << 26


def test_what_is_written_is_read_back_with_keys_in_the_order_of_the_report(tmp_path: Path) -> None:
    facts = TrainingFacts(
        **OF_THE_LOOP,
        dtype="float32",
        parameters=100,
        rows_per_second=1.5,
        least_seconds=0.25,
        fraction_of_limit=0.03125,
        peak_memory_bytes=1 << 30,
    )
    write_facts(tmp_path / "training.json", facts)
    assert read_facts(tmp_path / "training.json") == facts
    assert list(json.loads((tmp_path / "training.json").read_text())) == [
        *OF_THE_LOOP, "dtype", "parameters", "rows_per_second", "least_seconds",
        "fraction_of_limit", "peak_memory_bytes",
    ]  # fmt: skip


def test_an_older_runs_file_lacks_some_keys_has_others_and_shows_no_empty_ones(
    tmp_path: Path,
) -> None:
    (tmp_path / "training.json").write_text(json.dumps({**OF_THE_LOOP, "gone": 1}))
    facts = read_facts(tmp_path / "training.json")
    assert facts.best_step == 2
    assert facts.rows_per_second is None
    assert facts_to_json(facts) == OF_THE_LOOP
