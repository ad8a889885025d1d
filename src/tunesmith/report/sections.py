"""The report as an ordered list of sections, which the page, report.md and the terminal go through.

A new section is one function here, added to SECTIONS, and its data in `content.Report`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import yaml

from tunesmith.evaluate.system_table import TUNED
from tunesmith.report import charts, tables
from tunesmith.report.browser import rows_note
from tunesmith.report.calibration import (
    confidence_table,
    risk_coverage_chart,
    threshold_note,
    threshold_sentence,
)
from tunesmith.report.cases import Cases, choose_cases
from tunesmith.report.charts import Chart
from tunesmith.report.content import Report
from tunesmith.report.format import metric_name
from tunesmith.report.retention import retention_charts, retention_table
from tunesmith.report.rows import AnsweredRows, answered_rows
from tunesmith.report.slices import broken_note, gate_table, slice_chart, slice_table
from tunesmith.report.tables import Table
from tunesmith.report.tasks import task_notes, task_tables, tasks_chart
from tunesmith.report.twins import twin_table
from tunesmith.report.unreadable import unreadable_table
from tunesmith.report.usage import about_table, snippet
from tunesmith.report.votes import TITLE, bias_table, preference_notes, preference_table
from tunesmith.report.words import terms_table


@dataclass(frozen=True, slots=True)
class Code:
    """A block of text in a fixed-width font; `language` is the one of a Markdown fence."""

    text: str
    language: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """One titled part of the report; `id` is its anchor on the page.

    `tables` are the findings: they are shown everywhere, on the terminal and in the model card too.
    All other fields are for the page and report.md. `facts` are tables of names and values,
    `points` a list. The page shows the `first` sections open and before the others, which are
    folded. `rows` are all test rows, which the page alone has; `cases` stand for them in report.md.
    """

    id: str
    title: str
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    details: tuple[Table, ...] = ()
    facts: tuple[Table, ...] = ()
    code: tuple[Code, ...] = ()
    cases: Cases | None = None
    points: tuple[str, ...] = ()
    rows: AnsweredRows | None = None
    first: bool = False


def sections_of(report: Report) -> list[Section]:
    """The sections in order, without those that the report has no data for."""
    return [section for build in SECTIONS if (section := build(report))]


def _systems(report: Report) -> Section:
    same = (
        "Every system answered the same held-out test rows, with the same token budget, "
        "greedy decoding and stopping rules."
    )
    opened = (
        f"The test split has been opened {report.test_uses} times; "
        "each further use makes its results a little too optimistic."
        if report.test_uses > 1
        else "The test split was opened once, for this report."
    )
    no_twins = report.twins.sentence if report.twins and not report.twins.without else ""
    return Section(
        "systems",
        "How the systems compare",
        notes=(" ".join(filter(None, [same, report.reference_note, opened, no_twins])),),
        tables=_filled(tables.comparison_table(report)),
        charts=_present(charts.systems_chart(report)),
        details=_filled(tables.auxiliary_table(report), *tables.wording_tables(report)),
    )


def _gained(report: Report) -> Section | None:
    found = _filled(tables.difference_table(report), tables.judged_table(report))
    if not found:
        return None
    shown = _present(charts.questions_chart(report), charts.differences_chart(report))
    said = tuple(q.sentence for q in report.questions if q.name != "kept")
    return Section("gained", "What was gained", notes=said, tables=found, charts=shown)


def _tasks(report: Report) -> Section | None:
    if report.tasks is None:
        return None
    return Section(
        "tasks",
        "By task",
        notes=tuple(task_notes(report.tasks, report.confidence)),
        tables=tuple(task_tables(report.tasks)),
        charts=_present(tasks_chart(report.tasks)),
    )


def _unreadable(report: Report) -> Section | None:
    if not report.unreadable:
        return None
    title = "Answers that could not be read"
    return Section("unreadable", title, tables=(unreadable_table(report.unreadable),))


def _lost(report: Report) -> Section:
    title = "What was lost (forgetting)"
    if not report.retention:
        note = (
            "Forgetting was not measured. To see what training cost, list held-out texts or other "
            "tasks under evaluation.panel in the recipe."
        )
        return Section("lost", title, notes=(note,))
    return Section(
        "lost",
        title,
        notes=tuple(q.sentence for q in report.questions if q.name == "kept"),
        tables=(retention_table(report.retention),),
        charts=tuple(retention_charts(report.retention)),
    )


def _gates(report: Report) -> Section | None:
    found = _filled(gate_table(report.gates))
    return Section("gates", "Gates", tables=found, first=True) if found else None


def _twins(report: Report) -> Section | None:
    found = _filled(twin_table(report))
    return Section("twins", "Without near-twins of training rows", tables=found) if found else None


def _slices(report: Report) -> Section | None:
    found = _filled(slice_table(report.slices))
    shown = _present(slice_chart(report.slices))
    return Section("slices", "By slice", tables=found, charts=shown) if found else None


def _calibration(report: Report) -> Section | None:
    found = report.calibration
    if found is None:
        return None
    return Section(
        "calibration",
        "When may it answer?",
        notes=(threshold_sentence(found), threshold_note(found)),
        tables=(confidence_table(found),),
        charts=(risk_coverage_chart(found),),
    )


def _preferred(report: Report) -> Section | None:
    if not report.preferences:
        return None
    return Section(
        "preferred",
        TITLE,
        notes=preference_notes(report.preferences),
        tables=(preference_table(report.preferences),),
        details=(bias_table(report.preferences),),
    )


def _training(report: Report) -> Section | None:
    shown = _present(
        charts.loss_chart(report.history, report.best_step),
        charts.validation_loss_chart(report.history, report.best_step),
        charts.metric_chart(report.history, report.primary_metric, report.best_step),
        charts.learning_curve_chart(report.learning_curve, metric_name(report.primary_metric)),
    )
    facts = _filled(tables.facts_table("Training", report.training_facts))
    step = report.best_step
    kept = f"The checkpoint of step {step} was kept: the best on the validation split."
    if not shown and not facts and step is None:
        return None
    notes = () if step is None else (kept,)
    return Section("training", "Training", notes=notes, charts=shown, facts=facts)


def _rows(report: Report) -> Section | None:
    rows = answered_rows(report)
    if rows is None:
        return None
    broken = (broken_note(report.broken),) if report.broken else ()
    notes = (rows_note(rows), *broken)
    cases = choose_cases(report)
    return Section("rows", "The test rows", notes=notes, cases=cases, rows=rows, first=True)


def _classes(report: Report) -> Section | None:
    tuned = report.system(TUNED)
    details = tuned.details if tuned else {}
    classes, matrix = tables.class_table(details), tables.confusion_matrix(details)
    shown = [tables.matrix_table(matrix) if matrix else None, classes]
    found = _filled(*(table for table in shown if table))
    if not found:
        return None
    note = "The tuned model on the test split."
    return Section("classes", "By class", notes=(note,), details=found, first=True)


def _use(report: Report) -> Section | None:
    if not report.recipe:
        return None
    folder = report.recipe.get("output_dir")
    code = [Code(snippet(report), "python")]
    code += [Code(f"tunesmith chat {folder}", "sh", "On the command line")] if folder else []
    return Section("use", "How to use it", code=tuple(code), facts=_filled(about_table(report)))


def _notes(report: Report) -> Section | None:
    found = tuple(report.remarks)
    return Section("notes", "Notes and warnings", points=found) if found else None


def _words(report: Report) -> Section | None:
    found = _filled(terms_table(report)) if report.evaluations else ()
    return Section("words", "What the words mean", facts=found) if found else None


def _ledger(report: Report) -> Section | None:
    found = _filled(tables.ledger_table(report.data))
    return Section("ledger", "Where every raw row went", details=found) if found else None


def _repeat(report: Report) -> Section | None:
    code = []
    if report.command:
        code.append(Code(report.command, "sh"))
    if report.recipe:
        code.append(Code(_recipe_yaml(report.recipe), "yaml", "Recipe"))
    versions = replace(tables.facts_table("Package", report.versions), title="Versions")
    facts = _filled(versions)
    if not code and not facts:
        return None
    return Section("repeat", "How to repeat it", code=tuple(code), facts=facts)


SECTIONS: tuple[Callable[[Report], Section | None], ...] = (
    _systems,
    _gained,
    _tasks,
    _unreadable,
    _lost,
    _gates,
    _twins,
    _slices,
    _calibration,
    _preferred,
    _training,
    _rows,
    _classes,
    _ledger,
    _use,
    _repeat,
    _notes,
    _words,
)


def _filled(*found: Table) -> tuple[Table, ...]:
    return tuple(table for table in found if table.rows)


def _present(*found: Chart | None) -> tuple[Chart, ...]:
    return tuple(chart for chart in found if chart)


def _recipe_yaml(recipe: Mapping[str, object]) -> str:
    return yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, width=100)
