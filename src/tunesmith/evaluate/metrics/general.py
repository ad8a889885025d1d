"""Computed for every system: was there an answer, in the right format, and did it end."""

from __future__ import annotations

import math

from tunesmith.evaluate.metrics.base import Answers, Metric, per_example
from tunesmith.evaluate.parse import text_after_answer


def valid(answers: Answers) -> list[float]:
    """1 where the parser can read the answer."""
    return [float(value) for value in answers.valid]


def stopped(answers: Answers) -> list[float]:
    """1 where the model ended the answer itself, 0 where the token budget did."""
    return [float(prediction.stopped) for prediction in answers.predictions]


def empty(answers: Answers) -> list[float]:
    """1 where nothing was written but white space."""
    return [float(not text) for text in answers.texts]


def length_ratio(answers: Answers) -> list[float]:
    """Characters of the answer for each character of the first reference."""
    pairs = zip(answers.texts, answers.references, strict=True)
    return [len(text) / max(1, len(references[0])) for text, references in pairs]


def after_answer(answers: Answers) -> list[float]:
    """1 where the model wrote on after its answer."""
    one_line = all(
        "\n" not in reference for references in answers.references for reference in references
    )
    pairs = zip(answers.texts, answers.choices, strict=True)
    return [float(bool(text_after_answer(text, answers.parser, c, one_line))) for text, c in pairs]


METRICS: dict[str, Metric] = {
    "valid": Metric("Valid format", per_example(valid), binary=True, auxiliary=True),
    "stopped": Metric("Stopped by itself", per_example(stopped), binary=True, auxiliary=True),
    "empty": Metric(
        "Empty", per_example(empty), binary=True, higher_is_better=False, auxiliary=True
    ),
    "text_after_answer": Metric(
        "Wrote on after it",
        per_example(after_answer),
        binary=True,
        higher_is_better=False,
        auxiliary=True,
    ),
    "length_ratio": Metric(
        "Length against reference",
        per_example(length_ratio),
        unit="plain",
        range=(0.0, math.inf),
        auxiliary=True,
    ),
}
