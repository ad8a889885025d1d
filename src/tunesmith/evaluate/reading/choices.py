r"""The choice that a text gives as its answer.

A choice is the answer where, in this order,

1. the first line is the choice, or begins with it as with an answer ("Yes. The text ..."),
2. the text marks it: "Answer: X", "the label is X", "(C)", bold, `\boxed{}`, JSON's only value,
3. the last line is the choice,
4. a sentence says it of the text ("The review is positive.") and no other choice is named.

A choice that is only mentioned, negated, or listed with others is no answer. A single letter is
never an English article: it counts alone or where a mark shows it to be an option. What leaves open
which of two choices is meant cannot be read: that is never a wrong credit, and it is counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.evaluate.reading import phrases
from tunesmith.evaluate.reading.characters import after_thinking, bare, fold, is_unspaced, is_word
from tunesmith.evaluate.reading.json_values import Json, find_json
from tunesmith.evaluate.reading.spellings import Mention, Table, table_of

MAX_LEAD_INS = 5
SHORT_ANSWER_WORDS = 40  # of a longer one only the first and the last sentence can be its answer
SHORT_ANSWER_CHARACTERS = 30  # the same in scripts without spaces

_SENTENCE = re.compile(r"[^\n]*?(?:[.!?](?=[\s\"'*)]|\Z)|[。!?]|\n|\Z)[\"'*)]*")
_LETTER_TAIL = re.compile(
    r"[\"'`*)\]}$]*(?:\s*(?:\Z|[.,;:!?)\]。、](?![a-z\d])|[–—(]|-\s|\n)|\s+(?:because|since|as)\s"
    r"|\s+(?:is|would be)\s+(?:the|my|right|correct)\b)"
)
_LABEL_END = re.compile(r"[\"'`*)\]}”’»」』]*\s*(?:[.!;。!…]|[-–—]\s|[–—(]|\Z)")
_ARTICLE = re.compile(r"\ban?\s+\Z")
_OPTION = re.compile(r"[\"'`*]*[.):]")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{\s*(?:\\(?:text|mathrm|mathbf|textbf)\s*\{\s*)?\(?\Z")
_ANSWER_KEYS = {
    "answer",
    "label",
    "choice",
    "category",
    "class",
    "sentiment",
    "intent",
    "prediction",
}


def find_choice(text: str, choices: Sequence[str]) -> tuple[str, str] | None:
    """The choice and what follows it, folded; None where none can be read.

    Case, Unicode's compositions and widths, surrounding punctuation and markdown do not count, `_`
    and `-` are spaces, and 4.0 is 4.
    """
    stripped = text.strip()
    if stripped in choices:
        return stripped, ""
    table = table_of(tuple(choices))
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
    folded = _without_lead_in(fold(plain), table)
    return _Reading(folded, table, table.mentions(folded)).answer()


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


def _without_lead_in(folded: str, table: Table) -> str:
    """The text without "Sure!", "Here is the label:", a heading or a fence before the answer."""
    for _ in range(MAX_LEAD_INS):
        shorter = folded
        found = phrases.INTERJECTION.match(folded)
        if found and table.equal(found.group()) is None:
            shorter = folded[found.end() :]
        line, _, rest = folded.partition("\n")
        if rest and phrases.LEAD_IN.search(line.strip(" *_\r")) and not table.mentions(line):
            shorter = rest
        if shorter == folded:
            break
        folded = shorter.strip()
    return folded


# ---- how the text uses its mentions


@dataclass(frozen=True)
class _Reading:
    """One folded text, its mentions, and what each of them is in its sentence."""

    text: str
    table: Table
    mentions: Sequence[Mention]

    def answer(self) -> tuple[str, str] | None:
        first_end = self.text.find("\n")
        first_end = len(self.text) if first_end < 0 else first_end
        first = [m for m in self.mentions if m.start < first_end]
        line = self.text[:first_end]
        whole = self.table.equal(line)
        if whole is not None:
            after = self.text[first_end:]
            return None if self._goes_on_listing(whole, after) else (whole, after)
        for find in (self._leading, self._marked):
            if (found := find(first, line)) is not None:
                return self._given(found)
        if self._names_several(first):
            return None
        found = self._marked(self.mentions, self.text) or self._shown(self.mentions)
        return self._given(found) if found else self._last_line() or self._said()

    def _goes_on_listing(self, first: str, after: str) -> bool:
        """Whether the next line is another choice alone: a list of the choices, not an answer."""
        second = self.table.equal(after.strip().partition("\n")[0])
        return second is not None and second != first

    def _given(self, found: Mention) -> tuple[str, str] | None:
        return None if found.choice is None else (found.choice, self.text[found.end :])

    def _names_several(self, first: Sequence[Mention]) -> bool:
        """Whether the first line begins with two answers: "A. B", "positive. negative"."""
        named = {m.choice for m in first if self._is_label(m)}
        return len(named) > 1

    # -- 1. the first line

    def _leading(self, first: Sequence[Mention], line: str) -> Mention | None:
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

    def _is_restated_option(self, lead: Mention) -> bool:
        """Whether the text lists its options: others stand in this form too."""
        if not (lead.length == 1 and _OPTION.match(self.text, lead.end)):
            return False
        for m in self.mentions:
            line_start = self.text.rfind("\n", 0, m.start) + 1
            begins = line_start <= lead.start or not any(
                map(is_word, self.text[line_start : m.start])
            )
            if m.choice != lead.choice and begins and _OPTION.match(self.text, m.end):
                return True
        return False

    # -- 2. marks

    def _marked(self, mentions: Sequence[Mention], text: str) -> Mention | None:
        """The choice after "the answer is" and the like; a last word ("final answer") first."""
        marked = [m for m in mentions if self._is_marked(m)]
        strong = [m for m in marked if self._is_strong(m)]
        return _only(strong) if strong else _only(marked)

    def _shown(self, mentions: Sequence[Mention]) -> Mention | None:
        """The choice that stands alone in bold type, or the letter in brackets."""
        shown = [m for m in mentions if self._is_bold(m) and not self._is_negated(m)]
        shown = shown or [m for m in mentions if self._is_bracketed_letter(m)]
        if shown or not self.table.letters:
            return _only(shown)
        # "B is correct": a letter in the subject's place
        return _only([m for m in mentions if self._is_letter(m) and self._is_called_right(m)])

    def _is_marked(self, m: Mention) -> bool:
        before = self._before(m)
        if _BOXED.search(before):
            return True
        if m.listed or self._is_negated(m) or not phrases.MARK.search(before):
            return False
        return self._ends_answer(m) or bool(phrases.GOES_ON.match(self.text, m.end))

    def _is_strong(self, m: Mention) -> bool:
        before = self._before(m)
        if _BOXED.search(before):
            return True
        mark = phrases.MARK.search(before)
        return mark is not None and bool(
            phrases.STRONG_MARK.search(before)
            or phrases.STRONG_MARK.search(before[: mark.start()] + mark.group().rstrip(" *\"'(:"))
        )

    def _is_bold(self, m: Mention) -> bool:
        return self.text[: m.start].endswith("**") and bool(
            re.match(r"[.:]?\*\*", self.text[m.end : m.end + 3])
        )

    def _is_bracketed_letter(self, m: Mention) -> bool:
        around = self.text[max(0, m.start - 1) : m.start] + self.text[m.end : m.end + 1]
        return self._is_letter(m) and around == "()" and not self._is_negated(m)

    def _is_called_right(self, m: Mention) -> bool:
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
        spans = [
            match.span()
            for match in _SENTENCE.finditer(self.text)
            if any(map(is_word, match.group()))
        ]
        spans = [
            (start, end)
            for start, end in spans
            if not self.text[start:end].rstrip(" \n\"'*)").endswith(("?", "？"))
        ]
        is_short = len(self.text.split()) <= SHORT_ANSWER_WORDS
        return spans if is_short else [*spans[:1], *spans[-1:]]

    def _is_said(self, m: Mention) -> bool:
        before, after = self._before(m), self.text[m.end : m.end + 120]
        if m.listed or not m.exact or after.startswith("?"):
            return False
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

    def _is_letter(self, m: Mention) -> bool:
        return m.length == 1 and not self.text[m.start].isdigit() and is_word(self.text[m.start])

    def _is_label(self, m: Mention) -> bool:
        """Whether the mention is used as an option, not as a word of the sentence."""
        if self._is_letter(m):
            return bool(_LETTER_TAIL.match(self.text, m.end)) and not self._is_negated(m)
        return self._is_said(m) and not self._is_negated(m)

    def _ends_answer(self, m: Mention) -> bool:
        if self._is_letter(m):
            after_article = _ARTICLE.search(self.text, max(0, m.start - 4), m.start)
            return bool(_LETTER_TAIL.match(self.text, m.end)) and not after_article
        if phrases.TAIL.match(self.text, m.end):
            return True
        if self.text[m.start : m.end] in ("yes", "no"):
            return bool(phrases.AFTER_YES_OR_NO.match(self.text, m.end))
        noun = phrases.HEAD_NOUN.match(self.text, m.end)
        return bool(noun and phrases.TAIL.match(self.text, noun.end()))

    def _is_negated(self, m: Mention) -> bool:
        before = self._before(m)
        return bool(
            phrases.NEGATED_BEFORE.search(before)
            or phrases.NEGATED_BEFORE_UNSPACED.search(before)
            or phrases.NEGATED_AFTER.match(self.text, m.end)
        )

    def _before(self, m: Mention) -> str:
        """The sentence before the mention, at most 120 characters of it."""
        before = self.text[max(0, m.start - 120) : m.start]
        stop = max(before.rfind("\n"), before.rfind("。"))
        for match in re.finditer(r"[.!?！？]\s+", before):
            stop = max(stop, match.end() - 1)
        return before[stop + 1 :]


def _only(mentions: Sequence[Mention]) -> Mention | None:
    """The first of them, where all are of one choice."""
    return mentions[0] if len({m.choice for m in mentions}) == 1 else None
