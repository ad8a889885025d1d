"""The headline: three questions, each with its own answer, and what they come down to together.

Is it right on the task more often than its base, asked in the ways that do the base most good? Does
it beat what costs a thousandth of it? Has it kept its general language? A model that is better at
its task is not yet worth having: only the three together say so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from tunesmith.evaluate.metrics import find_metric
from tunesmith.evaluate.system_table import BASE, SYSTEMS
from tunesmith.evaluate.verdict import (
    Verdict,
    VerdictKind,
    change,
    default_margin,
    level,
    verdict,
)
from tunesmith.records import Answer, Comparison, Estimate, Question, QuestionName, RetentionRow

TITLES: dict[QuestionName, str] = {
    "task": "Right on the task",
    "cheaper": "Beats the cheap alternative",
    "kept": "Kept its general language",
}
ANSWERS: dict[VerdictKind, Answer] = {
    "better": "yes",
    "not better": "no",
    "cannot tell": "cannot tell",
}
CHEAP = "a cheap linear model"


class Options(TypedDict):
    """How the first two questions are judged; a `margin` of None is verdict.default_margin."""

    margin: float | None
    confidence: float


@dataclass(frozen=True, slots=True)
class Headline:
    """What the three answers come down to.

    `kind` is "better" where no answer that was measured is other than yes, "not better" where one
    is no. `heading` has at most ten words, `sentence` gives the levels.
    """

    kind: VerdictKind
    heading: str
    sentence: str
    questions: tuple[Question, ...]


def headline(task: Question, cheaper: Question, kept: Question) -> Headline:
    """The three answers together."""
    questions = (task, cheaper, kept)
    answers = {question.answer for question in questions}
    kind: VerdictKind = (
        "not better" if "no" in answers else "cannot tell" if "cannot tell" in answers else "better"
    )
    return Headline(kind, _heading(*questions), _sentence(*questions), questions)


# ---- the questions


def task_question(
    comparison: Comparison,
    estimates: tuple[Estimate, Estimate],
    others: Sequence[Comparison] = (),
    *,
    margin: float | None = None,
    confidence: float = 0.95,
    p: float | None = None,
) -> Question:
    """Whether the tuned model is better than the reference system.

    `others` are the tuned model against the systems that the reference was chosen from. The choice
    was made on other rows than these: where one of them does as well as the tuned model here, the
    answer cannot be yes.
    """
    said, counts = _judged(comparison, estimates, margin, confidence, p)
    answer, sentence = ANSWERS[said.kind], said.sentence
    sign = find_metric(comparison.metric).sign
    ahead = [c for c in others if sign * c.difference <= 0]
    if ahead and answer == "yes":
        answer = "cannot tell"
        sentence += f" But {_title(ahead[0].a)} does as well on these rows."
    return _question("task", answer, sentence, comparison, estimates, counts)


def cheaper_question(
    comparison: Comparison | None,
    estimates: tuple[Estimate, Estimate] | None,
    *,
    margin: float | None = None,
    confidence: float = 0.95,
) -> Question:
    """Whether the tuned model is better than the linear baseline, which costs a thousandth of it.

    None where the task has no linear baseline.
    """
    if comparison is None or estimates is None:
        return Question(
            "cheaper",
            TITLES["cheaper"],
            "not measured",
            "There is no cheap model without a language model for this kind of answer.",
        )
    said, counts = _judged(comparison, estimates, margin, confidence, None)
    return _question("cheaper", ANSWERS[said.kind], said.sentence, comparison, estimates, counts)


def kept_question(rows: Sequence[RetentionRow], margin: float) -> Question:
    """Whether what was measured beside the task is no worse than a margin allows.

    `margin` is a share of the base's value. yes: on every row the whole interval is above the loss
    that the margin allows. no: on one row the whole interval is below it.
    """
    if not rows:
        return Question(
            "kept",
            TITLES["kept"],
            "not measured",
            "What training cost elsewhere was not measured.",
        )
    worst = min(rows, key=lambda row: _slack(row, margin))
    gain, (low, high) = _gain(worst), _gain_ci(worst)
    allowed = margin * abs(worst.before)
    if high < -allowed:
        answer: Answer = "no"
    elif all(_gain_ci(row)[0] >= -margin * abs(row.before) for row in rows):
        answer = "yes"
    else:
        answer = "cannot tell"
    return Question(
        "kept",
        TITLES["kept"],
        answer,
        _kept_sentence(answer, worst, margin, len(rows)),
        worst.metric,
        worst.name,
        gain,
        (low, high),
        allowed,
        worst.before,
        worst.after,
    )


def _judged(
    comparison: Comparison,
    estimates: tuple[Estimate, Estimate],
    margin: float | None,
    confidence: float,
    p: float | None,
) -> tuple[Verdict, float]:
    counts = default_margin(comparison.metric, estimates[0].mean) if margin is None else margin
    named = replace(comparison, a=_title(comparison.a), b="it")
    said = verdict(named, confidence=confidence, p=p, estimates=estimates, margin=counts)
    return replace(said, sentence=said.sentence[:1].upper() + said.sentence[1:]), counts


def _question(
    name: QuestionName,
    answer: Answer,
    sentence: str,
    c: Comparison,
    estimates: tuple[Estimate, Estimate],
    margin: float,
) -> Question:
    metric = find_metric(c.metric)
    before, after = (estimate.mean for estimate in estimates)
    return Question(
        name,
        TITLES[name],
        answer,
        sentence,
        c.metric,
        c.a,
        metric.sign * c.difference,
        metric.gain_interval(c.ci),
        margin,
        before,
        after,
    )


def _gain(row: RetentionRow) -> float:
    return find_metric(row.metric).sign * row.difference


def _gain_ci(row: RetentionRow) -> tuple[float, float]:
    if row.difference == 0 and row.note == "no row differs":
        return 0.0, 0.0  # the same on every text: there is nothing that more texts could show
    return find_metric(row.metric).gain_interval(row.ci)


def _slack(row: RetentionRow, margin: float) -> float:
    """How far the interval's lower end is above the loss allowed, as a share of the base's value;
    what has no interval comes first.
    """
    low = _gain_ci(row)[0]
    return -math.inf if math.isnan(low) else low / max(abs(row.before), 1e-12) + margin


def _kept_sentence(answer: Answer, worst: RetentionRow, margin: float, n: int) -> str:
    metric = find_metric(worst.metric)
    beside = f", the worst of {n} measured" if n > 1 else ""
    numbers = (
        f"{worst.name}{beside}: {metric.title[:1].lower()}{metric.title[1:]} "
        f"{level(worst.metric, worst.before)} before, {level(worst.metric, worst.after)} after, "
        f"{change(worst.metric, worst.difference, worst.ci, worst.note)}"
    )
    share = f"{100 * margin:g} %"
    if answer == "yes":
        return f"Not worse by more than the margin of {share} ({numbers})."
    if answer == "no":
        return f"Worse by more than the margin of {share} ({numbers})."
    return f"These texts and tasks cannot tell whether it lost more than {share} ({numbers})."


# ---- together


def _heading(task: Question, cheaper: Question, kept: Question) -> str:
    """At most ten words; the worst news is never left out."""
    if task.answer == "no":
        worse = task.ci[1] < 0
        return f"{'Worse' if worse else 'Not better'} than {_base(task)}"
    if task.answer == "cannot tell":
        return f"Cannot tell yet whether it beats {_base(task)}"
    if cheaper.answer == "no" and kept.answer == "no":
        return "A cheap model does as well, and general language suffered"
    if cheaper.answer == "no":
        how = "is better" if cheaper.ci[1] < 0 else "does as well"
        return f"Better than its base; a cheap model {how}"
    if kept.answer == "no":
        return "Better at the task, but worse at general language"
    if cheaper.answer == "cannot tell":
        return "Better than its base, perhaps not than a cheap model"
    if kept.answer == "cannot tell":
        return "Better at the task; what it lost is unclear"
    return f"Better than {'its base and ' + CHEAP if cheaper.answer == 'yes' else _base(task)}"


def _sentence(task: Question, cheaper: Question, kept: Question) -> str:
    metric = find_metric(task.metric)
    rivals = [f"{_title(task.against)} {level(task.metric, task.before)}"]
    if cheaper.answer != "not measured":
        rivals.append(f"{CHEAP} {level(cheaper.metric, cheaper.before)}")
    levels = (
        f"{metric.title} {level(task.metric, task.after)} on rows it never saw; "
        f"{' and '.join(rivals)}."
    )
    language = {
        "yes": "Its general language was kept.",
        "no": "Its general language got worse.",
        "cannot tell": "Whether it lost general language cannot be told.",
        "not measured": "Whether it lost general language was not measured.",
    }
    return f"{levels} {language[kept.answer]}"


def _base(task: Question) -> str:
    return "its base" if task.against.startswith(BASE) else _title(task.against)


def _title(system: str) -> str:
    title = SYSTEMS[system].title
    return f"the {title[:1].lower()}{title[1:]}"
