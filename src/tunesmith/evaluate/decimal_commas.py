"""Is 1,234 a thousand or one and a bit? In a column that writes decimals with commas nobody knows.

The reader of numbers (reading/numbers.py) sees one text at a time, and takes 1,234 for a thousand;
the other rows of a column of right answers may show that its commas are decimal commas.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tunesmith.errors import DataError
from tunesmith.records import Row

_DECIMAL = re.compile(
    r"[-+\u2212]?(?:\d+,(?:\d{1,2}|\d{4,})|0+,\d+|\d{4,},\d+|\d{1,3}(?:\.\d{3})+,\d+)"
)
_EITHER = re.compile(r"[-+\u2212]?[1-9]\d{0,2},\d{3}")


def check_decimal_commas(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """DataError, naming both rows, where a column has a decimal comma for certain (1,5) and a
    number that could be either (1,234).
    """
    for column in columns:
        texts = [(str(row.values.get(column)).strip(), row.source) for row in rows]
        decimal = next((pair for pair in texts if _DECIMAL.fullmatch(pair[0])), None)
        either = next((pair for pair in texts if _EITHER.fullmatch(pair[0])), None)
        if decimal and either:
            text = either[0]
            raise DataError(
                f"{either[1]}: the column {column!r} has {text}, which is {text.replace(',', '')} "
                f"or {text.replace(',', '.')}: {decimal[0]} in {decimal[1]} has a decimal comma",
                hint="write decimals with a point, and nothing between thousands",
            )
