"""The report on the terminal: the verdict, then one metric in a table; all tables where asked."""

from __future__ import annotations

from typing import Literal

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from tunesmith.inert import inert
from tunesmith.progress import console as stderr
from tunesmith.progress import note
from tunesmith.report.content import Report, verdict_class
from tunesmith.report.format import estimate, interval, metric_name, signed, system_name
from tunesmith.report.sections import sections_of
from tunesmith.report.tables import Table, TableRow

COLOURS = {"good": "green", "bad": "red", "open": "yellow"}
ANSWER_COLOURS = {"yes": "green", "no": "red", "cannot tell": "yellow", "not measured": "dim"}


def show(report: Report, show_all: bool = False, console: Console | None = None) -> None:
    """Print the verdict and its metric, or with `show_all` every table, by default to stderr:
    stdout is for results as JSON. Notes that were said while the run was at work are not repeated.
    """
    console = console or stderr()
    console.print()
    _verdict(report, console)
    tables = _all_tables(report) if show_all else [(brief_table(report), "")]
    for table, title in tables:
        if table.rows:
            console.print()
            console.print(_rich_table(table, table.title or title))
    console.print()
    for text in report.remarks:
        note(text, style="yellow")


def _verdict(report: Report, console: Console) -> None:
    colour = COLOURS[verdict_class(report.verdict_kind)]
    if report.heading:
        console.print(Text(f"{report.heading}.", style=f"bold {colour}"))
    console.print(Text(report.verdict, style=f"bold {colour}"))
    for question in report.questions:
        answer = (f"{question.title}: {question.answer}.", ANSWER_COLOURS[question.answer])
        console.print(Text.assemble(answer, " ", question.sentence))


def _all_tables(report: Report) -> list[tuple[Table, str]]:
    return [(table, section.title) for section in sections_of(report) for table in section.tables]


def brief_table(report: Report) -> Table:
    """The primary metric of each system, and the tuned model's difference from it; the verdict's
    reference first, the tuned model last. Empty without a comparison.
    """
    metric = report.primary_metric
    against = {c.a: c for c in report.comparisons if c.metric == metric}
    rows = []
    for name in (*against, *dict.fromkeys(c.b for c in against.values())):
        found, compared = report.system(name), against.get(name)
        level = estimate(found.estimates[metric]) if found and metric in found.estimates else ""
        gain = (
            f"{signed(compared.difference)} {interval(compared.ci, plus=True, note=compared.note)}"
            if compared
            else ""
        )
        rows.append(TableRow(system_name(name), (level, gain), marked=not compared))
    return Table(("", metric_name(metric), "Tuned model, difference"), tuple(rows))


def _rich_table(table: Table, title: str) -> RichTable:
    """Cells go in as Text, so that brackets in a label are never read as markup."""
    shown = RichTable(
        title=Text(title) if title else None,
        caption=Text(table.note) if table.note else None,
        box=None,
        title_justify="left",
        caption_justify="left",
        pad_edge=False,
    )
    for i, column in enumerate(table.columns):
        justify: Literal["left", "right"] = "left" if i in (0, *table.text_columns) else "right"
        shown.add_column(Text(column), justify=justify, header_style="dim")
    for row in table.rows:
        style = "bold" if row.marked else ""
        shown.add_row(*(Text(inert(cell)) for cell in (row.label, *row.cells)), style=style)
    return shown
