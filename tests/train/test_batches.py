"""Properties of the step plan, and plans small enough to work out by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.errors import DataError
from tunesmith.records import IGNORE_INDEX, TokenizedExample
from tunesmith.train.ahead import ahead
from tunesmith.train.batches import MicroBatch, Step, TrainingData, cut, padded_tokens, plan_epoch
from tunesmith.train.tensors import to_batch


def made(rows: list[tuple[list[int], int]]) -> TrainingData:
    """Rows given as (token ids, number of prompt tokens)."""
    return TrainingData.from_examples(
        [
            TokenizedExample(f"r{i}", ids, [IGNORE_INDEX] * prompt + ids[prompt:], prompt)
            for i, (ids, prompt) in enumerate(rows)
        ]
    )


@st.composite
def datasets(draw: st.DrawFn) -> TrainingData:
    """Rows under a few instructions, some of which begin alike, so that prefixes nest."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    shared = draw(st.integers(0, 120))
    starts = [[1] * shared, [1] * shared + [2] * 90, [1] * shared + [2] * 90 + [3] * 70, []]
    rows = []
    for _ in range(draw(st.integers(1, 30))):
        start = starts[random.integers(len(starts))]
        own = random.integers(5, 9, random.integers(2, 40)).tolist()
        rows.append((start + own, len(start) + int(random.integers(0, len(own)))))
    return made(rows)


plans = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 9),
        "epoch": st.integers(0, 3),
        "batch_size": st.integers(1, 12),
        "max_batch_tokens": st.integers(16, 1500),
        "share_prefixes": st.booleans(),
    }
)


def same(a: list[Step], b: list[Step]) -> bool:
    def plain(step: Step) -> object:
        return (
            step.index,
            step.num_trained,
            step.rows.tolist(),
            [(m.rows.tolist(), m.prefix) for m in step.micro_batches],
        )

    return [plain(step) for step in a] == [plain(step) for step in b]


@settings(deadline=None, max_examples=60)
@given(datasets(), plans)
def test_every_example_is_in_one_micro_batch_of_one_step(data: TrainingData, plan: dict[str, int]) -> None:
    steps = list(plan_epoch(data, **plan))
    assert sorted(row for step in steps for micro in step.micro_batches for row in micro.rows) == list(range(len(data)))
    for step in steps:
        assert sorted(row for micro in step.micro_batches for row in micro.rows) == sorted(step.rows)
        assert step.num_trained == sum(data.num_trained[row] for row in step.rows)
        assert 1 <= len(step.rows) <= plan["batch_size"]


@settings(deadline=None, max_examples=60)
@given(datasets(), plans)
def test_the_budget_is_held_but_for_a_single_row(data: TrainingData, plan: dict[str, int]) -> None:
    for step in plan_epoch(data, **plan):
        for micro in step.micro_batches:
            assert padded_tokens(data, micro) <= plan["max_batch_tokens"] or len(micro.rows) == 1


@settings(deadline=None, max_examples=60)
@given(datasets(), plans)
def test_a_shared_prefix_is_the_same_tokens_none_of_them_trained(data: TrainingData, plan: dict[str, int]) -> None:
    for step in plan_epoch(data, **{**plan, "share_prefixes": True}):
        for micro in step.micro_batches:
            prefixes = {data.row(row)[: micro.prefix].tobytes() for row in micro.rows}
            assert len(prefixes) == 1
            assert micro.prefix < min(max(1, data.num_prompt_tokens[row]) for row in micro.rows)


@settings(deadline=None, max_examples=40)
@given(datasets(), plans, st.integers(0, 5))
def test_resuming_at_a_step_is_skipping_the_steps_before(data: TrainingData, plan: dict[str, int], first: int) -> None:
    steps = list(plan_epoch(data, **plan))
    assert same(list(plan_epoch(data, **plan, first_step=first)), steps[first:])
    assert same(list(plan_epoch(data, **plan)), steps)


@settings(deadline=None, max_examples=40)
@given(datasets(), plans, st.integers(2, 4))
def test_ranks_share_every_step_with_loads_at_most_one_row_apart(
    data: TrainingData, plan: dict[str, int], world: int
) -> None:
    by_rank = [list(plan_epoch(data, **plan, rank=rank, world_size=world)) for rank in range(world)]
    for parts in zip(*by_rank, strict=True):
        mine = [[row for micro in step.micro_batches for row in micro.rows] for step in parts]
        assert sorted(itertools.chain(*mine)) == sorted(parts[0].rows)
        assert len({step.num_trained for step in parts}) == 1
        loads = [sum(data.lengths[row] for row in rows) for rows in mine]
        assert max(loads) - min(loads) <= data.lengths[parts[0].rows].max()


@settings(deadline=None, max_examples=60)
@given(datasets(), plans)
def test_sharing_prefixes_never_costs_more_than_not_sharing(data: TrainingData, plan: dict[str, int]) -> None:
    def cost(micro_batches: tuple[MicroBatch, ...]) -> int:
        return sum(padded_tokens(data, m) + 64 * (2 if m.prefix else 1) for m in micro_batches)

    rows = np.arange(len(data))
    assert cost(cut(data, rows, 10**6, True, 64)) <= cost(cut(data, rows, 10**6, False, 64))


@settings(deadline=None, max_examples=60)
@given(datasets(), plans)
def test_batches_hold_each_trained_token_once_after_the_token_before_it(
    data: TrainingData, plan: dict[str, int]
) -> None:
    expected, found = [], []
    for row in range(len(data)):
        ids = data.row(row).tolist()
        expected += [(ids[at - 1], ids[at]) for at in range(max(1, data.num_prompt_tokens[row]), len(ids))]
    for step in plan_epoch(data, **plan):
        for micro in step.micro_batches:
            batch = to_batch(data, micro)
            inputs_N = batch.input_ids_BT.flatten()[batch.positions_N]
            found += list(zip(inputs_N.tolist(), batch.labels_N.tolist(), strict=True))
    assert sorted(found) == sorted(expected)


def test_a_batch_worked_out_by_hand() -> None:
    data = made([([7, 7, 7, 10, 11, 12], 4), ([7, 7, 7, 20, 21], 4)])
    batch = to_batch(data, MicroBatch(np.array([0, 1]), prefix=3))
    assert batch.prefix_P is not None
    assert batch.prefix_P.tolist() == [7, 7, 7]
    assert batch.input_ids_BT.tolist() == [[10, 11], [20, 0]]  # 12 and 21 are only labels, 0 is padding
    assert batch.positions_N.tolist() == [0, 1, 2]
    assert batch.labels_N.tolist() == [11, 12, 21]


def test_the_position_before_the_first_label_stays_out_of_the_prefix() -> None:
    data = made([([1] * 100 + [5], 100), ([1] * 100 + [6], 100)])
    (micro,) = cut(data, np.arange(2), 4096, share_prefixes=True)
    assert micro.prefix == 99


def test_a_prefix_is_shared_only_where_it_saves_more_than_a_pass() -> None:
    # Two rows of 60 common tokens save 60 by sharing, and the extra pass costs 64; with 70 common tokens it pays.
    short, long = (made([([1] * n + [5, 5], n + 1), ([1] * n + [6, 6], n + 1)]) for n in (60, 70))
    assert [micro.prefix for micro in cut(short, np.arange(2), 4096, True, pass_tokens=64)] == [0]
    assert [micro.prefix for micro in cut(long, np.arange(2), 4096, True, pass_tokens=64)] == [70]


def test_rows_of_two_instructions_are_grouped_by_instruction() -> None:
    rows = [([1] * 10 + [kind] * 200 + [9, number], 211) for number in range(4) for kind in (2, 3)]
    micro_batches = cut(made(rows), np.arange(8), 4096, share_prefixes=True)
    assert [(sorted(micro.rows.tolist()), micro.prefix) for micro in micro_batches] == [
        ([0, 2, 4, 6], 210),
        ([1, 3, 5, 7], 210),
    ]


def test_long_and_short_rows_are_cut_apart_where_padding_costs_more_than_a_pass() -> None:
    # Together: 64 + 4 * 400 = 1664. Apart: (64 + 2 * 400) + (64 + 2 * 10) = 948.
    data = made([([5] * 401, 3), ([6] * 11, 3), ([5] * 401, 3), ([6] * 11, 3)])
    micro_batches = cut(data, np.arange(4), 4096, share_prefixes=False, pass_tokens=64)
    assert [micro.rows.tolist() for micro in micro_batches] == [[0, 2], [1, 3]]


def test_a_row_without_a_trained_token_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="row r1: nothing to train: 3 tokens, 3 of the prompt"):
        made([([1, 2, 3], 2), ([1, 2, 3], 3)])


def test_labels_that_are_not_the_tokens_after_the_prompt_are_refused() -> None:
    with pytest.raises(DataError, match="row x: the labels are not the tokens after its 1 prompt tokens"):
        TrainingData.from_examples([TokenizedExample("x", [1, 2, 3], [IGNORE_INDEX, 2, IGNORE_INDEX], 1)])


def test_items_made_ahead_keep_their_order_and_errors_come_through() -> None:
    def items() -> Iterator[int]:
        yield from range(50)
        raise ValueError("broken")

    made_ahead = ahead(items(), 3)
    assert list(itertools.islice(made_ahead, 50)) == list(range(50))
    with pytest.raises(ValueError, match="broken"):
        next(made_ahead)
