"""The report on the terminal: the main tables of every section, the notes and the verdict."""

from __future__ import annotations

from typing import Literal

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from tunesmith.inert import inert
from tunesmith.progress import InertConsole
from tunesmith.report.content import Report, verdict_class
from tunesmith.report.sections import sections_of
from tunesmith.report.tables import Table

COLOURS = {"good": "green", "bad": "red", "open": "yellow"}
ANSWER_COLOURS = {"yes": "green", "no": "red", "cannot tell": "yellow", "not measured": "dim"}


def show(report: Report, console: Console | None = None) -> None:
    """Print the report in brief, by default to stderr: stdout is for results as JSON.

    The verdict comes last, where a reader's eye is when the run ends.
    """
    console = console or InertConsole(stderr=True)
    for section in sections_of(report):
        for table in section.tables:
            console.print(_rich_table(table, table.title or section.title))
            console.print()
    for text in report.remarks:
        console.print(Text(f"note: {text}", style="yellow"))
    colour = COLOURS[verdict_class(report.verdict_kind)]
    for question in report.questions:
        shade = ANSWER_COLOURS[question.answer]
        console.print(Text(f"{question.title}: {question.answer}.", style=shade), end=" ")
        console.print(Text(question.sentence))
    if report.heading:
        console.print(Text(f"{report.heading}.", style=f"bold {colour}"))
    console.print(Text(report.verdict, style=f"bold {colour}"))


def _rich_table(table: Table, title: str) -> RichTable:
    """Cells go in as Text, so that brackets in a label are never read as markup."""
    shown = RichTable(
        title=Text(title),
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
