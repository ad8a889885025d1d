"""The rows that training fixed and the rows that it broke."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import takewhile

from tunesmith.evaluate.system_table import BASE, TUNED
from tunesmith.records import Evaluation, Example
from tunesmith.report.content import Report
from tunesmith.report.format import (
    in_sentence,
    is_auxiliary,
    lower_is_better,
    metric_name,
    system_name,
)


@dataclass(frozen=True, slots=True)
class Case:
    """One test example before and after training.

    `gain` is the change in the metric, positive where the answer got better.
    """

    id: str
    source: str
    prompt: str
    reference: str
    before: str
    after: str
    before_score: float
    after_score: float
    gain: float


@dataclass(frozen=True, slots=True)
class Cases:
    """`fixed` and `broken` are samples of `num_fixed` and `num_broken` rows.

    `before` is the system that the tuned model is compared with. With a `graded` metric an answer
    can be partly right.
    """

    metric: str
    before: str
    fixed: tuple[Case, ...]
    broken: tuple[Case, ...]
    num_fixed: int
    num_broken: int
    graded: bool

    @property
    def groups(self) -> tuple[tuple[str, tuple[Case, ...]], ...]:
        """The fixed and the broken rows, each with its title."""
        fixed, broken = ("Most improved", "Most worsened") if self.graded else ("Fixed", "Broken")
        return (
            (f"{fixed} ({len(self.fixed)} of {self.num_fixed})", self.fixed),
            (f"{broken} ({len(self.broken)} of {self.num_broken})", self.broken),
        )

    @property
    def prompt_start(self) -> str:
        """The lines that all prompts shown begin with."""
        return common_start([case.prompt for case in (*self.fixed, *self.broken)])

    @property
    def summary(self) -> str:
        """How many rows got better and worse, by which metric, and how those shown were chosen."""
        fixed, broken = ("improved", "got worse") if self.graded else ("were fixed", "were broken")
        systems = (
            f"{in_sentence(system_name(self.before))} against {in_sentence(system_name(TUNED))}"
        )
        counts = f"{self.num_fixed:,} test rows {fixed}, {self.num_broken:,} {broken}"
        return (
            f"By {in_sentence(metric_name(self.metric))}, {systems}: {counts}. "
            "The largest changes are shown; ties are broken by a hash of the row's id."
        )


def choose_cases(report: Report, count: int = 10) -> Cases | None:
    """The `count` rows with the largest gain and as many with the largest loss.

    Ties are broken by a hash of the row's id, so that the choice is neither the file's first rows
    nor the most flattering ones. None if base and tuned share no metric with per-example scores.
    """
    tuned = report.system(TUNED)
    # the verdict's own reference, so that the numbers of rows are those of its sentence
    reference = report.system(report.comparison.a) if report.comparison else None
    before = reference or report.system(BASE)
    metric = _scored_metric(report.primary_metric, before, tuned)
    if tuned is None or before is None or metric is None:
        return None
    pairs = _pairs(report, before, tuned, metric)
    pairs.sort(key=lambda case: (-abs(case.gain), hashlib.sha256(case.id.encode()).hexdigest()))
    fixed = [case for case in pairs if case.gain > 0]
    broken = [case for case in pairs if case.gain < 0]
    graded = any(
        score not in (0, 1) for case in pairs for score in (case.before_score, case.after_score)
    )
    return Cases(
        metric,
        before.system,
        tuple(fixed[:count]),
        tuple(broken[:count]),
        len(fixed),
        len(broken),
        graded=graded,
    )


def _scored_metric(primary: str, before: Evaluation | None, after: Evaluation | None) -> str | None:
    """The primary metric, or the first other with per-example scores (macro F1 has none)."""
    if before is None or after is None:
        return None
    shared = [name for name in after.scores if name in before.scores and not is_auxiliary(name)]
    return primary if primary in shared else shared[0] if shared else None


def _pairs(report: Report, before: Evaluation, after: Evaluation, metric: str) -> list[Case]:
    sign = -1 if lower_is_better(metric) else 1
    first = {id: i for i, id in enumerate(before.example_ids)}
    cases = []
    for j, id in enumerate(after.example_ids):
        if id not in first or id not in report.examples:
            continue
        i, example = first[id], report.examples[id]
        old, new = before.scores[metric][i], after.scores[metric][j]
        cases.append(
            Case(
                id=id,
                source=example.source,
                prompt=prompt_of(example),
                reference=(example.references or (example.completion,))[0],
                before=before.predictions[i].text,
                after=after.predictions[j].text,
                before_score=old,
                after_score=new,
                gain=sign * (new - old),
            )
        )
    return cases


def prompt_of(example: Example) -> str:
    """The prompt, preceded by the earlier turns of its conversation."""
    turns = [f"{turn.role}: {turn.content}" for turn in example.history]
    return "\n\n".join([*turns, example.prompt])


def common_start(prompts: list[str]) -> str:
    r"""The lines that all prompts begin with; shown once instead of with every row.

    >>> common_start(["Label it.\nText: good", "Label it.\nText: bad"])
    'Label it.\n'
    """
    if len(prompts) < 2:
        return ""
    first, last = (text.splitlines(keepends=True)[:-1] for text in (min(prompts), max(prompts)))
    return "".join(
        a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    )
