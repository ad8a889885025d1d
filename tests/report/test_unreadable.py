"""The section on answers that could not be read."""

from __future__ import annotations

from dataclasses import replace

from tunesmith.records import Comparison, Unreadable
from tunesmith.report.content import Report, to_json
from tunesmith.report.markdown import render_markdown
from tunesmith.report.plots import plots_of
from tunesmith.report.sections import sections_of
from tunesmith.report.unreadable import unreadable_table

RANKED = Comparison(
    "base", "tuned", "choice_acc", 0.3, 0.05, 0.05, (0.2, 0.4), 0.002, 9, 5, 1, 15, 15, 0.14
)
BASE = Unreadable("base", 0.34, RANKED, (0.6, 0.9))


def test_a_report_without_unreadable_answers_has_no_section_on_them(report: Report) -> None:
    assert "unreadable" not in {
        section.id for section in sections_of(replace(report, unreadable=[]))
    }


def test_the_comparison_by_likelihood_stands_beside_the_share(report: Report) -> None:
    shown = replace(report, unreadable=[BASE])
    section = next(s for s in sections_of(shown) if s.id == "unreadable")
    (row,) = section.tables[0].rows
    assert row.label == "Base model"
    assert row.cells == ("34 %", "0.600", "0.900", "+0.300 [+0.20, +0.40]", "0.0020")
    assert "Answers that could not be read" in render_markdown(shown, plots_of(shown))


def test_without_likelihoods_the_table_has_the_share_alone() -> None:
    table = unreadable_table([Unreadable("base", 0.34)])
    assert table.columns == ("System", "Could not be read")
    assert table.rows[0].cells == ("34 %",)


def test_report_json_has_the_unreadable_systems(report: Report) -> None:
    (found,) = to_json(replace(report, unreadable=[BASE]))["unreadable"]
    assert (found["system"], found["share"], found["levels"]) == ("base", 0.34, [0.6, 0.9])
    assert found["ranked"]["difference"] == 0.3
