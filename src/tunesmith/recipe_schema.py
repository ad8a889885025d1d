"""The JSON Schema of a recipe, by which editors complete its keys and mark mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunesmith.recipe import ALIASES, Recipe

JsonObject = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema() -> JsonObject:
    """pydantic's schema (JSON Schema 2020-12) of `Recipe`, with what a recipe takes besides: a
    number where a text is asked for, and other tools' names, which are marked as deprecated.

    What depends on several keys, such as shares that add up to 1, only loading the recipe checks.
    """
    schema = Recipe.model_json_schema()
    for part in _objects(schema):
        if part.get("type") == "string" and "enum" not in part and "const" not in part:
            part["type"] = ["string", "number"]
    for ours, others in ALIASES.items():
        section, _, name = ours.rpartition(".")
        known = _properties(schema, section)
        for other in sorted(others):
            known[other] = _deprecated(known[name], name)
    return {"$schema": DIALECT} | schema


def _deprecated(key: JsonObject, name: str) -> JsonObject:
    """Another tool's name of a key. Editors show the message, other readers the flag."""
    said = f"Called {name} here."
    kept = {word: value for word, value in key.items() if word not in ("default", "title")}
    return kept | {"description": said, "deprecated": True, "deprecationMessage": said}


def _properties(schema: JsonObject, section: str) -> JsonObject:
    """The keys of a section; "" is the recipe itself."""
    found: JsonObject = schema
    if section:
        model = Recipe.model_fields[section].annotation
        found = schema["$defs"][getattr(model, "__name__", "")]
    properties: JsonObject = found["properties"]
    return properties


def _objects(value: object) -> Iterator[JsonObject]:
    """All objects in a schema, from the outermost on."""
    if isinstance(value, list):
        for inner in value:
            yield from _objects(inner)
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _objects(inner)
