"""Processes tell each other what all of them must know, and one that dies ends the others."""

from __future__ import annotations

import pickle
import time

import group_on_ranks
import pytest
from on_ranks import on_ranks

from tunesmith.errors import InterruptedRun
from tunesmith.ranks import is_leader, processes_here, rank, restarted, world_size


def test_every_rank_knows_the_same_numbers() -> None:
    first, second = on_ranks(2, group_on_ranks.numbers_of_all)
    assert (first.pop("place"), second.pop("place")) == ((0, 2), (1, 2))
    assert first.pop("own work") == [[0, 2, 4], [7]]
    assert second.pop("own work") == [[1, 3]]
    assert first == second
    assert first == {
        "totals": [0.2, 1.0],
        "largest": [1.0, 0.0],
        "gathered": ["rank 0", "rank 1"],
        "by_rank": [0, 2, 4, 6, 8],
        "fewer items than ranks": [14],
        "of_leader": 10,
    }


def test_a_process_by_itself_agrees_with_itself() -> None:
    found = group_on_ranks.numbers_of_all()
    assert found["place"] == (0, 1)
    assert found["totals"] == [0.1, 0.0]
    assert found["by_rank"] == [0, 2, 4, 6, 8]
    assert found["of_leader"] == 10


def test_an_error_of_the_leader_is_every_ranks() -> None:
    said = ("DataError", "rows.csv:3: torn\nhint: mend it", "mend it")
    assert on_ranks(2, group_on_ranks.error_of_the_leader) == [said, said]


def test_a_rank_that_is_killed_ends_the_others_within_a_minute() -> None:
    started = time.monotonic()
    with pytest.raises((AssertionError, EOFError)) as error:
        on_ranks(2, group_on_ranks.one_dies)
    assert time.monotonic() - started < 60
    if isinstance(error.value, AssertionError):
        assert "rank 0 has lost another process of the run" in str(error.value)


def test_a_second_start_finds_nothing_of_the_first_but_knows_of_it() -> None:
    found = on_ranks(2, group_on_ranks.started_twice, joined=False)
    assert found == [[False, True], [False, True]]


def test_helpers_do_what_the_leader_asks_for_and_end_with_it() -> None:
    ((leader,), helper) = on_ranks(2, group_on_ranks.commanded, joined=False)
    assert leader == ["first on rank 0", "second on rank 0"]
    assert helper is None


def test_helpers_end_quietly_where_the_leader_fails() -> None:
    assert on_ranks(2, group_on_ranks.failing, joined=False) == ["the leader failed", None]


def test_a_command_of_one_process_is_simply_called() -> None:
    group_on_ranks.done.clear()
    assert group_on_ranks.commanded() == [["first on rank 0", "second on rank 0"]]


def test_an_error_comes_out_of_another_process_as_it_was() -> None:
    error = InterruptedRun("interrupted", hint="go on", exit_code=138)
    found = pickle.loads(pickle.dumps(error))
    assert (str(found), found.message, found.hint, found.exit_code) == (
        "interrupted\nhint: go on", "interrupted", "go on", 138
    )  # fmt: skip


def test_torchrun_tells_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "WORLD_SIZE": "8",
        "RANK": "5",
        "LOCAL_WORLD_SIZE": "4",
        "TORCHELASTIC_RESTART_COUNT": "1",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert (rank(), world_size(), processes_here(), is_leader()) == (5, 8, 4, False)
    assert restarted()
    monkeypatch.setenv("WORLD_SIZE", "1")  # a RANK that another program left
    assert (rank(), world_size(), processes_here(), is_leader()) == (0, 1, 1, True)
    assert not restarted()
