"""What a folder holds: its files in the order they are read, and the splits that they are of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from tunesmith.data.sources.json_rows import json_splits
from tunesmith.data.sources.line_formats import parallel_pairs
from tunesmith.data.sources.splits import split_named
from tunesmith.data.sources.workbooks import SUFFIXES as WORKBOOKS
from tunesmith.errors import DataError
from tunesmith.records import SPLITS, Split

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".feather")
PACKED = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")  # these also with .gz behind
TEXTS = (
    *(".txt", ".conll", ".conllu", ".bio", ".iob", ".iob2", ".fasttext", ".ft", ".label"),
    *(".train", ".valid", ".val", ".dev", ".test"),
)
SUFFIXES = (*TABLES, *WORKBOOKS, *TEXTS)
NO_DATA = ("readme", "license", "licence", "notes", "requirements", "changelog", "citation")
Unit = tuple[Path, ...]  # one file, or parallel ones


def kind_of(path: Path) -> str:
    """The suffix that says how a file is read, .gz aside; "" for a name without one."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix == ".gz" else suffix


def is_known(path: Path) -> bool:
    """Whether the name promises a file that can be read."""
    packed = path.suffix.lower() == ".gz"
    return kind_of(path) in ((*PACKED, *TEXTS) if packed else SUFFIXES)


def is_saved(path: Path) -> bool:
    """Whether it is a folder that `datasets` wrote."""
    return (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists()


def units_in(folder: Path) -> list[Unit]:
    """The files of a folder that are read, in the order of their names, parallel ones together.

    Tables come before parallel texts, those before workbooks and other texts: where there are files
    of an earlier kind, the later ones are something beside them. Raises DataError where there are
    none at all.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file() and _is_data(file, folder))
    tables = [(file,) for file in files if is_known(file) and kind_of(file) in TABLES]
    found: Sequence[Unit] = (
        tables
        or parallel_pairs(files)
        or [(file,) for file in files if file.suffix.lower() in WORKBOOKS]
        or [(file,) for file in files if is_known(file)]
    )
    if not found:
        raise DataError(
            f"{folder}: a folder without data files", hint=f"known endings: {', '.join(SUFFIXES)}"
        )
    return list(found)


def _is_data(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith((".", "__")) for part in file.relative_to(folder).parts)
    return not hidden and file.stem.lower() not in NO_DATA


def splits_in(folder: Path) -> dict[Split, list[Unit]]:
    """The files of a folder by the splits that their names say; {} where they say none.

    Files that name no split are the training files, where none is named so. Raises DataError for
    validation and test files without others.
    """
    units = units_in(folder)
    names = [str(unit[0].relative_to(folder)) for unit in units]
    found: dict[Split | None, list[Unit]] = {}
    for unit, name in zip(units, names, strict=True):
        found.setdefault(split_named(name, names), []).append(unit)
    by_split = {split: found[split] for split in SPLITS if split in found}
    if not set(by_split) & {"validation", "test"} or len(units) < 2:
        return {}
    rest = found.get(None, [])
    if "train" not in by_split and rest:
        return {"train": rest, **by_split}
    if "train" not in by_split:
        if len(by_split) == 1:
            return {}
        raise DataError(
            f"{folder}: validation and test files, and none to train on: {', '.join(names)}",
            hint="name the training file train, or name the files in data.source, "
            "data.validation_source and data.test_source",
        )
    return by_split


def splits_of(source: str) -> tuple[Split, ...]:
    """The splits that a folder or a document has inside, in the order of SPLITS; () where it is one
    table.
    """
    return tuple(sorted(_inside(Path(source)), key=SPLITS.index))


def _inside(path: Path) -> Iterable[Split]:
    if path.is_dir():
        return saved_splits(path) if is_saved(path) else splits_in(path)
    if not path.is_file() or kind_of(path) != ".json":
        return ()
    stat = path.stat()
    return _document_splits(path, stat.st_size, stat.st_mtime_ns)


def saved_splits(folder: Path) -> Mapping[Split, str]:
    """The names of the splits in a folder that `datasets` wrote, by the split that each is."""
    listed = folder / "dataset_dict.json"
    if not listed.exists():
        return {}
    names = json.loads(listed.read_text(encoding="utf-8"))["splits"]
    found = {split: name for name in names if (split := split_named(name, names))}
    return found if len(found) > 1 and "train" in found else {}


@lru_cache(maxsize=16)
def _document_splits(path: Path, size: int, changed: int) -> tuple[Split, ...]:
    """Looked at once for each version of the file: a recipe's members are asked for often."""
    found = json_splits(path)
    return found if "train" in found else ()
