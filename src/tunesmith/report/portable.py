"""A report is passed on: the paths in it are made relative, so that it tells nobody's folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from tunesmith.report.content import Report


def portable(report: Report, run: Path) -> Report:
    """The report with the absolute paths of its recipe and run folder written shorter, wherever
    they stand in recipe, command, training facts, notes and the sources of rows: from the working
    folder where they are in it, else as `.../name`.
    """
    here = Path.cwd()
    paths = {run.absolute(), *(Path(text) for text in _texts(report.recipe) if _is_absolute(text))}
    shorter = {str(path): _shorter(path, here) for path in paths}
    shorter |= {f"{here}{os.sep}": "", f"{Path.home()}{os.sep}": f"~{os.sep}"}
    return replace(
        report,
        recipe=_mapped(report.recipe, shorter),
        training=_mapped(report.training, shorter),
        notes=[_written(text, shorter) for text in report.notes],
        examples={
            key: replace(example, source=_written(example.source, shorter))
            for key, example in report.examples.items()
        },
        command=_written(report.command, shorter),
        slice_of={
            name: {id: _written(part, shorter) for id, part in parts.items()}
            for name, parts in report.slice_of.items()
        },
        slices=[replace(row, value=_written(row.value, shorter)) for row in report.slices],
    )


def _is_absolute(text: str) -> bool:
    return os.path.isabs(text) and len(Path(text).parts) > 1


def _shorter(path: Path, here: Path) -> str:
    return str(path.relative_to(here)) if path.is_relative_to(here) else f".../{path.name}"


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)


def _written(text: str, shorter: Mapping[str, str]) -> str:
    """The longest first: a folder's path begins those of its files."""
    for path in sorted(shorter, key=len, reverse=True):
        text = text.replace(path, shorter[path])
    return text


def _mapped(values: Mapping[str, object], shorter: Mapping[str, str]) -> dict[str, object]:
    return {key: _changed(value, shorter) for key, value in values.items()}


def _changed(value: object, shorter: Mapping[str, str]) -> object:
    if isinstance(value, str):
        return _written(value, shorter)
    if isinstance(value, Mapping):
        return _mapped(value, shorter)
    if isinstance(value, (list, tuple)):
        return [_changed(inner, shorter) for inner in value]
    return value
