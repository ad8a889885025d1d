"""A table in memory gives the rows that its file would give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pytest

from tunesmith.data.sources.rows import read_rows
from tunesmith.errors import InputError
from tunesmith.tables import write_table

ROWS = [{"text": "a\nb", "label": 1}, {"text": "ü", "label": 0}]


class Polars:
    """What a polars data frame has of what is used."""

    def to_arrow(self) -> pa.Table:
        return pa.Table.from_pylist(ROWS)


@pytest.mark.parametrize(
    "table",
    [
        ROWS,
        pd.DataFrame(ROWS, index=[7, 9]),
        pa.Table.from_pylist(ROWS),
        datasets.Dataset.from_list(ROWS),
        Polars(),
    ],
    ids=lambda table: type(table).__name__,
)
def test_every_kind_of_table_gives_its_rows(tmp_path: Path, table: Any) -> None:
    file = write_table(table, tmp_path / "rows")
    assert [dict(row.values) for row in read_rows(file)] == ROWS


def test_the_splits_of_a_data_set_stay_apart(tmp_path: Path) -> None:
    parts = {
        "train": datasets.Dataset.from_list(ROWS),
        "test": datasets.Dataset.from_list(ROWS[:1]),
    }
    folder = write_table(datasets.DatasetDict(parts), tmp_path / "rows")
    assert [len(list(read_rows(folder, split=name))) for name in ("train", "test")] == [2, 1]


@pytest.mark.parametrize("table", [["a", "b"], 3, "text"])
def test_what_is_no_table_is_refused(tmp_path: Path, table: Any) -> None:
    with pytest.raises(InputError, match="dictionar"):
        write_table(table, tmp_path / "rows")
    assert list(tmp_path.iterdir()) == []
