"""From a model's text to the set of labels it names.

A label that is in no list is read as well, since it is a wrong answer and not an unreadable one. A
piece of prose, which is longer than any label could be, is no label.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from tunesmith.data.sources.answers import plain_text, read_list
from tunesmith.data.templates.label_cells import read_set

NO_LABEL = {"", "none", "no label", "no labels", "none of them", "none of these", "n/a", "nothing"}
MORE_WORDS = 3
"""An unknown piece with more words than the longest label and these is prose."""
MAX_CUTS = 8
"""Separators in one label; more are not looked for."""

_FENCE = re.compile(r"\A```[a-zA-Z]*\s*\n(.*?)\n?\s*```\Z", re.DOTALL)
_BULLET = re.compile(r"\A\s*(?:[-*+•\u2013]|\(?\d{1,3}[.)]|\[[ xX]?\])\s+")
_SEPARATOR = re.compile(
    "([,;|\u3001\uff0c\uff1b])"
)  # the last three are those of Chinese and Japanese
_WEAK = (re.compile(r"(\s+(?:and|or|&|\+)\s+|\s*/\s*)"), re.compile(r"(\s+)"))
"""What separates labels only where all that it separates are labels."""


def parse_labels(text: str, sets: Sequence[str] = ()) -> list[str] | None:
    """The labels in an answer, sorted; [] where it says that there are none, None where nothing can
    be read.

    `sets` are all right answers, as `label_cells.write_set` wrote them: what labels there are.
    Read are a line, bullet or list item each, commas, semicolons, bars, `and`, and a list in JSON
    or Python; case, surrounding punctuation, and words before a colon do not count. The answer ends
    at its first blank line.
    """
    known = _known(tuple(sets))
    answer = _unfenced(text)
    items = read_list(answer)
    pieces = (
        [plain_text(item) for item in items]
        if items is not None
        else [piece for line in _answer_lines(answer, known) for piece in _pieces(line, known)]
    )
    longest = max((len(label.split()) for label in known.values()), default=1)
    labels = {label for piece in pieces for label in _labels(piece, known, longest + MORE_WORDS)}
    says_none = items == [] or any(_bare(piece) in NO_LABEL - {""} for piece in pieces)
    return sorted(labels) if labels or says_none else None


def text_after_labels(text: str) -> str:
    """What follows the answer's first blank line."""
    blocks = _blocks(_unfenced(text))
    skipped = 1 + (len(blocks) > 1 and blocks[0].endswith(":"))
    return "\n".join(blocks[skipped:])


@lru_cache(maxsize=64)
def _known(sets: tuple[str, ...]) -> dict[str, str]:
    """Each label by its own text, folded, and without the punctuation around it, in that order of
    precedence.
    """
    labels = sorted({label for text in sets for label in read_set(text)})
    found: dict[str, str] = {}
    for form in (str, _fold, _bare):
        for label in labels:
            found.setdefault(form(label), label)
    found.pop("", None)
    return found


def _find(piece: str, known: dict[str, str]) -> str | None:
    piece = piece.strip()
    return known.get(piece) or known.get(_fold(piece)) or known.get(_bare(piece))


def _fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text.casefold()).split())


def _bare(text: str) -> str:
    """Folded, without punctuation and symbols at its ends; a sign before a digit stays."""
    folded, start = _fold(text), 0
    end = len(folded)
    while end > start and not _is_word(folded[end - 1]):
        end -= 1
    while start < end and not _is_word(folded[start]) and not re.match(r"[-+]\d", folded[start:]):
        start += 1
    return folded[start:end]


def _is_word(character: str) -> bool:
    return character == "_" or unicodedata.category(character)[0] in "LMN"


def _unfenced(text: str) -> str:
    fenced = _FENCE.match(text.strip())
    return fenced.group(1) if fenced else text.strip()


def _blocks(text: str) -> list[str]:
    return [block.strip() for block in re.split(r"\n\s*\n", text) if block.strip()]


def _answer_lines(text: str, known: dict[str, str]) -> list[str]:
    """The lines of the first block, or of the second where the first only announces it."""
    blocks = _blocks(text)
    if len(blocks) > 1 and blocks[0].endswith(":") and _find(blocks[0], known) is None:
        blocks = blocks[1:]
    return [_BULLET.sub("", line).strip() for line in (blocks or [""])[0].splitlines()]


def _pieces(line: str, known: dict[str, str]) -> list[str]:
    """A line cut at its separators, without words before a colon, unless they are a label."""
    if _find(line, known):
        return [line]
    pieces = _cut(line, _SEPARATOR, known)
    before, colon, _ = pieces[0].partition(":")
    if colon and _find(pieces[0], known) is None and _find(before, known) is None:
        return _cut(line.partition(":")[2], _SEPARATOR, known)
    return pieces


def _cut(text: str, separator: re.Pattern[str], known: dict[str, str]) -> list[str]:
    """The text between separators, but the longest label that has one in it is not cut."""
    parts = separator.split(text)  # texts at even places, separators between them
    found, start = [], 0
    while start < len(parts):
        ends = range(min(len(parts), start + 2 * MAX_CUTS + 1), start + 1, -2)
        spans = ((end, "".join(parts[start:end])) for end in ends)
        end, piece = next(
            ((end, span) for end, span in spans if _find(span, known)), (start + 1, parts[start])
        )
        found.append(piece)
        start = end + 1
    return found


def _labels(piece: str, known: dict[str, str], max_words: int) -> list[str]:
    """The known labels of a piece, else the piece as a label of its own; nothing in prose."""
    if label := _find(piece, known):
        return [label]
    for weak in _WEAK:
        parts = [part for part in _cut(f" {piece} ", weak, known) if part.strip()]
        named = [label for part in parts if (label := _find(part, known))]
        if named and len(named) == len(parts):
            return named
    # "anger (strong)", "anger: he shouts", "anger. The text says so"
    explained = re.match(r"\s*[*_\"'`]*(.+?)[*_\"'`]*\s*(?:[(:.\u2013\u2014]|\s-\s)", piece)
    if explained and (label := _find(explained.group(1), known)):
        return [label]
    bare = _bare(piece)
    return [] if bare in NO_LABEL or len(bare.split()) > max_words else [bare]
