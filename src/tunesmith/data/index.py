"""The first pass over the rows: which sources there are, and in which split each row stands.

Only keys are kept in memory (hashes, labels, groups), a few dozen bytes a row; the rows are read again to be rendered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.duplicates import find_duplicates, input_hash, near_duplicate_clusters, target_hash
from tunesmith.data.formats import detect_format
from tunesmith.data.leaks import Overlap, overlap
from tunesmith.data.render import collect_choices
from tunesmith.data.rows import read_rows
from tunesmith.data.sandbox import SEPARATOR, used_columns
from tunesmith.data.slots import Labels
from tunesmith.data.splits import SplitKeys, assign_splits
from tunesmith.data.templates import PromptTemplate, load_templates
from tunesmith.errors import DataError, TemplateError, did_you_mean
from tunesmith.recipe import DataConfig, SourceConfig, SplitConfig
from tunesmith.records import SPLITS, Row, Split

TARGET_TYPES = ("label", "target")


@dataclass(frozen=True)
class Source:
    """One file (or folder, or data set) and how its rows become examples.

    `fmt` is a known form (messages ...) where no template is asked for. `split` is set for a validation or test file
    of the user's and for replay. `inputs` and `targets` are the columns that make two rows the same question, and the
    same answer.
    """

    path: str
    prefix: str
    templates: tuple[PromptTemplate, ...]
    fmt: str | None
    columns: dict[str, str]
    labels: Labels
    choices: tuple[str, ...]
    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    split: Split | None = None


@dataclass(frozen=True)
class Index:
    """Per row, in reading order: its split, its group, and whether it is left out as a duplicate."""

    sources: tuple[Source, ...]
    num_rows: tuple[int, ...]
    splits: NDArray[np.uint8]
    dropped: NDArray[np.bool_]
    leaked: NDArray[np.bool_]
    conflicting: NDArray[np.bool_]
    groups: Sequence[str]
    near_duplicate_clusters: int
    notes: tuple[str, ...]


def plan_sources(data: DataConfig) -> list[Source]:
    """The recipe's sources, each checked against the columns of its first row; RecipeError or TemplateError if not."""
    members = data.source if isinstance(data.source, list) else [data.source]
    sources = [_source(data, member, "", None) for member in members if member is not None]
    if not sources:
        raise DataError("the recipe names no rows", hint="set data.source to a file, a folder or a hub id")
    if len(sources) > 1:
        sources = [replace(source, prefix=f"{number}:") for number, source in enumerate(sources, start=1)]
    given: list[tuple[Split, str | None]] = [("validation", data.validation_source), ("test", data.test_source)]
    own_files = [_source(data, path, f"{split}:", split) for split, path in given if path is not None]
    one_task = [sources[0], *own_files]  # a label may stand in one of the user's files only
    choices = tuple(sorted({choice for source in one_task for choice in source.choices}))
    return [replace(source, choices=choices) for source in one_task] + sources[1:]


def _source(data: DataConfig, member: str | SourceConfig, prefix: str, split: Split | None) -> Source:
    if isinstance(member, SourceConfig):
        changes = {k: v for k, v in member.model_dump(exclude={"source", "replay"}).items() if v is not None}
        data = data.model_copy(update=changes)
        split = "train" if member.replay else split
        member = member.source
    first = next(iter(read_rows(member, data.encoding, data.id)), None)
    if first is None:
        raise DataError(f"{member}: no rows", hint="the first line of a csv file names the columns")
    fmt = detect_format(first.values) if data.task is None and data.template is None else None
    if fmt is not None:
        inputs, targets = _format_columns(fmt, first)
        return Source(member, prefix, (), fmt, dict(data.columns), None, (), inputs, targets, split)
    try:
        templates = tuple(load_templates(data, list(first.values)))
    except TemplateError as error:
        known = "no task or template in the recipe, and no prompt/completion, messages, conversations or instruction"
        if data.task is None and data.template is None:
            raise TemplateError(
                f"{member}: {known} columns in it: {', '.join(first.values)}", hint="set data.task, or data.template"
            ) from error
        raise
    rows = _limited(member, data)
    choices = collect_choices(rows, templates[0], columns=data.columns, label_names=data.labels)
    inputs, targets = _template_columns(templates[0], data.columns, first)
    return Source(member, prefix, templates, None, dict(data.columns), data.labels, choices, inputs, targets, split)


def _limited(path: str, data: DataConfig) -> Iterator[Row]:
    return islice(read_rows(path, data.encoding, data.id), data.max_rows)


def source_rows(source: Source, data: DataConfig) -> Iterator[Row]:
    """The source's rows, ids made distinct between sources."""
    for row in _limited(source.path, data):
        yield replace(row, id=source.prefix + row.id) if source.prefix else row


def _format_columns(fmt: str, first: Row) -> tuple[tuple[str, ...], tuple[str, ...]]:
    known = {
        "prompt_completion": (("prompt",), ("completion",)),
        "alpaca": (("instruction", "input"), ("output",)),
        "messages": (("messages",), ()),
        "sharegpt": (("conversations",), ()),
    }
    inputs, targets = known[fmt]
    return tuple(c for c in inputs if c in first.values), targets


def _template_columns(
    template: PromptTemplate, columns: dict[str, str], first: Row
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Columns used before the separator and those used only after it, so that inverted wordings are right too."""
    there = {columns.get(name, name): slot.type for name, slot in template.slots}
    there = {column: kind for column, kind in there.items() if column in first.values}
    try:
        before = {columns.get(name, name) for name in used_columns(template.source.partition(SEPARATOR)[0])}
    except TemplateError:  # the separator stands inside an `if`: the prompt is not a template of its own
        before = {column for column, kind in there.items() if kind not in TARGET_TYPES}
    return tuple(c for c in there if c in before), tuple(c for c in there if c not in before)


def build_index(sources: Sequence[Source], data: DataConfig) -> Index:
    """Read every source once (twice with near-duplicates) and give each row its split."""
    keys = [_keys(source, data) for source in sources]
    num_rows = tuple(len(key.ids) for key in keys)
    inputs = np.concatenate([key.inputs for key in keys])
    targets = np.concatenate([key.targets for key in keys])
    duplicates = find_duplicates(inputs, targets)
    fixed = np.repeat([-1 if s.split is None else SPLITS.index(s.split) for s in sources], num_rows)
    # a row of the user's test file is never dropped in favour of a training row with the same text
    dropped = duplicates.dropped & (fixed == fixed[duplicates.first])
    leaked = (fixed != SPLITS.index("test")) & np.isin(inputs, inputs[fixed == SPLITS.index("test")])
    clusters, num_clusters, notes = _clusters(sources, data, inputs)
    free = np.flatnonzero((fixed == -1) & ~dropped & ~leaked)
    splits = fixed.astype(np.int16)
    config, more = _split_config(data.split, sources)
    assigned, split_notes = assign_splits(_split_keys(keys, free, inputs, data, sources), config, clusters[free])
    splits[free] = assigned
    splits[splits < 0] = SPLITS.index("train")
    groups = _group_names(keys, clusters)
    notes = [*notes, *more, *split_notes]
    if leaked.any():
        notes.append(f"{int(leaked.sum()):,} rows stand in the test file too: they are left out of training")
    return Index(
        tuple(sources), num_rows, splits.astype(np.uint8), dropped, leaked,
        duplicates.conflicting, groups, num_clusters, tuple(notes),
    )  # fmt: skip


@dataclass(frozen=True)
class _Keys:
    ids: list[str]
    inputs: NDArray[np.uint64]
    targets: NDArray[np.uint64]
    strata: list[str] | None
    groups: list[str | None] | None
    times: list[Any] | None
    column: list[str | None] | None


def _keys(source: Source, data: DataConfig) -> _Keys:
    split = data.split
    free = source.split is None
    label = source.columns.get("label", "label")
    stratify = split.stratify or (label if label in source.targets and split.group is None else None)
    wanted = {"stratify": stratify, "group": split.group, "time": split.time, "column": split.column}
    lists: dict[str, list[Any]] = {name: [] for name, column in wanted.items() if column is not None and free}
    ids, inputs, targets = [], [], []
    for row in source_rows(source, data):
        ids.append(row.id)
        inputs.append(input_hash({column: row.values.get(column) for column in source.inputs}))
        targets.append(target_hash([row.values.get(column) for column in source.targets]))
        for name, values in lists.items():
            values.append(_cell(row, str(wanted[name]), name))
    return _Keys(
        ids, np.array(inputs, dtype=np.uint64), np.array(targets, dtype=np.uint64),
        [str(value) for value in lists["stratify"]] if "stratify" in lists else None,
        lists.get("group"), lists.get("time"), lists.get("column"),
    )  # fmt: skip


def _cell(row: Row, column: str, key: str) -> Any:
    if column not in row.values:
        raise DataError(
            f"{row.source}: data.split.{key} = {column!r}, no such column", hint=did_you_mean(column, row.values)
        )
    value = row.values[column]
    return value if value is None or key == "time" else str(value)


def _split_keys(
    keys: Sequence[_Keys],
    free: NDArray[np.int64],
    inputs: NDArray[np.uint64],
    data: DataConfig,
    sources: Sequence[Source],
) -> SplitKeys:
    def column(name: str) -> list[Any] | None:
        parts = [getattr(key, name) for key in keys]
        if all(part is None for part, source in zip(parts, sources, strict=True) if source.split is None):
            return None
        flat = [v for part, key in zip(parts, keys, strict=True) for v in (part or [None] * len(key.ids))]
        return [flat[i] for i in free]

    ids = [i for key in keys for i in key.ids]
    strata = column("strata")
    return SplitKeys(
        [ids[i] for i in free],
        inputs[free],
        [str(value) for value in strata] if strata is not None else None,
        column("groups"),
        column("times"),
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


def _clusters(
    sources: Sequence[Source], data: DataConfig, inputs: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], int, list[str]]:
    """A cluster number for each row: rows with the same input, and near-duplicates, have the same one."""
    _, first, inverse = np.unique(inputs, return_index=True, return_inverse=True)
    exact = first[inverse.reshape(-1)].astype(np.int64)
    if not data.near_duplicates:
        return exact, 0, []
    found = near_duplicate_clusters((text for _, text in _input_texts(sources, data)), len(inputs))
    return found.clusters[exact], found.num_clusters, [found.note] if found.note else []


def _input_texts(sources: Sequence[Source], data: DataConfig) -> Iterator[tuple[str, str]]:
    for source in sources:
        for row in source_rows(source, data):
            yield row.id, " ".join(str(row.values.get(column) or "") for column in source.inputs)


def find_overlap(index: Index, data: DataConfig) -> Overlap:
    """Test inputs of which 13 words in a row (a short one: all words) stand in a training input."""

    def texts(split: str) -> Iterator[tuple[str, str]]:
        wanted = (index.splits == SPLITS.index(split)) & ~index.dropped & ~index.leaked
        return compress(_input_texts(index.sources, data), wanted)

    return overlap(texts("train"), texts("test"))


def _group_names(keys: Sequence[_Keys], clusters: NDArray[np.int64]) -> list[str]:
    """What statistics cluster by: the user's group where one is named, else the near-duplicate cluster."""
    ids = [i for key in keys for i in key.ids]
    named = [group for key in keys for group in (key.groups or [None] * len(key.ids))]
    return [
        str(group) if group not in (None, "") else ids[cluster] for group, cluster in zip(named, clusters, strict=True)
    ]
