"""Drawing splits at random: whole units to splits, each stratum with its fraction in each split.

A unit is a set of rows that stay together. Random, stratified, grouped and stratified-grouped are
one procedure: a random split has one stratum, and an ungrouped one has the identical inputs as its
only units of several rows.

scikit-learn's splitters do not fit: GroupShuffleSplit takes fractions of groups and not of rows,
StratifiedGroupKFold makes equal folds only, StratifiedShuffleSplit refuses a class of one row and
knows no groups. The tests hold this procedure against them where both apply.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.errors import DataError
from tunesmith.records import SPLITS

Ints = NDArray[Any]  # of int32, where there is a number for each row
Floats = NDArray[np.float64]
Splits = NDArray[np.uint8]

NUM_SPLITS = len(SPLITS)
TRAIN = 0
FILL_ORDER = (0, 2, 1)  # with too few rows: train first, then test, then validation
# strata of one unit go to train up to this share of the rows; above, they are not class labels
MAX_RARE_SHARE = 0.05


def draw(
    units: Ints, strata: Ints | None, fractions: Floats, seed: int
) -> tuple[Splits, list[str]]:
    """The split of each row, and notes on strata that could not be divided.

    `units` and `strata` are numbers from 0 on, one a row; `fractions` add to 1. No split that is
    asked for is empty while there are units enough. Raises DataError where one unit is to be
    divided.
    """
    check_divisible(units, fractions)
    rng = np.random.default_rng(seed)
    notes: list[str] = []
    strata = np.zeros(len(units), dtype=np.int32) if strata is None else strata
    only_train = np.array([], dtype=np.int64)
    if strata.any():
        strata, only_train, notes = _rare_strata(strata, units)
    counts = np.bincount(strata)
    exact = counts[:, None] * fractions
    if fractions[TRAIN] > 0:
        exact[only_train] = 0
        exact[only_train, TRAIN] = counts[only_train]
    room = _round_rows(exact, rng)
    splits = np.zeros(len(units), dtype=np.uint8)
    _place_large_units(splits, units, strata, room, fractions, rng)
    _fill_single_rows(splits, units, strata, room, rng)
    _fill_empty_splits(splits, units, fractions)
    return splits, notes


def check_divisible(units: Ints, fractions: Floats) -> None:
    """DataError where more than one split is asked for and all rows belong together."""
    wanted = [SPLITS[s] for s in range(NUM_SPLITS) if fractions[s] > 0]
    if len(wanted) > 1 and units.max() == 0:
        rows = (
            "there is one row"
            if len(units) == 1
            else f"all {len(units):,} rows are one group or input"
        )
        raise DataError(
            f"{rows}: nothing to divide into {', '.join(wanted)}",
            hint="give more rows or another data.split.group, "
            "or set data.split.train=1, validation=0 and test=0",
        )


def _rare_strata(strata: Ints, units: Ints) -> tuple[Ints, Ints, list[str]]:
    """A stratum of one unit cannot be on two sides: all these go to train while few, else they are
    one stratum.

    Returns the strata (renumbered in the second case), those that go to train, and a note.
    """
    num_units = int(units.max()) + 1
    pairs = strata * np.int64(num_units) + units
    pairs.sort()
    new = np.concatenate([[True], pairs[1:] != pairs[:-1]])
    units_of_stratum = np.bincount(pairs[new] // num_units)
    rare = np.flatnonzero(units_of_stratum == 1)
    num_rows = int(np.isin(strata, rare).sum())
    if not len(rare):
        return strata, rare, []
    what = f"{len(rare):,} of {len(units_of_stratum):,} classes have a single row or group"
    if num_rows <= max(1, MAX_RARE_SHARE * len(strata)):
        return strata, rare, [f"{what}: they are in train only"]
    merged = np.where(np.isin(strata, rare), rare[0], strata)
    renumbered = np.unique(merged, return_inverse=True)[1].astype(np.int32)
    return renumbered, rare[:0], [f"{what}: they are divided at random and not stratified"]


def _round_rows(exact: Floats, rng: np.random.Generator) -> Ints:
    """`exact` (strata x splits, its rows with whole sums) in whole numbers, each the floor or the
    ceiling.

    The sums of rows are kept, and those of columns nearly: what rounding takes from a split is
    carried on to the next stratum, so that a thousand classes of three rows still have a test set.
    """
    rounded = np.floor(exact + 1e-9).astype(np.int64)
    carry = np.zeros(exact.shape[1])
    for stratum in rng.permutation(len(exact)):
        remainders = np.maximum(exact[stratum] - rounded[stratum], 0)
        carry += remainders
        candidates = np.where(remainders > 1e-9, carry, -np.inf)
        raised = np.argsort(-candidates, kind="stable")[: round(remainders.sum())]
        rounded[stratum, raised] += 1
        carry[raised] -= 1
    return rounded


def _place_large_units(
    splits: Splits,
    units: Ints,
    strata: Ints,
    room: Ints,
    fractions: Floats,
    rng: np.random.Generator,
) -> None:
    """Units of several rows, largest first, each to a split where it fits; changes `splits` and
    `room`.

    Among the splits where it fits, the room left is the chance, so that large units are not always
    training data.
    """
    sizes = np.bincount(units)
    rows_by_unit, stops = np.argsort(units, kind="stable"), np.cumsum(sizes)
    large = np.flatnonzero(sizes > 1)
    large = large[np.lexsort([rng.random(len(large)), -sizes[large]])]
    left, total_left = (
        room.tolist(),
        room.sum(axis=0).tolist(),
    )  # lists: a loop over few numbers at a time
    wanted = np.flatnonzero(fractions).tolist()
    for unit, chance in zip(large.tolist(), rng.random(len(large)).tolist(), strict=True):
        rows = rows_by_unit[stops[unit] - sizes[unit] : stops[unit]]
        members = Counter(strata[rows].tolist())
        split = _choose(members, left, total_left, wanted, chance)
        splits[rows] = split
        total_left[split] -= len(rows)
        for stratum, count in members.items():
            left[stratum][split] -= count
    room[:] = left


def _choose(
    members: Counter[int],
    left: list[list[int]],
    total_left: list[int],
    wanted: list[int],
    chance: float,
) -> int:
    """The split for a unit with so many rows of each stratum: where least goes over, by chance
    among these.
    """
    size = members.total()
    over = {
        s: max(0, size - total_left[s])
        + sum(max(0, count - left[stratum][s]) for stratum, count in members.items())
        for s in wanted
    }
    best = [s for s in wanted if over[s] == min(over.values())]
    weights = [max(1e-9, sum(left[stratum][s] for stratum in members)) for s in best]
    position = chance * sum(weights)
    for split, weight in zip(best, weights, strict=True):
        position -= weight
        if position < 0:
            return split
    return best[-1]


def _fill_single_rows(
    splits: Splits, units: Ints, strata: Ints, room: Ints, rng: np.random.Generator
) -> None:
    """Rows that are a unit by themselves take the room left, in random order; changes `splits`."""
    single = np.flatnonzero(np.bincount(units)[units] == 1).astype(np.int32)
    counts = np.bincount(strata[single], minlength=len(room))
    left = np.maximum(room, 0)  # a unit larger than its room took from the other splits
    quotas = _round_rows(left * (counts / np.maximum(left.sum(axis=1), 1))[:, None], rng)
    shuffled = rng.permutation(single)
    by_stratum = shuffled[np.argsort(strata[shuffled], kind="stable")]
    splits[by_stratum] = np.repeat(
        np.tile(np.arange(NUM_SPLITS, dtype=np.uint8), len(room)), quotas.ravel()
    )


def _fill_empty_splits(splits: Splits, units: Ints, fractions: Floats) -> None:
    """A split that was asked for and is empty gets the smallest unit of the largest split; changes
    `splits`.
    """
    sizes = np.bincount(units)
    split_of_unit = np.zeros(len(sizes), dtype=np.uint8)
    split_of_unit[units] = splits
    for split in FILL_ORDER:
        num_units = np.bincount(split_of_unit, minlength=NUM_SPLITS)
        donor = int(num_units.argmax())
        if fractions[split] > 0 and num_units[split] == 0 and num_units[donor] > 1:
            candidates = np.flatnonzero(split_of_unit == donor)
            split_of_unit[candidates[sizes[candidates].argmin()]] = split
    splits[:] = split_of_unit[units]
