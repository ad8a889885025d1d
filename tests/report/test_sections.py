from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from tunesmith.report import sections
from tunesmith.report.card import render_card
from tunesmith.report.charts import Forest, ForestRow
from tunesmith.report.console import show
from tunesmith.report.content import Report
from tunesmith.report.html import render_html
from tunesmith.report.markdown import render_markdown
from tunesmith.report.plots import plots_of
from tunesmith.report.sections import Code, Section, sections_of
from tunesmith.report.tables import Table, TableRow

COST = Section(
    "cost",
    "What it cost",
    notes=("Prices of <today>.",),
    tables=(Table(("Machine", "Price"), (TableRow("one GPU", ("12.30",)),)),),
    charts=(Forest("prices", "Price by machine", (ForestRow("one GPU", 12.3, (12.0, 13.0)),)),),
    details=(Table(("Hour", "Watt"), (TableRow("first", ("650",)),), title="Power"),),
    facts=(Table(("Fact", "Value"), (TableRow("Currency", ("EUR",)),)),),
    code=(Code("nvidia-smi --query", "sh", "How it was read"),),
)
FINDINGS = ("What it cost", "one GPU", "12.30")


@pytest.fixture
def with_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "SECTIONS", (*sections.SECTIONS, lambda report: COST))


@pytest.mark.usefixtures("with_cost")
def test_a_new_section_is_on_the_page_and_in_markdown_whole(report: Report) -> None:
    plots = plots_of(report)
    everything = (*FINDINGS, "Power", "650", "Currency", "EUR", "How it was read", "nvidia-smi")
    html, markdown = render_html(report, plots), render_markdown(report, plots)
    for text in everything:
        assert text in html
        assert text in markdown
    assert "<figcaption>Price by machine</figcaption>" in html
    assert "](plots/prices.png)" in markdown
    assert "Prices of &lt;today&gt;." in html
    assert r"Prices of \<today>." in markdown


@pytest.mark.usefixtures("with_cost")
def test_the_findings_of_a_new_section_are_on_the_terminal_and_in_the_card(report: Report) -> None:
    file = io.StringIO()
    show(report, show_all=True, console=Console(file=file, width=200, color_system=None))
    for text in FINDINGS:
        assert text in file.getvalue()
        assert text in render_card(report)
    assert "Power" not in file.getvalue()


def test_a_report_without_data_has_only_the_sections_that_say_so() -> None:
    empty = Report("r", "cannot tell", "Cannot tell.", "accuracy", (), (), {})
    assert [section.id for section in sections_of(empty)] == ["systems", "lost"]
    assert "Forgetting was not measured." in sections_of(empty)[1].notes[0]


def test_a_confusion_matrix_that_is_too_wide_gives_way_to_the_mistakes(report: Report) -> None:
    tuned = report.evaluations[-1]
    labels = [f"c{i}" for i in range(13)]
    counts = [[int(i == j) for j in range(14)] for i in range(13)]
    counts[3][5] = 7
    wide = replace(tuned, details={"confusion": {"labels": labels, "counts": counts}})
    found = [s for s in sections_of(replace(report, evaluations=[wide])) if s.id == "classes"]
    assert [table.title for table in found[0].details] == ["Most frequent mistakes"]
    assert found[0].details[0].rows == (TableRow("c3", ("c5", "7")),)


def test_section_ids_are_unique(report: Report) -> None:
    ids = [section.id for section in sections_of(report)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("module", ["content", "sections", "console", "plots"])
def test_no_module_loads_matplotlib_before_a_plot_is_drawn(module: str) -> None:
    code = f"import sys, tunesmith.report.{module}; print('matplotlib' in sys.modules)"
    assert _printed(code) == "False"


def test_the_data_of_a_report_loads_no_scipy() -> None:
    code = (
        "import sys, tunesmith.report.content; "
        "print([name for name in ('scipy', 'jinja2', 'rich', 'yaml') if name in sys.modules])"
    )
    assert _printed(code) == "[]"


def _printed(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
