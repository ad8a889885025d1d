"""How the files of a source are read, and what is told about them while they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.errors import DataError

Unreadable = Callable[[str, str], None]
Values = dict[str, Any]  # of a row, by column
Placed = tuple[Values, str]  # values and file:line


@dataclass(frozen=True)
class Reading:
    """What a recipe says of its files, and three places for what is found in them.

    `encoding` None: found out. `names` are those of a table without a header, `sheet` the one of a
    workbook. `hashes` collects the SHA-256 of each file that was read to its end, `notes` what was
    recognised, once each. `unreadable` is told about lines that are no rows.
    """

    encoding: str | None = None
    names: tuple[str, ...] = ()
    sheet: str | None = None
    unreadable: Unreadable | None = None
    hashes: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Say what was recognised; names from the file are shown inert."""
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
        if text not in self.notes:
            self.notes.append(text)

    def refuse(self, where: str, problem: str, hint: str) -> None:
        """A line that is no row: DataError, unless somebody counts them."""
        if self.unreadable is None:
            raise DataError(f"{where}: {problem}", hint=hint)
        self.unreadable(where, problem)
