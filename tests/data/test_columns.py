"""Columns of few bytes a row: what goes in comes out, by row, in order and in part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.data.columns import Coded, CodedWriter, RowIds, TakenIds

CELLS = st.lists(st.one_of(st.none(), st.sampled_from(["", "a", "b", "c"])), max_size=20)


@settings(deadline=None, max_examples=60)
@given(CELLS, st.data())
def test_a_coded_column_reads_as_the_list_it_was_made_of(
    cells: list[str | None], data: st.DataObject
) -> None:
    column = Coded.of(cells)
    assert list(column) == cells == [column[i] for i in range(len(cells))]
    assert column.is_missing().tolist() == [not cell for cell in cells]
    assert len(column.values) == len(set(cells))
    rows = [i for i in range(len(cells)) if data.draw(st.booleans())]
    taken = column.take(np.array(rows, dtype=np.int64))
    assert list(taken) == [cells[i] for i in rows]
    assert set(taken.values) == {cells[i] for i in rows}  # no value that no row has


def test_rows_of_a_source_without_the_column_are_missing() -> None:
    writer = CodedWriter()
    writer.extend_missing(2)
    writer.extend(["a", "b"])
    writer.extend_missing(6)
    assert list(writer.column()) == [None, None, "a", "b", None, None]


@pytest.mark.parametrize("batches", [[["a"]], [["a", "b\n\0"], ["é", ""], ["f"]], [["x"] * 3] * 4])
def test_ids_come_back_from_their_file(batches: list[list[str]]) -> None:
    ids, expected = RowIds(), [row_id for batch in batches for row_id in batch]
    for batch in batches:
        ids.append(batch)
    assert len(ids) == len(expected)
    assert list(ids) == expected == [ids[i] for i in range(len(ids))] == ids[:]
    assert list(TakenIds(ids, np.arange(len(ids))[::2])) == expected[::2]
    with pytest.raises(IndexError):
        ids[len(expected)]
