"""Figures of docs/scaling.md that nobody measured: the formulas, by hand, and the page has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.train.cluster import (
    Cluster,
    answering_seconds,
    checkpoint_bytes,
    computing_seconds,
    moved_bytes,
    moving_seconds,
    state_bytes,
    tensor_parallel_seconds,
    tokens_that_hide_it,
)

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
H100S = Cluster(64, 8, 400e12, 370e9, 360e9)
LLAMA_70B = 70.55e9  # parameters; 80 layers of 8192


def test_a_pass_gathers_each_weight_twice_and_hands_its_gradient_over_once() -> None:
    assert moved_bytes(1) == 2 + 2 + 4
    assert moving_seconds(370e9, H100S) == 8


def test_the_tokens_that_hide_the_moving_do_not_depend_on_the_model() -> None:
    for parameters in (1e9, LLAMA_70B):
        assert computing_seconds(parameters, tokens_that_hide_it(H100S), H100S) == pytest.approx(
            moving_seconds(parameters, H100S)
        )


def test_an_all_reduce_moves_twice_what_all_but_one_device_hold() -> None:
    # two devices, one layer, 4 tokens of 3 numbers: 6 all-reduces of 24 bytes, halved and doubled
    pair = Cluster(2, 2, 1.0, 1.0, 1.0)
    assert tensor_parallel_seconds(3, 1, 4, pair) == 6 * 24


@pytest.mark.parametrize(
    "figure, said",
    [
        (state_bytes(LLAMA_70B, H100S) / 1e9, "17.6 GB"),
        (moved_bytes(LLAMA_70B) / 1e9, "564 GB"),
        (moving_seconds(LLAMA_70B, H100S), "1.5 s"),
        (tokens_that_hide_it(H100S) / 1e3, "69 thousand tokens"),
        (computing_seconds(LLAMA_70B, 19_200, H100S), "0.4 s"),
        (tensor_parallel_seconds(8192, 80, 69_000, H100S), "0.3 s"),
        (answering_seconds(LLAMA_70B, 1, H100S), "0.4 s"),
        (answering_seconds(LLAMA_70B, 50, H100S), "19 seconds"),
        (checkpoint_bytes(LLAMA_70B) / 1e9, "847 GB"),
        (computing_seconds(LLAMA_70B, 3e11, H100S) / 86_400, "77 days"),
    ],
)
def test_the_page_has_the_figure(figure: float, said: str) -> None:
    number = said.split()[0]
    decimals = len(number.partition(".")[2])
    assert f"{figure:.{decimals}f}" == number
    assert said in PAGE
