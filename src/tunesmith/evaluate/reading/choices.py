"""The choice that a text gives as its answer.

A choice is the answer where, in this order,

1. the first line is the choice, or begins with it as with an answer ("Yes. The text ..."),
2. the text marks it: "Answer: X", "the label is X", "(C)", bold, `\\boxed{}`, JSON's only value,
3. the last line is the choice,
4. a sentence says it of the text ("The review is positive.") and no other choice is named.

A choice that is only mentioned, negated, or listed with others is no answer. A single letter is
never an English article: it counts alone or where a mark shows it to be an option. What leaves open
which of two choices is meant cannot be read: that is never a wrong credit, and it is counted.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tunesmith.evaluate.reading import phrases
from tunesmith.evaluate.reading.characters import (
    after_thinking,
    bare,
    fold,
    is_hangul,
    is_unspaced,
    is_word,
    joins_left,
    joins_right,
)
from tunesmith.evaluate.reading.json_values import Json, find_json

MAX_MENTIONS = 100  # of a text that repeats itself without end, the first and last half of these
SHORT_ANSWER_WORDS = 40  # of a longer one only the first and the last sentence can be its answer
SHORT_ANSWER_CHARACTERS = 30  # the same in scripts without spaces

_JOINERS = "-\u2010\u2011/&'@"
_SEPARATORS = re.compile(r"[\s_\-]+")
_BETWEEN_WORDS = re.compile(r"(?<=\S)[\s_\-]+(?=\S)")  # the sign of -1 is none
_SENTENCE = re.compile(r"[^\n]*?(?:[.!?]+(?=[\s\"'*)]|\Z)|[。！？!?]+|\n|\Z)[\"'*)]*")
_LISTED = re.compile(
    r"[\"'`*)\]]*\s*(?:,|/|;|&|\||、|,?\s*\b(?:or|and|nor|oder|und|ou|et|o|y)\b|或者?|还是|或是|和|か|や)"
    r"\s*(?:maybe|possibly|perhaps)?\s*[\"'`*(\[]*"
)
_LETTER_TAIL = re.compile(
    r"[\"'`*)\]}$]*(?:\s*(?:\Z|[.,;:!?)\]。、](?![a-z\d])|[–—]|-\s|\n)|\s+(?:because|since|as)\s"
    r"|\s+(?:is|would be)\s+(?:the|my|right|correct)\b)"
)
_LABEL_END = re.compile(r"[\"'`*)\]}”’»」』]*\s*(?:[.!;。!…]|[-–—]\s|[–—(]|\Z)")
_OPTION = re.compile(r"[\"'`*]*[.):]")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{\s*(?:\\(?:text|mathrm|mathbf|textbf)\s*\{\s*)?\(?\Z")
_ANSWER_KEYS = {"answer", "label", "choice", "category", "class", "sentiment", "intent", "prediction"}


@dataclass(frozen=True, slots=True)
class _Mention:
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
        return self.end - self.start


def find_choice(text: str, choices: Sequence[str]) -> tuple[str, str] | None:
    """The choice and what follows it, folded; None where none can be read.

    Case, Unicode's compositions and widths, surrounding punctuation and markdown do not count, `_`
    and `-` are spaces, and 4.0 is 4.
    """
    stripped = text.strip()
    if stripped in choices:
        return stripped, ""
    table = _table(tuple(choices))
    alone = bare(stripped)
    if alone in choices and table.folded.get(fold(alone), alone) is None:
        return alone, ""  # May and may are two choices: here case counts
    plain = after_thinking(stripped).strip()
    if "{" in plain or "[" in plain:
        try:
            value, after = find_json(plain)
        except ValueError:
            pass
        else:
            named = table.equal(_json_text(value))
            return (named, fold(after)) if named is not None else None
    return _Reading(_without_lead_in(fold(plain), table), table).answer()


def _json_text(value: Json) -> str:
    """The text of JSON's only value, or of the one under a key that names the answer."""
    if isinstance(value, dict):
        keyed = [inner for key, inner in value.items() if key.casefold() in _ANSWER_KEYS]
        value = list(value.values()) if len(value) == 1 or len(keyed) != 1 else keyed
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:.15g}"
    return value if isinstance(value, str) else ""


def _without_lead_in(folded: str, table: _Table) -> str:
    """The text without "Sure!", "Here is the label:", a heading or a fence before the answer."""
    while True:
        shorter = folded
        found = phrases.INTERJECTION.match(folded)
        if found and table.equal(found.group()) is None:
            shorter = folded[found.end() :]
        line, _, rest = folded.partition("\n")
        if rest and phrases.LEAD_IN.search(line.strip(" *_\r")) and not table.mentions(line):
            shorter = rest
        if shorter == folded:
            return folded
        folded = shorter.strip()


# ---- how the choices are spelled


@dataclass(frozen=True)
class _Table:
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

    def mentions(self, folded: str) -> list[_Mention]:
        """Where choices stand in the text, never one inside another."""
        found: list[_Mention] = []
        place = 0
        while place < len(folded):
            inside = place and folded[place].isalnum() and folded[place - 1].isascii()
            if inside and folded[place - 1].isalnum():
                place += 1
                continue
            for key, choice, exact in self.keys.get(folded[place], ()):
                if folded.startswith(key, place) and _is_whole(folded, place, key):
                    found.append(_Mention(choice, place, place + len(key), exact))
                    place += len(key) - 1
                    break
            place += 1
        if len(found) > MAX_MENTIONS:
            found = found[: MAX_MENTIONS // 2] + found[-MAX_MENTIONS // 2 :]
        return _with_lists(found, folded)


@lru_cache(maxsize=256)
def _table(choices: tuple[str, ...]) -> _Table:
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
    return _Table(folded, bared, spaced, keys, any(len(key) == 1 for key in bared))


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
    if key == "no" and following == " " and outer and is_word(outer):
        return False  # "no reason": the determiner
    return not (following in _JOINERS and outer and joins_right(outer))


def _with_lists(found: list[_Mention], text: str) -> list[_Mention]:
    listed = set()
    for i, (a, b) in enumerate(itertools.pairwise(found)):
        is_out = phrases.NEGATED_BEFORE.search(text[max(0, a.start - 60) : a.start])
        if a.choice != b.choice and not is_out and _LISTED.fullmatch(text[a.end : b.start]):
            listed |= {i, i + 1}
    return [
        _Mention(m.choice, m.start, m.end, m.exact, i in listed) for i, m in enumerate(found)
    ]


def _covering(folded: str, mentions: Sequence[_Mention]) -> _Mention | None:
    """The first mention, where the text has no word beside it and its repetitions."""
    if len({m.choice for m in mentions}) != 1:
        return None
    ends = [0, *(m.end for m in mentions)]
    starts = [*(m.start for m in mentions), len(folded)]
    around = "".join(folded[end:start] for end, start in zip(ends, starts, strict=True))
    return None if any(map(is_word, around)) else mentions[0]


# ---- how a text uses them


class _Reading:
    """One folded text, its mentions, and what each of them is in its sentence."""

    def __init__(self, text: str, table: _Table) -> None:
        self.text = text
        self.table = table
        self.mentions = table.mentions(text) if text else []

    def answer(self) -> tuple[str, str] | None:
        first_end = self.text.find("\n")
        first_end = len(self.text) if first_end < 0 else first_end
        first = [m for m in self.mentions if m.start < first_end]
        line = self.text[:first_end]
        whole = self.table.equal(line)
        if whole is not None:
            return whole, self.text[first_end:]
        for find in (self._leading, self._marked):
            if (found := find(first, line)) is not None:
                return self._given(found)
        if self._names_several(first):
            return None
        found = self._marked(self.mentions, self.text) or self._shown(self.mentions)
        return self._given(found) if found else self._last_line() or self._said()

    def _given(self, found: _Mention) -> tuple[str, str] | None:
        return None if found.choice is None else (found.choice, self.text[found.end :])

    def _names_several(self, first: Sequence[_Mention]) -> bool:
        """Whether the first line begins with two answers: "A. B", "positive. negative"."""
        named = {m.choice for m in first if self._is_label(m)}
        return len(named) > 1

    # -- 1. the first line

    def _leading(self, first: Sequence[_Mention], line: str) -> _Mention | None:
        """The choice that the line begins with, where what follows shows that it is the answer."""
        lead = first[0] if first else None
        if lead is None or lead.listed or any(map(is_word, line[: lead.start])):
            return None
        if self._is_negated(lead) or self._is_restated_option(lead):
            return None
        others = [m for m in first[1:] if m.choice != lead.choice and not self._is_negated(m)]
        after = self.text[lead.end :]
        if _LABEL_END.match(after) and (not self._is_letter(lead) or _LETTER_TAIL.match(after)):
            return None if any(self._is_said(m) or m.listed for m in others) else lead
        if self._is_letter(lead) and _LETTER_TAIL.match(after):
            return None if any(self._is_label(m) for m in others) else lead
        ends = self._ends_answer(lead) or phrases.IS_THE_ANSWER.match(after)
        return lead if ends and not others else None

    def _is_restated_option(self, lead: _Mention) -> bool:
        """Whether the text lists its options: another line begins with another one in this form."""
        if not (lead.length == 1 and _OPTION.match(self.text, lead.end)):
            return False
        for m in self.mentions:
            line_start = self.text.rfind("\n", 0, m.start) + 1
            begins = line_start > lead.start and not any(
                map(is_word, self.text[line_start : m.start])
            )
            if m.choice != lead.choice and begins and _OPTION.match(self.text, m.end):
                return True
        return False

    # -- 2. marks

    def _marked(self, mentions: Sequence[_Mention], text: str) -> _Mention | None:
        """The choice after "the answer is" and the like; a last word ("final answer") first."""
        marked = [m for m in mentions if self._is_marked(m)]
        strong = [m for m in marked if self._is_strong(m)]
        return _only(strong) if strong else _only(marked)

    def _shown(self, mentions: Sequence[_Mention]) -> _Mention | None:
        """The choice that stands alone in bold type, or the letter in brackets."""
        shown = [m for m in mentions if self._is_bold(m) and not self._is_negated(m)]
        shown = shown or [m for m in mentions if self._is_bracketed_letter(m)]
        if shown or not self.table.letters:
            return _only(shown)
        # "B is correct": a letter in the subject's place
        return _only([m for m in mentions if self._is_letter(m) and self._is_called_right(m)])

    def _is_marked(self, m: _Mention) -> bool:
        before = self._before(m)
        if _BOXED.search(before):
            return True
        if m.listed or self._is_negated(m) or not phrases.MARK.search(before):
            return False
        return self._ends_answer(m) or bool(phrases.GOES_ON.match(self.text, m.end))

    def _is_strong(self, m: _Mention) -> bool:
        before = self._before(m)
        if _BOXED.search(before):
            return True
        mark = phrases.MARK.search(before)
        return mark is not None and bool(
            phrases.STRONG_MARK.search(before)
            or phrases.STRONG_MARK.search(before[: mark.start()] + mark.group().rstrip(" *\"'(:"))
        )

    def _is_bold(self, m: _Mention) -> bool:
        return self.text[: m.start].endswith("**") and bool(
            re.match(r"[.:]?\*\*", self.text[m.end : m.end + 3])
        )

    def _is_bracketed_letter(self, m: _Mention) -> bool:
        around = self.text[max(0, m.start - 1) : m.start] + self.text[m.end : m.end + 1]
        return self._is_letter(m) and around == "()" and not self._is_negated(m)

    def _is_called_right(self, m: _Mention) -> bool:
        return bool(phrases.IS_THE_ANSWER.match(self.text, m.end)) and not self._is_negated(m)

    # -- 3. the last line

    def _last_line(self) -> tuple[str, str] | None:
        _, newline, last = self.text.rpartition("\n")
        choice = self.table.equal(last) if newline else None
        return None if choice is None else (choice, "")

    # -- 4. what a sentence says

    def _said(self) -> tuple[str, str] | None:
        """The one choice that the statements say, where they mention no other."""
        statements = self._statements()
        mentions = [
            m
            for m in self.mentions
            if m.exact
            and any(start <= m.start < end for start, end in statements)
            and not self._is_negated(m)
            and not (self._is_letter(m) and not self._is_label(m))
        ]
        said = [m for m in mentions if self._is_said(m)]
        if not said or len({m.choice for m in mentions}) > 1:
            return None
        return self._given(said[-1])

    def _statements(self) -> list[tuple[int, int]]:
        """The sentences that are no questions; of a long text the first and the last."""
        spans = [match.span() for match in _SENTENCE.finditer(self.text) if match.group().strip()]
        spans = [
            (start, end)
            for start, end in spans
            if not self.text[start:end].rstrip(" \n\"'*)").endswith(("?", "？"))
        ]
        is_short = len(self.text.split()) <= SHORT_ANSWER_WORDS
        return spans if is_short else [*spans[:1], *spans[-1:]]

    def _is_said(self, m: _Mention) -> bool:
        if m.listed or not m.exact:
            return False
        before, after = self._before(m), self.text[m.end : m.end + 120]
        if phrases.VERB_LAST.match(after):
            return True
        if is_unspaced(self.text[m.start]) and m.length > 1:
            return len(self.text) <= SHORT_ANSWER_CHARACTERS + m.length
        linking = phrases.LINKING.search(before)
        if not linking:
            return False
        goes_on = linking["start"] is None and phrases.GOES_ON.match(after)
        return bool(goes_on) or self._ends_answer(m)

    # -- one mention

    def _is_letter(self, m: _Mention) -> bool:
        return m.length == 1 and not self.text[m.start].isdigit() and is_word(self.text[m.start])

    def _is_label(self, m: _Mention) -> bool:
        """Whether the mention is used as an option, not as a word of the sentence."""
        if self._is_letter(m):
            return bool(_LETTER_TAIL.match(self.text, m.end)) and not self._is_negated(m)
        return self._is_said(m) and not self._is_negated(m)

    def _ends_answer(self, m: _Mention) -> bool:
        if self._is_letter(m):
            return bool(_LETTER_TAIL.match(self.text, m.end))
        if phrases.TAIL.match(self.text, m.end):
            return True
        noun = phrases.HEAD_NOUN.match(self.text, m.end)
        return bool(noun and phrases.TAIL.match(self.text, noun.end()))

    def _is_negated(self, m: _Mention) -> bool:
        before = self._before(m)
        return bool(
            phrases.NEGATED_BEFORE.search(before)
            or phrases.NEGATED_BEFORE_UNSPACED.search(before)
            or phrases.NEGATED_AFTER.match(self.text, m.end)
        )

    def _before(self, m: _Mention) -> str:
        """The sentence before the mention, at most 120 characters of it."""
        before = self.text[max(0, m.start - 120) : m.start]
        stop = max(before.rfind("\n"), before.rfind("。"))
        for match in re.finditer(r"[.!?！？]\s+", before):
            stop = max(stop, match.end() - 1)
        return before[stop + 1 :]


def _only(mentions: Sequence[_Mention]) -> _Mention | None:
    """The first of them, where all are of one choice."""
    return mentions[0] if len({m.choice for m in mentions}) == 1 else None
