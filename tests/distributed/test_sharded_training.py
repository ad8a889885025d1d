"""A model sharded over ranks is trained as one process would train it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from on_ranks import on_ranks
from train_on_ranks import trained


def largest_difference(a: dict[str, Any], b: dict[str, Any]) -> float:
    assert a["weights"].keys() == b["weights"].keys()
    return max(float(np.abs(a["weights"][n] - b["weights"][n]).max()) for n in a["weights"])


@pytest.mark.parametrize("number", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_every_step_is_that_of_one_process(tmp_path: Path, number: int) -> None:
    one = trained(tmp_path / "one")
    ranks = on_ranks(number, trained, tmp_path / "several")
    for rank in ranks:
        for name in ("loss", "grad_norm", "validation_loss"):
            of_one = [step[name] for step in one["steps"] if name in step]
            assert [s[name] for s in rank["steps"] if name in s] == pytest.approx(of_one, abs=1e-5)
    assert largest_difference(ranks[0], one) < 1e-5
    assert [len(rank["weights"]) for rank in ranks[1:]] == [0] * (number - 1)
