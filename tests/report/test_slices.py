"""Slices, rows that broke and gates, as they are shown."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tunesmith.evaluate.decisions import SliceRow
from tunesmith.records import Comparison
from tunesmith.report.card import render_card
from tunesmith.report.content import Report, to_json
from tunesmith.report.html import render_html
from tunesmith.report.markdown import render_markdown
from tunesmith.report.plots import plots_of
from tunesmith.report.slices import (
    MAX_SLICES,
    broken_note,
    gate_table,
    slice_chart,
    slice_finding,
    slice_name,
    slice_table,
)


def test_the_worst_slice_is_marked_and_its_finding_stands_beside_it(report: Report) -> None:
    table = slice_table(report.slices)
    assert [row.label for row in table.rows] == ["stars: 2", "stars: 4", "stars: 1", "stars: 3"]
    assert [row.marked for row in table.rows] == [True, False, False, False]
    assert table.rows[0].cells == (
        "40", "0.800", "0.500", "−0.300 [−0.40, −0.20]", "0.020", "worse",
    )  # fmt: skip
    assert table.columns[2:4] == ("Base model", "Tuned model")
    assert "Of 4 slices by accuracy: 1 worse, 1 no difference shown, 1 better" in table.note


def test_what_is_too_small_says_what_it_would_take(report: Report) -> None:
    small = report.slices[3]
    wanted = "too small to judge (would need a difference of {})"
    assert slice_finding(small) == wanted.format("31.5 points")
    assert slice_finding(_by("bleu", small)) == wanted.format("0.3 points")
    assert slice_finding(_by("mae", small)) == wanted.format("0.315")
    assert slice_finding(replace(small, detectable=1.4)) == wanted.format("more than 100 points")


def _by(metric: str, row: SliceRow) -> SliceRow:
    compared: Comparison = replace(row.comparison, metric=metric)
    return replace(row, comparison=compared)


def test_many_slices_are_cut_in_the_table_and_whole_in_the_json(report: Report) -> None:
    rows = [replace(report.slices[1], value=f"v{i}") for i in range(MAX_SLICES + 5)]
    table, chart = slice_table(rows), slice_chart(rows)
    assert len(table.rows) == MAX_SLICES
    assert chart is not None
    assert len(chart.rows) == MAX_SLICES
    assert "The first 12 are shown, all are in report.json." in table.note
    assert len(to_json(replace(report, slices=rows))["slices"]) == MAX_SLICES + 5


def test_a_slice_whose_interval_is_not_known_is_a_dot_in_the_chart(
    report: Report,
) -> None:
    nan = float("nan")
    lone = replace(report.slices[3], comparison=replace(report.slices[3].comparison, ci=(nan, nan)))
    chart = slice_chart([*report.slices[:3], lone])
    assert chart is not None
    assert [row.label for row in chart.rows] == ["stars: 2", "stars: 4", "stars: 1", "stars: 3"]
    assert all(map(math.isnan, chart.rows[3].ci))
    assert slice_table([lone]).rows[0].cells[3].endswith("(no interval)")
    assert to_json(replace(report, slices=[lone]))["slices"][0]["comparison"]["ci"] == [None, None]


def test_a_value_from_a_row_is_shown_as_text_and_not_at_any_length(report: Report) -> None:
    evil = replace(report.slices[0], value="<img src=x onerror=alert(1)> | `x`")
    shown = replace(report, slices=[evil])
    assert "<img" not in render_html(shown, plots_of(shown))
    assert r"\<img src=x onerror=alert(1)> \| \`x\`" in render_markdown(shown)
    long = replace(report.slices[0], value="x" * 500)
    assert slice_name(long) == f"stars: {'x' * 59}…"


def test_rows_that_broke_are_told_with_their_interval(report: Report) -> None:
    assert report.broken is not None
    assert broken_note(report.broken) == (
        "2 of 78 test rows that base model had right are wrong now, 2.6 % [0.7, 8.9]; "
        "40 that were wrong are right."
    )
    assert broken_note(report.broken) in render_markdown(report)


def test_a_gate_that_is_not_passed_is_marked(report: Report) -> None:
    table = gate_table(report.gates)
    assert [row.marked for row in table.rows] == [False, True]
    assert [row.cells[0] for row in table.rows] == ["at least 0.020", "at most 0.010"]
    assert table.rows[1].cells[2] == "cannot tell"


@pytest.mark.parametrize("text", ["stars: 2", "rows right before (base) and wrong now"])
def test_slices_and_gates_are_on_the_page_and_in_the_card(report: Report, text: str) -> None:
    assert text in render_html(report, plots_of(report))
    assert text in render_card(report)


def test_the_json_has_the_slices_gates_and_broken_rows_as_they_were_found(report: Report) -> None:
    found = to_json(report)
    assert [row["finding"] for row in found["slices"]] == [row.finding for row in report.slices]
    assert found["broken"]["broken"] == 2
    assert [gate["result"] for gate in found["gates"]] == ["passed", "cannot tell"]
    assert found["calibration"]["threshold"]["temperature"] == 1.15
