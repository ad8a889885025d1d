"""What counts as a word, and how two spellings of one answer are made equal."""

from __future__ import annotations

import re
import unicodedata

# Scripts that write no spaces between words: Thai, Lao, Myanmar, Khmer, kana, ideographs. A word
# of theirs may begin and end anywhere. Hangul has spaces, but endings follow a word directly.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
)
_HANGUL = re.compile("[\u1100-\u11ff\uac00-\ud7af]")
_SIGNED = re.compile(r"[-+\u2212]\d")
_THINKING_ENDS = "</think>"
_WHOLE_DECIMAL = re.compile(r"(?<![\d.,])(\d+)\.0+(?![.,]?\d)")


def is_word(character: str) -> bool:
    """Whether a word may hold the character: a letter, a mark, a digit or `_`.

    Marks too: str.isalnum is False for the vowel signs of Devanagari, Thai and others.
    """
    return character == "_" or unicodedata.category(character)[0] in "LMN"


def joins_left(character: str) -> bool:
    """Whether this character before a word makes it part of a longer one."""
    return is_word(character) and not _UNSPACED.match(character)


def joins_right(character: str) -> bool:
    """Whether this character after a word makes it part of a longer one."""
    return joins_left(character) and not _HANGUL.match(character)


def is_unspaced(character: str) -> bool:
    """Whether the character's script writes no spaces between words."""
    return bool(_UNSPACED.match(character))


def is_hangul(character: str) -> bool:
    """Whether endings may follow a word of this character's script directly."""
    return bool(_HANGUL.match(character))


def fold(text: str) -> str:
    """One spelling for case, composed and full-width characters, apostrophes, and 4.0 for 4."""
    plain = unicodedata.normalize("NFKC", text.strip()).casefold()
    plain = unicodedata.normalize("NFKC", plain).replace("\u2019", "'")
    return _WHOLE_DECIMAL.sub(r"\1", plain).strip()


def bare(text: str) -> str:
    """The text without surrounding punctuation; a sign before a digit stays, or -1 would be 1."""
    start, end = 0, len(text)
    while start < end and not is_word(text[start]) and not _SIGNED.match(text, start):
        start += 1
    while end > start and not is_word(text[end - 1]):
        end -= 1
    return text[start:end]


def after_thinking(text: str) -> str:
    """What follows the block in which a reasoning model thinks aloud; all of it without one."""
    return text.rpartition(_THINKING_ENDS)[2]
