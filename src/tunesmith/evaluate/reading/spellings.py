"""How choices are spelled, and where they stand in a text as whole words."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tunesmith.evaluate.reading import phrases
from tunesmith.evaluate.reading.characters import (
    bare,
    fold,
    is_hangul,
    is_unspaced,
    is_word,
    joins_left,
    joins_right,
)

MAX_MENTIONS = 100  # of a text that repeats itself without end, the first and last half of these
MAX_BETWEEN = 40  # characters between two choices of a list
_JOINERS = "-\u2010\u2011/&'@"
_SEPARATORS = re.compile(r"[\s_\-]+")
_BETWEEN_WORDS = re.compile(r"(?<=\S)[\s_\-]+(?=\S)")  # the sign of -1 is none
_WORD_NEXT = re.compile(r"\s\w")
_LISTED = re.compile(
    r"[\"'`*)\]]*\s*[(]?(?:,|/|;|&|\||、|,?\s*\b(?:or|and|nor|oder|und|ou|et|o|y)\b|或者?|还是|或是|和|か|や)"
    r"\s*(?:maybe|possibly|perhaps)?\s*[\"'`*(\[]*"
)


@dataclass(frozen=True, slots=True)
class Mention:
    """A choice in the text. `exact`: spelled as it is, not with other separators. `listed`: one of
    several, as in "positive or negative". `choice` is None where two choices are spelled so.
    """

    choice: str | None
    start: int
    end: int
    exact: bool
    listed: bool = False

    @property
    def length(self) -> int:
        """In characters."""
        return self.end - self.start


@dataclass(frozen=True)
class Table:
    """Spellings of the choices; a spelling that two of them share has None.

    `folded`, `bared` and `spaced` are for whole answers, from the closest spelling to the widest.
    `keys[first character]` are (spelling, choice, exact), the longest first, to be found in texts.
    """

    folded: dict[str, str | None]
    bared: dict[str, str | None]
    spaced: dict[str, str | None]
    keys: dict[str, list[tuple[str, str | None, bool]]]
    letters: bool

    def equal(self, text: str) -> str | None:
        """The choice that the whole text is."""
        folded = fold(text)
        if folded in self.folded:
            return self.folded[folded]
        covering = _covering(folded, self.mentions(folded))
        if covering is not None:
            return covering.choice
        plain = bare(folded)
        if plain in self.bared:
            return self.bared[plain]
        return self.spaced.get(_spaced(plain))

    def mentions(self, folded: str) -> list[Mention]:
        """Where choices stand in the text, never one inside another."""
        found: list[Mention] = []
        place = 0
        while place < len(folded):
            inside = place and folded[place].isalnum() and folded[place - 1].isascii()
            if inside and folded[place - 1].isalnum():
                place += 1
                continue
            for key, choice, exact in self.keys.get(folded[place], ()):
                if folded.startswith(key, place) and _is_whole(folded, place, key):
                    found.append(Mention(choice, place, place + len(key), exact))
                    place += len(key) - 1
                    break
            place += 1
        if len(found) > MAX_MENTIONS:
            found = found[: MAX_MENTIONS // 2] + found[-MAX_MENTIONS // 2 :]
        return _with_lists(found, folded)


@lru_cache(maxsize=256)
def table_of(choices: tuple[str, ...]) -> Table:
    """Every spelling of the choices."""
    folded = _spellings((fold(choice), choice) for choice in choices)
    bared = _spellings((bare(fold(choice)), choice) for choice in choices)
    spaced = _spellings((_spaced(bare(fold(choice))), choice) for choice in choices)
    variants = {
        separator.join(_SEPARATORS.split(key)): choice
        for key, choice in folded.items()
        for separator in " _-"
        if _SEPARATORS.search(key.strip("_- "))
    }
    named = {key: (choice, False) for key, choice in [*variants.items(), *bared.items()]}
    named |= {key: (choice, True) for key, choice in folded.items()}
    keys: dict[str, list[tuple[str, str | None, bool]]] = {}
    for key in sorted(named, key=len, reverse=True):
        keys.setdefault(key[0], []).append((key, *named[key]))
    return Table(folded, bared, spaced, keys, any(len(key) == 1 for key in bared))


def _spellings(pairs: Iterable[tuple[str, str]]) -> dict[str, str | None]:
    """Of two choices with one spelling the shorter, from which less was dropped; else neither."""
    found: dict[str, str | None] = {}
    lengths: dict[str, int] = {}
    for key, choice in pairs:
        if not key or len(choice) > lengths.get(key, len(choice)):
            continue
        is_tie = len(choice) == lengths.get(key) and found[key] != choice
        found[key] = None if is_tie else choice
        lengths[key] = len(choice)
    return found


def _spaced(text: str) -> str:
    return _BETWEEN_WORDS.sub(" ", text.strip("_"))


def _is_whole(text: str, start: int, key: str) -> bool:
    """Whether the key is not part of a longer word, number or compound such as sports/tennis."""
    end = start + len(key)
    if key.isdigit() and text.endswith("out of ", 0, start):
        return False  # the scale of "4 out of 5"
    if key == "no" and _WORD_NEXT.match(text, end) and not phrases.AFTER_YES_OR_NO.match(text, end):
        return False  # "no reason": the determiner
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    return _is_free_left(before, key[0]) and _is_free_right(after, key)


def _is_free_left(before: str, first: str) -> bool:
    if not before or not is_word(first) or is_unspaced(first):
        return True
    last, outer = before[-1], before[:-1]
    if joins_left(last):
        return False
    if first.isdigit() and (last in "-+\u2212" or (last in ".,:" and outer.isdigit())):
        return False
    return not (last in _JOINERS and outer and joins_left(outer))


def _is_free_right(after: str, key: str) -> bool:
    last = key[-1]
    if not after or not is_word(last) or is_unspaced(last):
        return True
    following, outer = after[0], after[1:]
    if is_hangul(last):
        return True
    if joins_right(following) or (following in "+#" and len(key) == 1):
        return False
    if last.isdigit() and following in ".,:" and outer.isdigit():
        return False
    return not (following in _JOINERS and outer and joins_right(outer))


def _with_lists(found: list[Mention], text: str) -> list[Mention]:
    listed = set()
    for i, (a, b) in enumerate(itertools.pairwise(found)):
        is_out = phrases.NEGATED_BEFORE.search(text[max(0, a.start - 60) : a.start])
        between = text[a.end : min(b.start, a.end + MAX_BETWEEN)]
        if a.choice != b.choice and not is_out and _LISTED.fullmatch(between):
            listed |= {i, i + 1}
    return [Mention(m.choice, m.start, m.end, m.exact, i in listed) for i, m in enumerate(found)]


def _covering(folded: str, mentions: Sequence[Mention]) -> Mention | None:
    """The first mention, where the text has no word beside it and its repetitions."""
    if len({m.choice for m in mentions}) != 1:
        return None
    ends = [0, *(m.end for m in mentions)]
    starts = [*(m.start for m in mentions), len(folded)]
    around = "".join(folded[end:start] for end, start in zip(ends, starts, strict=True))
    return None if any(map(is_word, around)) else mentions[0]
