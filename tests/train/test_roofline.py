"""The lower bound, worked out by hand for two short rows."""

from __future__ import annotations

import pytest
from conftest import tiny_llama
from transformers import MistralConfig

from tunesmith.machine import Machine, probe_machine
from tunesmith.records import IGNORE_INDEX, TokenizedExample
from tunesmith.train.packing.plan import TrainingData
from tunesmith.train.roofline import ModelSize, lower_bound, model_size

FOREVER = 1 << 60


def made(rows: list[tuple[list[int], int]]) -> TrainingData:
    """Rows given as (token ids, number of prompt tokens)."""
    return TrainingData.from_examples(
        [TokenizedExample(str(ids), ids, [IGNORE_INDEX] * n + ids[n:], n) for ids, n in rows]
    )


def test_flops_of_two_rows_with_a_common_beginning() -> None:
    # Inputs: 1 2 3 and 1 2 4 5, so 5 unique tokens; trained: 2 and 2. Attended to: 1 + 2 + 3 for
    # the first row, and 3 + 4 for the two own tokens of the second, in each of two layers.
    data = made([([1, 2, 3, 9], 2), ([1, 2, 4, 5, 9], 3)])
    size = ModelSize(parameters=1000, trunk=100, head=50, query_width=8, windows=(FOREVER, FOREVER))
    found = lower_bound(data, size, Machine(1e3, 1e6), batch_size=2, epochs=1)
    assert found.unique_tokens == 5
    assert found.flops == 6 * 100 * 5 + 6 * 50 * 4 + 12 * 8 * 2 * 13
    assert found.bytes == 40_000
    assert found.seconds == pytest.approx(found.flops / 1e3)
    assert (found.trained_tokens, found.raw_tokens) == (4, 9)


def test_a_sliding_window_bounds_what_is_attended_to() -> None:
    # Five input tokens attend to 1, 2, 2, 2, 2 under a window of 2.
    data = made([([1, 2, 3, 4, 5, 6], 5)])
    size = ModelSize(parameters=1, trunk=0, head=0, query_width=1, windows=(2,))
    assert lower_bound(data, size, Machine(1.0, 1.0), batch_size=1, epochs=1).flops == 12 * 9


def test_rows_in_different_steps_share_nothing() -> None:
    data = made([([1, 2, 3, 9], 2), ([1, 2, 3, 9], 2)])
    size = ModelSize(parameters=0, trunk=1, head=0, query_width=0, windows=())
    assert lower_bound(data, size, Machine(1.0, 1.0), batch_size=1, epochs=1).unique_tokens == 6
    assert lower_bound(data, size, Machine(1.0, 1.0), batch_size=2, epochs=3).unique_tokens == 9


def test_a_step_takes_at_least_the_time_to_move_its_bytes() -> None:
    size = ModelSize(parameters=1000, trunk=1, head=1, query_width=1, windows=(FOREVER,))
    found = lower_bound(made([([1, 2], 1)]), size, Machine(1e12, 1e3), batch_size=1, epochs=2)
    assert found.seconds == pytest.approx(2 * 40_000 / 1e3)


def test_sizes_come_from_the_config_alone() -> None:
    # Two layers of: 32 x 32 queries and outputs, 32 x 16 keys and values, three of 32 x 64.
    size = model_size(tiny_llama().config)
    assert size.trunk == 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)
    assert size.head == 259 * 32
    assert size.parameters == size.trunk + size.head + 5 * 32
    assert (size.query_width, size.windows) == (32, (FOREVER, FOREVER))


def test_windows_are_read_from_layer_types() -> None:
    config = MistralConfig(
        vocab_size=50, hidden_size=32, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=7,
    )  # fmt: skip
    assert set(model_size(config).windows) <= {7, FOREVER}
    config.layer_types = ["sliding_attention", "full_attention"]
    assert model_size(config).windows == (7, FOREVER)


def test_the_probe_measures_something() -> None:
    machine = probe_machine()
    assert machine.flops_per_second > 1e8
    assert machine.bytes_per_second > 1e7
