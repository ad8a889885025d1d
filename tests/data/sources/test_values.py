"""Values come back from their JSON text as they went in: equal, and of the same types."""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from math import isnan
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.data.sources.values import TAG, decode_values, encode_values

# all code points, halves of surrogate pairs included: JSON can escape them
TEXTS = st.text(st.characters(exclude_categories=())) | st.just(TAG)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OTHERS = (
    st.binary()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.datetimes(timezones=st.none() | st.just(ZoneInfo("Europe/Berlin")), allow_imaginary=False)
    | st.dictionaries(st.integers(), JSON_VALUES, max_size=2)
    | st.tuples(TEXTS, st.binary())
)
ALL_VALUES = st.recursive(
    JSON_VALUES | OTHERS, lambda inner: st.lists(inner, max_size=3), max_leaves=4
)


def same(a: Any, b: Any) -> bool:
    """Equal with the same types, order of keys, sign of zero and NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(map(same, a.values(), b.values()))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isnan(a):
        return isnan(b)
    return str(a) == str(b) and (a == b or a != a)


@given(st.dictionaries(TEXTS, JSON_VALUES, max_size=4))
def test_what_json_can_hold_comes_back(values: dict[str, Any]) -> None:
    assert same(decode_values(encode_values(values)), values)


@given(st.dictionaries(TEXTS, ALL_VALUES, max_size=3))
def test_what_parquet_can_hold_comes_back(values: dict[str, Any]) -> None:
    assert same(decode_values(encode_values(values)), values)


INSTANT = datetime(2024, 10, 27, 0, 30, 0, 7)  # 02:30 in Berlin for the first time, then again


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (INSTANT, pa.timestamp("us")),
        (INSTANT, pa.timestamp("us", "Europe/Berlin")),
        (INSTANT + timedelta(hours=1), pa.timestamp("us", "Europe/Berlin")),
        (INSTANT, pa.timestamp("us", "+01:30")),
        (1_700_000_000_123_456_789, pa.timestamp("ns")),
        (1_700_000_000_123_456_789, pa.timestamp("ns", "Asia/Tokyo")),
        (123_456_789_001, pa.duration("ns")),
        (timedelta(-1, 2, 3), pa.duration("us")),
        (date(2024, 2, 29), pa.date32()),
        (time(1, 2, 3, 4), pa.time64("us")),
        (Decimal("1.50"), pa.decimal128(10, 2)),
        (b"\x00\xff", pa.binary()),
        ([("a", 1), ("b", None)], pa.map_(pa.string(), pa.int32())),
        ({"a": [1.5, None]}, pa.struct([("a", pa.list_(pa.float32()))])),
        ((1, 2, 3), pa.month_day_nano_interval()),
        ("word", pa.dictionary(pa.int8(), pa.string())),
    ],
    ids=lambda case: str(case) if isinstance(case, pa.DataType) else "",
)
def test_each_arrow_type_comes_back_as_arrow_gives_it(value: Any, kind: pa.DataType) -> None:
    [given_by_arrow] = pa.array([value], kind).to_pylist()
    [found] = decode_values(encode_values({"column": given_by_arrow})).values()
    assert same(found, given_by_arrow)
    if isinstance(found, datetime):
        assert (found.fold, found.tzinfo) == (given_by_arrow.fold, given_by_arrow.tzinfo)


def test_plain_values_are_plain_json() -> None:
    assert json.loads(encode_values({"text": "é", "n": 1})) == {"text": "é", "n": 1}
    assert "é".encode() in encode_values({"text": "é"})


def test_a_column_named_like_the_tag_is_a_column() -> None:
    for values in ({TAG: "bytes", "value": "aGk="}, {"a": {TAG: 1}}, {"a": TAG}):
        assert decode_values(encode_values(values)) == values


def test_a_value_of_an_unknown_type_is_what_a_template_would_print() -> None:
    class Picture:
        def __str__(self) -> str:
            return "a picture"

    assert decode_values(encode_values({"image": Picture()})) == {"image": "a picture"}


def test_types_of_the_same_name_in_pandas_keep_their_nanoseconds() -> None:
    values = {
        "at": pd.Timestamp("2024-01-01T00:00:00.000000001"),
        "for": pd.Timedelta(1, unit="ns"),
    }
    assert decode_values(encode_values(values)) == values


def test_fixed_offsets_and_ids_come_back() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    values = {"at": datetime(2024, 1, 1, tzinfo=zone), "key": UUID(int=7)}
    assert same(decode_values(encode_values(values)), values)
