"""From a model's text to words with a tag each, and such an answer laid beside the right one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from tunesmith.data.sources.answers import plain_text, read_list
from tunesmith.data.templates.tag_cells import OUTSIDE, read_tagged

Tagged = tuple[str, str]
"""A word and its tag; the word is empty where an answer gives tags alone."""

_SPAN_TAG = re.compile(r"[BIES]-\S+")  # a bare I is a word, unless the right answers have such tags
_JOINED = re.compile(r"(.*)[/|_\t](\S+)")


def parse_tags(text: str, right: Sequence[str] = ()) -> list[list[str]] | None:
    """[word, tag] for each line or item of an answer; None where no tag can be read.

    `right` are all right answers, as `tag_cells.write_tagged` wrote them: what tags there are. Read
    are `word TAG` lines, `word/TAG` in a row, tags alone, and a list in JSON or Python. What is
    neither one of these tags nor a BIO tag (B, I, E or S and a type) is read as O. The answer ends
    at its first blank line.
    """
    known = _known(tuple(right))
    items = read_list(text.strip())
    pairs = _from_list(items, known) if items is not None else _from_text(text.strip(), known)
    if not any(_is_tag(tag, known) for _, tag in pairs):
        return None
    return [[word, tag if _is_tag(tag, known) else OUTSIDE] for word, tag in pairs]


def align(answer: Sequence[Tagged], right: Sequence[Tagged]) -> list[str]:
    """The answer's tag of each word of the right answer, O where it has none.

    Where both have words they are matched in order (difflib), so that a skipped or repeated word
    does not shift the tags after it; words that were changed go by their place. Tags without words
    do so altogether: too few are filled up with O, further ones are cut off.
    """
    tags = [tag for _, tag in answer]
    if not all(word for word, _ in (*answer, *right)):
        return (tags + [OUTSIDE] * len(right))[: len(right)]
    aligned = [OUTSIDE] * len(right)
    ours, theirs = ([word.casefold() for word, _ in pairs] for pairs in (answer, right))
    matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
    for how, a, a_end, b, b_end in matcher.get_opcodes():
        if how == "equal" or (how == "replace" and a_end - a == b_end - b):
            aligned[b:b_end] = tags[a:a_end]
    return aligned


@lru_cache(maxsize=64)
def _known(right: tuple[str, ...]) -> frozenset[str]:
    return frozenset(tag for text in right for _, tag in read_tagged(text))


def _is_tag(text: str, known: frozenset[str]) -> bool:
    return text == OUTSIDE or text in known or _SPAN_TAG.fullmatch(text) is not None


def _from_list(items: Sequence[object], known: frozenset[str]) -> list[Tagged]:
    """A list of tags, of [word, tag] pairs or of `word/TAG` texts."""
    found: list[Tagged] = []
    for item in items:
        pair = read_list(item)
        if pair is not None and len(pair) == 2:
            found.append((plain_text(pair[0]), plain_text(pair[1])))
        else:
            found.append(_read_field(plain_text(item).strip(), known))
    return found


def _from_text(text: str, known: frozenset[str]) -> list[Tagged]:
    lines = re.split(r"\n\s*\n", text)[0].splitlines()
    found: list[Tagged] = []
    for fields in (line.split() for line in lines if line.strip()):
        read = [_read_field(field, known) for field in fields]
        is_pair = len(fields) > 1 and (len(lines) > 1 or not _is_tag(read[0][1], known))
        if is_pair and _is_tag(fields[-1], known) and not all(word for word, _ in read):
            found.append((fields[-2], fields[-1]))
        else:
            found += read
    return found


def _read_field(field: str, known: frozenset[str]) -> Tagged:
    """`TAG`, or `word/TAG`."""
    joined = _JOINED.fullmatch(field)
    if not _is_tag(field, known) and joined and _is_tag(joined[2], known):
        return joined[1], joined[2]
    return "", field
