"""Tables in memory as files that the readers of rows take: what a file holds is what is hashed,
cached and reproduced, so a table becomes one before anything else happens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pyarrow as pa
import pyarrow.parquet as pq

from tunesmith.errors import InputError
from tunesmith.rundir import appearing

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    Rows: TypeAlias = Sequence[Mapping[str, Any]]
    Table: TypeAlias = pd.DataFrame | pa.Table | datasets.Dataset | datasets.DatasetDict | Rows
else:
    Table = object


def is_path(value: object) -> bool:
    """Whether rows are named by a path or a hub id, and are no table."""
    return isinstance(value, str | os.PathLike)


def write_table(table: Table, path: Path) -> Path:
    """The table in a file, or of several splits in a folder, named `path` and an ending.

    A table is a pandas or polars data frame, an Arrow table, a data set or a list of dictionaries;
    the index of a data frame is left out. Raises InputError for anything else.
    """
    if isinstance(table, Mapping):  # a DatasetDict too
        path.mkdir(parents=True, exist_ok=True)
        for split, part in table.items():
            write_table(part, path / str(split))
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(table, Sequence) and not isinstance(table, str):
        return _write_rows(table, path.with_name(f"{path.name}.jsonl"))
    found = path.with_name(f"{path.name}.parquet")
    with appearing(found) as temporary:
        pq.write_table(_to_arrow(table), temporary)
    return found


def _write_rows(rows: Sequence[Any], path: Path) -> Path:
    wrong = [row for row in rows if not isinstance(row, Mapping)]
    if wrong:
        raise InputError(
            f"a list with a {type(wrong[0]).__name__} in it, not of dictionaries",
            hint='each row is a dictionary, such as {"text": "...", "label": "..."}',
        )
    with appearing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(dict(row), default=str) + "\n" for row in rows)
    return path


def _to_arrow(table: Any) -> pa.Table:
    if isinstance(table, pa.Table):
        return table
    if hasattr(table, "with_format") and hasattr(table, "column_names"):  # datasets
        return cast("pa.Table", table.with_format("arrow")[:])
    if hasattr(table, "iloc"):  # pandas
        return pa.Table.from_pandas(table, preserve_index=False)
    if hasattr(table, "to_arrow"):  # polars
        return cast("pa.Table", table.to_arrow())
    raise InputError(
        f"{type(table).__name__} is no table that can be read",
        hint="give a file, a pandas or polars data frame, a data set or a list of dictionaries",
    )
