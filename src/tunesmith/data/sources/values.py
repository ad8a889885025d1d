"""A row's values as JSON text that reads back as exactly the same Python values.

JSON has text, numbers, true, false, null, lists and objects with text keys: all that csv and jsonl
can hold. Parquet, Arrow and `datasets` also give bytes, dates, decimals and tuples. Such a value is
written as `{"$python": its type, "value": ...}`, and so is an object that has that key itself or
keys that are not text. Pickle would be shorter, but opening a run that someone else made must not
be able to execute code.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import pyarrow as pa

TAG = "$python"
_TAG_BYTES = TAG.encode()
_PLAIN = {str, int, float, bool, type(None)}
_ENCODER = json.JSONEncoder(ensure_ascii=False)  # made once: json.dumps makes one for each call


def encode_values(values: Mapping[str, object]) -> bytes:
    """The JSON text of a row's values, in UTF-8.

    A value of a type that no known format holds (a decoded image, say) is written as `str(value)`,
    which is also what a template would print.
    """
    # "surrogatepass": JSON may escape half of a surrogate pair, which UTF-8 has no bytes for
    return _ENCODER.encode(_tagged(values)).encode("utf-8", "surrogatepass")


def decode_values(data: bytes) -> dict[str, Any]:
    """The values that `encode_values` was given."""
    text = data.decode("utf-8", "surrogatepass")
    # a hook slows every object down, and few tables need it
    values: dict[str, Any] = json.loads(text, object_hook=_untagged if _TAG_BYTES in data else None)
    return values


def _tagged(value: Any) -> object:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is list:
        return [_tagged(item) for item in value]
    if kind is dict and TAG not in value and all(type(key) is str for key in value):
        return {key: _tagged(item) for key, item in value.items()}
    if kind.__name__ not in _WRITE:
        return str(value)
    return {TAG: kind.__name__, "value": _tagged(_WRITE[kind.__name__](value))}


def _untagged(found: dict[str, Any]) -> object:
    """Called for the innermost objects first, so `value` has already been read."""
    return _READ[found[TAG]](found["value"]) if TAG in found else found


def _zone_name(value: datetime) -> str | None:
    return None if value.tzinfo is None else pa.lib.tzinfo_to_string(value.tzinfo)


def _write_datetime(value: datetime) -> list[object]:
    return [value.replace(tzinfo=None).isoformat(), value.fold, _zone_name(value)]


def _read_datetime(parts: list[Any]) -> datetime:
    text, fold, zone = parts
    tzinfo = None if zone is None else pa.lib.string_to_tzinfo(zone)
    return datetime.fromisoformat(text).replace(tzinfo=tzinfo, fold=fold)


def _read_timestamp(parts: list[Any]) -> object:
    import pandas as pd  # noqa: PLC0415 - pandas is slow to import, and few tables have nanoseconds

    nanoseconds, zone = parts
    tzinfo = None if zone is None else pa.lib.string_to_tzinfo(zone)
    return pd.Timestamp(nanoseconds, unit="ns", tz=tzinfo)


def _read_timedelta_of_pandas(nanoseconds: int) -> object:
    import pandas as pd  # noqa: PLC0415 - as above

    return pd.Timedelta(nanoseconds, unit="ns")


# By the name of the type, so that pandas (whose types are named Timestamp and Timedelta, and appear
# only in columns that count nanoseconds) need not be imported.
_WRITE: dict[str, Callable[[Any], object]] = {
    "dict": lambda value: [list(pair) for pair in value.items()],
    "tuple": list,
    "bytes": lambda value: base64.b64encode(value).decode(),
    "Decimal": str,
    "UUID": str,
    "date": date.isoformat,
    "time": time.isoformat,
    "timedelta": lambda value: [value.days, value.seconds, value.microseconds],
    "datetime": _write_datetime,
    "Timestamp": lambda value: [value.value, _zone_name(value)],
    "Timedelta": lambda value: value.value,
    "MonthDayNano": list,
}
_READ: dict[str, Callable[[Any], object]] = {
    "dict": dict,
    "tuple": tuple,
    "bytes": base64.b64decode,
    "Decimal": Decimal,
    "UUID": UUID,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda parts: timedelta(*parts),
    "datetime": _read_datetime,
    "Timestamp": _read_timestamp,
    "Timedelta": _read_timedelta_of_pandas,
    "MonthDayNano": cast("Callable[[Any], object]", pa.MonthDayNano),
}
