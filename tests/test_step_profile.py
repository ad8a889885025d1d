"""benchmarks/step_profile.py on a tiny model: rows, timings and kinds of operator."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import pytest
from support import byte_tokenizer, tiny_llama

from tunesmith.train.roofline import Machine, lower_bound, model_size


@pytest.fixture
def step_profile(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("step_profile")


def test_every_step_is_timed_and_the_profiled_ones_are_told_apart_by_kind(
    step_profile: Any,
) -> None:
    args = argparse.Namespace(
        steps=2, profiled=1, batch_size=2, dtype="bfloat16", learning_rate=1e-4
    )
    pairs, num_steps = [(f"question {i}", f" {i}") for i in range(12)], step_profile.WARM_UP + 3
    data = step_profile.rendered(pairs, byte_tokenizer(), num_steps * args.batch_size)
    assert (len(data), data.num_trained.min()) == (10, 2)  # a digit and the end
    model = tiny_llama()
    limit = lower_bound(data, model_size(model.config), Machine(1e9, 1e9), batch_size=2, epochs=1)
    records, kinds = step_profile.run(model, data, args)
    found = step_profile.summary(records, args, limit, num_steps)
    assert len(records) == num_steps
    assert min(found.values()) > 0
    assert {"matrix products", "optimiser", "attention"} <= set(kinds)
