"""ROUGE by the rouge-score package: per-row F, the best of several references; no stemmer, as is
its default.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

from tunesmith.evaluate.metrics.base import Answers, Metric, per_example

NAMES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


@cache
def _scorer(name: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([name], use_stemmer=False)


def rouge(name: str, answers: Answers) -> list[float]:
    """F-measures, 0 to 1. rougeLsum takes each line for a sentence."""
    scorer = _scorer(name)
    pairs = zip(answers.texts, answers.references, strict=True)
    return [
        float(scorer.score_multi(references, text)[name].fmeasure) for text, references in pairs
    ]


def latin_warning(references: Sequence[str]) -> str | None:
    """rouge-score drops every letter but a to z: say so where that is most of a reference."""
    lost = sum(_mostly_other_letters(reference) for reference in references)
    if not lost:
        return None
    return f"ROUGE reads only the letters a to z: {lost} of {len(references)} references are in others; use chrf"


def _mostly_other_letters(text: str) -> bool:
    letters = [character.isascii() for character in text if character.isalpha()]
    return sum(letters) < len(letters) / 2


METRICS: dict[str, Metric] = {name: per_example(partial(rouge, name)) for name in NAMES}
