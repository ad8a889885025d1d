"""What to do next: what a report's answers come down to for the person who has to decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tunesmith.evaluate.power import rows_to_tell
from tunesmith.evaluate.system_table import LINEAR, TUNED
from tunesmith.evaluate.verdict import fewest_units, level
from tunesmith.records import Comparison, Question, QuestionName
from tunesmith.report.calibration import threshold_sentence
from tunesmith.report.content import Report
from tunesmith.report.format import in_sentence, percent, system_name

Kind = Literal[
    "use",
    "use linear",
    "keep base",
    "more rows",
    "more labels",
    "more seeds",
    "plain text",
    "measure",
    "format",
    "gates",
]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, in a sentence or two that need no statistics."""

    kind: Kind
    sentence: str


def next_steps(report: Report) -> list[Step]:
    """What to do, the most important first; empty for a report without the three questions."""
    asked: dict[QuestionName, Question] = {q.name: q for q in report.questions}
    if len(asked) < 3:
        return []
    task, cheaper, kept = asked["task"], asked["cheaper"], asked["kept"]
    return [
        *_on_gates(report),
        *_on_use(report, task, cheaper, kept),
        *_on_task(report, task),
        *(_on_cheaper(report, cheaper) if task.answer == "yes" else ()),
        *_on_kept(kept),
        *_on_format(report),
    ]


def _on_gates(report: Report) -> list[Step]:
    missed = [gate for gate in report.gates if gate.result != "passed"]
    if not missed:
        return []
    names = "; ".join(gate.what for gate in missed)
    said = f"gates of the recipe that were not passed: {len(missed)} of {len(report.gates)}"
    return [Step("gates", f"Do not put it to work yet; {said} ({names}).")]


def _on_use(report: Report, task: Question, cheaper: Question, kept: Question) -> list[Step]:
    """Use it: no answer that was measured is other than yes, and every gate was passed."""
    fine = ("yes", "not measured")
    passed = all(gate.result == "passed" for gate in report.gates)
    if task.answer != "yes" or not passed:
        return []
    if cheaper.answer not in fine or kept.answer not in fine:
        return []
    found = report.calibration
    alone = (
        f" At the threshold that is saved with it: {_uncapitalised(threshold_sentence(found))}"
        if found and found.coverage and found.accuracy
        else ""
    )
    return [Step("use", f"Use it, for rows like these.{alone}")]


def _on_task(report: Report, task: Question) -> list[Step]:
    base = _opponent(task)
    if task.answer == "no" and task.ci[1] < 0:
        return [
            Step(
                "keep base",
                f"Do not use it: {base} is better. Look at the rows that broke; a smaller learning "
                "rate or fewer epochs may help.",
            )
        ]
    if task.answer == "no":
        return [
            Step("keep base", f"Do not use it: {base} does as well and needs no training."),
            Step(
                "more labels",
                "Before you label more rows for training, tunesmith curve estimates what twice "
                "as many would bring; a larger base model is the other way.",
            ),
        ]
    if task.answer == "cannot tell" and report.comparison:
        return [_to_tell(report.comparison, report.confidence, base)]
    return []


def _on_cheaper(report: Report, cheaper: Question) -> list[Step]:
    if cheaper.answer == "no":
        how = "is better" if cheaper.ci[1] < 0 else "does as well"
        return [
            Step(
                "use linear",
                f"Use the linear model ({_term(LINEAR)}): it {how}, trains in seconds and needs no "
                "language model.",
            )
        ]
    compared = next((c for c in report.comparisons if c.a == LINEAR), None)
    if cheaper.answer == "cannot tell" and compared:
        until = "Until then the linear model is the cheaper choice."
        step = _to_tell(compared, report.confidence, "the linear model")
        return [Step(step.kind, f"{step.sentence} {until}")]
    return []


def _on_kept(kept: Question) -> list[Step]:
    if kept.answer == "no":
        return [
            Step(
                "plain text",
                "Train on plain text too: its general language got worse "
                f"({level(kept.metric, kept.before)} before, {level(kept.metric, kept.after)} "
                "after). List a file of general rows among the sources with replay: true, or "
                "lower the learning rate.",
            )
        ]
    if kept.answer == "cannot tell":
        return [
            Step(
                "measure",
                "Measure its general language on more text (evaluation.panel in the recipe) before "
                "you give it other work than this task.",
            )
        ]
    if kept.answer == "not measured":
        return [
            Step(
                "measure",
                "What it lost elsewhere is not known: set evaluation.retention to true, or use it "
                "for this task alone.",
            )
        ]
    return []


def _on_format(report: Report) -> list[Step]:
    """Where the tuned model's own answers cannot be read, that comes before everything else."""
    found = next((one for one in report.unreadable if one.system == TUNED), None)
    if found is None:
        return []
    return [
        Step(
            "format",
            f"{percent(found.share)} of its answers could not be read: look at them among the test "
            "rows (filter: unreadable), and check the template's labels.",
        )
    ]


# ---- how many rows would tell


def _to_tell(c: Comparison, confidence: float, opponent: str) -> Step:
    """How many more rows would show whether the tuned model is better than the opponent."""
    least = fewest_units(confidence)
    if c.clusters < least:
        what = "rows" if c.clusters == c.n else "groups of rows"
        sentence = (
            f"Label at least {least - c.clusters} more {what} to test on: with {c.clusters} "
            "nothing can be shown."
        )
        return Step("more rows", sentence)
    found = rows_to_tell(c, confidence)
    if found is None:
        return Step(
            "more labels",
            f"It is not ahead of {opponent} on these rows, so that more test rows alone will not "
            "show that it is: label more rows for training, or take a larger base model.",
        )
    if found.runs_decide:
        return Step(
            "more seeds",
            "Train with more seeds (train.seeds in the recipe): the trainings differ too much for "
            "more rows to tell.",
        )
    if found.seen is None:
        return Step(
            "more labels",
            f"What it gains over {opponent} is too small for any test set to show: label more rows "
            "for training, or take a larger base model.",
        )
    return Step("more rows", _more_rows(found.seen - c.n, found.most, c.n, opponent))


def _more_rows(more: int, most: int | None, n: int, opponent: str) -> str:
    upper = f" to {most - n:,}" if most is not None and most - n > more else ""
    smaller = "" if upper else ", more if its gain is smaller than the one seen"
    return (
        f"Label about {more:,}{upper} more rows to test on{smaller}: {n:,} cannot tell it from "
        f"{opponent}."
    )


def _opponent(task: Question) -> str:
    return f"the {in_sentence(system_name(task.against))}"


def _term(system: str) -> str:
    title = system_name(system)
    return title[title.find("(") + 1 : -1] if title.endswith(")") else title


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:]
