"""report.md: the facts of the page, readable as plain text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tunesmith.inert import inert
from tunesmith.report.answers import chips
from tunesmith.report.cases import Case, Cases
from tunesmith.report.content import Report
from tunesmith.report.format import number, system_name
from tunesmith.report.next_steps import next_steps
from tunesmith.report.plots import Plot
from tunesmith.report.sections import Section, sections_of
from tunesmith.report.strip import strip_of
from tunesmith.report.tables import Table, TableRow


def render_markdown(
    report: Report, plots: Sequence[Plot] = (), sections: Sequence[Section] | None = None
) -> str:
    """The report as Markdown; plots are linked as files of the run folder. `sections` are the
    report's, where they are known already.
    """
    sections = sections or sections_of(report)
    images = {plot.name: f"![{line(plot.alt)}](plots/{plot.name}.png)" for plot in plots}
    parts = [
        f"# {line(report.heading or report.verdict)}",
        line(report.verdict) if report.heading else "",
        *strip(report),
        questions(report),
        *steps(report),
        f"Run {line(report.name)}, tuned from {line(report.base_model)}. "
        f"{inside(report.verdict_line)}.",
        *(part for section in sections for part in _section(section, images)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def questions(report: Report) -> str:
    """The three questions of the headline with their answers, as a list."""
    return "\n".join(
        f"- **{line(chip.title)}: {chip.word.lower()}.** {line(chip.why)}."
        for chip in chips(report)
    )


def strip(report: Report) -> list[str]:
    """The strip of the page as a table."""
    found = strip_of(report)
    if found is None:
        return []
    rows = tuple(TableRow(row.label, (row.text,), marked=row.marked) for row in found.rows)
    title = f"{found.title}."
    return [line(title), markdown_table(Table(("System", "Level and interval"), rows))]


def steps(report: Report) -> list[str]:
    """What to do next, with its heading."""
    found = next_steps(report)
    if not found:
        return []
    return ["## What to do next", "\n".join(f"- {line(step.sentence)}" for step in found)]


def _section(section: Section, images: Mapping[str, str]) -> list[str]:
    return [
        f"## {line(section.title)}",
        *map(line, section.notes),
        "\n".join(f"- {line(point)}" for point in section.points),
        *(titled(table.title, markdown_table(table)) for table in section.tables),
        *(images.get(chart.name, "") for chart in section.charts),
        *(titled(table.title, markdown_table(table)) for table in section.details),
        *(titled(code.title, fence(code.text, code.language)) for code in section.code),
        *(titled(table.title, facts(table)) for table in section.facts),
        *(_cases(section.cases) if section.cases else ()),
    ]


def titled(title: str, text: str) -> str:
    """The text below a heading of the third level, if it has a title."""
    return f"### {line(title)}\n\n{text}" if title else text


def markdown_table(table: Table) -> str:
    """A GitHub Markdown table with its note below; empty without rows."""
    if not table.rows:
        return ""
    words = {0, *table.text_columns}
    lines = [
        _row([inside(name) for name in table.columns]),
        _row(["---" if i in words else "---:" for i in range(len(table.columns))]),
    ]
    for row in table.rows:
        cells = [inside("- " * row.depth + row.label), *map(inside, row.cells)]
        lines.append(_row([f"**{text}**" if row.marked and text else text for text in cells]))
    return "\n".join(lines) + (f"\n\n{line(table.note)}" if table.note else "")


def line(text: str) -> str:
    """The text on one line, escaped so that Markdown shows it as it is, wherever it stands."""
    # what begins a quotation, a heading, a rule or a list at the start of a block
    shown = re.sub(r"^(?=>|#{1,6}(?: |$)|[-+](?: |$)|-[- ]*$)", r"\\", inside(text))
    return re.sub(r"^(\d{1,9})([.)])(?= |$)", r"\1\\\2", shown)


def inside(text: str) -> str:
    """As `line`, for a table's cell or the middle of a line."""
    shown = " ".join(inert(text).split())
    return re.sub(r"[\\`*_|~$]|\](?=[\[(:])|<(?=[A-Za-z/!?])|&(?=[#\w]+;)", r"\\\g<0>", shown)


def fence(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}{language}\n{inert(text).rstrip()}\n{marks}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cases(cases: Cases) -> list[str]:
    before = system_name(cases.before)
    parts = [line(cases.summary)]
    for title, chosen in cases.groups:
        parts.append(f"### {title}")
        parts += [_case(case, before, cases.graded) for case in chosen] or ["None."]
    return parts


def _case(case: Case, before: str, graded: bool) -> str:
    scores = f" ({number(case.before_score)} to {number(case.after_score)})" if graded else ""
    answers = [("Reference", case.reference), (before, case.before), ("Tuned model", case.after)]
    listed = "\n".join(f"- {line(name)}: {line(text) or '(empty)'}" for name, text in answers)
    return f"{line(case.id)}{scores}\n\n{fence(case.prompt)}\n\n{listed}"


def facts(table: Table) -> str:
    """Nested facts as a nested list."""
    return "\n".join(
        f"{'  ' * row.depth}- {line(row.label)}"
        + (f": {line(row.cells[0])}" if row.cells[0] else "")
        for row in table.rows
    )
