"""Cells with words and their tags, one tag a word: how they are read, and how they are written.

Tagged words are written one a line, `word TAG`, so that an answer that skips or repeats a word can
still be laid beside the right one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tunesmith.data.sources.answers import is_missing, plain_text, read_list

OUTSIDE = "O"
"""The tag of a word that belongs to nothing."""


def words_in(value: object) -> list[str]:
    """The words of a cell: a list, a text cut at white space, or lines as CoNLL's files have them,
    of which the first field is the word.

    White space inside a word of a list becomes `_`, and so does an empty word. Raises ValueError
    where a word is missing.
    """
    return [
        "_".join(plain_text(word).split()) or "_" for word in _items(value, field=0, what="word")
    ]


def tags_in(value: object) -> list[Any]:
    """The raw tags of a cell: a list, a text cut at white space and commas, or the last fields of
    CoNLL's lines. Raises ValueError where a tag is missing.
    """
    return _items(value, field=-1, what="tag")


def _items(value: object, field: int, what: str) -> list[Any]:
    items = read_list(value)
    if items is not None:
        if any(is_missing(item) for item in items):
            raise ValueError(f"has a list with a missing {what}")
        return items
    text = plain_text(value)
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and all(len(line) > 1 for line in lines):
        return [line[field] for line in lines]
    return text.split() if what == "word" else [t for t in re.split(r"[\s,]+", text) if t]


def write_tagged(words: Sequence[str], tags: Sequence[str]) -> str:
    """`word TAG` a line; without words the tags alone, one a line.

    Raises ValueError where the numbers differ, and for a tag with white space in it.
    """
    if words and len(words) != len(tags):
        raise ValueError(f"has {len(tags)} tags for {len(words)} words")
    for tag in tags:
        if not tag or any(character.isspace() for character in tag):
            raise ValueError(f"has the tag {tag!r}; a tag is one word")
    if not words:
        return "\n".join(tags)
    return "\n".join(f"{word} {tag}" for word, tag in zip(words, tags, strict=True))


def read_tagged(text: str) -> list[tuple[str, str]]:
    """The (word, tag) pairs that `write_tagged` wrote; the word is empty where there was none."""
    pairs = (line.rpartition(" ") for line in text.split("\n") if line.strip())
    return [(word.strip(), tag.strip()) for word, _, tag in pairs]
