"""A data file as `init` reads it, through the same reader as a run, and what is proposed for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tunesmith.data.sources.members import members, read_member
from tunesmith.errors import DataError, did_you_mean
from tunesmith.init.facts import ColumnFacts, look
from tunesmith.init.files import Beside, look_beside
from tunesmith.init.proposal import Proposal, propose
from tunesmith.init.roles import Role
from tunesmith.init.table import Table
from tunesmith.recipe import DataConfig

SHOWN = 5


@dataclass(frozen=True)
class Seen:
    """A table that was looked at, and the proposal; `notes` say what the reader recognised."""

    table: Table
    beside: Beside
    proposal: Proposal
    notes: tuple[str, ...]

    @property
    def source(self) -> str:
        """The file, folder or hub id."""
        return self.table.facts.source

    @property
    def rows(self) -> int:
        """Rows that were looked at."""
        return self.table.facts.rows

    @property
    def columns(self) -> list[tuple[ColumnFacts, Role]]:
        """Each column's facts with its role."""
        return [(c, self.table.roles[c.name]) for c in self.table.facts.columns]


def read_table(data: DataConfig, wanted: Mapping[str, str], task: str | None = None) -> Seen:
    """Read a recipe's first source and propose. `wanted` are columns by slot.

    Raises DataError for what cannot be read and where nothing can be learnt, TemplateError for an
    unknown task.
    """
    notes: list[str] = []
    facts = look(str(data.source), _values(data, notes))
    for name in wanted.values():
        _check_column(name, [column.name for column in facts.columns], facts.source)
    table = Table(facts, wanted, task)
    beside = look_beside(Path(str(data.source)), partial(_columns, data))
    return Seen(table, beside, propose(table, beside), tuple(notes))


def _check_column(name: str, columns: list[str], source: str) -> None:
    if name not in columns:
        raise DataError(f"{source}: there is no column {name!r}", hint=did_you_mean(name, columns))


def proposed_for(seen: Seen, task: str, wanted: Mapping[str, str]) -> Proposal:
    """The proposal for the same table with another task and other columns."""
    return propose(Table(seen.table.facts, wanted, task), seen.beside)


def _values(data: DataConfig, notes: list[str]) -> Iterator[Mapping[str, Any]]:
    return (row.values for row in read_member(members(data)[0], notes=notes))


def _columns(data: DataConfig, path: Path) -> frozenset[str]:
    other = data.model_copy(update={"source": str(path)})
    return frozenset(next(_values(other, [])))


def described(column: ColumnFacts) -> str:
    """What was counted in a column, in a few words."""
    parts = [f"{column.distinct:,} different" if column.distinct else "empty"]
    if column.parts and column.separator:
        parts.append(f"{len(column.parts):,} parts between {column.separator!r}")
    if column.missing:
        parts.append(f"{column.missing:,} missing")
    if column.has_few_values:
        shown = ", ".join(f"{value} ({rows:,})" for value, rows in column.common[:SHOWN])
        parts.append(shown + (", ..." if column.distinct > SHOWN else ""))
    elif column.kind == "text":
        parts.append(f"{column.words:.0f} words in the median")
    return ", ".join(parts)
