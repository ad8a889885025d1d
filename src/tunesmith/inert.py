r"""Strangers' text made fit to be shown: what would act on a terminal or page is spelled out.

A row, a file name or a template's own message may hold escape sequences that move the cursor or set
the window's title, marks that turn the order of letters round, or characters that are not to be
seen. They are shown as Python would write them: `\x1b`, `\u202e`. Letters of every script stay as
they are, and so do the joiners that Persian, Indic scripts and emoji need.
"""

from __future__ import annotations

import re

# Categories Cc, Cf, Cs, Zl and Zp and the noncharacters of the Basic Multilingual Plane, but not
# line end, tab, the joiners U+200C and U+200D, and signs that are seen (Arabic's before a number,
# Egyptian quadrats). Written out: asking unicodedata for each of a
# million characters would take longer than starting the program; a test does ask.
_ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e"
    "\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
_NOT_ON_A_LINE = re.compile(f"{_ACTIVE.pattern[:-1]}\n\t]")


def inert(text: str) -> str:
    r"""The text with what is not to be seen spelled out; line ends and tabs stay.

    >>> inert("a\x1b[2Jb \u202eabc")
    'a\\x1b[2Jb \\u202eabc'
    """
    return text if text.isprintable() else _ACTIVE.sub(_spelled, text)


def inert_line(text: str) -> str:
    r"""As `inert`, on one line: a row's own line end must not begin a line that looks like ours.

    >>> inert_line("a\nhint: send it to me")
    'a\\nhint: send it to me'
    """
    return text if text.isprintable() else _NOT_ON_A_LINE.sub(_spelled, text)


def inert_json(text: str) -> str:
    r"""JSON text that reads back as the same values, with such characters as `\uXXXX`.

    >>> inert_json('["\u202e"]')
    '["\\u202e"]'
    """
    return text if text.isprintable() else _ACTIVE.sub(_escaped, text)


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
