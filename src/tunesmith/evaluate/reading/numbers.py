r"""The number that a text gives as its answer.

Where it stands: after `####` (the mark of GSM8K, Cobbe et al. 2021), alone on the first line, in
`\boxed{}` (MATH, Hendrycks et al. 2021), after "the answer is", or else it is the last number of
the text. A short answer that names several numbers and does not say which cannot be read.

How it is written: the English way, unless the text itself shows another one.

    1,234  1,234.5  1,00,000 (India)        commas between groups
    1 234  1'234.50  9 500,00               spaces and apostrophes between groups of three
    1.234,56  1.234.567                     points between groups, where nothing else fits
    3,14  0,125  1234,567                   a comma that cannot stand between groups
    1.234                                   a point alone is a decimal point
    1/2  1 1/2  \frac{1}{2}                 fractions
    3e5  3 x 10^5  2 million  minus 3       powers of ten, words for them and for the sign
    50 %                                    50, never 0.5: the number as it is written

Units, currencies and the ending of an ordinal do not count. Ranges (5-10, 5 to 10), lists (3 or 4),
dates, times, versions and powers (2^10) are not one number and cannot be read. Neither can digits
inside a word (B12).
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal

from tunesmith.evaluate.reading.characters import after_thinking, bare, fold, is_unspaced, is_word
from tunesmith.evaluate.reading.phrases import ANSWER_IS

MAX_POWER = 300
_SPACES = "\u00a0\u2007\u2009\u202f "
_SIGNS = "-\u2212\u2013"
_CURRENCIES = r"(?:[$€£¥₹]|\b(?:usd|eur|gbp|chf|inr|rs\.?|us\$)\s?)"
_DIGITS = (
    rf"(?:\d{{1,3}}(?:[{_SPACES}]\d{{3}})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,'’_:]\d+)*|(?<![\d.])\.\d+)"
)
# One candidate: all that belongs together, so that no part of a date is taken for a number.
_TOKEN = re.compile(
    rf"(?P<sign>[{_SIGNS}+]|\b(?:minus|negative)\s)?\s?(?P<currency>{_CURRENCIES})?"
    rf"(?P<inner_sign>[{_SIGNS}])?(?P<digits>{_DIGITS})"
    r"(?P<exponent>e[-+]?\d+(?!\w|\.\d)"
    r"|\s?(?:[x×·*]|\btimes)\s?10\s?(?:\^|\*\*)\s?\{?[-\u2212+]?\d+\}?)?"
    r"(?P<fraction>(?:[ -]\d+)?\s?[/\u2044]\s?\d+(?:[/\u2044]\d+)*(?![\d.,]*\d))?"
    r"(?P<vulgar>[¼½¾⅐-⅞])?"
    r"(?P<power>\^\{?[-\d])?"
    r"(?P<scale>\s?(?:hundred|thousand|million|billion|trillion|lakh|crore)s?\b|k\b)?",
    re.IGNORECASE,
)
_VULGAR_ALONE = re.compile(r"(?P<sign>[-\u2212])?(?P<vulgar>[¼½¾⅐-⅞])")
_SCALES = {
    "hundred": 2, "thousand": 3, "k": 3, "lakh": 5, "million": 6, "crore": 7, "billion": 9,
    "trillion": 12,
}  # fmt: skip
_GROUPED = re.compile(r"\d{1,3}(?:\D\d{3})+")
_INDIAN = re.compile(r"\d{1,2}(?:,\d{2})*,\d{3}")
_MONTH = (
    r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mär|mai|okt|dez|janv|févr|avr|juin|juil)"
    r"[^\W\d]{0,7}\.?"
)
_DATE = re.compile(
    rf"\b{_MONTH}\s\d{{1,2}}(?:st|nd|rd|th)?,?\s\d{{4}}\b"
    rf"|\b\d{{1,2}}(?:st|nd|rd|th|\.)?\s(?:of\s)?{_MONTH},?\s\d{{4}}\b",
    re.IGNORECASE,
)
# What makes one thing of two numbers. A hyphen after a closing bracket is a minus between terms.
_RANGE = re.compile(
    rf"[^\w\n]{{0,3}}[a-z%°$€£]{{0,8}}[^\S\n]{{0,2}}(?:[{_SIGNS}~±]|\.\.\.?|\bto\b|\bbis\b|\bthrough\b|\bminus\b)"
    r"[^\S\n]{0,2}[$€£]?",
    re.IGNORECASE,
)
_AND = re.compile(r"\s?(?:&|,?\s?\b(?:and|or|und|oder|et|ou|y|o)\b)\s?[$€£]?", re.IGNORECASE)
_COMMA = re.compile(r"\s?[,;]\s?[$€£]?")
# 3 hours 20 minutes, 5 feet 6 inches: one quantity in two units
_LARGE_UNIT = re.compile(
    r"\s?(?:years?|months?|weeks?|days?|hours?|hrs?|h|minutes?|mins?|feet|foot|ft|miles?|meters?|km"
    r"|pounds?|lbs?|kg|dollars?|euros?),?\s?(?:and)?\s?",
    re.IGNORECASE,
)
_SMALL_UNIT = re.compile(
    r"\s?(?:months?|weeks?|days?|hours?|hrs?|minutes?|mins?|seconds?|secs?|s|inch(?:es)?|in|feet|yards?"
    r"|centimeters?|cm|meters?|m|ounces?|oz|grams?|g|cents?)\b",
    re.IGNORECASE,
)
_OUT_OF = re.compile(r"\s(?:out of|von|sur)\s", re.IGNORECASE)
_ENDS_A_SENTENCE = re.compile(r"\W*(?:\n|\Z)")
_LATEX = (
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,;: ]"), "\u2009"),
    (re.compile(r"\\!"), ""),
    (re.compile(r"(?<=\d)\\[dtc]?frac\b"), r" \\frac"),
    (re.compile(r"\\[dtc]?frac\s*\{([^{}]{1,40})\}\s*\{([^{}]{1,40})\}"), r"\1/\2"),
    (re.compile(r"\\[dtc]?frac\s*(\d)\s*(\d)"), r"\1/\2"),
    (re.compile(r"\\(?:times|cdot)\b"), "×"),
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]{0,80})\}"), r"\1"),
    (re.compile(r"\\([$%#])"), r"\1"),
)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_FINAL = "####"
SHORT_ANSWER_WORDS = 15
_EXPLAINED = re.compile(r"\s*(?:\(|[.;:]\s|[-–—]\s|,?\s*(?:because|since|as)\b)", re.IGNORECASE)
_RESULT = re.compile(
    r"(?:=|≈|:|\b(?:is|are|was|were|be|equals?|makes?|gives?|leaves?|left|total|has|have|got|gets|pays?"
    r"|costs?|about|approximately|exactly|only|ist|est|es|sind|sont|son)\b)[\s$€£*]{0,5}\Z",
    re.IGNORECASE,
)
_STOP = re.compile(r"[.!?](?=\s|\Z)")
_NOT = re.compile(r"(?:\bnot|n't|\bnicht|\bnever)\s[$€£]?\Z", re.IGNORECASE)
_UNITS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS = {
    **{word: float(i) for i, word in enumerate(_UNITS)},
    **{word: 10.0 * i for i, word in enumerate(_TENS, start=2)},
    **{
        f"{ten}-{unit}": 10.0 * i + j
        for i, ten in enumerate(_TENS, start=2)
        for j, unit in enumerate(_UNITS[1:10], start=1)
    },
    "hundred": 100.0,
    "one hundred": 100.0,
}


@dataclass(frozen=True, slots=True)
class _Found:
    """A candidate in the text; `value` is None where it cannot be read as one number."""

    value: float | None
    start: int
    end: int


def find_number(text: str) -> tuple[float, str] | None:
    """The number and the text after it; None where there is none, or none that can be read.

    Finite, or None.
    """
    plain = _without_latex(after_thinking(text))
    word = _WORDS.get(bare(fold(plain)))
    if word is not None:
        return word, ""
    final = plain.find(_FINAL)
    if final >= 0:
        found = _in_segment(plain, final + len(_FINAL), len(plain))
        return _readable(found, plain)
    found = _first_line(plain)
    for start, end in [*_boxed(plain), *_after_answer_is(plain)]:
        found = found or _in_segment(plain, start, end)
    return _readable(found or _last(plain), plain)


def is_bare_number(text: str) -> bool:
    """Whether the text is a number and nothing else but a currency or a percent sign."""
    plain = _without_latex(text.strip())
    candidates = _candidates(plain)
    if len(candidates) != 1 or candidates[0].value is None:
        return False
    around = plain[: candidates[0].start] + plain[candidates[0].end :]
    return not around.strip(" $€£¥₹%\u00a0\u202f")


def _without_latex(text: str) -> str:
    if "\\" not in text and "{" not in text:
        return text
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    return text


def _readable(found: _Found | None, text: str) -> tuple[float, str] | None:
    if found is None or found.value is None:
        return None
    return found.value, text[found.end :]


# ---- where the answer stands


def _leading(first: _Found, text: str) -> _Found | None:
    """The number that the text begins with, where the rest explains it: "5 (2 + 3)"."""
    begins = not any(map(is_word, text[: first.start]))
    return first if begins and _EXPLAINED.match(text, first.end) else None


def _announced(last: _Found, text: str) -> _Found | None:
    return last if _RESULT.search(text[max(0, last.start - 40) : last.start]) else None


def _boxed(text: str) -> list[tuple[int, int]]:
    """The last box first: a text may box steps on its way."""
    spans = [(match.end(), _closing(text, match.end())) for match in _BOXED.finditer(text)]
    return spans[::-1]


def _closing(text: str, start: int) -> int:
    depth = 1
    for place in range(start, min(len(text), start + 200)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return place
    return start


def _after_answer_is(text: str) -> list[tuple[int, int]]:
    """The sentences after each "the answer is", the last one first."""
    spans = []
    for match in ANSWER_IS.finditer(text):
        line_end = text.find("\n", match.end())
        line_end = len(text) if line_end < 0 else line_end
        stop = _STOP.search(text, match.end(), line_end)
        spans.append((match.end(), stop.start() if stop else line_end))
    return spans[::-1]


def _in_segment(text: str, start: int, end: int) -> _Found | None:
    """The first number, or what a calculation comes to: the first after the line's last `=`."""
    segment = text[start:end]
    if (word := _WORDS.get(bare(fold(segment)))) is not None:
        return _Found(word, start, end)
    for line in segment.split("\n"):
        if found := _candidates(line):
            equals = line.rfind("=")
            first = next((one for one in found if one.start > equals), found[0])
            return _Found(first.value, first.start + start, first.end + start)
        start += len(line) + 1
    return None


def _first_line(text: str) -> _Found | None:
    """The number that the first of several lines is: what follows is more than the answer."""
    start = len(text) - len(text.lstrip())
    line, newline, _ = text[start:].partition("\n")
    if not newline or not is_bare_number(line):
        return None
    found = _candidates(line)[0]
    return _Found(found.value, found.start + start, found.end + start)


def _last(text: str) -> _Found | None:
    """The last number; line by line from the end, because a text of steps has many.

    Where a short answer of one line names several, something must say that the last is the result.
    """
    if "\n" not in text.strip() and len(text.split()) <= SHORT_ANSWER_WORDS:
        found = _candidates(text)
        if len({one.value for one in found}) > 1:
            return _leading(found[0], text) or _announced(found[-1], text)
    end = len(text)
    while end >= 0:
        start = text.rfind("\n", 0, end) + 1
        if found := _candidates(text[start:end]):
            last = found[-1]
            return _Found(last.value, last.start + start, last.end + start)
        end = start - 1
    return None


# ---- candidates


def _candidates(text: str) -> list[_Found]:
    """Every number, date, range and list, in order; parts that belong together are one."""
    dates = [_Found(None, match.start(), match.end()) for match in _DATE.finditer(text)]
    inside = {place for date in dates for place in range(date.start, date.end)}
    numbers = [
        found
        for found in (_read(match, text) for match in _TOKEN.finditer(text))
        if found is not None and found.end - 1 not in inside
    ]
    numbers += [
        _Found(_signed(match["sign"], unicodedata.numeric(match["vulgar"])), *match.span())
        for match in _VULGAR_ALONE.finditer(text)
        if match.start() == 0 or not text[match.start() - 1].isdigit()
    ]
    return _joined(sorted([*dates, *numbers], key=lambda found: found.start), text)


def _read(match: re.Match[str], text: str) -> _Found | None:
    """None for digits inside a word."""
    start = match.start("digits")
    before = text[start - 1] if start else ""
    if before and is_word(before) and not is_unspaced(before) and not match["currency"]:
        return None
    if _is_sign(match, text):
        sign, start = match["sign"], match.start("sign")
    else:
        sign = match["inner_sign"]
    value = None if before == "^" or match["power"] else _value(match)
    if value is None or not math.isfinite(value) or _NOT.search(text[max(0, start - 9) : start]):
        return _Found(None, start, match.end())
    return _Found(_signed(sign, value), start, match.end())


def _is_sign(match: re.Match[str], text: str) -> bool:
    """A minus counts only where no word or bracket stands before it, and no space after it."""
    sign = match["sign"]
    if not sign:
        return False
    place = match.start("sign")
    if sign.strip().isalpha():
        return not text[max(0, place - 2) : place].strip().isdigit()
    before = text[place - 1] if place else ""
    follows = match.start("currency" if match["currency"] else "digits")
    return match.end("sign") == follows and not (before and (is_word(before) or before in ")]%"))


def _signed(sign: str | None, value: float) -> float:
    return -value if sign and sign.strip().lower() in (*_SIGNS, "minus", "negative") else value


def _value(match: re.Match[str]) -> float | None:
    value = _plain_value(match["digits"])
    if value is None:
        return None
    if match["vulgar"]:
        value += unicodedata.numeric(match["vulgar"])
    if match["fraction"]:
        value = _fraction(value, match["fraction"])
    if value is not None and match["exponent"]:
        power = float(re.findall(r"[-\u2212+]?\d+", match["exponent"])[-1].replace("\u2212", "-"))
        value = _times_ten_to(value, power)
    if value is not None and match["scale"]:
        value = _times_ten_to(value, _SCALES[match["scale"].strip().lower().removesuffix("s")])
    return value


def _times_ten_to(value: float, power: float) -> float:
    """Infinite where it is too large. In decimal: 2.675 million is 2675000, not a little less."""
    if abs(power) > MAX_POWER:
        return math.inf
    return float(Decimal(repr(value)).scaleb(int(power)))


def _fraction(first: float, rest: str) -> float | None:
    """`first` over the rest, or with a whole number before it: 1 1/2. Two slashes are a date."""
    whole_and_top, *below = re.split(r"\s?[/\u2044]\s?", rest)
    if len(below) != 1 or float(below[0]) == 0:
        return None
    top = whole_and_top.strip(" -")
    return first + float(top) / float(below[0]) if top else first / float(below[0])


def _plain_value(digits: str) -> float | None:
    """Digits with their separators, by the rules at the head of this file."""
    separators = re.findall(r"\D", digits)
    groups = re.split(r"\D", digits)
    kinds = sorted(set(separators), key=separators.index)
    if ":" in kinds or len(kinds) > 2:
        return None
    if len(kinds) == 2:
        whole, decimal = digits.rpartition(kinds[1])[::2]
        is_decimal = separators.count(kinds[1]) == 1 and kinds[1] in ".,"
        return float(_join(whole) + "." + decimal) if is_decimal and _is_grouped(whole) else None
    if not kinds or (kinds == ["."] and len(groups) == 2):
        return float(digits)
    if _is_grouped(digits):
        return float(_join(digits))
    return float(".".join(groups)) if kinds == [","] and len(groups) == 2 else None


def _is_grouped(digits: str) -> bool:
    grouped = _GROUPED.fullmatch(digits) or _INDIAN.fullmatch(digits)
    return bool(grouped) and not digits.startswith("0")


def _join(digits: str) -> str:
    return re.sub(r"\D", "", digits)


# ---- numbers that belong together


def _joined(found: list[_Found], text: str) -> list[_Found]:
    """Ranges and lists as one candidate without a value; of "7 out of 10" the 7."""
    joined: list[_Found] = []
    for number in found:
        if not joined:
            joined.append(number)
            continue
        last = joined[-1]
        between = text[last.end : number.start]
        if _OUT_OF.fullmatch(between):
            joined[-1] = _Found(last.value, last.start, number.end)
        elif _belong_together(last, number, between, text):
            joined[-1] = _Found(None, last.start, number.end)
        else:
            joined.append(number)
    return joined


def _belong_together(last: _Found, number: _Found, between: str, text: str) -> bool:
    if _RANGE.fullmatch(between):
        return not between.lstrip().startswith((")", "]"))
    if _LARGE_UNIT.fullmatch(between) and _SMALL_UNIT.match(text, number.end):
        return True
    listed = _AND.fullmatch(between) or (
        _COMMA.fullmatch(between) and _ENDS_A_SENTENCE.match(text, number.end)
    )
    return bool(listed) and (last.value != number.value or last.value is None)
