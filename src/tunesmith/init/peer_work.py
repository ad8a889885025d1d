"""Another tool's configuration while it is translated: what is still to do, done, and left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


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
        """A value of the recipe, at `section.key`; None only keeps the key's place."""
        section, _, key = dotted.rpartition(".")
        target = self._values.setdefault(section, {}) if section else self._values
        target[key] = value

    def leave(self, key: str, reason: str) -> None:
        """Say why a key, or a part of it, has no place in the recipe."""
        self.left[key] = reason

    def recipe(self) -> dict[str, object]:
        """The plain values of the recipe."""
        return {key: value for key, value in self._values.items() if value is not None}
