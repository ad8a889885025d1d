"""What one cell of a table says, the same whatever kind of file it came from.

A csv file holds texts only; JSON, Parquet and Arrow also hold numbers, truth values and nulls.
Everything that reads a cell reads it here, so that a table means the same in each of them:

    csv         JSON, Parquet    as text        as a label    as a number
    (empty)     null, NaN        -              -             -
    True        true             True           True          refused
    1           1                1              1             1
    1.0         1.0              1.0            1             1
    1,5         "1,5"            1,5            1,5           refused
    N/A         "N/A"            N/A            N/A, noted    refused

Lists and objects in a cell are read by answers.py.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal

NULL_WORDS = frozenset(
    {"nan", "none", "null", "n/a", "na", "nil", "<na>", "#n/a", "#na", "-nan", "nat"}
)
"""What tools write for a missing value and a csv file cannot tell from a word, case folded. These
are pandas' words for it (`pandas.read_csv`, na_values), with `nil` and `nat`.
"""

_WHOLE = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.0+)?")
_INTEGER = re.compile(r"[-+]?[0-9]{1,1000}")
_TRUTH = {"true": True, "false": False}
_EXACT_TO = 2.0**53  # above it a float is no longer one integer


def is_missing(value: object) -> bool:
    """None, NaN, and pandas' NaT and NA: what tables hold where there is no value."""
    if value is None or isinstance(value, str):
        return value is None
    if isinstance(value, (float, Decimal)):
        return math.isnan(value)
    return type(value).__name__ in ("NaTType", "NAType")


def is_blank(value: object) -> bool:
    """A missing value or an empty text, which is all that a csv file can write for one."""
    return is_missing(value) or (isinstance(value, str) and not value.strip())


def plain_text(value: object) -> str:
    """A value as text: a text as it is, numbers and truth values as csv files have them, lists and
    objects as JSON.

    Raises ValueError for bytes that are not UTF-8, since they are no text.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return json.dumps(items, ensure_ascii=False, default=_inner_text)
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError as error:
            raise ValueError("holds bytes that are no text in UTF-8") from error
    return str(value)


def _inner_text(value: object) -> object:
    return plain_text(value) if not isinstance(value, (set, frozenset)) else sorted(value, key=str)


def label_text(value: object) -> str:
    """A value as the text by which it is equal to others: stripped, and 1, 1.0 and "1.0" are "1".

    Other numbers stay as they are written: 1.50 may be a version. ValueError as `plain_text`.
    """
    return one_spelling(plain_text(value).strip())


def one_spelling(text: str) -> str:
    """1.0 as "1", which it is in another file of the same table; other texts as they are."""
    whole = _WHOLE.fullmatch(text.strip())
    if whole is None:
        return text
    return whole[2] if whole[2] == "0" else whole[1] + whole[2]


def json_text(value: object) -> str:
    """A value as JSON text; a text is taken to be JSON already. ValueError as `plain_text`."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=plain_text)


def key_text(value: object) -> str | None:
    """What an id, a group or a stratum is called; None where there is no value.

    As `label_text`, but it never fails: bytes that are no text are named by their digits.
    """
    if is_blank(value):
        return None
    try:
        return label_text(value)
    except ValueError:
        return bytes(value).hex() if isinstance(value, (bytes, bytearray)) else repr(value)


def truth(text: str) -> bool | None:
    """The truth value that a text is, in any case; None for other texts."""
    return _TRUTH.get(text.lower())


def integer(text: str) -> int | None:
    """The whole number that a text is, in plain digits; None for other texts."""
    return int(text) if _INTEGER.fullmatch(text) else None


def number(value: object) -> int | float | None:
    """The finite number that a value is, whole ones as int; None for anything else.

    A truth value is no number, and neither is 1,5 or 1_000: of a comma nobody knows what it
    separates.
    """
    if isinstance(value, bool):
        return None
    if not isinstance(value, (str, int, float, Decimal)):
        return None
    try:
        text = str(value).strip()
        if (whole := integer(text)) is not None:
            return whole
        found = float(text)
    except ValueError:  # no number, or one of thousands of digits
        return None
    if "_" in text or not math.isfinite(found):
        return None
    return int(found) if found.is_integer() and abs(found) < _EXACT_TO else found
