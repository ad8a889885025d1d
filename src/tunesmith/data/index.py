"""The first pass over the rows: which sources there are, and in which split each row stands.

Only keys are kept in memory, a few dozen bytes a row: hashes, the id in Arrow, a label that many rows share. The rows
are read again to be rendered.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, compress, islice
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tunesmith.data.duplicates import find_duplicates, input_hash, near_duplicate_clusters, target_hash
from tunesmith.data.formats import detect_format
from tunesmith.data.leaks import Overlap, overlap
from tunesmith.data.mixture import sample_mixture
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
BATCH_ROWS = 10_000


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
    """Per row, in reading order: its split, whether it is left out as a duplicate, and what it belongs to.

    `clusters` are the numbers of the first row with the same or nearly the same input; `groups` are the user's own.
    """

    sources: tuple[Source, ...]
    num_rows: tuple[int, ...]
    splits: NDArray[np.uint8]
    dropped: NDArray[np.bool_]
    leaked: NDArray[np.bool_]
    not_drawn: NDArray[np.bool_]
    conflicting: NDArray[np.bool_]
    clusters: NDArray[np.int64]
    groups: Sequence[str | None] | None
    near_duplicate_clusters: int
    notes: tuple[str, ...]

    @cached_property
    def is_shared(self) -> NDArray[np.bool_]:
        """Rows that are the first of a cluster with more rows."""
        numbers = np.arange(len(self.clusters))
        shared = np.zeros(len(numbers), dtype=np.bool_)
        shared[self.clusters[self.clusters != numbers]] = True
        return shared


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


def member_configs(data: DataConfig) -> list[DataConfig]:
    """`data` for each member of a mixture: what the member leaves out is taken from `data`, `source` is one path."""
    members = data.source if isinstance(data.source, list) else [data.source]
    return [_member_config(data, member) for member in members if member is not None]


def _member_config(data: DataConfig, member: str | SourceConfig) -> DataConfig:
    if isinstance(member, str):
        return data.model_copy(update={"source": member})
    return data.model_copy(update={k: v for k, v in member.model_dump(exclude={"replay"}).items() if v is not None})


def _source(data: DataConfig, member: str | SourceConfig, prefix: str, split: Split | None) -> Source:
    if isinstance(member, SourceConfig):
        data = _member_config(data, member)
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
    num_rows = tuple(len(key.inputs) for key in keys)
    inputs = np.concatenate([key.inputs for key in keys])
    duplicates = find_duplicates(inputs, np.concatenate([key.targets for key in keys]))
    given = [-1 if source.split is None else SPLITS.index(source.split) for source in sources]
    fixed = np.repeat(np.array(given, dtype=np.int8), num_rows)
    # a row of the user's test file is never dropped in favour of a training row with the same text
    dropped = duplicates.dropped & (fixed == fixed[duplicates.first])
    leaked = (fixed != SPLITS.index("test")) & np.isin(inputs, inputs[fixed == SPLITS.index("test")])
    clusters, num_clusters, notes = _clusters(sources, data, inputs)
    free = np.flatnonzero((fixed == -1) & ~dropped & ~leaked)
    splits = fixed.copy()
    config, more = _split_config(data.split, sources)
    assigned, split_notes = assign_splits(_split_keys(keys, free, inputs), config, clusters[free])
    splits[free] = assigned
    splits[splits < 0] = SPLITS.index("train")
    not_drawn, mixture_notes = _not_drawn(sources, num_rows, splits, dropped | leaked, data)
    notes = [*notes, *more, *split_notes, *mixture_notes]
    if leaked.any():
        notes.append(f"{int(leaked.sum()):,} rows stand in the test file too: they are left out of training")
    return Index(
        tuple(sources), num_rows, splits.astype(np.uint8), dropped, leaked, not_drawn,
        duplicates.conflicting, clusters, _joined(keys, "groups"), num_clusters, tuple(notes),
    )  # fmt: skip


def _not_drawn(
    sources: Sequence[Source],
    num_rows: Sequence[int],
    splits: NDArray[np.int8],
    gone: NDArray[np.bool_],
    data: DataConfig,
) -> tuple[NDArray[np.bool_], list[str]]:
    """Rows that a mixture leaves out: training rows beyond a source's share (see mixture.py), and the validation and
    test rows of a source with another task than the first, whose metrics would not fit them."""
    out = np.zeros(len(splits), dtype=np.bool_)
    members = [i for i, source in enumerate(sources) if source.split in (None, "train")]
    if len(members) < 2:
        return out, []
    ends = np.cumsum(num_rows)
    number, notes = np.arange(len(splits)), []
    rows = {i: (number >= ends[i] - num_rows[i]) & (number < ends[i]) & ~gone for i in members}
    train = {str(i): np.flatnonzero(rows[i] & (splits == SPLITS.index("train"))) for i in members}
    drawn = sample_mixture({name: len(own) for name, own in train.items()}, data.mixture_cap, seed=data.split.seed)
    kept = {name: [index for source, index in drawn if source == name] for name in train}
    for name, own in train.items():
        out[np.delete(own, kept[name])] = True
    for i in members[1:]:
        if _task(sources[i]) != _task(sources[0]):
            out |= rows[i] & (splits != SPLITS.index("train"))
            notes.append(f"{sources[i].path} is another task: it is trained on and not judged; see evaluation.panel")
    return out, notes


def _task(source: Source) -> tuple[str, ...]:
    template = source.templates[0] if source.templates else None
    return (template.parser, *template.metrics) if template else ("text",)


class RowIds(Sequence[str]):
    """Ids in Arrow: about 12 bytes each, where a list of str takes 64."""

    def __init__(self, ids: pa.ChunkedArray) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[str]: ...
    def __getitem__(self, i: int | slice) -> str | Sequence[str]:
        return RowIds(self.ids[i]) if isinstance(i, slice) else str(self.ids[i].as_py())

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(chunk.to_pylist() for chunk in self.ids.iterchunks())


@dataclass(frozen=True)
class _Keys:
    """Of one source; `ids` are chunks of Arrow."""

    ids: list[pa.Array]
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
    wanted = {"strata": stratify, "groups": split.group, "times": split.time, "column": split.column}
    columns = [(name, column) for name, column in wanted.items() if column is not None and free]
    lists: dict[str, list[Any]] = {name: [] for name, _ in columns}
    shared: dict[Any, Any] = {}  # so that equal labels are one object
    ids: list[pa.Array] = []
    inputs, targets = array("Q"), array("Q")
    rows = source_rows(source, data)
    while batch := list(islice(rows, BATCH_ROWS)):
        ids.append(pa.array([row.id for row in batch], pa.large_string()))
        inputs.extend(input_hash({c: row.values.get(c) for c in source.inputs}) for row in batch)
        targets.extend(target_hash(_target(source, row)) for row in batch)
        for name, column in columns:
            cells = [_cell(row, column, name) for row in batch]
            lists[name] += cells if name == "times" else [shared.setdefault(cell, cell) for cell in cells]
    return _Keys(
        ids, np.frombuffer(inputs, dtype=np.uint64), np.frombuffer(targets, dtype=np.uint64),
        lists.get("strata"), lists.get("groups"), lists.get("times"), lists.get("column"),
    )  # fmt: skip


def _target(source: Source, row: Row) -> Any:
    if len(source.targets) == 1:
        return row.values.get(source.targets[0])
    return [row.values.get(column) for column in source.targets]


KEY_OF_LIST = {"strata": "stratify", "groups": "group", "times": "time", "column": "column"}


def _cell(row: Row, column: str, name: str) -> Any:
    if column not in row.values:
        raise DataError(
            f"{row.source}: data.split.{KEY_OF_LIST[name]} = {column!r}, no such column",
            hint=did_you_mean(column, row.values),
        )
    value = row.values[column]
    if name == "times" or (value is None and name != "strata"):
        return value
    return str(value)


def _joined(keys: Sequence[_Keys], name: str) -> list[Any] | None:
    """One list over all sources, None in those that have no such key; None where no source has."""
    parts = [getattr(key, name) for key in keys]
    if all(part is None for part in parts):
        return None
    if len(parts) == 1:
        return list(parts[0])
    return [value for part, key in zip(parts, keys, strict=True) for value in part or [None] * len(key.inputs)]


def _split_keys(keys: Sequence[_Keys], free: NDArray[np.int64], inputs: NDArray[np.uint64]) -> SplitKeys:
    all_free = len(free) == len(inputs)  # as a rule, and then nothing is copied

    def column(name: str) -> list[Any] | None:
        values = _joined(keys, name)
        return values if values is None or all_free else [values[i] for i in free]

    ids = pa.chunked_array([chunk for key in keys for chunk in key.ids], pa.large_string())
    strata = column("strata")
    return SplitKeys(
        RowIds(ids if all_free else ids.take(pa.array(free))),
        inputs if all_free else inputs[free],
        strata if strata is None or None not in strata else [str(value) for value in strata],
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
        wanted = (index.splits == SPLITS.index(split)) & ~index.dropped & ~index.leaked & ~index.not_drawn
        return compress(_input_texts(index.sources, data), wanted)

    return overlap(texts("train"), texts("test"))
