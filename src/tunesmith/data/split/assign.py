"""Which rows are train, validation and test.

Whatever the mode, identical inputs, near-duplicates and (where asked for) groups are one unit, and
a unit is never on two sides. Only a split that the user gave is left as it is, and the units that
are on two sides of it are counted.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tunesmith.data.columns import Coded
from tunesmith.data.dedup.exact import first_with_same, hash64
from tunesmith.data.sources import cells
from tunesmith.data.split.stratified import (
    NUM_SPLITS,
    TRAIN,
    Floats,
    Ints,
    Splits,
    check_divisible,
    draw,
)
from tunesmith.errors import DataError, RecipeError, did_you_mean
from tunesmith.recipe import SplitConfig
from tunesmith.records import SPLITS

# the keys (fields of data.split) that each mode reads; the first are needed, those after "|" are
# used when given
KEYS_OF_MODE = {
    "random": "",
    "stratified": "stratify",
    "grouped": "group",
    "stratified_grouped": "stratify group",
    "time": "time | group",
    "column": "column | stratify group",
    "hash": "| group",
}
NAMES_OF_SPLIT = {
    **dict.fromkeys(["train", "training"], 0),
    **dict.fromkeys(["validation", "valid", "val", "dev", "development", "eval"], 1),
    **dict.fromkeys(["test", "testing"], 2),
}


@dataclass(frozen=True)
class SplitKeys:
    """What the split of a row can depend on, one entry a row; None where the recipe asks for no
    such key.

    `input_hashes` are exact.hash_of_normalised of the rows' inputs. A missing group or time is None
    or "". Columns may be Coded, and times seconds as TimeColumn makes them; both take less memory.
    """

    ids: Sequence[str]
    input_hashes: NDArray[np.uint64]
    strata: Sequence[str] | None = None
    groups: Sequence[str | None] | None = None
    times: Sequence[Any] | Floats | None = None
    column: Sequence[str | None] | None = None


def assign_splits(
    keys: SplitKeys, config: SplitConfig, clusters: Ints | None = None
) -> tuple[Splits, list[str]]:
    """The split of each row as an index into records.SPLITS, and notes on what could not be
    honoured.

    `clusters` are near-duplicate cluster numbers, one a row. The same keys and config give the same
    splits; with mode hash a row's split depends on its own group or input and the seed only, and on
    its cluster where it has one. Raises RecipeError for fractions that do not add up or a missing
    key, DataError where no such split exists.
    """
    fractions = _fractions(config)
    mode, notes = _mode(keys, config)
    _check_ids(keys.ids)
    groups = (
        Coded.of(keys.groups)
        if keys.groups is not None and "group" in KEYS_OF_MODE[mode].split()
        else None
    )
    if groups is not None and (missing := int(groups.is_missing().sum())):
        notes.append(f"{missing:,} rows have no group: each is its own group")
    units = _units(keys.input_hashes, clusters, groups)
    strata = (
        Coded.of(keys.strata).codes
        if keys.strata is not None and "stratify" in KEYS_OF_MODE[mode].split()
        else None
    )
    if mode == "hash":
        splits = _by_hash(
            keys.input_hashes if groups is None else _group_hashes(groups, keys.input_hashes),
            units,
            fractions,
            config.seed,
        )
    elif mode == "time":
        splits, more = _by_time(_seconds(keys), units, fractions)
        notes += more
    elif mode == "column":
        splits, more = _by_column(keys, units, strata, fractions, config.seed)
        return splits, notes + more
    else:
        splits, more = draw(units, strata, fractions, config.seed)
        notes += more
    return splits, notes + _size_notes(splits, fractions) + _strata_notes(
        splits, keys.strata, strata, fractions
    )


def _fractions(config: SplitConfig) -> Floats:
    fractions = np.array([config.train, config.validation, config.test])
    if abs(fractions.sum() - 1) > 1e-6:
        parts = f"train {config.train:g} + validation {config.validation:g} + test {config.test:g}"
        raise RecipeError(
            f"data.split: {parts} = {fractions.sum():.4g}, not 1",
            hint="change one so that they add to 1",
        )
    return np.asarray(fractions / fractions.sum())


def _mode(keys: SplitKeys, config: SplitConfig) -> tuple[str, list[str]]:
    """The mode, picked from the keys that are there when it is `auto`, and notes on keys that it
    does not read.
    """
    given = {
        "stratify": keys.strata,
        "group": keys.groups,
        "time": keys.times,
        "column": keys.column,
    }
    there = [name for name, values in given.items() if values is not None]
    mode: str = config.mode
    if mode == "auto":
        by_name = {"stratify": "stratified", "group": "grouped"}
        drawn = "_".join(by_name[name] for name in there if name in by_name) or "random"
        mode = "column" if "column" in there else "time" if "time" in there else drawn
    needed = KEYS_OF_MODE[mode].partition("|")[0].split()
    for name in needed:
        if name not in there:
            raise RecipeError(
                f"data.split.mode={mode} needs data.split.{name}",
                hint=f"set data.split.{name}=COLUMN",
            )
    unused = [
        name
        for name in there
        if name not in KEYS_OF_MODE[mode].split() and getattr(config, name) is not None
    ]
    return mode, [f"data.split.{name} is not used by mode {mode}" for name in unused]


def _check_ids(ids: Sequence[str]) -> None:
    if not len(ids):
        raise DataError(
            "there are no rows to split", hint="is the source empty, or was every row rejected?"
        )
    hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
    hashes.sort()
    # all ids as a set of texts would be 100 bytes a row; equal hashes are rare enough to look again
    if (hashes[1:] != hashes[:-1]).all():
        return
    first: dict[str, int] = {}
    for number, row_id in enumerate(ids, start=1):
        if row_id in first:
            raise DataError(
                f"the id {row_id!r} stands twice: rows {first[row_id]} and {number}",
                hint="leave data.id out; if its column names what belongs together, "
                "set data.split.group to it",
            )
        first[row_id] = number


def _units(input_hashes: NDArray[np.uint64], clusters: Ints | None, groups: Coded | None) -> Ints:
    """The number (from 0 on) of the set of rows that each row has to stay with.

    Rows are connected by equal inputs, clusters or groups, also by way of other rows: a and b may
    share an input, b and c a group. So the sets are the connected components of a graph, in which
    each row has an edge to the first row with the same key. Rows without an edge, which are most,
    are left out of it.
    """
    rows, firsts = _repeats(input_hashes)
    if clusters is not None:
        rows, firsts = _more(rows, firsts, _repeats(clusters))
    if groups is not None:
        rows, firsts = _more(rows, firsts, _repeats(groups.codes, ~groups.is_missing()))
    leader = np.arange(len(input_hashes), dtype=np.int32)
    if len(rows):
        together, ends = np.unique(np.concatenate([rows, firsts]), return_inverse=True)
        edges = ends[: len(rows)], ends[len(rows) :]
        graph = coo_array(
            (np.ones(len(rows), dtype=np.int8), edges), shape=(len(together), len(together))
        )
        part = connected_components(graph, directed=False)[1]
        # named after its first row, so that the numbers do not depend on scipy's order
        leader[together] = together[first_with_same(part)]
    is_leader = leader == np.arange(len(leader), dtype=np.int32)
    return np.asarray((np.cumsum(is_leader, dtype=np.int32) - 1)[leader])


def _repeats(
    keys: NDArray[np.generic], counted: NDArray[np.bool_] | None = None
) -> tuple[Ints, Ints]:
    """Rows (of those that count) whose key an earlier row has too, and the first row with it."""
    first = first_with_same(keys)
    again = first != np.arange(len(first), dtype=np.int32)
    rows = np.flatnonzero(again if counted is None else again & counted).astype(np.int32)
    return rows, first[rows]


def _more(rows: Ints, firsts: Ints, others: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    return np.concatenate([rows, others[0]]), np.concatenate([firsts, others[1]])


def _group_hashes(groups: Coded, input_hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A row's group as 64 bits, its input where it has no group."""
    hashes = np.array([hash64(str(group)) for group in groups.values], dtype=np.uint64)
    return np.where(groups.is_missing(), input_hashes, hashes[groups.codes])


def _by_hash(row_hashes: NDArray[np.uint64], units: Ints, fractions: Floats, seed: int) -> Splits:
    """By the hash of each row, of a unit by its smallest, so that other rows do not move a row.

    The hash, mixed with the seed, is a position between 0 and 1, which falls into one of the
    fractions. The mixing is the finaliser of splitmix64 (Steele, Lea, Flood, "Fast splittable
    pseudorandom number generators", 2014): without it, one seed would be another's order shifted.
    """
    salt = np.uint64(hash64(f"split {seed}"))
    mixed = row_hashes ^ salt
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    smallest = np.full(units.max() + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, units, mixed)
    position = smallest[units] / 2.0**64
    last_wanted = np.flatnonzero(fractions)[-1]  # rounding may put a position at exactly 1
    splits = np.minimum(np.searchsorted(fractions.cumsum(), position, side="right"), last_wanted)
    return np.asarray(splits, dtype=np.uint8)


def _by_time(times: Floats, units: Ints, fractions: Floats) -> tuple[Splits, list[str]]:
    """The oldest rows are train, the newest test; equal times stay together, rows without a time
    are the oldest.

    A unit is as old as its newest row, so that nothing in train is newer than the start of the next
    split.
    """
    check_divisible(units, fractions)
    newest = np.full(units.max() + 1, -np.inf)
    np.maximum.at(newest, units, times)
    order = np.argsort(newest, kind="stable")
    rows_before = np.concatenate([[0], np.cumsum(np.bincount(units)[order])])
    # a split can begin only where the time changes: `edges` are these places in the order of units
    edges = 1 + np.flatnonzero(newest[order][1:] != newest[order][:-1])
    wanted = np.flatnonzero(fractions)
    if len(edges) < len(wanted) - 1:
        raise DataError(
            f"the rows have {len(edges) + 1} different times, fewer than the {len(wanted)} splits",
            hint="check data.split.time, or set the fraction of a split to 0",
        )
    cuts = _nearest_edges(rows_before[edges], fractions[wanted].cumsum()[:-1] * len(times))
    starts = np.array([0, *edges[cuts]], dtype=np.int64)
    split_of_unit = np.zeros(len(order), dtype=np.uint8)
    for split, start in zip(wanted, starts, strict=True):  # later splits overwrite from there on
        split_of_unit[order[start:]] = split
    splits = split_of_unit[units]
    start_times = np.full(NUM_SPLITS, -np.inf)
    start_times[wanted[1:]] = newest[order[starts[1:]]]
    notes = (
        [f"{n:,} rows have no time: they count as the oldest"]
        if (n := int(np.isneginf(times).sum()))
        else []
    )
    if n := int((times < start_times[splits]).sum()):
        notes.append(
            f"{n:,} rows are in a later split than their time says: "
            "their input or group comes again in it"
        )
    return splits, notes


def _nearest_edges(edges: Ints, targets: Floats) -> list[int]:
    """For each target the number of the nearest edge, each after the one before and with enough
    left for the rest.
    """
    chosen: list[int] = []
    for i, target in enumerate(targets):
        first = chosen[-1] + 1 if chosen else 0
        stop = len(edges) - (len(targets) - 1 - i)
        chosen.append(first + int(np.abs(edges[first:stop] - target).argmin()))
    return chosen


def _seconds(keys: SplitKeys) -> Floats:
    assert keys.times is not None
    if isinstance(keys.times, np.ndarray):
        return keys.times
    column = TimeColumn()
    for row_id, value in zip(keys.ids, keys.times, strict=True):
        column.append(value, f"row {row_id}")
    return column.seconds()


class TimeColumn:
    """Times as numbers, -inf where missing. Numbers and dates do not mix."""

    def __init__(self) -> None:
        self._seconds = array("d")
        self._example_of: dict[bool, str] = {}

    def append(self, value: Any, where: str) -> None:
        """DataError where the value is no time, or another kind than those before."""
        if cells.is_blank(value):
            self._seconds.append(-np.inf)
            return
        where = f"{where}: {value!r}"
        seconds, is_date = _parse_time(value, where)
        self._seconds.append(seconds)
        self._example_of.setdefault(is_date, where)
        if len(self._example_of) > 1:
            raise DataError(
                "data.split.time mixes numbers and dates: "
                f"{self._example_of[False]}, {self._example_of[True]}",
                hint="write dates as 2024-05-31",
            )

    def extend_missing(self, length: int) -> None:
        """No time in any row up to this length of the column."""
        self._seconds.extend([-np.inf] * (length - len(self._seconds)))

    def seconds(self) -> Floats:
        """Seconds since 1970 for dates, numbers as they are, -inf where there is none."""
        return np.frombuffer(self._seconds, dtype=np.float64)


def _parse_time(value: Any, where: str) -> tuple[float, bool]:
    """A number, and whether it was a date; a date without a zone is UTC."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        if (found := cells.number(value)) is not None:
            return float(found), False
        try:
            value = datetime.fromisoformat(str(value).strip().replace("Z", "+00:00"))
        except ValueError:
            raise DataError(
                f"{where} in data.split.time is neither a number nor an ISO date",
                hint="write dates as 2024-05-31",
            ) from None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp(), True


def _by_column(
    keys: SplitKeys, units: Ints, strata: Ints | None, fractions: Floats, seed: int
) -> tuple[Splits, list[str]]:
    """The user's own split, as it is; a split that the fractions ask for and no row names is drawn
    from the train rows.
    """
    column = Coded.of(keys.column or ())
    first_rows = np.unique(column.codes, return_index=True)[1].tolist()
    named = [
        _split_named(name, keys.ids[row])
        for name, row in zip(column.values, first_rows, strict=True)
    ]
    splits = np.array(named, dtype=np.uint8)[column.codes]
    sides = np.bincount(np.unique(units * NUM_SPLITS + splits) // NUM_SPLITS)
    notes = []
    if shared := int((sides > 1).sum()):
        notes.append(
            f"{shared:,} inputs or groups (the same, or nearly) "
            "are in more than one of the given splits"
        )
    absent = [s for s in np.flatnonzero(fractions) if not (splits == s).any()]
    if TRAIN in absent:
        raise DataError(
            "data.split.column names no train row",
            hint=f"its values are taken as {', '.join(SPLITS)}",
        )
    if absent:
        rows = np.flatnonzero(splits == TRAIN)
        share = np.array(
            [fractions[s] if s == TRAIN or s in absent else 0.0 for s in range(NUM_SPLITS)]
        )
        own_units = np.unique(units[rows], return_inverse=True)[1]
        own_strata = None if strata is None else np.unique(strata[rows], return_inverse=True)[1]
        splits[rows], more = draw(own_units, own_strata, share / share.sum(), seed)
        notes += more
        notes += [
            f"no row is given as {SPLITS[s]}: {(splits == s).sum():,} were drawn from train"
            for s in absent
        ]
    return splits, notes


def _split_named(name: object, row_id: str) -> int:
    known = str(name).strip().lower()
    if known not in NAMES_OF_SPLIT:
        raise DataError(
            f"row {row_id}: {name!r} in data.split.column is no split",
            hint=did_you_mean(known, SPLITS),
        )
    return NAMES_OF_SPLIT[known]


def _size_notes(splits: Splits, fractions: Floats) -> list[str]:
    counts = np.bincount(splits, minlength=NUM_SPLITS)
    off = np.abs(counts - fractions * len(splits))
    notes = [
        f"{SPLITS[s]} is empty: too few rows or groups"
        for s in np.flatnonzero(fractions)
        if counts[s] == 0
    ]
    if off.max() > max(1.0, 0.02 * len(splits)):
        shares = ", ".join(
            f"{SPLITS[s]} {counts[s] / len(splits):.1%} for {fractions[s]:.1%}"
            for s in range(NUM_SPLITS)
        )
        notes.append(f"rows that stay together, or too few of them, change the fractions: {shares}")
    return notes


def _strata_notes(
    splits: Splits, names: Sequence[str] | None, strata: Ints | None, fractions: Floats
) -> list[str]:
    """Classes that a split lacks, and classes whose share is off by more than a row."""
    if strata is None or names is None:
        return []
    table = np.bincount(
        strata * NUM_SPLITS + splits, minlength=(strata.max() + 1) * NUM_SPLITS
    ).reshape(-1, NUM_SPLITS)
    notes = []
    for s in np.flatnonzero(fractions):
        if missing := int((table[:, s] == 0).sum()):
            notes.append(
                f"{SPLITS[s]} ({table[:, s].sum():,} rows) "
                f"lacks {missing:,} of the {len(table):,} classes"
            )
    off = np.abs(table - table.sum(axis=1, keepdims=True) * fractions).max(axis=1)
    if many := int((off > 1.0).sum()):
        worst = names[int((strata == off.argmax()).argmax())]
        notes.append(
            f"{many:,} classes are off their share by more than one row, "
            f"most {worst!r}: {off.max():.1f} rows"
        )
    return notes
