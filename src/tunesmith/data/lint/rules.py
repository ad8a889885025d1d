"""The rules of lint: one function each, all of them in RULES, under their names.

A rule sees the template, the rows and what they rendered to, and returns where the first row stands
that it fires on, with a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import pairwise

from jinja2 import nodes

from tunesmith.data.lint import answer_leak as lint_leak
from tunesmith.data.templates.environment import ENVIRONMENT, used_columns
from tunesmith.errors import TemplateError, did_you_mean
from tunesmith.records import Row

MAX_TARGET_WORDS = 256
NUM_SEEDS = 8  # two equal answers out of two by chance in 1 of 128 rows
# what may follow a slot without a blank
ENDINGS = {"s", "es", "th", "st", "nd", "rd", "D", "d", "x", "px", "km", "kg"}


@dataclass(frozen=True)
class Rendered:
    """One row's text; `choices` is empty for free text."""

    prompt: str
    target: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class LintTemplate:
    """What lint needs of a template, PromptSource's or ours.

    `render(row, seed)` is None for a row left out and raises TemplateError for one that cannot be
    rendered. `columns` maps the source's names to the table's; `given` are names that need no
    column (choices, optional slots). `repeated` are columns that an answer repeats on purpose:
    words that are written with their tags.
    """

    name: str
    source: str
    render: Callable[[Row, int], Rendered | None]
    answer_choices: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    given: frozenset[str] = frozenset()
    repeated: frozenset[str] = frozenset()


Hit = tuple[str, str] | None  # where (`file:line`), and what


@dataclass(frozen=True)
class Case:
    """One template on the rows, rendered once with seed 0."""

    template: LintTemplate
    rows: Sequence[Row]
    max_target_words: int

    @cached_property
    def results(self) -> list[Rendered | TemplateError | None]:
        """What `render` gives for each row."""
        return [self.render(row) for row in self.rows]

    @cached_property
    def rendered(self) -> list[tuple[Row, Rendered]]:
        """The rows that could be rendered, with their text."""
        pairs = zip(self.rows, self.results, strict=True)
        return [(row, result) for row, result in pairs if isinstance(result, Rendered)]

    def render(self, row: Row, seed: int = 0) -> Rendered | TemplateError | None:
        """A row's text; None where the template leaves it out, the error where it cannot."""
        try:
            return self.template.render(row, seed)
        except TemplateError as error:
            return error

    @cached_property
    def used(self) -> frozenset[str]:
        """The table's columns that the template reads."""
        names = used_columns(self.template.source) | used_columns(self.template.answer_choices)
        names -= {"answer_choices", *self.template.given}
        return frozenset(self.template.columns.get(name, name) for name in names)

    @property
    def first_row(self) -> str:
        """The row to name (`file:line`) for a finding on the source alone; "" without rows."""
        return self.rows[0].source if self.rows else ""

    def share(self, number: int) -> str:
        """`in 3 of 20 rows`, for a message."""
        return f"in {number} of {len(self.rows)} rows"


# ---- rules on the source


def missing_column(case: Case) -> Hit:
    """A name in the source that is no column of a row."""
    for row in case.rows:
        for name in sorted(case.used - set(row.values)):
            return row.source, f"no column {name!r}; {did_you_mean(name, row.values)}"
    return None


def unused_column(case: Case) -> Hit:
    """Columns of the table that the template does not read."""
    columns = {name for row in case.rows for name in row.values}
    unused = sorted(
        columns
        - case.used
        - {case.template.columns.get(name, name) for name in case.template.given}
    )
    return (case.first_row, f"columns that are not used: {', '.join(unused)}") if unused else None


def glued_literal(case: Case) -> Hit:
    """`{{hypothesis}}n`: a letter of the template's text directly at a slot."""
    for output in ENVIRONMENT.parse(case.template.source).find_all(nodes.Output):
        for left, right in pairwise(output.nodes):
            glued = _glued(left, right)
            if glued:
                return case.first_row, f"{glued!r} is glued to a slot in line {right.lineno}"
    return None


def _glued(left: nodes.Expr, right: nodes.Expr) -> str:
    if isinstance(right, nodes.TemplateData) and _is_slot(left):
        word = re.match(r"\w+", right.data)
        return word[0] if word and word[0] not in ENDINGS else ""
    if isinstance(left, nodes.TemplateData) and _is_slot(right):
        word = re.search(r"[^\W\d_]\w*\Z", left.data)
        return word[0] if word and not re.fullmatch(r"[A-Zx]", word[0]) else ""
    return ""


def _is_slot(node: nodes.Expr) -> bool:
    return not isinstance(node, nodes.TemplateData) and (
        isinstance(node, nodes.Name) or bool(node.find(nodes.Name))
    )


def single_braces(case: Case) -> Hit:
    """`{hypothesis}`: jinja prints a column's name in single braces as it is."""
    names = case.used | {name for row in case.rows for name in row.values}
    for data in ENVIRONMENT.parse(case.template.source).find_all(nodes.TemplateData):
        for name in re.findall(r"\{ ?(\w+) ?\}", data.data):
            if name in names:
                return case.first_row, f"{{{name}}} has single braces and is printed as it stands"
    return None


def unused_choices(case: Case) -> Hit:
    """answer_choices are given, and the source does not name them."""
    if case.template.answer_choices and "answer_choices" not in used_columns(case.template.source):
        return (
            case.first_row,
            f"answer_choices is never used: {case.template.answer_choices[:60]!r}",
        )
    return None


# ---- rules on what rows render to


def unrenderable_row(case: Case) -> Hit:
    """Rows that raise an error."""
    errors = [
        (row, r)
        for row, r in zip(case.rows, case.results, strict=True)
        if isinstance(r, TemplateError)
    ]
    return (
        (errors[0][0].source, f"{errors[0][1].message} ({case.share(len(errors))})")
        if errors
        else None
    )


def excluded_rows(case: Case) -> Hit:
    """Rows that the template leaves out: it writes no separator for them."""
    out = [row for row, result in zip(case.rows, case.results, strict=True) if result is None]
    return (out[0].source, f"nothing is rendered {case.share(len(out))}") if out else None


def constant_target(case: Case) -> Hit:
    """One target for all rows: there is nothing to learn."""
    targets = {rendered.target for _, rendered in case.rendered}
    if len(case.rendered) > 1 and len(targets) == 1:
        row, _ = case.rendered[0]
        return row.source, f"every target is {targets.pop()[:60]!r} ({len(case.rendered)} rows)"
    return None


def prompt_without_column(case: Case) -> Hit:
    """One prompt for all rows: it shows nothing of them."""
    # with one id, so that random draws do not tell the prompts apart
    same_id = [case.render(replace(row, id="lint")) for row, _ in case.rendered]
    prompts = {rendered.prompt for rendered in same_id if isinstance(rendered, Rendered)}
    if len(case.rendered) > 1 and len(prompts) == 1:
        row, _ = case.rendered[0]
        return row.source, f"the prompt is the same for every row: {prompts.pop()[:60]!r}"
    return None


def random_target(case: Case) -> Hit:
    """Random draws that change the target and not the prompt, which cannot tell what is wanted."""
    if not re.search(r"\b(choice|random)\b", case.template.source + case.template.answer_choices):
        return None
    for row, _ in case.rendered:
        by_prompt: dict[str, str] = {}
        for seed in range(NUM_SEEDS):
            rendered = case.render(row, seed)
            if isinstance(rendered, Rendered):
                target = by_prompt.setdefault(rendered.prompt, rendered.target)
                if target != rendered.target:
                    both = f"{target[:40]!r} and {rendered.target[:40]!r}"
                    return row.source, f"one prompt draws the targets {both}"
    return None


def target_in_prompt(case: Case) -> Hit:
    """The prompt gives the answer away, outside the list of options."""
    if _shows_own_choice(case):
        row, _ = case.rendered[0]
        return row.source, "each prompt names its own target more often than the other choices"
    for row, rendered in case.rendered:
        values = {k: v for k, v in row.values.items() if k not in case.template.repeated}
        column = lint_leak.shown_column(values, rendered.target, partial(_parts, case, row))
        if column:
            return row.source, f"the column {column!r} is in the prompt and in the target"
    return None


def _parts(case: Case, row: Row, values: Mapping[str, object]) -> lint_leak.Parts | None:
    result = case.render(replace(row, values={**row.values, **values}))
    return (result.prompt, result.target, result.choices) if isinstance(result, Rendered) else None


def _shows_own_choice(case: Case) -> bool:
    def shown(rendered: Rendered) -> bool:
        others = [
            lint_leak.count(c, rendered.prompt) for c in rendered.choices if c != rendered.target
        ]
        return bool(others) and lint_leak.count(rendered.target, rendered.prompt) > max(others)

    targets = {rendered.target for _, rendered in case.rendered}
    return len(targets) > 1 and all(shown(rendered) for _, rendered in case.rendered)


def conflicting_targets(case: Case) -> Hit:
    """Two rows with one prompt and different targets."""
    seen: dict[str, tuple[str, str]] = {}
    for row, rendered in case.rendered:
        other, target = seen.setdefault(rendered.prompt, (row.source, rendered.target))
        if target != rendered.target:
            both = f"{target[:40]!r} and {rendered.target[:40]!r}"
            return row.source, f"same prompt as {other}, targets {both}"
    return None


def target_not_in_choices(case: Case) -> Hit:
    """A target that is none of the row's choices."""
    hits = [(row, r) for row, r in case.rendered if r.choices and r.target not in r.choices]
    if not hits:
        return None
    row, rendered = hits[0]
    shown = ", ".join(rendered.choices)[:80]
    return (
        row.source,
        f"the target {rendered.target[:60]!r} is none of: {shown} ({case.share(len(hits))})",
    )


def long_target(case: Case) -> Hit:
    """A target of more than `max_target_words` words."""
    lengths = [(len(rendered.target.split()), row.source) for row, rendered in case.rendered]
    long = [pair for pair in lengths if pair[0] > case.max_target_words]
    return (long[0][1], f"a target of {long[0][0]} words {case.share(len(long))}") if long else None


RULES: Mapping[str, Callable[[Case], Hit]] = {
    check.__name__: check
    for check in (
        missing_column,
        unused_column,
        glued_literal,
        single_braces,
        unused_choices,
        unrenderable_row,
        excluded_rows,
        constant_target,
        prompt_without_column,
        random_target,
        target_in_prompt,
        conflicting_targets,
        target_not_in_choices,
        long_target,
    )
}
# the run would stop, or could not learn what is asked; other findings may be meant so
ERRORS = frozenset(
    {
        "missing_column",
        "single_braces",
        "unrenderable_row",
        "constant_target",
        "prompt_without_column",
        "random_target",
        "target_in_prompt",
        "target_not_in_choices",
    }
)
