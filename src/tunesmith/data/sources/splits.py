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
EVALUATION = {"eval", "evaluation"}
"""The test split, unless another name is that: then what is validated on."""


def split_named(name: str, among: Iterable[str]) -> Split | None:
    """The split that `name`, a path or a key, is of; None where it names none or several.

    `among` are all names that are told apart, which `eval` depends on. The last part of a path that
    names a split decides: train/test.csv is test.
    """
    own = _by_word(name)
    if own is None and _says_evaluation(name):
        return "validation" if "test" in map(_by_word, among) else "test"
    return own


def _by_word(name: str) -> Split | None:
    """As the last part says in which a word of one split stands."""
    for words in _parts(name):
        found = {WORDS[word] for word in words if word in WORDS}
        if found or words & EVALUATION:
            return found.pop() if len(found) == 1 else None
    return None


def _says_evaluation(name: str) -> bool:
    named = (words for words in _parts(name) if words & {*WORDS, *EVALUATION})
    first = next(named, set[str]())
    return bool(first & EVALUATION) and not first & set(WORDS)


def _parts(name: str) -> list[set[str]]:
    """The words of each part of a path, the last part first."""
    parts = reversed(re.split(r"[/\\]", name))
    return [set(re.findall(r"[a-z]+", part.lower())) for part in parts]
