"""What is alive is counted on tensors without numbers as on real ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch

from tunesmith.train.live_memory import LiveMemory, without_numbers


@contextmanager
def watched(fake: bool, width: int = 0) -> Iterator[LiveMemory]:
    with without_numbers() if fake else nullcontext(), LiveMemory(width, lambda _: None) as live:
        yield live


@pytest.mark.parametrize("fake", [True, False])
def test_storages_count_while_something_holds_them_and_views_count_once(fake: bool) -> None:
    with watched(fake) as live:
        first = torch.empty(1000)
        assert live.now == 4000
        double = first * 2
        view = double.view(10, 100)
        assert live.now == 8000
        del first
        assert live.now == 4000
        del double
        assert live.now == 4000  # the view holds it
        del view
        assert (live.now, live.highest) == (0, 8000)


def test_tensors_as_wide_as_the_vocabulary_are_counted_apart() -> None:
    with watched(fake=True, width=77) as live:
        logits, states = torch.empty(5, 77), torch.empty(5, 64)
        assert (live.wide, live.now) == (4 * 5 * 77, 4 * 5 * (77 + 64))
        del logits, states
        assert live.wide == 0


def test_the_worst_moment_is_told_again_after_a_new_start() -> None:
    told: list[int] = []
    with LiveMemory(0, lambda live: told.append(live.now)) as live:
        large = torch.empty(1000)
        del large
        small = torch.empty(100)
        assert told == [4000]
        live.start()
        more = torch.empty(100)
        assert told == [4000, 800]
        del small, more


def test_integers_keep_their_numbers() -> None:
    with watched(fake=True):
        assert int(torch.arange(5).sum()) == 10
        assert bool(torch.equal(torch.arange(3), torch.tensor([0, 1, 2])))
        assert torch.rand(3).add(1).shape == (3,)
