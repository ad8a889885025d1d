"""Lint on a recipe's own rows, or on a folder of PromptSource files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tunesmith.data.lint.findings import from_library, from_promptsource, lint
from tunesmith.data.lint.rules import LintTemplate
from tunesmith.data.lint.synthetic_rows import made_rows
from tunesmith.data.plan import plan_sources
from tunesmith.data.preview import spread
from tunesmith.data.sources.members import SourceRows
from tunesmith.data.sources.rows import read_rows
from tunesmith.data.templates.promptsource import FILE_NAME, Template, loads
from tunesmith.errors import TemplateError
from tunesmith.recipe import DataConfig
from tunesmith.records import Finding, Row

# rules that say nothing about a template on rows made up from its source
NEED_REAL_ROWS = frozenset(
    {
        "missing_column",
        "unused_column",
        "unrenderable_row",
        "excluded_rows",
        "constant_target",
        "conflicting_targets",
        "target_not_in_choices",
        "long_target",
    }
)


def lint_recipe(data: DataConfig, num_rows: int) -> list[Finding]:
    """Each source's templates on its rows, from all over the table. Columns used for ids and splits
    are not unused.
    """
    split = data.split
    others = {
        data.id,
        split.stratify,
        split.group,
        split.time,
        split.column,
        data.columns.get("group"),
    } - {None}
    findings = []
    all_rows = SourceRows(data)
    for number, source in enumerate(plan_sources(data, all_rows)):
        rows = spread(all_rows.read(number), num_rows)
        for template in source.templates:
            one = from_library(
                template, columns=source.columns, label_names=source.labels, choices=source.choices
            )
            findings += lint([_without(one, others)], rows)
    return findings


def _without(template: LintTemplate, columns: set[str | None]) -> LintTemplate:
    return replace(template, given=template.given | {name for name in columns if name is not None})


def lint_folder(folder: Path, file: Path | None, num_rows: int) -> list[Finding]:
    """Every PromptSource template under a folder, on the rows of a data file; without one on
    made-up rows.

    Made-up rows show what a source does and not what a table holds: the rules that need real rows
    are left out.
    """
    files = sorted(folder.rglob(FILE_NAME))
    if not files:
        raise TemplateError(
            f"{folder}: no {FILE_NAME} in this folder",
            hint="point to a folder of PromptSource files",
        )
    rows = None if file is None else spread(read_rows(file), num_rows)
    templates = [
        one
        for path in files
        for one in loads(path.read_text(encoding="utf-8"), str(path)).templates
    ]
    return [finding for template in templates for finding in _lint_promptsource(template, rows)]


def _lint_promptsource(template: Template, rows: Sequence[Row] | None) -> list[Finding]:
    if rows is not None:
        return lint([from_promptsource(template)], rows)
    made = made_rows(template.jinja, template.answer_choices or "")
    made_up = [
        Row(str(number), values, f"made:{number}") for number, values in enumerate(made, start=1)
    ]
    return [f for f in lint([from_promptsource(template)], made_up) if f.name not in NEED_REAL_ROWS]
