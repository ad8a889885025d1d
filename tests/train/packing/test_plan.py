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
from tunesmith.train.packing import plan as plan_module
from tunesmith.train.packing.plan import (
    MicroBatch,
    Step,
    TrainingData,
    cut,
    cut_padded,
    forward_tokens,
    plan_epoch,
)
from tunesmith.train.packing.tensors import Block, to_packed, to_padded
from tunesmith.train.prefetch import prefetch


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
        "padded": st.booleans(),
    }
)


def same(a: list[Step], b: list[Step]) -> bool:
    def plain(step: Step) -> object:
        return (
            step.index,
            step.num_trained,
            step.rows.tolist(),
            [(m.rows.tolist(), m.shared.tolist()) for m in step.micro_batches],
        )

    return [plain(step) for step in a] == [plain(step) for step in b]


@settings(deadline=None, max_examples=60)
@given(datasets(), plans)
def test_every_example_is_in_one_micro_batch_of_one_step(
    data: TrainingData, plan: dict[str, int]
) -> None:
    steps = list(plan_epoch(data, **plan))
    assert sorted(
        row for step in steps for micro in step.micro_batches for row in micro.rows
    ) == list(range(len(data)))
    for step in steps:
        assert sorted(row for micro in step.micro_batches for row in micro.rows) == sorted(
            step.rows
        )
        assert step.num_trained == sum(data.num_trained[row] for row in step.rows)
        assert 1 <= len(step.rows) <= plan["batch_size"]


@settings(deadline=None, max_examples=60)
@given(datasets(), plans)
def test_the_budget_is_held_but_for_a_single_row(data: TrainingData, plan: dict[str, int]) -> None:
    for step in plan_epoch(data, **plan):
        for micro in step.micro_batches:
            tokens = forward_tokens(data, micro, bool(plan["padded"]))
            assert tokens <= plan["max_batch_tokens"] or len(micro.rows) == 1


@settings(deadline=None, max_examples=60)
@given(datasets(), plans)
def test_tokens_taken_over_are_those_of_the_row_before(
    data: TrainingData, plan: dict[str, int]
) -> None:
    for step in plan_epoch(data, **{**plan, "share_prefixes": True, "padded": False}):
        for micro in step.micro_batches:
            assert micro.shared[0] == 0
            for before, row, n in zip(micro.rows, micro.rows[1:], micro.shared[1:], strict=False):
                assert data.row(row)[:-1][:n].tolist() == data.row(before)[:-1][:n].tolist()
                assert n == 0 or (n >= 8 and n <= min(data.lengths[row], data.lengths[before]) - 1)


@settings(deadline=None, max_examples=40)
@given(datasets(), plans, st.integers(0, 5))
def test_resuming_at_a_step_is_skipping_the_steps_before(
    data: TrainingData, plan: dict[str, int], first: int
) -> None:
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
@given(datasets())
def test_sharing_computes_each_distinct_beginning_once(data: TrainingData) -> None:
    """With nothing too short to be shared, the tokens of one micro-batch are the nodes of the trie
    of its rows.
    """
    rows = np.arange(len(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "MIN_SHARED", 1)
        found = cut(data, rows, 10**9, share_prefixes=True)
    prefixes = {
        tuple(data.row(row)[:n].tolist()) for row in rows for n in range(1, data.lengths[row])
    }
    assert sum(forward_tokens(data, micro, padded=False) for micro in found) == len(prefixes)


@settings(deadline=None, max_examples=60)
@given(datasets(), plans)
def test_batches_hold_each_trained_token_once_after_the_tokens_before_it(
    data: TrainingData, plan: dict[str, int]
) -> None:
    expected, found = [], []
    for row in range(len(data)):
        ids = data.row(row).tolist()
        expected += [
            (ids[at - 1], ids[at]) for at in range(max(1, data.num_prompt_tokens[row]), len(ids))
        ]
    for step in plan_epoch(data, **plan):
        for micro in step.micro_batches:
            if plan["padded"]:
                padded = to_padded(data, micro)
                inputs_N, labels_N = (
                    padded.input_ids_BT.flatten()[padded.positions_N],
                    padded.labels_N,
                )
            else:
                packed = to_packed(data, micro)
                inputs_N, labels_N = packed.input_ids_U[packed.positions_N], packed.labels_N
            found += list(zip(inputs_N.tolist(), labels_N.tolist(), strict=True))
    assert sorted(found) == sorted(expected)


@settings(deadline=None, max_examples=60)
@given(datasets(), plans)
def test_a_packed_rows_path_spells_its_input_and_every_computed_token_is_asked_about_once(
    data: TrainingData, plan: dict[str, int]
) -> None:
    for step in plan_epoch(data, **{**plan, "padded": False}):
        for micro in step.micro_batches:
            batch = to_packed(data, micro)
            spelled, asked = [], []
            for bucket in batch.buckets:
                own = np.zeros(bucket.own_bQ.numel(), dtype=bool)
                own[bucket.own_O] = True
                asked += bucket.own_bQ.flatten()[own].tolist()
                for queries, path, depths in zip(
                    bucket.own_bQ, bucket.path_bK, bucket.depth_bQ, strict=True
                ):
                    assert (
                        path[depths].tolist() == queries.tolist()
                    )  # a query stands at its depth of its own path
                    spelled.append(batch.input_ids_U[path[: depths[-1] + 1]].tolist())
                    assert batch.depth_U[path[: depths[-1] + 1]].tolist() == list(
                        range(int(depths[-1]) + 1)
                    )
            assert sorted(asked) == list(range(len(batch.input_ids_U)))
            rows = [
                data.row(row)[:-1].tolist() for row, n in zip(micro.rows, micro.shared, strict=True)
            ]
            whole = [row for row, n in zip(rows, micro.shared, strict=True) if len(row) > n]
            assert sorted(spelled) == sorted(whole)


@settings(deadline=None, max_examples=60)
@given(datasets(), plans)
def test_blocks_and_buckets_say_the_same_of_who_sees_whom(
    data: TrainingData, plan: dict[str, int]
) -> None:
    for step in plan_epoch(data, **{**plan, "padded": False}):
        for micro in step.micro_batches:
            batch = to_packed(data, micro)
            by_blocks, by_buckets = np.zeros(
                (2, len(batch.input_ids_U), len(batch.input_ids_U)), dtype=bool
            )
            for block in batch.blocks:
                by_blocks[block.start : block.end, block.keys] = True
            by_blocks &= np.tri(len(by_blocks), dtype=bool)
            for bucket in batch.buckets:
                for queries, path, depths in zip(
                    bucket.own_bQ, bucket.path_bK, bucket.depth_bQ, strict=True
                ):
                    for query, depth in zip(queries, depths, strict=True):
                        by_buckets[query, path[: depth + 1]] = True
            assert (by_blocks == by_buckets).all()


def test_a_packed_batch_worked_out_by_hand() -> None:
    data = made([([7, 8, 9, 10, 11, 12], 4), ([7, 8, 9, 20, 21], 4)])
    batch = to_packed(data, MicroBatch(np.array([0, 1]), np.array([0, 3])))
    assert batch.input_ids_U.tolist() == [7, 8, 9, 10, 11, 20]  # 12 and 21 are only labels
    assert batch.depth_U.tolist() == [0, 1, 2, 3, 4, 3]
    assert batch.positions_N.tolist() == [3, 4, 5]
    assert batch.labels_N.tolist() == [11, 12, 21]
    assert batch.blocks == (Block(0, 3, 6), Block(3, 5, 5), Block(5, 6, 6))
    short, long = batch.buckets
    assert (short.own_bQ.tolist(), short.path_bK.tolist(), short.depth_bQ.tolist()) == (
        [[5]],
        [[0, 1, 2, 5]],
        [[3]],
    )
    assert (long.own_bQ.tolist(), long.path_bK.tolist(), long.shares) == (
        [[0, 1, 2, 3, 4]],
        [[0, 1, 2, 3, 4]],
        False,
    )
    assert batch.order_U.tolist() == [1, 2, 3, 4, 5, 0]


def test_a_padded_batch_worked_out_by_hand() -> None:
    data = made([([7, 10, 11, 12], 2), ([7, 20, 21], 2)])
    batch = to_padded(data, MicroBatch(np.array([0, 1]), np.array([0, 0])))
    assert batch.input_ids_BT.tolist() == [[7, 10, 11], [7, 20, 0]]
    assert batch.positions_N.tolist() == [1, 2, 4]
    assert batch.labels_N.tolist() == [11, 12, 21]


def test_two_answers_to_one_prompt_are_read_from_the_same_position() -> None:
    data = made([([5] * 20 + [6], 20), ([5] * 20 + [7], 20)])
    (micro,) = cut(data, np.arange(2), 4096, share_prefixes=True)
    batch = to_packed(data, micro)
    assert len(batch.input_ids_U) == 20
    assert (batch.positions_N.tolist(), batch.labels_N.tolist()) == ([19, 19], [6, 7])


def test_seven_common_tokens_are_computed_for_each_row_and_eight_are_not() -> None:
    for n, expected in ((7, [0, 0]), (8, [0, 8])):
        data = made([([1] * n + [5, 5], n + 1), ([1] * n + [6, 6], n + 1)])
        (micro,) = cut(data, np.arange(2), 4096, share_prefixes=True)
        assert micro.shared.tolist() == expected


def test_rows_that_share_nothing_are_cut_evenly_at_a_quarter_of_the_budget() -> None:
    data = made(
        [([5, row] * 50 + [9], 3) for row in range(10)]
    )  # 10 rows of 100 input tokens, a quarter holds 9
    micro_batches = cut(data, np.arange(10), 3600, share_prefixes=False)
    assert [len(micro.rows) for micro in micro_batches] == [5, 5]


def test_rows_that_share_more_than_they_add_fill_the_whole_budget() -> None:
    data = made(
        [([5] * 80 + [row] * 20 + [9], 3) for row in range(10)]
    )  # 100 + 9 * 20 tokens together
    assert [len(micro.rows) for micro in cut(data, np.arange(10), 280, share_prefixes=True)] == [10]
    assert [len(micro.rows) for micro in cut(data, np.arange(10), 279, share_prefixes=True)] == [
        9,
        1,
    ]


def test_padded_rows_less_than_half_as_long_as_the_longest_go_apart() -> None:
    data = made([([5] * 41, 3), ([6] * 11, 3), ([5] * 21, 3), ([6] * 11, 3)])
    assert [micro.rows.tolist() for micro in cut_padded(data, np.arange(4), 4096)] == [
        [0, 2],
        [1, 3],
    ]


def test_a_row_without_a_trained_token_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="row r1: nothing to train: 3 tokens, 3 of the prompt"):
        made([([1, 2, 3], 2), ([1, 2, 3], 3)])


def test_labels_that_are_not_the_tokens_after_the_prompt_are_refused() -> None:
    with pytest.raises(
        DataError, match="row x: the labels are not the tokens after its 1 prompt tokens"
    ):
        TrainingData.from_examples(
            [TokenizedExample("x", [1, 2, 3], [IGNORE_INDEX, 2, IGNORE_INDEX], 1)]
        )


def test_items_made_ahead_keep_their_order_and_errors_come_through() -> None:
    def items() -> Iterator[int]:
        yield from range(50)
        raise ValueError("broken")

    made_ahead = prefetch(items(), 3)
    assert list(itertools.islice(made_ahead, 50)) == list(range(50))
    with pytest.raises(ValueError, match="broken"):
        next(made_ahead)
