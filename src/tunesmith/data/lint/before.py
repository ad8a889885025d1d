"""All findings about a recipe's rows and templates that can be made before a row is rendered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tunesmith.data.lint.findings import from_library, lint
from tunesmith.data.lint.rules import LintTemplate, Rendered
from tunesmith.data.lint.shift import Placed, shifted_labels
from tunesmith.data.lint.table import are_classes, table_findings
from tunesmith.data.lint.visible import visible_target
from tunesmith.data.plan import Index, Source, question_text, target_text
from tunesmith.data.sources.formats import format_examples
from tunesmith.data.sources.stored import StoredRows
from tunesmith.errors import DataError, TemplateError
from tunesmith.recipe import DataConfig
from tunesmith.records import Example, Finding, Row

STRETCHES = 4  # of a thousand rows each, from all over a source: enough for what is looked at here
SAMPLE = 200  # rows that are rendered
# Rules that say something about training. Others have their own say, as an error with file:line or
# a number of the ledger, or find what is often meant so.
RULES = (
    "glued_literal",
    "single_braces",
    "unused_choices",
    "prompt_without_column",
    "random_target",
    "target_in_prompt",
    "target_not_in_choices",
)


# Families whose answers are written anew: one that stands in the text is no extract.
WRITTEN_ANEW = {"answer", "data_to_text", "rewrite", "summarise", "title", "translate"}


def findings_before_training(index: Index, data: DataConfig, rows: StoredRows) -> list[Finding]:
    """Errors first. Of the splits only the training rows are looked at one by one."""
    found = [finding for source in index.sources for finding in source.findings]
    found += table_findings(index, data, rows)
    train = index.used("train")
    for number, source in enumerate(index.sources):
        in_source = index.rows_of(number)
        own = train & in_source
        if source.split in (None, "train") and own.any():
            is_own = own[in_source]  # by a row's place in its source
            stretches = [
                [(place, row) for place, row in stretch if is_own[place]]
                for stretch in rows.stretches(number, STRETCHES)
            ]
            found += _rendered_findings(source, _sample(stretches))
            found += _shift_findings(source, stretches, are_classes(index, source, own))
    return sorted(_first_of_each(found), key=lambda finding: finding.severity)


Stretches = Sequence[Sequence[tuple[int, Row]]]


def _sample(stretches: Stretches) -> list[Row]:
    rows = [row for stretch in stretches for _, row in stretch]
    n = min(SAMPLE, len(rows))
    return [rows[(2 * i + 1) * len(rows) // (2 * n)] for i in range(n)]


def _rendered_findings(source: Source, rows: Sequence[Row]) -> list[Finding]:
    """What a sample of rows shows once it is rendered."""
    templates = [
        from_library(
            template, columns=source.columns, label_names=source.labels, choices=source.choices
        )
        for template in source.templates
    ]
    found = [_with_place(finding) for finding in lint(templates, rows, rules=RULES)]
    if any(slot.type == "tags" for template in source.templates for _, slot in template.slots):
        return found  # words that are written again with their tags
    families = {template.family for template in source.templates}
    visible = visible_target(_rendered(source, templates, rows), not families & WRITTEN_ANEW)
    return [visible, *found] if visible else found


def _with_place(finding: Finding) -> Finding:
    """A template's finding as one of a run, where its template and row are not seen in a table."""
    place = f", for example {finding.rows[0]}" if finding.rows else ""
    where = f"the template {finding.template}{place}"
    hint = "change the template or data.columns; `tunesmith templates lint` tries them"
    return replace(finding, message=f"{where}: {finding.message}", hint=hint)


def _rendered(
    source: Source, templates: Sequence[LintTemplate], rows: Sequence[Row]
) -> list[tuple[Row, Rendered]]:
    """Those of the rows that can be rendered, by the first of the templates."""
    found = []
    for row in rows:
        try:
            one = templates[0].render(row, 0) if templates else _known_format(source, row)
        except (TemplateError, DataError):  # the second pass says so, or counts it
            continue
        if one is not None:
            found.append((row, one))
    return found


def _known_format(source: Source, row: Row) -> Rendered | None:
    """The first answer of a row that needs no template, and what it answers."""
    examples = format_examples(source.fmt, row) if source.fmt else []
    first = next((one for one in examples if isinstance(one, Example)), None)
    return Rendered(first.prompt, first.completion) if first else None


def _shift_findings(source: Source, stretches: Stretches, classes: bool) -> list[Finding]:
    placed = []
    for stretch in stretches:
        for place, row in stretch:
            try:
                target = target_text(source, row)
            except TemplateError:  # as above
                continue
            placed.append(Placed(place, question_text(source, row), target, row.source))
    found = shifted_labels(placed, classes)
    return [found] if found else []


def _first_of_each(findings: Sequence[Finding]) -> list[Finding]:
    """Several wordings, or sources, may show the same."""
    first: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        where = finding.rows[0].rpartition(":")[0] if finding.rows else ""
        first.setdefault((finding.name, where), finding)
    return list(first.values())
