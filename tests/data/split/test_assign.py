"""Splits: each row once, units never on two sides, fractions kept where units allow, every small
case defined.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from tunesmith.data.columns import Coded
from tunesmith.data.split.assign import SplitKeys, TimeColumn, assign_splits
from tunesmith.errors import DataError, RecipeError
from tunesmith.recipe import SplitConfig

MODES = ("random", "stratified", "grouped", "stratified_grouped", "time", "hash")
DEFAULT = SplitConfig()


def keys(n: int, inputs: list[int] | None = None, **columns: Any) -> SplitKeys:
    hashes = np.array(inputs if inputs is not None else range(n), dtype=np.uint64)
    return SplitKeys([f"r{i}" for i in range(n)], hashes, **columns)


def counts(splits: np.ndarray) -> list[int]:
    return np.bincount(splits, minlength=3).tolist()


@st.composite
def tables(draw: st.DrawFn) -> tuple[SplitKeys, np.ndarray]:
    n = draw(st.integers(12, 60))
    column = lambda high: draw(st.lists(st.integers(0, high), min_size=n, max_size=n))  # noqa: E731
    table = keys(
        n + 3,  # the last three rows stand alone, so that a split always exists
        inputs=[*column(50), 101, 102, 103],
        strata=[*(f"class {i}" for i in column(3)), "class 0", "class 0", "class 1"],
        groups=[*(f"group {i}" if i else None for i in column(20)), "a", "b", "c"],
        times=[*(2000 + i if i else None for i in column(25)), 2026, 2027, 2028],
    )
    return table, np.array(
        [100 + i if i < 3 else row for row, i in enumerate([*column(12), 9, 9, 9])]
    )


def sides(splits: np.ndarray, values: list[Any]) -> dict[Any, set[int]]:
    found: dict[Any, set[int]] = {}
    for split, value in zip(splits.tolist(), values, strict=True):
        found.setdefault(value, set()).add(split)
    return {value: where for value, where in found.items() if value is not None}


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=40)
@given(table=tables(), seed=st.integers(0, 5))
def test_units_are_never_on_two_sides_and_the_same_call_gives_the_same_split(
    mode: Any, table: tuple[SplitKeys, np.ndarray], seed: int
) -> None:
    rows, clusters = table
    config = SplitConfig(mode=mode, seed=seed)
    splits, _ = assign_splits(rows, config, clusters)
    assert splits.dtype == np.uint8
    assert len(splits) == len(rows.ids)
    assert set(splits.tolist()) <= {0, 1, 2}
    assert np.array_equal(splits, assign_splits(rows, config, clusters)[0])
    for values in (rows.input_hashes.tolist(), clusters.tolist()):
        assert all(len(where) == 1 for where in sides(splits, values).values())
    if mode in ("grouped", "stratified_grouped", "time", "hash"):
        assert all(len(where) == 1 for where in sides(splits, list(rows.groups or [])).values())


@settings(deadline=None, max_examples=40)
@given(table=tables(), seed=st.integers(0, 5), data=st.data())
def test_a_given_split_is_kept_row_by_row_and_what_is_missing_is_drawn_in_units(
    table: tuple[SplitKeys, np.ndarray], seed: int, data: st.DataObject
) -> None:
    rows, clusters = table
    names = data.draw(
        st.lists(st.sampled_from(["train", "validation", "test"]), min_size=3, max_size=3), "names"
    )
    given = [names[i % 3] for i in range(len(rows.ids) - 3)] + ["train"] * 3
    rows = replace(rows, column=given)
    splits, _ = assign_splits(rows, SplitConfig(mode="column", seed=seed), clusters)
    asked = [("train", "validation", "test").index(name) for name in given]
    of_train = [i for i, split in enumerate(asked) if split == 0]
    assert [splits[i] for i in range(len(asked)) if asked[i]] == [split for split in asked if split]
    assert {int(splits[i]) for i in of_train} <= {
        0,
        *({1, 2} - set(asked)),
    }  # drawn are only the splits not given
    own = splits[of_train]
    for values in (rows.input_hashes[of_train].tolist(), clusters[of_train].tolist()):
        assert all(len(where) == 1 for where in sides(own, values).values())


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(2, 40), min_size=1, max_size=8),
    test=st.sampled_from([0.1, 0.2, 0.25, 0.37]),
    validation=st.sampled_from([0.0, 0.1, 0.2]),
)
def test_stratified_shares_are_kept_within_one_row(
    sizes: list[int], test: float, validation: float
) -> None:
    strata = [f"c{c}" for c, size in enumerate(sizes) for _ in range(size)]
    fractions = (1 - test - validation, validation, test)
    config = SplitConfig(mode="stratified", train=fractions[0], validation=validation, test=test)
    splits, notes = assign_splits(keys(len(strata), strata=strata), config)
    if any("is empty" in note for note in notes) or len(strata) < 10:
        return
    for c, size in enumerate(sizes):
        table = counts(splits[np.array(strata) == f"c{c}"])
        # a row more where a split would have been empty
        assert all(abs(found - size * f) < 2 for found, f in zip(table, fractions, strict=True)), (
            table,
            size,
        )
    assert all(
        abs(found - len(strata) * f) < 2 for found, f in zip(counts(splits), fractions, strict=True)
    )


def test_stratified_shares_are_kept_within_one_row_though_inputs_repeat() -> None:
    # 100 of class a: 20 inputs twice and 60 once; 50 of class b: 5 inputs three times and 35 once
    inputs = (
        [i // 2 for i in range(40)]
        + list(range(100, 160))
        + [200 + i // 3 for i in range(15)]
        + list(range(300, 335))
    )
    strata = ["a"] * 100 + ["b"] * 50
    for seed in range(10):
        splits, notes = assign_splits(keys(150, inputs, strata=strata), SplitConfig(seed=seed))
        assert counts(splits[:100]) == [80, 10, 10]
        assert counts(splits[100:]) == [40, 5, 5]
        assert notes == []


def test_class_counts_agree_with_scikit_learn_within_one_row() -> None:
    strata = ["a"] * 57 + ["b"] * 31 + ["c"] * 12
    config = SplitConfig(mode="stratified", train=0.7, validation=0, test=0.3)
    splits, _ = assign_splits(keys(100, strata=strata), config)
    theirs = next(StratifiedShuffleSplit(1, test_size=0.3, random_state=0).split(strata, strata))[1]
    ours, expected = Counter(np.array(strata)[splits == 2]), Counter(np.array(strata)[theirs])
    assert sum(ours.values()) == sum(expected.values()) == 30
    assert all(abs(ours[name] - expected[name]) <= 1 for name in "abc")


def test_a_thousand_classes_of_three_rows_still_have_a_test_set_of_its_size() -> None:
    strata = [f"c{i // 3}" for i in range(3000)]
    splits, _ = assign_splits(keys(3000, strata=strata), DEFAULT)
    assert all(
        abs(found - wanted) <= 2
        for found, wanted in zip(counts(splits), [2400, 300, 300], strict=True)
    )


@pytest.mark.parametrize(
    "mode", ["random", "stratified", "grouped", "stratified_grouped", "time", "hash"]
)
def test_fractions_are_kept(mode: Any) -> None:
    rng = np.random.default_rng(0)
    n = 4000
    rows = keys(
        n,
        inputs=rng.integers(0, 3500, n).tolist(),
        strata=[f"c{c}" for c in rng.integers(0, 5, n)],
        groups=[f"g{g}" for g in rng.integers(0, 1500, n)],
        times=rng.integers(0, 10**6, n).tolist(),
    )
    if mode in (
        "grouped",
        "stratified_grouped",
        "time",
        "hash",
    ):  # repeated inputs would chain the groups together
        rows = keys(n, strata=rows.strata, groups=rows.groups, times=rows.times)
    config = SplitConfig(mode=mode, train=0.7, validation=0.1, test=0.2)
    splits, notes = assign_splits(rows, config)
    tolerance = (
        120 if mode in ("hash", "time") else 2
    )  # hash: binomial over groups; time: a group is at its newest row
    assert np.abs(np.array(counts(splits)) - [2800, 400, 800]).max() <= tolerance
    if mode == "stratified_grouped":
        for c in set(rows.strata or []):
            of_class = splits[np.array(rows.strata) == c]
            assert np.abs(np.array(counts(of_class)) / len(of_class) - [0.7, 0.1, 0.2]).max() < 0.01
    assert not [note for note in notes if "fractions" in note]


def test_large_units_are_not_always_training_data() -> None:
    groups = [f"g{i // 10}" for i in range(1000)] + [f"s{i}" for i in range(1000)]
    splits, _ = assign_splits(
        keys(2000, groups=groups), SplitConfig(train=0.5, validation=0.2, test=0.3)
    )
    assert counts(splits) == [1000, 400, 600]
    assert 150 < (splits[:1000] == 2).sum() < 450


def test_auto_picks_the_mode_from_the_keys_there_are() -> None:
    strata, groups = ["a", "b"] * 10, [f"g{i // 2}" for i in range(20)]
    for columns, mode in [
        ({}, "random"),
        ({"strata": strata}, "stratified"),
        ({"groups": groups}, "grouped"),
        ({"strata": strata, "groups": groups}, "stratified_grouped"),
        ({"times": list(range(20)), "groups": groups}, "time"),
        ({"column": ["train", "test", "dev", "train"] * 5, "times": list(range(20))}, "column"),
    ]:
        rows = keys(20, **columns)
        picked, named = (
            assign_splits(rows, DEFAULT)[0],
            assign_splits(rows, SplitConfig(mode=mode))[0],
        )
        assert np.array_equal(picked, named), mode


def test_a_key_the_mode_does_not_read_is_noted() -> None:
    rows = keys(20, groups=["a", "b"] * 10)
    _, notes = assign_splits(rows, SplitConfig(mode="random", group="patient"))
    assert notes == ["data.split.group is not used by mode random"]


def test_a_mode_without_its_key_is_an_error() -> None:
    with pytest.raises(RecipeError, match=r"data\.split\.mode=grouped needs data\.split\.group"):
        assign_splits(keys(5), SplitConfig(mode="grouped"))


def test_fractions_that_do_not_add_up_are_an_error_that_names_the_sum() -> None:
    with pytest.raises(RecipeError) as error:
        assign_splits(keys(5), SplitConfig(train=0.8, validation=0.1, test=0.2))
    assert error.value.message == "data.split: train 0.8 + validation 0.1 + test 0.2 = 1.1, not 1"


@pytest.mark.parametrize(
    ("n", "expected", "note"),
    [
        (2, [1, 0, 1], "validation is empty: too few rows or groups"),
        (3, [1, 1, 1], "train 33.3% for 80.0%, validation 33.3% for 10.0%, test 33.3% for 10.0%"),
        (4, [2, 1, 1], "train 50.0% for 80.0%, validation 25.0% for 10.0%, test 25.0% for 10.0%"),
        (10, [8, 1, 1], ""),
    ],
)
def test_few_rows_fill_train_then_test_then_validation(
    n: int, expected: list[int], note: str
) -> None:
    splits, notes = assign_splits(keys(n), DEFAULT)
    assert counts(splits) == expected
    assert note in " ".join(notes)
    assert bool(notes) == bool(note)


def test_no_row_and_one_row_cannot_be_split() -> None:
    with pytest.raises(DataError, match="there are no rows to split"):
        assign_splits(keys(0), DEFAULT)
    with pytest.raises(
        DataError, match="there is one row: nothing to divide into train, validation, test"
    ):
        assign_splits(keys(1), DEFAULT)
    assert counts(assign_splits(keys(1), SplitConfig(train=1, validation=0, test=0))[0]) == [
        1,
        0,
        0,
    ]


def test_rows_of_a_single_input_cannot_be_split() -> None:
    with pytest.raises(DataError, match="all 7 rows are one group or input"):
        assign_splits(keys(7, inputs=[4] * 7), DEFAULT)


def test_one_giant_group_goes_to_train_and_the_note_gives_the_shares() -> None:
    groups = ["giant"] * 95 + ["a", "b", "c", "d", "e"]
    splits, notes = assign_splits(keys(100, groups=groups), DEFAULT)
    assert counts(splits[:95]) == [95, 0, 0]
    assert counts(splits)[1] >= 2
    assert counts(splits)[2] >= 2
    assert (
        "rows that stay together, or too few of them, change the fractions: train 95.0% for 80.0%"
        in notes[0]
    )


def test_a_class_of_one_row_is_in_train_only_and_one_of_two_is_in_train_at_least_once() -> None:
    for seed in range(20):
        strata = ["a"] * 40 + ["b"] * 2 + ["c"]
        splits, notes = assign_splits(keys(43, strata=strata), SplitConfig(seed=seed))
        assert splits[42] == 0
        assert (splits[40:42] == 0).any()
        assert "1 of 3 classes have a single row or group: they are in train only" in notes


def test_strata_that_are_no_classes_are_drawn_at_random() -> None:
    splits, notes = assign_splits(keys(100, strata=[f"text {i}" for i in range(100)]), DEFAULT)
    assert counts(splits) == [80, 10, 10]
    assert notes[0] == (
        "100 of 100 classes have a single row or group: "
        "they are divided at random and not stratified"
    )


def test_more_classes_than_test_rows_is_noted() -> None:
    strata = [f"c{i % 10}" for i in range(40)]
    splits, notes = assign_splits(keys(40, strata=strata), DEFAULT)
    assert counts(splits) == [32, 4, 4]
    assert "test (4 rows) lacks 6 of the 10 classes" in notes


def test_a_repeated_id_is_an_error_that_names_both_rows() -> None:
    rows = SplitKeys(["a", "b", "a"], np.arange(3, dtype=np.uint64))
    with pytest.raises(DataError) as error:
        assign_splits(rows, DEFAULT)
    assert error.value.message == "the id 'a' stands twice: rows 1 and 3"


def test_rows_without_a_group_are_groups_of_their_own() -> None:
    splits, notes = assign_splits(
        keys(20, groups=[None, ""] * 5 + [f"g{i}" for i in range(10)]), DEFAULT
    )
    assert counts(splits) == [16, 2, 2]
    assert notes == ["10 rows have no group: each is its own group"]


def test_time_puts_the_oldest_in_train_and_never_cuts_through_equal_times() -> None:
    times = [f"2024-01-{day:02d}" for day in (1, 1, 1, 1, 2, 2, 3, 3, 4, 5)]
    splits, _ = assign_splits(
        keys(10, times=times), SplitConfig(train=0.45, validation=0.3, test=0.25)
    )
    assert splits.tolist() == [
        0,
        0,
        0,
        0,
        1,
        1,
        1,
        1,
        2,
        2,
    ]  # the cuts 4.5 and 7.5 at the nearest change of day


def test_time_reads_dates_zones_and_numbers() -> None:
    order = [
        "2024-01-01",
        date(2024, 1, 2),
        datetime(2024, 1, 3),
        "2024-01-04T00:00:00Z",
        "2024-01-05T00:00:00+02:00",
    ]
    order.append(datetime(2024, 1, 5, tzinfo=UTC))
    config = SplitConfig(train=0.5, validation=0, test=0.5)
    assert assign_splits(keys(6, times=order), config)[0].tolist() == [0, 0, 0, 2, 2, 2]
    assert assign_splits(keys(4, times=["10", "9", 8.5, 7]), config)[0].tolist() == [2, 2, 0, 0]


def test_rows_without_a_time_are_the_oldest() -> None:
    splits, notes = assign_splits(
        keys(10, times=[9, 8, 7, 6, 5, 4, 3, None, "", float("nan")]), DEFAULT
    )
    assert splits.tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert notes == ["3 rows have no time: they count as the oldest"]


def test_an_input_that_comes_again_is_as_new_as_its_newest_row() -> None:
    splits, notes = assign_splits(
        keys(10, inputs=[0, 1, 2, 3, 4, 5, 6, 7, 8, 0], times=list(range(10))), DEFAULT
    )
    assert splits[0] == splits[9] == 2
    assert notes == [
        "1 rows are in a later split than their time says: their input or group comes again in it"
    ]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (
            ["31.05.2024", "2024-05-30"],
            "row r0: '31.05.2024' in data.split.time is neither a number nor an ISO date",
        ),
        (
            [3, "2024-05-30"],
            "data.split.time mixes numbers and dates: row r0: 3, row r1: '2024-05-30'",
        ),
        ([5, 5, None, 5], "the rows have 2 different times, fewer than the 3 splits"),
    ],
)
def test_times_that_give_no_order_are_an_error(times: list[Any], message: str) -> None:
    with pytest.raises(DataError) as error:
        assign_splits(keys(len(times), times=times), DEFAULT)
    assert error.value.message == message


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 10**6), min_size=2, max_size=50, unique=True),
    st.randoms(use_true_random=False),
)
def test_hash_splits_stay_when_rows_are_added_and_reordered(values: list[int], random: Any) -> None:
    config = SplitConfig(mode="hash")
    few = keys(len(values), inputs=values)
    before = dict(zip(values, assign_splits(few, config)[0].tolist(), strict=True))
    more = values + [10**6 + 1 + i for i in range(20)]
    random.shuffle(more)
    after = dict(
        zip(more, assign_splits(keys(len(more), inputs=more), config)[0].tolist(), strict=True)
    )
    assert before.items() <= after.items()


def test_hash_splits_depend_on_the_seed_and_on_the_group_where_there_is_one() -> None:
    rows = keys(200)
    assert not np.array_equal(
        *(assign_splits(rows, SplitConfig(mode="hash", seed=seed))[0] for seed in (0, 1))
    )
    groups = [f"g{i // 2}" for i in range(200)]
    config = SplitConfig(mode="hash")
    one = assign_splits(keys(200, groups=groups), config)[0]
    other = assign_splits(keys(200, inputs=list(range(900, 1100)), groups=groups), config)[0]
    assert np.array_equal(one, other)
    assert counts(
        assign_splits(rows, SplitConfig(mode="hash", train=0, validation=0, test=1))[0]
    ) == [0, 0, 200]


def test_a_given_split_is_left_as_it_is_and_what_it_shares_is_counted() -> None:
    names = ["train", "Test", "validation", "train ", "dev", "testing"]
    splits, notes = assign_splits(keys(6, inputs=[1, 1, 2, 3, 3, 4], column=names), DEFAULT)
    assert splits.tolist() == [0, 2, 1, 0, 1, 2]
    assert notes == [
        "2 inputs or groups (the same, or nearly) are in more than one of the given splits"
    ]


def test_a_split_that_is_asked_for_and_not_given_is_drawn_from_train() -> None:
    names = ["train"] * 90 + ["test"] * 30
    splits, notes = assign_splits(keys(120, column=names, strata=["a", "b"] * 60), DEFAULT)
    assert counts(splits) == [80, 10, 30]
    assert counts(splits[90:]) == [0, 0, 30]
    assert Counter(np.array(["a", "b"] * 60)[splits == 1]) == {"a": 5, "b": 5}
    assert notes == ["no row is given as validation: 10 were drawn from train"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train", "tset"], "row r1: 'tset' in data.split.column is no split"),
        (["train", None], "row r1: None in data.split.column is no split"),
        (["test", "test"], "data.split.column names no train row"),
    ],
)
def test_a_given_split_that_cannot_be_read_is_an_error(names: list[Any], message: str) -> None:
    with pytest.raises(DataError) as error:
        assign_splits(keys(2, column=names), DEFAULT)
    assert error.value.message == message


@settings(deadline=None, max_examples=40)
@given(table=tables(), seed=st.integers(0, 5), mode=st.sampled_from(MODES))
def test_coded_columns_give_the_same_split_as_lists(
    table: tuple[SplitKeys, np.ndarray], seed: int, mode: Any
) -> None:
    rows, clusters = table
    times = TimeColumn()
    for value in rows.times or []:
        times.append(value, "row")
    coded = replace(
        rows,
        strata=Coded.of(rows.strata or []),
        groups=Coded.of(rows.groups or []),
        times=times.seconds(),
    )
    config = SplitConfig(mode=mode, seed=seed)
    one, other = (assign_splits(keys, config, clusters) for keys in (rows, coded))
    assert one[0].tolist() == other[0].tolist()
    assert one[1] == other[1]


@pytest.mark.parametrize("text", ["nan", "inf", "1_000", True])
def test_what_only_python_takes_for_a_number_is_no_time(text: object) -> None:
    with pytest.raises(DataError, match="is neither a number nor an ISO date"):
        TimeColumn().append(text, "row r0")
