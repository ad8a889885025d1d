"""The files beside a data file that are its validation and test rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tunesmith.data.sources.folders import is_saved, kind_of, splits_of, units_in
from tunesmith.data.sources.splits import EVALUATION, WORDS, split_named
from tunesmith.errors import DataError
from tunesmith.records import Split

Columns = Callable[[Path], frozenset[str]]
"""The names of the columns of a file; DataError for one that cannot be read."""


@dataclass(frozen=True)
class Beside:
    """`own` is the split that the file itself is by its name; `others` are files with the same
    columns whose names differ from its own only in the split. `apart` are two files of a folder
    whose columns differ.
    """

    own: Split | None
    others: dict[Split, Path]
    apart: tuple[str, ...] = ()


def look_beside(path: Path, columns_of: Columns) -> Beside:
    """The split of a file by its name, and the other splits' files in its folder."""
    if not path.is_file():
        return Beside(None, {}, _apart(path, columns_of))
    there = sorted(
        other
        for other in path.parent.iterdir()
        if other.is_file() and kind_of(other) == kind_of(path) and _rest(other) == _rest(path)
    )
    names = [file.name for file in there]
    own = split_named(path.name, names)
    found: dict[Split, Path] = {}
    for other in there:
        split = split_named(other.name, names)
        if other != path and split is not None and split != own:
            found.setdefault(split, other)
    same = {split: file for split, file in found.items() if _alike(path, file, columns_of)}
    return Beside(own, same)


def _apart(folder: Path, columns_of: Columns) -> tuple[str, ...]:
    """The names of the first two files of a folder, without splits in it, whose columns differ."""
    if not folder.is_dir() or is_saved(folder) or splits_of(str(folder)):
        return ()
    files = [unit[0] for unit in units_in(folder) if len(unit) == 1]
    other = next((f for f in files[1:] if not _alike(files[0], f, columns_of)), None)
    return (files[0].name, other.name) if other is not None else ()


def _rest(path: Path) -> str:
    """A file's name without the words for splits and the signs beside them.

    >>> _rest(Path("reviews_test.csv")) == _rest(Path("reviews.csv"))
    True
    """
    words = re.findall(r"[a-z]+|[^a-z\W_]+", path.name.split(".")[0].lower())
    return " ".join(word for word in words if word not in WORDS and word not in EVALUATION)


def _alike(path: Path, other: Path, columns_of: Columns) -> bool:
    try:
        return columns_of(path) == columns_of(other)
    except DataError:
        return False
