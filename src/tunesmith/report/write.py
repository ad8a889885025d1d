"""The report's files in a run folder, each written whole or not at all."""

from __future__ import annotations

from typing import Any

from tunesmith.report.card import render_card
from tunesmith.report.content import Report, to_json
from tunesmith.report.html import render_html
from tunesmith.report.markdown import render_markdown
from tunesmith.report.plots import plots_of
from tunesmith.report.portable import portable
from tunesmith.report.sections import sections_of
from tunesmith.rundir import RunDir, write_atomic, write_json


def write_report(run: RunDir, report: Report) -> dict[str, Any]:
    """Write report.html, report.md, report.json, plots/ and, if the run has a model, its card.
    Returns what report.json holds.
    """
    report = portable(report, run.path)
    sections = sections_of(report)
    plots = plots_of(report, sections)
    for plot in plots:
        write_atomic(run.plots / f"{plot.name}.svg", plot.svg)
        write_atomic(run.plots / f"{plot.name}.png", plot.png)
    values = to_json(report)
    write_json(run.report_json, values)
    write_atomic(run.report_md, render_markdown(report, plots, sections))
    write_atomic(run.report_html, render_html(report, plots, sections))
    if run.model.is_dir():
        write_atomic(run.model / "README.md", render_card(report, sections))
    return values
