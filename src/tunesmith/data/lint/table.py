"""What is wrong with the rows as a table: conflicts, one input for all, the first rows of a sorted
file, and what two splits have in common.

All from the keys that the first pass keeps of each row; rows are read again only to name them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.columns import Coded
from tunesmith.data.dedup.exact import first_with_same, starts_of_runs
from tunesmith.data.label_columns import label_slot
from tunesmith.data.plan import Index, Source, question_text, target_text
from tunesmith.data.sources.stored import StoredRows
from tunesmith.recipe import DataConfig
from tunesmith.records import SPLITS, Finding, Row, Severity, Split

MIN_ROWS = 20  # of fewer rows no share says much
MOST_CLASSES = 50  # that targets are taken for where no template says so
# Shares of a table's rows. Where raters disagree a tenth of the rows may well conflict, half of
# them do not.
CONFLICTS_ERROR, CONFLICTS_WARNING = 0.5, 0.02
# Shares of the smaller split that are left in both. A few equal questions are found everywhere.
EQUAL_ERROR, EQUAL_WARNING = 0.1, 0.01
NEAR_ERROR, NEAR_WARNING = 0.5, 0.1
FEWEST_ERROR = 5  # rows: a tenth of ten may be chance
REMOVED_ERROR = 0.5  # share of a split that is left out because the test file has it too
SORTED_RUN = 5  # rows in a run of one label, on average, that make a file sorted

PAIRS: tuple[tuple[Split, Split], ...] = (
    ("train", "validation"),
    ("train", "test"),
    ("validation", "test"),
)
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Table:
    """The first pass over the rows, and the rows."""

    index: Index
    rows: StoredRows
    found: dict[int, Row] = field(default_factory=dict[int, Row])  # a finding names one twice

    def source_of(self, number: int) -> int:
        """The number of a row's source."""
        return int(np.searchsorted(np.cumsum(self.index.num_rows), number, side="right"))

    def row(self, number: int) -> tuple[Source, Row]:
        """A row by its number, and its source."""
        source = self.source_of(number)
        if number not in self.found:
            self.found[number] = next(self.rows.find(source, [self.index.ids[number]]))
        return self.index.sources[source], self.found[number]

    def shown(self, number: int) -> str:
        """`file:line "the input"`."""
        source, row = self.row(number)
        return f"{row.source} {_short(question_text(source, row))}"


def table_findings(index: Index, data: DataConfig, rows: StoredRows) -> list[Finding]:
    """At most one finding of each name for each source, or for each pair of splits."""
    table = Table(index, rows)
    used = index.used()
    found = list[Finding | None]()
    for number, source in enumerate(index.sources):
        in_source = index.rows_of(number)
        own = in_source & used
        same = _same_input(table, own)
        found.append(same)
        if same is None:
            found.append(_conflicts(table, own, are_classes(index, source, own)))
        if data.max_rows is not None and source.split is None:
            found.append(_cut_sorted(table, in_source, data.max_rows, source))
    for one, other in PAIRS:
        found.append(_in_both(table, one, other))
    return [finding for finding in [*found, _same_group(table, used)] if finding is not None]


def are_classes(index: Index, source: Source, own: Mask) -> bool:
    """Whether a source's targets are classes: by its template, or as there are few of them."""
    slot = label_slot(source.templates)
    if slot is not None:
        return slot[1].type == "label"
    return bool(len(np.unique(index.targets[own])) <= min(MOST_CLASSES, own.sum() / 10))


def _same_input(table: Table, own: Mask) -> Finding | None:
    numbers = np.flatnonzero(own)
    if len(numbers) < 2 or len(np.unique(table.index.inputs[own])) > 1:
        return None
    first, second = int(numbers[0]), int(numbers[1])
    source, row = table.row(first)
    return Finding(
        "same_input",
        "error",
        f"all {len(numbers):,} rows of {source.path} have the same input, for example "
        f"{table.shown(first)} and {table.shown(second)}: it says nothing of the answer",
        (row.source, table.row(second)[1].source),
        "name the columns of the input in data.columns",
    )


def _conflicts(table: Table, own: Mask, classes: bool) -> Finding | None:
    """Rows with one input and several targets. Free text may have several right answers, so there
    it takes more of them for a warning, and it is no error.
    """
    index = table.index
    numbers = np.flatnonzero(own & index.conflicting)
    share = len(numbers) / max(1, int(own.sum()))
    is_error = classes and share >= CONFLICTS_ERROR
    if not is_error and share < (CONFLICTS_WARNING if classes else CONFLICTS_ERROR):
        return None
    first = int(numbers[0])
    others = own & (index.inputs == index.inputs[first]) & (index.targets != index.targets[first])
    second = int(np.flatnonzero(others)[0]) if others.any() else first
    shown = [_target_at(table, number) for number in (first, second)]
    kind = "label" if classes else "answer"
    return Finding(
        "conflicting_labels",
        "error" if is_error else "warning",
        f"{len(numbers):,} of {int(own.sum()):,} rows ({share:.1%}) have the same input as another "
        f"row and another {kind}, for example {shown[0]} and {shown[1]}",
        (table.row(first)[1].source, table.row(second)[1].source),
        f"keep one {kind} for each input, or name more columns of the input in data.columns",
    )


def _target_at(table: Table, number: int) -> str:
    source, row = table.row(number)
    return f"{row.source} {_short(target_text(source, row))}"


def _cut_sorted(table: Table, own: Mask, max_rows: int, source: Source) -> Finding | None:
    """The first rows of a file that is sorted by its labels lack the labels of the others."""
    targets = table.index.targets[own]
    runs = int(starts_of_runs(targets).sum())
    classes = len(np.unique(targets))
    if len(targets) < max(max_rows, MIN_ROWS):  # all rows were read
        return None
    if runs * SORTED_RUN > len(targets) or runs > 2 * classes:
        return None
    numbers = np.flatnonzero(own)
    ends = [int(numbers[0]), int(numbers[-1])]
    shown = [_target_at(table, number) for number in ends]
    return Finding(
        "cut_sorted",
        "error",
        f"{source.path} is sorted by its labels, and data.max_rows = {max_rows:,} takes its first "
        f"rows only: {classes:,} labels, from {shown[0]} to {shown[1]}",
        tuple(table.row(number)[1].source for number in ends),
        "shuffle the file, or leave data.max_rows out",
    )


def _in_both(table: Table, one: Split, other: Split) -> Finding | None:
    """Rows of two splits that are equal or nearly so.

    Of equal rows, those in the user's own test file are left out of the other split, which is
    honest unless little of that split remains.
    """
    index = table.index
    there = ~(index.dropped | index.not_drawn)
    in_one = there & (index.splits == SPLITS.index(one))
    in_other = there & (index.splits == SPLITS.index(other))
    removed = in_one & index.leaked
    if not in_one.any() or not in_other.any():
        return None
    if other == "test" and removed.sum() >= max(FEWEST_ERROR, REMOVED_ERROR * in_one.sum()):
        pair = _pair(index.inputs, removed, in_other)
        what = f"{int(removed.sum()):,} of {int(in_one.sum()):,} {one} inputs are {other} inputs"
        return _overlap(table, one, other, "error", f"{what} too, and would be left out", pair)
    in_one &= ~index.leaked
    in_other &= ~index.leaked
    equal = in_other & np.isin(index.inputs, index.inputs[in_one])
    clusters = _clusters_in_tasks(index)
    near = in_other & np.isin(clusters, clusters[in_one]) & ~equal
    fewer = max(1, min(int(in_one.sum()), int(in_other.sum())))
    severity = _severity(int(equal.sum()), int(near.sum()), fewer)
    if severity is None:
        return None
    is_equal = bool(equal.any())
    pair = _pair(index.inputs if is_equal else clusters, in_one, equal if is_equal else near)
    what = (
        f"{int(equal.sum()):,} of {int(in_other.sum()):,} {other} inputs are equal to a {one} "
        f"input, and {int(near.sum()):,} more nearly so"
    )
    return _overlap(table, one, other, severity, what, pair)


def _severity(equal: int, near: int, rows: int) -> Severity | None:
    """Of rows of two splits that are equal, or nearly so; the smaller one has `rows`."""
    if equal >= max(FEWEST_ERROR, EQUAL_ERROR * rows):
        return "error"
    if near >= max(FEWEST_ERROR, NEAR_ERROR * rows):
        return "error"
    is_told = equal >= max(1, EQUAL_WARNING * rows) or near >= max(1, NEAR_WARNING * rows)
    return "warning" if is_told else None


def _overlap(
    table: Table, one: Split, other: Split, severity: Severity, what: str, pair: tuple[int, int]
) -> Finding:
    return Finding(
        f"{one}_in_{other}",
        severity,
        f"{what}, for example {table.shown(pair[0])} and {table.shown(pair[1])}",
        tuple(table.row(number)[1].source for number in pair),
        f"take these rows out of one of the two: a score on rows that were seen in {one} says "
        "little about new ones",
    )


def _pair(keys: NDArray[np.generic], one: Mask, other: Mask) -> tuple[int, int]:
    """The first row of `other` with the key of a row of `one`, after that row."""
    second = int(np.flatnonzero(other & np.isin(keys, keys[one]))[0])
    return int(np.flatnonzero(one & (keys == keys[second]))[0]), second


def _clusters_in_tasks(index: Index) -> NDArray[np.int64]:
    """Numbers of clusters that no two tasks share."""
    names = list(dict.fromkeys(source.task for source in index.sources))
    task = np.repeat([names.index(source.task) for source in index.sources], index.num_rows)
    return np.asarray(index.clusters.astype(np.int64) * len(names) + task)


def _same_group(table: Table, used: Mask) -> Finding | None:
    """A group of the user's with rows in two splits. Drawn splits keep groups together."""
    index = table.index
    if not isinstance(index.groups, Coded):
        return None
    named = used & ~index.groups.is_missing()
    if not named.any():
        return None
    numbers = np.flatnonzero(named)
    codes, splits = index.groups.codes[numbers], index.splits[numbers]
    first = first_with_same(codes)
    apart = np.flatnonzero(splits != splits[first])
    if not len(apart):
        return None
    second = int(numbers[apart[0]])
    one = int(numbers[first[apart[0]]])
    several = len(np.unique(codes[apart]))
    places = [(table.row(number)[1].source, index.splits[number]) for number in (one, second)]
    shown = " and ".join(f"{place} in {SPLITS[split]}" for place, split in places)
    return Finding(
        "same_group",
        "error",
        f"{several:,} of {len(np.unique(codes)):,} groups have rows in two splits, for example "
        f"{str(index.groups[second])!r}: {shown}",
        tuple(place for place, _ in places),
        "give each group to one split, or let tunesmith draw them (data.split.group)",
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
