"""Which split a file, or a list in a file, is by its name: train, validation or test."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tunesmith.records import Split

WORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "validate": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
}
EVALUATION = ("eval", "evaluation")
"""The test split, unless another name is that: then what is validated on."""


def split_named(name: str, among: Iterable[str]) -> Split | None:
    """The split that `name`, a path or a key, is of; None where it names none or several.

    `among` are all names that are told apart, which `eval` depends on. The last part of a path that
    names a split decides: train/test.csv is test.
    """
    own = _own(name)
    if own != "eval":
        return own
    return "validation" if "test" in map(_own, among) else "test"


def _own(name: str) -> Split | str | None:
    """As a word says by itself; "eval" where the other names decide."""
    for part in reversed(re.split(r"[/\\]", name)):
        words = set(re.findall(r"[a-z]+", part.lower()))
        found = {WORDS[word] for word in words if word in WORDS}
        if len(found) == 1:
            return found.pop()
        if not found and words & set(EVALUATION):
            return "eval"
    return None
