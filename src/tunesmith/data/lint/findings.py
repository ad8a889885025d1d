"""What is wrong with a template, found on some rows before anything is trained.

The rules are in rules.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tunesmith.data.lint.rules import (
    ERRORS,
    MAX_TARGET_WORDS,
    RULES,
    Case,
    LintTemplate,
    Rendered,
)
from tunesmith.data.templates.promptsource import Template
from tunesmith.data.templates.render import render_row
from tunesmith.data.templates.resolve import Excluded, PromptTemplate
from tunesmith.data.templates.slots import Labels
from tunesmith.records import Finding, Row, Severity


def from_promptsource(template: Template) -> LintTemplate:
    """A PromptSource template, whose names are columns as they are."""

    def render(row: Row, seed: int) -> Rendered | None:
        applied = template.apply(row.values, seed=seed, row_id=row.id)
        return Rendered(applied.prompt, applied.targets[0], applied.choices) if applied else None

    return LintTemplate(template.full_name, template.jinja, render, template.answer_choices or "")


def from_library(
    template: PromptTemplate,
    *,
    columns: Mapping[str, str],
    label_names: Labels = None,
    choices: Sequence[str] = (),
) -> LintTemplate:
    """One of our own; the arguments are those of `render_row`."""

    def render(row: Row, seed: int) -> Rendered | None:
        example = render_row(
            template, row, columns=columns, label_names=label_names, choices=choices, seed=seed
        )
        if isinstance(example, Excluded):
            return None
        return Rendered(example.prompt, example.completion, example.choices)

    given = frozenset(
        name for name, slot in template.slots if not slot.required and name not in columns
    )
    repeated = frozenset(
        columns.get(name, name) for name, slot in template.slots if slot.type == "tokens"
    )
    return LintTemplate(
        template.name, template.source, render, template.answer_choices, columns, given, repeated
    )


def lint(
    templates: Iterable[LintTemplate],
    rows: Sequence[Row],
    *,
    max_target_words: int = MAX_TARGET_WORDS,
    rules: Iterable[str] = tuple(RULES),
) -> list[Finding]:
    """All findings, at most one for each template and rule (keys of RULES). Raises TemplateError
    for a source that is not jinja.
    """
    findings = []
    for template in templates:
        case = Case(template, rows, max_target_words)
        for rule in rules:
            hit = RULES[rule](case)
            if hit is not None:
                where = (hit[0],) if hit[0] else ()
                severity: Severity = "error" if rule in ERRORS else "warning"
                findings.append(Finding(rule, severity, hit[1], where, template=template.name))
    return findings
