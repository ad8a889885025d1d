"""The first pass over the rows that were read: how sources become examples, and each row's split.

Only keys are kept in memory, a few dozen bytes a row: hashes and the codes of labels and groups.
Ids and the hashes of words are in temporary files. The rows themselves are gone over again to be
rendered (build.py), from the run's copy of them.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.columns import Coded, CodedWriter, RowIds, TakenIds
from tunesmith.data.dedup.clusters import NearDuplicates, near_duplicate_clusters
from tunesmith.data.dedup.contamination import Overlap, overlap
from tunesmith.data.dedup.exact import (
    find_duplicates,
    first_with_same,
    hash64,
    hash_of_normalised,
    normalise,
    normalised_value,
    target_hash,
)
from tunesmith.data.dedup.shingles import Words
from tunesmith.data.label_columns import (
    inspect_separator,
    label_of,
    label_slot,
    labels_slot,
    separator_of,
    with_separator,
)
from tunesmith.data.label_findings import SeenLabel, joined_labels, label_findings
from tunesmith.data.sources.cells import key_text
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
from tunesmith.data.split.mixture import Kind, sample_mixture, task_names
from tunesmith.data.templates.environment import SEPARATOR, used_columns
from tunesmith.data.templates.render import seen_labels
from tunesmith.data.templates.resolve import PromptTemplate, load_templates
from tunesmith.data.templates.slots import Labels, declared_choices
from tunesmith.errors import DataError, RecipeError, TemplateError, did_you_mean
from tunesmith.recipe import DataConfig, SplitConfig
from tunesmith.records import SPLITS, Finding, Row, Split

TARGET_TYPES = ("label", "labels", "tags", "target")
JUDGED: tuple[Split, Split] = ("validation", "test")
BATCH_ROWS = 1000
FEWEST_LEFT, MANY_LEFT_OUT = 3, 20


@dataclass(frozen=True)
class Source:
    """One member of the recipe's data (see members.py) and how its rows become examples.

    `fmt` is set for tables that need no template (messages ...). `split` is set where all rows
    belong to one. `inputs` are the columns that make two rows the same question, `targets` those
    that make them the same answer. `notes` say what was found by a look at the columns, `findings`
    what is odd about the labels. `task` is the member's in a mixture of several tasks, else empty;
    `metrics` are its own in the recipe. A source that is `held_out` is only tested.
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
    task: str = ""
    metrics: tuple[str, ...] = ()
    held_out: bool = False
    findings: tuple[Finding, ...] = ()

    @property
    def is_replay(self) -> bool:
        """Whether its rows belong to no task: they are trained on and never judged."""
        return self.split == "train"


@dataclass(frozen=True)
class Index:
    """Per row, in reading order over all sources: its split, why it is left out, where it belongs.

    `splits` index SPLITS. `dropped` are duplicates, `leaked` training rows whose input is in the
    user's test file, `not_drawn` those beyond a mixture's cap; `conflicting` rows have the input of
    another row and a different target. `clusters` are the numbers of the first row with the same or
    nearly the same input; `groups` are the user's own. `words` are those of the inputs, None where
    the recipe turns near-duplicates off. `searched`: whether near-duplicates were looked for.
    `inputs` and `targets` are hashes: equal where rows of one task have the same input, and where
    rows have the same target.
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
    searched: bool
    inputs: NDArray[np.uint64]
    targets: NDArray[np.uint64]

    @cached_property
    def is_shared(self) -> NDArray[np.bool_]:
        """Of each row: whether it is the first of a cluster with more rows."""
        numbers = np.arange(len(self.clusters), dtype=np.int32)
        shared = np.zeros(len(numbers), dtype=np.bool_)
        shared[self.clusters[self.clusters != numbers]] = True
        return shared

    def rows_of(self, source: int) -> NDArray[np.bool_]:
        """The rows of a source, by its number."""
        return np.repeat(np.arange(len(self.num_rows)) == source, self.num_rows)

    def used(self, split: Split | None = None) -> NDArray[np.bool_]:
        """The rows that give examples, of a split or of all."""
        used = ~(self.dropped | self.leaked | self.not_drawn)
        return used if split is None else used & (self.splits == SPLITS.index(split))


def plan_sources(data: DataConfig, rows: Rows) -> list[Source]:
    """The recipe's sources, in the order of `members`, each checked against the columns of its
    first row.

    Raises TemplateError for templates that do not fit the columns, DataError for a source without
    rows.
    """
    named = members(data)
    sources, seen = list[Source](), list[dict[str, SeenLabel]]()
    for number, member in enumerate(named):
        if sources and member.is_own_file and (same := separator_of(sources[0].templates)):
            as_in_the_first = member.data.model_copy(update={"label_separator": same})
            member = replace(member, data=as_in_the_first)
        source, labels = _source(member, number, rows)
        sources.append(replace(source, metrics=member.metrics, held_out=member.held_out))
        seen.append(labels)
    if data.label_separator is not None and not any(labels_slot(s.templates) for s in sources):
        raise RecipeError(
            f"data.label_separator is {data.label_separator!r}, but the task takes one label a row",
            hint="several labels a row are the family multi_label_classify",
        )
    task_of = _tasks(named, sources)
    # a label may occur only in the user's test file, and is a choice all the same
    for task in dict.fromkeys(task_of.values()):
        own = [i for i, name in task_of.items() if name == task]
        choices = tuple(sorted({choice for i in own for choice in sources[i].choices}))
        for i in own:
            sources[i] = replace(sources[i], choices=choices, task=task)
        _note_labels(sources, seen, own)
    for i in range(len(sources)):
        if i not in task_of:  # replayed: trained on, and of no task that is judged
            _note_labels(sources, seen, [i])
    return sources


def _note_labels(
    sources: list[Source], seen: Sequence[dict[str, SeenLabel]], same_labels: Sequence[int]
) -> None:
    """Put what is odd about the labels of one task's sources, by number, with the first of them."""
    first = sources[min(same_labels)]
    found = label_slot(first.templates)
    if found is not None:
        name, slot = found
        labels = joined_labels(seen[i] for i in sorted(same_labels))
        odd = label_findings(first.columns.get(name, name), labels, slot.type)
        sources[min(same_labels)] = replace(first, findings=tuple(odd))


def _tasks(named: Sequence[Member], sources: Sequence[Source]) -> dict[int, str]:
    """The task of each source but those for replay, by the source's number. The user's validation
    and test files are of the first one's task.
    """
    own_files = [i for i, member in enumerate(named) if member.is_own_file]
    judged = [i for i, s in enumerate(sources) if not (i in own_files or s.is_replay)]
    names = task_names(
        [
            Kind(
                path=sources[i].path,
                form=_form(sources[i]),
                choices=sources[i].choices,
                name=named[i].name,
                held_out=named[i].held_out,
            )
            for i in judged
        ]
    )
    return dict.fromkeys(own_files, names[0]) | dict(zip(judged, names, strict=True))


def _source(member: Member, number: int, rows: Rows) -> tuple[Source, dict[str, SeenLabel]]:
    """The source, and the labels that its rows hold where the recipe names none."""
    data, first = member.data, next(rows.read(number))
    named = data.task is not None or data.template is not None
    fmt = None if named else detect_format(first.values)
    if fmt is not None:
        inputs, targets = question_columns(fmt)
        source = Source(
            member.path, (), fmt, dict(data.columns), None, (), inputs, targets, member.split
        )
        return source, {}
    try:
        templates = tuple(load_templates(data, list(first.values)))
    except TemplateError as error:
        if named:
            raise
        raise TemplateError(
            f"{member.path}: no task or template in the recipe, and no prompt/completion, "
            "messages, conversations or instruction columns in it: "
            f"{', '.join(first.values)}",
            hint="name one: --task or data.task, --template or data.template; "
            f"`tunesmith init {member.path}` proposes one",
        ) from error
    separator, note = data.label_separator or "", ""
    if not separator:
        separator, note = inspect_separator(templates, data.columns, data.labels, rows.read(number))
    templates = with_separator(templates, separator)
    seen = {}
    if data.labels is None:
        seen = seen_labels(rows.read(number), templates[0], columns=data.columns)
    inputs, targets = _template_columns(templates[0], data.columns, first)
    source = Source(
        path=member.path,
        templates=templates,
        fmt=None,
        columns=dict(data.columns),
        labels=data.labels,
        choices=declared_choices(data.labels) or tuple(sorted(seen)),
        inputs=inputs,
        targets=targets,
        split=member.split,
        notes=(note,) if note else (),
    )
    return source, seen


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
    targets = np.frombuffer(keys.targets, dtype=np.uint64)
    in_task = _by_task(sources, num_rows, inputs)
    same = first if in_task is inputs else first_with_same(in_task)
    duplicates = find_duplicates(same, in_task, targets)
    given = [-1 if source.split is None else SPLITS.index(source.split) for source in sources]
    fixed = np.repeat(np.array(given, dtype=np.int8), num_rows)
    # A duplicate is dropped only if its first occurrence has the same fixed split: a row of the
    # user's test file must not go because a training row with the same text came first.
    dropped = duplicates.dropped & (fixed == fixed[duplicates.first])
    is_test = fixed == SPLITS.index("test")
    # the rows of a held-out task change nothing in training: what they share with it is reported
    own_test = is_test & ~_is_held_out(sources, num_rows)
    leaked = ~is_test & _is_among(inputs, inputs[own_test])
    clusters, num_clusters, notes, searched = first, 0, list[str](), False
    if keys.words is not None:
        found = near_duplicate_clusters(keys.words, first, folder)
        clusters, num_clusters, searched = found.clusters, found.num_clusters, not found.note
        notes = _near_duplicate_notes(found, first, keys.ids)
    # Rows that are left out take no part in the draw, so they do not change the sizes of splits.
    free = np.flatnonzero((fixed == -1) & ~dropped & ~leaked)
    _check_some_left(len(free), fixed == -1, dropped, leaked)
    splits = fixed.copy()
    split_notes = list[str]()
    for rows_of_draw, config in _draws(free, sources, num_rows, data.split):
        tasks = _row_tasks(sources, num_rows, rows_of_draw)
        splits[rows_of_draw], found_notes = assign_splits(
            _split_keys(keys, rows_of_draw, inputs, tasks), config, clusters[rows_of_draw]
        )
        split_notes += found_notes
    # those left out of the draw; they are in no split, but the ledger needs a value
    splits[splits < 0] = SPLITS.index("train")
    not_drawn = _not_drawn(sources, num_rows, splits, dropped | leaked, data)
    looked = [note for source in sources for note in source.notes]
    if labels_slot(sources[0].templates):  # the strata are combinations, of which many are rare
        split_notes = [note.replace("classes", "combinations of labels") for note in split_notes]
    held_out = _held_out_notes(sources, num_rows)
    notes = [*looked, *keys.notes, *notes, *split_notes, *held_out]
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
        searched=searched,
        inputs=in_task,
        targets=targets,
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
) -> NDArray[np.bool_]:
    """Training rows that a mixture leaves out: those beyond a source's share, see mixture.py."""
    out = np.zeros(len(splits), dtype=np.bool_)
    members = [i for i, source in enumerate(sources) if source.split in (None, "train")]
    if len(members) < 2:
        return out
    ends = np.cumsum(num_rows)
    number = np.arange(len(splits))
    rows = {i: (number >= ends[i] - num_rows[i]) & (number < ends[i]) & ~gone for i in members}
    train = {str(i): np.flatnonzero(rows[i] & (splits == SPLITS.index("train"))) for i in members}
    drawn = sample_mixture(
        {name: len(own) for name, own in train.items()}, data.mixture_cap, seed=data.split.seed
    )
    kept = {name: [index for source, index in drawn if source == name] for name in train}
    for name, own in train.items():
        out[np.delete(own, kept[name])] = True
    return out


def _form(source: Source) -> tuple[str, ...]:
    """Family, parser and metrics."""
    template = source.templates[0] if source.templates else None
    if template is None:
        return ("free", "text", *source.metrics)
    return (template.family, template.parser, *(source.metrics or template.metrics))


def _is_held_out(sources: Sequence[Source], num_rows: Sequence[int]) -> NDArray[np.bool_]:
    """Of each row."""
    return np.repeat(np.array([source.held_out for source in sources]), num_rows)


def _held_out_notes(sources: Sequence[Source], num_rows: Sequence[int]) -> list[str]:
    found = dict[str, int]()
    for source, count in zip(sources, num_rows, strict=True):
        if source.held_out:
            found[source.task] = found.get(source.task, 0) + count
    listed = ", ".join(f"{task} ({count:,} rows)" for task, count in found.items())
    return [f"held-out tasks, tested and never trained: {listed}"] if found else []


def _check_some_left(
    num_free: int, drawn: NDArray[np.bool_], dropped: NDArray[np.bool_], leaked: NDArray[np.bool_]
) -> None:
    """DataError where nothing remains to be divided because almost all rows are left out."""
    if num_free >= FEWEST_LEFT or drawn.sum() < MANY_LEFT_OUT:
        return
    total, twice = int(drawn.sum()), int((drawn & dropped).sum())
    in_test = int((drawn & leaked & ~dropped).sum())
    raise DataError(
        f"{num_free:,} of {total:,} rows remain: {twice:,} repeat the input and answer of an "
        f"earlier row, and {in_test:,} have an input of the test file",
        hint="give other rows to test on"
        if in_test > twice
        else "does data.columns name the columns that differ from row to row?",
    )


def _by_task(
    sources: Sequence[Source], num_rows: Sequence[int], inputs: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Hashes of inputs that are equal within a task only: one text may be the input of several."""
    tasks = [source.task for source in sources]
    if len(set(tasks)) == 1:
        return inputs
    salts = np.array([hash64(task) for task in tasks], dtype=np.uint64)
    return np.asarray(inputs ^ np.repeat(salts, num_rows))


def _draws(
    free: NDArray[np.int64], sources: Sequence[Source], num_rows: Sequence[int], config: SplitConfig
) -> list[tuple[NDArray[np.int64], SplitConfig]]:
    """Rows that are divided together, and by which fractions: all, but where the user gave files
    for the first task only, the other tasks apart.
    """
    rest = _split_config(config, sources)
    if rest is config or len({source.task for source in sources if not source.is_replay}) == 1:
        return [(free, rest)]
    is_first = np.repeat(np.array([s.task == sources[0].task for s in sources]), num_rows)[free]
    draws = [(free[is_first], rest), (free[~is_first], config)]
    return [(rows, fractions) for rows, fractions in draws if len(rows)]


def _row_tasks(
    sources: Sequence[Source], num_rows: Sequence[int], rows: NDArray[np.int64]
) -> Coded | None:
    """The task of each of the rows; None where there is one only."""
    names = list(dict.fromkeys(source.task for source in sources))
    if len(names) == 1:
        return None
    numbers = np.repeat([names.index(source.task) for source in sources], num_rows)
    return Coded(names, numbers.astype(np.int32)).take(rows)


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
        start = len(self.inputs)
        columns: dict[str, str] = {}
        while batch := list(islice(rows, BATCH_ROWS)):
            if len(self.inputs) == start:
                columns = _key_columns(source, data.split, batch[0])
                self._open(columns)
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

    def _open(self, columns: Mapping[str, str]) -> None:
        """Begin these columns, with nothing in them for the rows so far."""
        for key in columns:
            if key == "time":
                self._times = self._times or TimeColumn()
                self._times.extend_missing(len(self.inputs))
            else:
                self._columns.setdefault(key, CodedWriter()).extend_missing(len(self.inputs))

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


def _key_columns(source: Source, split: SplitConfig, first: Row) -> dict[str, str]:
    """The keys (fields of data.split) that the source's rows have, and in which column.

    Rows whose split is given need none; their group, where they have one, tells which belong
    together, and which are on two sides.
    """
    if source.split is not None:
        return {"group": split.group} if split.group and split.group in first.values else {}
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


def question_text(source: Source, row: Row) -> str:
    """The row's input as one normalised text."""
    return _all_text(source, row, _normalised(source, row))


def target_text(source: Source, row: Row) -> str:
    """The row's target as it is shown: a label's name, or the cells as text."""
    value = _target(source, row)
    return value if isinstance(value, str) else normalised_value(value)


def _target(source: Source, row: Row) -> object:
    values = [_target_value(source, row, column) for column in source.targets]
    return values[0] if len(values) == 1 else values


def _target_value(source: Source, row: Row, column: str) -> object:
    labels = label_of(source.templates, column, source.columns, row, source.labels)
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
    labels = label_of(source.templates, column, source.columns, row, source.labels)
    return _text_cell(row, column, key) if labels is None else labels


def _text_cell(row: Row, column: str, key: str) -> str | None:
    """None where there is no value, but a stratum: rows without one are a stratum of their own."""
    text = key_text(_cell(row, column, key))
    return "" if text is None and key == "stratify" else text


def _split_keys(
    keys: _Keys, free: NDArray[np.int64], inputs: NDArray[np.uint64], tasks: Coded | None
) -> SplitKeys:
    all_free = len(free) == len(inputs)  # the usual case, in which nothing is copied

    def column(key: str) -> Coded | None:
        values = keys.column(key)
        return values if values is None or all_free else values.take(free)

    strata, times = _strata(column("stratify"), tasks), keys.times()
    return SplitKeys(
        keys.ids if all_free else TakenIds(keys.ids, free),
        inputs if all_free else inputs[free],
        strata,
        column("group"),
        times if times is None or all_free else times[free],
        column("column"),
    )


def _strata(labels: Coded | None, tasks: Coded | None) -> Coded | None:
    """What has the same share in each split: labels, in a mixture those of each task."""
    if labels is not None:
        labels = Coded([str(value) for value in labels.values], labels.codes)
    if labels is None or tasks is None:
        return tasks if labels is None else labels
    pairs = tasks.codes.astype(np.int64) * len(labels.values) + labels.codes
    found, codes = np.unique(pairs, return_inverse=True)
    names = [divmod(int(pair), len(labels.values)) for pair in found]
    return Coded(
        [f"{tasks.values[task]}: {labels.values[label]}" for task, label in names],
        codes.astype(np.int32),
    )


def _split_config(config: SplitConfig, sources: Sequence[Source]) -> SplitConfig:
    """The fractions left for the drawn splits where the user gave files for the others."""
    given = {source.split for source in sources if not source.held_out} & {"validation", "test"}
    if not given:
        return config
    left = {split: 0.0 if split in given else getattr(config, split) for split in SPLITS}
    total = sum(left.values())
    return config.model_copy(update={split: value / total for split, value in left.items()})


def find_overlap(index: Index, held_out: bool = False) -> Overlap:
    """Test inputs that share 13 words in a row with a training input (short ones: all words); those
    of the trained tasks, or with `held_out` those of the others.
    """
    if index.words is None:
        return Overlap(0, 0, [])
    wanted = _is_held_out(index.sources, index.num_rows) == held_out
    return overlap(index.words, index.used("train"), index.used("test") & wanted)


@dataclass(frozen=True)
class TwinRows:
    """Row numbers, per split, of the rows in a cluster of near-duplicates with a training row; and
    that training row. There are none but in a split that the user gave.
    """

    rows: dict[Split, NDArray[np.int64]]
    in_train: dict[Split, NDArray[np.int64]]


def find_twins(index: Index) -> TwinRows:
    """The validation and test rows that have a near-twin, or an equal, among the training rows."""
    # for each cluster its first training row
    train = np.flatnonzero(index.used("train"))
    first_of = np.full(len(index.clusters), -1, dtype=np.int64)
    first_of[index.clusters[train[::-1]]] = train[::-1]
    rows, in_train = dict[Split, NDArray[np.int64]](), dict[Split, NDArray[np.int64]]()
    for split in JUDGED:
        rows[split] = np.flatnonzero(index.used(split) & (first_of[index.clusters] >= 0))
        in_train[split] = first_of[index.clusters[rows[split]]]
    return TwinRows(rows, in_train)
