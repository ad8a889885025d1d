"""report.md: the facts of the page in brief, readable as plain text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tunesmith.report import tables
from tunesmith.report.cases import Case, Cases, choose_cases
from tunesmith.report.content import TUNED, Report
from tunesmith.report.format import number, system_name
from tunesmith.report.html import recipe_yaml
from tunesmith.report.plots import Plot
from tunesmith.report.tables import Table


def render_markdown(report: Report, plots: Sequence[Plot] = ()) -> str:
    """The report as Markdown; plots are linked as files of the run folder."""
    parts = [
        f"# {line(report.verdict)}",
        f"Run {line(report.name)}, tuned from {line(report.base_model)}. "
        f"Verdict: {line(report.verdict_kind.replace('_', ' '))}.",
        "\n".join(f"- {line(text)}" for text in report.remarks),
        "## How the systems compare",
        markdown_table(tables.comparison_table(report)),
        markdown_table(tables.auxiliary_table(report)),
        *(
            f"### {line(name)}\n\n{markdown_table(table)}"
            for name, table in tables.wording_tables(report)
        ),
        "## What was gained, and what was lost",
        markdown_table(tables.difference_table(report)),
        markdown_table(tables.judged_table(report)),
        markdown_table(tables.forgetting_table(report))
        or "Forgetting was not measured (`evaluation.panel`).",
        *_training(report, plots),
        *_classes(report),
        *_cases(choose_cases(report)),
        "## Where every raw row went",
        markdown_table(tables.ledger_table(report.data)),
        "## How to repeat it",
        fence(report.command, "sh") if report.command else "",
        fence(recipe_yaml(report.recipe), "yaml") if report.recipe else "",
        _facts(tables.facts_table("Versions", report.versions)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(table: Table) -> str:
    """A table of GitHub's Markdown with its note below; empty where there are no rows."""
    if not table.rows:
        return ""
    words = {0, *table.text_columns}
    lines = [
        _row(table.columns),
        _row(["---" if i in words else "---:" for i in range(len(table.columns))]),
    ]
    for row in table.rows:
        cells = [line("- " * row.depth + row.label), *map(line, row.cells)]
        lines.append(_row([f"**{text}**" if row.marked and text else text for text in cells]))
    return "\n".join(lines) + (f"\n\n{line(table.note)}" if table.note else "")


def line(text: str) -> str:
    """Text on one line that Markdown shows as it is."""
    return re.sub(r"[\\`*_|]|\](?=\()|<(?=[A-Za-z/!?])", r"\\\g<0>", " ".join(text.split()))


def fence(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    marks = "`" * max(3, longest + 1)
    return f"{marks}{language}\n{text.rstrip()}\n{marks}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _training(report: Report, plots: Sequence[Plot]) -> list[str]:
    best = (
        f"The checkpoint of step {report.best_step} was kept."
        if report.best_step is not None
        else ""
    )
    images = [f"![{line(plot.alt)}](plots/{plot.name}.png)" for plot in plots]
    return [
        "## Training",
        best,
        "\n\n".join(images),
        _facts(tables.facts_table("Training", report.training_facts)),
    ]


def _classes(report: Report) -> list[str]:
    tuned = report.system(TUNED)
    table = tables.class_table(tuned.details) if tuned else None
    return ["## By class", markdown_table(table)] if table else []


def _cases(cases: Cases | None) -> list[str]:
    if cases is None:
        return []
    before = system_name(cases.before)
    parts = [f"## {cases.headings[0]}", line(cases.summary)]
    for title, chosen, total in (
        (cases.headings[1], cases.fixed, cases.num_fixed),
        (cases.headings[2], cases.broken, cases.num_broken),
    ):
        parts.append(f"### {title} ({len(chosen)} of {total})")
        parts += [_case(case, before, cases.graded) for case in chosen] or ["None."]
    return parts


def _case(case: Case, before: str, graded: bool) -> str:
    scores = f" ({number(case.before_score)} to {number(case.after_score)})" if graded else ""
    answers = [("Reference", case.reference), (before, case.before), ("Tuned model", case.after)]
    listed = "\n".join(f"- {line(name)}: {line(text) or '(empty)'}" for name, text in answers)
    return f"{line(case.id)}{scores}\n\n{fence(case.prompt)}\n\n{listed}"


def _facts(table: Table) -> str:
    """Nested facts as a nested list."""
    return "\n".join(
        f"{'  ' * row.depth}- {line(row.label)}"
        + (f": {line(row.cells[0])}" if row.cells[0] else "")
        for row in table.rows
    )
