"""Another tool's configuration while it is translated: what is still to do, done, and left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.errors import RecipeError


class Work:
    """`rest` is what nothing has taken yet, `left` why a key could not be translated."""

    def __init__(self, path: Path, given: Mapping[str, Any]) -> None:
        self.path = path
        self.rest = dict(given)
        self.left: dict[str, str] = {}
        self._values: dict[str, Any] = {}

    def take(self, key: str) -> Any:
        """The value of a key, which is dealt with from now on; None where it is not there."""
        return self.rest.pop(key, None)

    def set(self, dotted: str, value: Any) -> None:
        """A value of the recipe, at `section.key`."""
        section, _, key = dotted.rpartition(".")
        target = self._values.setdefault(section, {}) if section else self._values
        target[key] = value

    def entries(self, key: str) -> list[dict[str, Any]]:
        """The mappings that a key lists; RecipeError where it lists something else."""
        value = self.take(key)
        listed = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(one, dict) for one in listed):
            raise self.error(key, value, "a list of mappings")
        return listed

    def number(self, key: str) -> float | None:
        """The number that a key has, also where YAML took it for text (1e-5); None without one."""
        value = self.take(key)
        if value is None or value == "":
            return None
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise self.error(key, value, "a number") from error

    def error(self, key: str, value: object, expected: str) -> RecipeError:
        """What is wrong with a key of the file."""
        shown = repr(value)[:60]
        return RecipeError(f"{self.path}: {key} = {shown}, expected {expected}", hint="correct it")

    def leave(self, key: str, reason: str) -> None:
        """Say why a key, or a part of it, has no place in the recipe."""
        self.left[key] = reason

    def recipe(self) -> dict[str, object]:
        """The plain values of the recipe."""
        return dict(self._values)
