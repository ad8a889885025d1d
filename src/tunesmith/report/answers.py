"""The three answers of the headline in a few words each, with an icon: never by colour alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tunesmith.evaluate.system_table import SYSTEMS
from tunesmith.evaluate.verdict import change, level
from tunesmith.records import Answer, Question
from tunesmith.report.content import Report
from tunesmith.report.format import in_sentence, metric_name, system_name

MARKS: dict[Answer, tuple[str, str, str]] = {
    "yes": ("good", "\N{CHECK MARK}", "Yes"),
    "no": ("bad", "\N{MULTIPLICATION X}", "No"),
    "cannot tell": ("open", "?", "Cannot tell"),
    "not measured": ("none", "\N{EN DASH}", "Not measured"),
}
"""Class, icon and word of each answer."""


@dataclass(frozen=True, slots=True)
class Chip:
    """One answer: `look` is its class on the page, `why` one line of numbers."""

    title: str
    look: str
    icon: str
    word: str
    why: str


def chips(report: Report) -> list[Chip]:
    """The three questions in order; empty where the report has none."""
    return [Chip(q.title, *MARKS[q.answer], short(q)) for q in report.questions]


def short(question: Question) -> str:
    """What the answer rests on; the question's own sentence where nothing was measured."""
    q = question
    if q.answer == "not measured" or not math.isfinite(q.after):
        return q.sentence.removesuffix(".")
    if q.name == "kept":
        share = f"a loss of {100 * q.margin / abs(q.before):.2g} %" if q.before else "no loss"
        return (
            f"{q.against}: {in_sentence(metric_name(q.metric))} {level(q.metric, q.before)} "
            f"before, {level(q.metric, q.after)} after; {share} is allowed"
        )
    levels = f"{level(q.metric, q.after)} against {level(q.metric, q.before)}"
    return f"{levels} for {_opponent(q.against)}: gain {_gain(q)}"


def _opponent(system: str) -> str:
    title = system_name(system)
    return f"the {in_sentence(title)}" if system in SYSTEMS else title


def _gain(q: Question) -> str:
    return change(q.metric, q.gain, q.ci)
