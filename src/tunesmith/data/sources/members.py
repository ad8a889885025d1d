"""The files and data sets that a recipe names, and what applies to each: ids, split, template."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Protocol

from tunesmith.data.sources.rows import Unreadable, check_exists, read_rows
from tunesmith.errors import DataError, RecipeError
from tunesmith.recipe import DataConfig, SourceConfig
from tunesmith.records import Row, Split


@dataclass(frozen=True)
class Member:
    """One file, folder or data set, and the data section of the recipe as it applies to it.

    `prefix` comes before its row ids, so that ids differ between members. `split` is set where all
    its rows belong to one split: a validation or test file of the user's, replay, and a held-out
    task. `name` is its task's and `metrics` are its task's, where the recipe gives them.
    """

    path: str
    prefix: str
    split: Split | None
    data: DataConfig
    name: str | None = None
    metrics: tuple[str, ...] = ()
    held_out: bool = False

    @property
    def is_own_file(self) -> bool:
        """Whether it is the user's own validation or test file, which is no part of a mixture."""
        return self.split in ("validation", "test") and not self.held_out


class Rows(Protocol):
    """Where the rows of each member come from: the sources themselves, or a run's copy of them."""

    def read(self, number: int, unreadable: Unreadable | None = None) -> Iterator[Row]:
        """The rows of member `number`; `unreadable` is told about the lines that are none."""


class SourceRows:
    """Rows straight from the sources, each time anew: for a look at them that leaves nothing."""

    def __init__(self, data: DataConfig) -> None:
        self._members = members(data)

    def read(self, number: int, unreadable: Unreadable | None = None) -> Iterator[Row]:
        """See `Rows`; DataError for what cannot be read, and for a member without rows."""
        return read_member(self._members[number], unreadable)


def members(data: DataConfig) -> list[Member]:
    """The first source, the user's validation and test files, which are of the same task, then the
    other sources of a mixture.

    Sources of a mixture are numbered from 1 in their prefixes; a single one has none. Raises
    DataError where the recipe names no rows, or none to train on.
    """
    named = data.source if isinstance(data.source, list) else [data.source]
    mixture = [_member(data, source) for source in named if source is not None]
    if not mixture:
        raise DataError(
            "the recipe names no rows", hint="set data.source to a file, a folder or a hub id"
        )
    if len(mixture) > 1:
        mixture = [replace(one, prefix=f"{i}:") for i, one in enumerate(mixture, start=1)]
    if mixture[0].held_out or mixture[0].split is not None:
        # the first is the one that validation and test files belong to
        trained = [one for one in mixture if one.split is None]
        mixture = [*trained, *(one for one in mixture if one.split is not None)]
    if mixture[0].split is not None:
        raise DataError(
            "every source of the mixture is held out or replayed: there is no task to train",
            hint="give data.source a member without held_out and replay",
        )
    own: list[tuple[Split, str | None]] = [
        ("validation", data.validation_source),
        ("test", data.test_source),
    ]
    own_files = [Member(path, f"{split}:", split, data) for split, path in own if path is not None]
    return [mixture[0], *own_files, *mixture[1:]]


def check_sources(data: DataConfig) -> None:
    """DataError for a file that is not there, found without torch and before any work."""
    for member in members(data):
        check_exists(member.path)


def _member(data: DataConfig, source: str | SourceConfig) -> Member:
    """What a member of a mixture leaves out is taken from `data`."""
    if isinstance(source, str):
        return Member(source, "", None, data.model_copy(update={"source": source}))
    if source.replay and source.held_out:
        raise RecipeError(
            f"data.source: {source.source} is both replay, which is only trained on, and held_out, "
            "which is never trained on",
            hint="keep one of the two",
        )
    given = source.model_dump(include={"source", "task", "template", "columns", "labels"})
    given = {name: value for name, value in given.items() if value is not None}
    split: Split | None = "train" if source.replay else "test" if source.held_out else None
    return Member(
        source.source,
        "",
        split,
        data.model_copy(update=given),
        source.name,
        tuple(source.metrics or ()),
        source.held_out,
    )


def read_member(
    member: Member, unreadable: Unreadable | None = None, hashes: dict[Path, str] | None = None
) -> Iterator[Row]:
    """At most `data.max_rows` rows of a member, with its prefix before their ids.

    Lines that are no rows are passed to `unreadable`, see `read_rows`. Raises DataError where there
    is no row at all, with the first such line if there is one.
    """
    data, found = member.data, False
    told = unreadable or _pass_over
    rows = read_rows(member.path, data.encoding, data.id, told, hashes)
    for row in islice(rows, data.max_rows):
        found = True
        yield replace(row, id=member.prefix + row.id) if member.prefix else row
    if not found:
        next(read_rows(member.path, data.encoding, data.id), None)  # raises at the first bad line
        raise DataError(
            f"{member.path}: no rows", hint="the first line of a csv file names the columns"
        )


def _pass_over(where: str, problem: str) -> None:
    """For passes that do not count what is unreadable: the one that fills the ledger does."""
