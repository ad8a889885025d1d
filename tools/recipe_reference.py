"""Write the tables of docs/recipe.md: every key of a recipe with its type, default and meaning.

python tools/recipe_reference.py docs/recipe.md

A section's sentence is the docstring of its class in tunesmith.recipe, a key's meaning is its
field's description. What comes before the tables is written by hand.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from tunesmith.recipe import ALIASES, Recipe, Section

START, END = "<!-- tables: tools/recipe_reference.py -->", "<!-- end of tables -->"

PLAIN_TYPES = {
    object: "any value",
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
}


def sections(model: type[Section] = Recipe, path: str = "") -> Iterator[tuple[str, type[Section]]]:
    """Each section with its dotted path, `[]` after a list; inner sections follow the outer one."""
    yield path, model
    for name, field in model.model_fields.items():
        inner_path = f"{path}.{name}" if path else name
        for inner, listed in sections_in(field.annotation):
            yield from sections(inner, f"{inner_path}[]" if listed else inner_path)


def sections_in(annotation: object, listed: bool = False) -> list[tuple[type[Section], bool]]:
    """The sections in a type, each with whether it is a member of a list."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [(annotation, listed)]
    listed = listed or get_origin(annotation) is list
    return [found for part in get_args(annotation) for found in sections_in(part, listed)]


def keys(section: type[Section]) -> dict[str, FieldInfo]:
    """The fields that get a row; one that is always a section gets a table instead."""
    return {
        name: field
        for name, field in section.model_fields.items()
        if not isinstance(field.default, Section)
    }


def describe(annotation: object, metadata: Sequence[object] = ()) -> str:
    """A type in words; KeyError for one that has none here."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return describe(parts[0], parts[1:])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in parts)
    if origin in (Union, UnionType):
        words = [describe(part) for part in parts if part is not NoneType]
        return (", or " if any(" or " in word for word in words) else " or ").join(words)
    if origin is list:
        return f"list of {describe(parts[0])}"
    if origin is dict:
        return f"mapping of {describe(parts[0])} to {describe(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "mapping"
    return PLAIN_TYPES[annotation] + bounds(metadata)  # type: ignore[index]


def plain(value: float) -> str:
    """1,000,000, or 0.5."""
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def bounds(metadata: Sequence[object]) -> str:
    """The limits in pydantic's metadata: ", 0 to 1"."""
    flat = [
        m for item in metadata for m in (item.metadata if isinstance(item, FieldInfo) else [item])
    ]
    limit = {
        name: getattr(m, name)
        for m in flat
        for name in ("ge", "gt", "le", "lt")
        if hasattr(m, name)
    }
    if limit.keys() == {"ge", "le"}:
        return f", {plain(limit['ge'])} to {plain(limit['le'])}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return "".join(f", {words[name]} {plain(value)}" for name, value in limit.items())


def default_of(field: FieldInfo) -> str:
    """The default as it would be written in a recipe."""
    if field.is_required():
        return "required"
    text = yaml.safe_dump(field.default, default_flow_style=True).removesuffix("...\n").strip()
    return f"`{text}`"


def reference() -> str:
    """The heading, sentence and table of every section."""
    return "\n".join(part for path, section in sections() for part in _section(path, section))


def _section(path: str, section: type[Section]) -> list[str]:
    title = path.replace("[]", ", as a list") or "Top level"
    sentence = " ".join((inspect.getdoc(section) or "").split())
    header = ["| key | type | default | meaning | also accepted |", "|---|---|---|---|---|"]
    rows = [_row(path, name, field) for name, field in keys(section).items()]
    table = [*header, *rows, ""] if rows else []  # none where all keys are sections of their own
    return [f"## {title}", "", sentence, "", *table]


def _row(path: str, name: str, field: FieldInfo) -> str:
    dotted = f"{path}.{name}" if path else name
    also = ", ".join(f"`{other}`" for other in sorted(ALIASES.get(dotted, ())))
    kind = describe(field.annotation, field.metadata)
    meaning = (field.description or "").replace("|", "\\|")
    return f"| `{name}` | {kind} | {default_of(field)} | {meaning} | {also} |"


def write(page: Path) -> None:
    """Replace what is between the two comments of the page."""
    before, rest = page.read_text(encoding="utf-8").split(START)
    after = rest.split(END)[1]
    page.write_text(f"{before}{START}\n{reference()}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
