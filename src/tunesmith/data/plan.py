"""The first pass over the rows that were read: how sources become examples, and each row's split.

Only keys are kept in memory, a few dozen bytes a row: hashes and the codes of labels and groups.
Ids and the hashes of words are in temporary files. The rows themselves are gone over again to be
rendered (build.py), from the run's copy of them.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.columns import Coded, CodedWriter, RowIds, TakenIds
from tunesmith.data.dedup.contamination import Overlap, overlap
from tunesmith.data.dedup.exact import (
    find_duplicates,
    first_with_same,
    hash_of_normalised,
    normalise,
    normalised_value,
    target_hash,
)
from tunesmith.data.dedup.minhash import NearDuplicates, near_duplicate_clusters
from tunesmith.data.dedup.shingles import Words
from tunesmith.data.label_columns import (
    inspect_separator,
    label_set,
    labels_slot,
    separator_of,
    with_separator,
)
from tunesmith.data.sources.formats import (
    SAME_IN_MANY_ROWS,
    Format,
    detect_format,
    format_notes,
    question_columns,
)
from tunesmith.data.sources.members import Member, Rows, members
from tunesmith.data.sources.messages import is_empty
from tunesmith.data.split.assign import SplitKeys, TimeColumn, assign_splits
from tunesmith.data.split.mixture import sample_mixture
from tunesmith.data.templates.environment import SEPARATOR, used_columns
from tunesmith.data.templates.render import collect_choices
from tunesmith.data.templates.resolve import PromptTemplate, load_templates
from tunesmith.data.templates.slots import Labels
from tunesmith.errors import DataError, RecipeError, TemplateError, did_you_mean
from tunesmith.recipe import DataConfig, SplitConfig
from tunesmith.records import SPLITS, Row, Split

TARGET_TYPES = ("label", "labels", "tags", "target")
BATCH_ROWS = 1000


@dataclass(frozen=True)
class Source:
    """One member of the recipe's data (see members.py) and how its rows become examples.

    `fmt` is set for tables that need no template (messages ...). `split` is set where all rows
    belong to one. `inputs` are the columns that make two rows the same question, `targets` those
    that make them the same answer. `notes` say what was found by a look at the columns.
    """

    path: str
    templates: tuple[PromptTemplate, ...]
    fmt: Format | None
    columns: dict[str, str]
    labels: Labels
    choices: tuple[str, ...]
    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    split: Split | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Index:
    """Per row, in reading order over all sources: its split, why it is left out, where it belongs.

    `splits` index SPLITS. `dropped` are duplicates, `leaked` training rows whose input is in the
    user's test file, `not_drawn` those beyond a mixture's cap; `conflicting` rows have the input of
    another row and a different target. `clusters` are the numbers of the first row with the same or
    nearly the same input; `groups` are the user's own. `words` are those of the inputs, None where
    the recipe turns near-duplicates off.
    """

    sources: tuple[Source, ...]
    num_rows: tuple[int, ...]
    num_unreadable: int
    splits: NDArray[np.uint8]
    dropped: NDArray[np.bool_]
    leaked: NDArray[np.bool_]
    not_drawn: NDArray[np.bool_]
    conflicting: NDArray[np.bool_]
    clusters: NDArray[np.int32]
    groups: Sequence[str | None] | None
    near_duplicate_clusters: int
    notes: tuple[str, ...]
    ids: Sequence[str]
    words: Words | None

    @cached_property
    def is_shared(self) -> NDArray[np.bool_]:
        """Of each row: whether it is the first of a cluster with more rows."""
        numbers = np.arange(len(self.clusters), dtype=np.int32)
        shared = np.zeros(len(numbers), dtype=np.bool_)
        shared[self.clusters[self.clusters != numbers]] = True
        return shared


def plan_sources(data: DataConfig, rows: Rows) -> list[Source]:
    """The recipe's sources, in the order of `members`, each checked against the columns of its
    first row.

    Raises TemplateError for templates that do not fit the columns, DataError for a source without
    rows.
    """
    named = members(data)
    sources = list[Source]()
    for number, member in enumerate(named):
        if sources and member.is_own_file and (same := separator_of(sources[0].templates)):
            own = member.data.model_copy(update={"label_separator": same})
            member = replace(member, data=own)
        sources.append(_source(member, number, rows))
    if data.label_separator is not None and not any(labels_slot(s.templates) for s in sources):
        raise RecipeError(
            f"data.label_separator is {data.label_separator!r}, but the task takes one label a row",
            hint="several labels a row are the family multi_label_classify",
        )
    # a label may occur only in the user's test file, and is a choice all the same
    one_task = [i for i, member in enumerate(named) if i == 0 or member.is_own_file]
    choices = tuple(sorted({choice for i in one_task for choice in sources[i].choices}))
    for i in one_task:
        sources[i] = replace(sources[i], choices=choices)
    return sources


def _source(member: Member, number: int, rows: Rows) -> Source:
    data, first = member.data, next(rows.read(number))
    named = data.task is not None or data.template is not None
    fmt = None if named else detect_format(first.values)
    if fmt is not None:
        inputs, targets = question_columns(fmt)
        return Source(
            member.path, (), fmt, dict(data.columns), None, (), inputs, targets, member.split
        )
    try:
        templates = tuple(load_templates(data, list(first.values)))
    except TemplateError as error:
        if named:
            raise
        raise TemplateError(
            f"{member.path}: no task or template in the recipe, and no prompt/completion, "
            "messages, conversations or instruction columns in it: "
            f"{', '.join(first.values)}",
            hint="set data.task, or data.template",
        ) from error
    separator, note = data.label_separator or "", ""
    if not separator:
        separator, note = inspect_separator(templates, data.columns, data.labels, rows.read(number))
    templates = with_separator(templates, separator)
    choices = collect_choices(
        rows.read(number), templates[0], columns=data.columns, label_names=data.labels
    )
    inputs, targets = _template_columns(templates[0], data.columns, first)
    return Source(
        path=member.path,
        templates=templates,
        fmt=None,
        columns=dict(data.columns),
        labels=data.labels,
        choices=choices,
        inputs=inputs,
        targets=targets,
        split=member.split,
        notes=(note,) if note else (),
    )


def _template_columns(
    template: PromptTemplate, columns: dict[str, str], first: Row
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(columns used in the prompt, columns used only after it).

    The template's text decides, not the type of a slot: an inverted wording asks for the text.
    """
    there = {columns.get(name, name): slot.type for name, slot in template.slots}
    there = {column: kind for column, kind in there.items() if column in first.values}
    try:
        before = {
            columns.get(name, name)
            for name in used_columns(template.source.partition(SEPARATOR)[0])
        }
    except TemplateError:  # the separator is inside an `if`, so the part before it does not parse
        before = {column for column, kind in there.items() if kind not in TARGET_TYPES}
    return tuple(c for c in there if c in before), tuple(c for c in there if c not in before)


def build_index(
    sources: Sequence[Source], data: DataConfig, rows: Rows, folder: Path | None = None
) -> Index:
    """Go over all rows once and give each its split. Temporary files are made in `folder`.

    Raises DataError where too many lines are unreadable, and for columns that `data.split` names
    and a source does not have.
    """
    keys = _Keys(sources, data, rows, folder)
    keys.check_unreadable(data.max_rejected)
    num_rows, inputs = tuple(keys.num_rows), np.frombuffer(keys.inputs, dtype=np.uint64)
    first = first_with_same(inputs)
    duplicates = find_duplicates(first, inputs, np.frombuffer(keys.targets, dtype=np.uint64))
    given = [-1 if source.split is None else SPLITS.index(source.split) for source in sources]
    fixed = np.repeat(np.array(given, dtype=np.int8), num_rows)
    # A duplicate is dropped only if its first occurrence has the same fixed split: a row of the
    # user's test file must not go because a training row with the same text came first.
    dropped = duplicates.dropped & (fixed == fixed[duplicates.first])
    leaked = (fixed != SPLITS.index("test")) & _is_among(
        inputs, inputs[fixed == SPLITS.index("test")]
    )
    clusters, num_clusters, notes = first, 0, list[str]()
    if keys.words is not None:
        found = near_duplicate_clusters(keys.words, first, folder)
        clusters, num_clusters = found.clusters, found.num_clusters
        notes = _near_duplicate_notes(found, first, keys.ids)
    # Rows that are left out take no part in the draw, so they do not change the sizes of splits.
    free = np.flatnonzero((fixed == -1) & ~dropped & ~leaked)
    splits = fixed.copy()
    config, more = _split_config(data.split, sources)
    assigned, split_notes = assign_splits(_split_keys(keys, free, inputs), config, clusters[free])
    splits[free] = assigned
    # those left out of the draw; they are in no split, but the ledger needs a value
    splits[splits < 0] = SPLITS.index("train")
    not_drawn, mixture_notes = _not_drawn(sources, num_rows, splits, dropped | leaked, data)
    looked = [note for source in sources for note in source.notes]
    if labels_slot(sources[0].templates):  # the strata are combinations, of which many are rare
        split_notes = [note.replace("classes", "combinations of labels") for note in split_notes]
    notes = [*looked, *keys.notes, *notes, *more, *split_notes, *mixture_notes]
    if leaked.any():
        notes.append(
            f"{int(leaked.sum()):,} rows are in the test file too: they are left out of training"
        )
    return Index(
        sources=tuple(sources),
        num_rows=num_rows,
        num_unreadable=keys.num_unreadable,
        splits=splits.astype(np.uint8),
        dropped=dropped,
        leaked=leaked,
        not_drawn=not_drawn,
        conflicting=duplicates.conflicting,
        clusters=clusters,
        groups=keys.column("group"),
        near_duplicate_clusters=num_clusters,
        notes=tuple(notes),
        ids=keys.ids,
        words=keys.words,
    )


def _near_duplicate_notes(
    found: NearDuplicates, first: NDArray[np.int32], ids: Sequence[str]
) -> list[str]:
    if found.note:
        return [found.note]
    joined = np.flatnonzero(found.clusters != first)
    if not len(joined):
        return []
    a, b = ids[int(found.clusters[joined[0]])], ids[int(joined[0])]
    return [f"there are near-duplicates, for example rows {a} and {b}"]


def _is_among(values: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of the values are among the others, of which there are fewer."""
    if not len(others):
        return np.zeros(len(values), dtype=np.bool_)
    others = np.sort(others)
    place = np.searchsorted(others, values)
    return np.asarray(others[np.minimum(place, len(others) - 1)] == values)


def _not_drawn(
    sources: Sequence[Source],
    num_rows: Sequence[int],
    splits: NDArray[np.int8],
    gone: NDArray[np.bool_],
    data: DataConfig,
) -> tuple[NDArray[np.bool_], list[str]]:
    """Rows that a mixture leaves out: training rows beyond a source's share (see mixture.py), and
    the validation and test rows of a source with another task than the first, whose metrics would
    not fit them.
    """
    out = np.zeros(len(splits), dtype=np.bool_)
    members = [i for i, source in enumerate(sources) if source.split in (None, "train")]
    if len(members) < 2:
        return out, []
    ends = np.cumsum(num_rows)
    number, notes = np.arange(len(splits)), []
    rows = {i: (number >= ends[i] - num_rows[i]) & (number < ends[i]) & ~gone for i in members}
    train = {str(i): np.flatnonzero(rows[i] & (splits == SPLITS.index("train"))) for i in members}
    drawn = sample_mixture(
        {name: len(own) for name, own in train.items()}, data.mixture_cap, seed=data.split.seed
    )
    kept = {name: [index for source, index in drawn if source == name] for name in train}
    for name, own in train.items():
        out[np.delete(own, kept[name])] = True
    for i in members[1:]:
        if _task(sources[i]) != _task(sources[0]):
            out |= rows[i] & (splits != SPLITS.index("train"))
            notes.append(
                f"{sources[i].path} is another task: "
                "it is trained on and not judged; see evaluation.panel"
            )
    return out, notes


def _task(source: Source) -> tuple[str, ...]:
    template = source.templates[0] if source.templates else None
    return (template.parser, *template.metrics) if template else ("text",)


class _Keys:
    """What is kept of each row, over all sources; None where its source has no such column."""

    def __init__(
        self, sources: Sequence[Source], data: DataConfig, rows: Rows, folder: Path | None
    ) -> None:
        self.num_rows: list[int] = []
        self.num_unreadable, self._first_unreadable = 0, ""
        self.inputs, self.targets = array("Q"), array("Q")
        self.ids = RowIds(folder)
        self.notes: list[str] = []
        self.words = Words(folder) if data.near_duplicates else None
        self._columns: dict[str, CodedWriter] = {}
        self._times: TimeColumn | None = None
        for number, source in enumerate(sources):
            before = len(self.inputs)
            self._read(source, data, rows.read(number, self._count_unreadable))
            self.num_rows.append(len(self.inputs) - before)
        for column in [*self._columns.values(), *([self._times] if self._times else [])]:
            column.extend_missing(len(self.inputs))

    def _read(self, source: Source, data: DataConfig, rows: Iterator[Row]) -> None:
        columns, start = _key_columns(source, data.split), len(self.inputs)
        for key in columns:
            if key == "time":
                self._times = self._times or TimeColumn()
                self._times.extend_missing(len(self.inputs))
            else:
                self._columns.setdefault(key, CodedWriter()).extend_missing(len(self.inputs))
        while batch := list(islice(rows, BATCH_ROWS)):
            if source.fmt is not None and len(self.inputs) == start:
                self.notes += format_notes(source.fmt, batch, _recipe_columns(data), source.path)
            self.ids.append([row.id for row in batch])
            texts = [_normalised(source, row) for row in batch]
            self.inputs.extend(map(hash_of_normalised, texts))
            self.targets.extend([target_hash(_target(source, row)) for row in batch])
            if self.words is not None:
                self.words.append(
                    [_all_text(source, row, own) for row, own in zip(batch, texts, strict=True)]
                )
            for key, column in columns.items():
                if key == "time" and self._times:
                    for row in batch:
                        self._times.append(_cell(row, column, key), f"row {row.id}")
                else:
                    self._columns[key].extend(
                        [_key_cell(source, row, column, key) for row in batch]
                    )

    def _count_unreadable(self, where: str, problem: str) -> None:
        self.num_unreadable += 1
        self._first_unreadable = self._first_unreadable or f"{where}: {problem}"

    def check_unreadable(self, max_rejected: float) -> None:
        """DataError above that share of the rows, before anything is made of the others."""
        total = len(self.inputs) + self.num_unreadable
        if self.num_unreadable > max_rejected * total:
            share = self.num_unreadable / total
            raise DataError(
                f"{self.num_unreadable:,} of {total:,} rows cannot be read ({share:.1%}), "
                f"data.max_rejected is {max_rejected:.1%}; the first: {self._first_unreadable}",
                hint="repair these lines; "
                f"data.max_rejected={math.ceil(share * 100) / 100:g} goes on without them",
            )

    def column(self, key: str) -> Coded | None:
        return self._columns[key].column() if key in self._columns else None

    def times(self) -> NDArray[np.float64] | None:
        return self._times.seconds() if self._times else None


def _normalised(source: Source, row: Row) -> dict[str, str]:
    """The input columns that have a value: empty text, null and NaN are the same as no column."""
    values = ((column, row.values.get(column)) for column in source.inputs)
    return {column: normalised_value(value) for column, value in values if not is_empty(value)}


def _all_text(source: Source, row: Row, normalised: dict[str, str]) -> str:
    """The input as one normalised text; of values that are not text (messages, numbers) their JSON.

    Without the columns of a known form that are boilerplate, which makes different questions look
    alike.
    """
    if source.fmt is not None:
        normalised = {
            name: text for name, text in normalised.items() if name not in SAME_IN_MANY_ROWS
        }
    if len(normalised) == 1 and isinstance(row.values.get(*normalised), str):
        return next(iter(normalised.values()))
    texts = (
        text if isinstance(row.values[name], str) else normalise(text)
        for name, text in normalised.items()
    )
    return " ".join(texts)


def _recipe_columns(data: DataConfig) -> set[str]:
    split = data.split
    return {
        c for c in (data.id, split.stratify, split.group, split.time, split.column) if c is not None
    }


def _key_columns(source: Source, split: SplitConfig) -> dict[str, str]:
    """The keys (fields of data.split) that the source's rows have, and in which column."""
    if source.split is not None:
        return {}
    several = labels_slot(source.templates)
    name = several[0] if several else "label"
    label = source.columns.get(name, name)
    stratify = split.stratify or (
        label if label in source.targets and split.group is None else None
    )
    wanted = {
        "stratify": stratify,
        "group": split.group,
        "time": split.time,
        "column": split.column,
    }
    return {key: column for key, column in wanted.items() if column is not None}


def _target(source: Source, row: Row) -> object:
    values = [_target_value(source, row, column) for column in source.targets]
    return values[0] if len(values) == 1 else values


def _target_value(source: Source, row: Row, column: str) -> object:
    labels = label_set(source.templates, column, source.columns, row, source.labels)
    return row.values.get(column) if labels is None else labels


def _cell(row: Row, column: str, key: str) -> object:
    if column not in row.values:
        raise DataError(
            f"{row.source}: data.split.{key} = {column!r}, no such column",
            hint=did_you_mean(column, row.values),
        )
    return row.values[column]


def _key_cell(source: Source, row: Row, column: str, key: str) -> str | None:
    """The value that a split depends on; of several labels their combination."""
    labels = label_set(source.templates, column, source.columns, row, source.labels)
    return _text_cell(row, column, key) if labels is None else labels


def _text_cell(row: Row, column: str, key: str) -> str | None:
    value = _cell(row, column, key)
    return None if value is None and key != "stratify" else str(value)


def _split_keys(keys: _Keys, free: NDArray[np.int64], inputs: NDArray[np.uint64]) -> SplitKeys:
    all_free = len(free) == len(inputs)  # the usual case, in which nothing is copied

    def column(key: str) -> Coded | None:
        values = keys.column(key)
        return values if values is None or all_free else values.take(free)

    strata, times = column("stratify"), keys.times()
    return SplitKeys(
        keys.ids if all_free else TakenIds(keys.ids, free),
        inputs if all_free else inputs[free],
        strata if strata is None else Coded([str(value) for value in strata.values], strata.codes),
        column("group"),
        times if times is None or all_free else times[free],
        column("column"),
    )


def _split_config(config: SplitConfig, sources: Sequence[Source]) -> tuple[SplitConfig, list[str]]:
    """The fractions left for the drawn splits where the user gave files for the others."""
    given = {source.split for source in sources} & {"validation", "test"}
    if not given:
        return config, []
    left = {split: 0.0 if split in given else getattr(config, split) for split in SPLITS}
    total = sum(left.values())
    return config.model_copy(update={split: value / total for split, value in left.items()}), []


def find_overlap(index: Index) -> Overlap:
    """Test inputs that share 13 words in a row with a training input (short ones: all words)."""
    if index.words is None:
        return Overlap(0, 0, [])
    used = ~index.dropped & ~index.leaked & ~index.not_drawn
    train, test = (used & (index.splits == SPLITS.index(split)) for split in ("train", "test"))
    return overlap(index.words, train, test)
