"""ROUGE by the rouge-score package: per-row F, the best of several references; no stemmer, as is its default."""

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
    return [float(scorer.score_multi(references, text)[name].fmeasure) for text, references in pairs]


def latin_warning(references: Sequence[str]) -> str | None:
    """rouge-score drops every letter but a to z and every digit but 0 to 9: say so where that is most of the text."""
    letters = [character for text in references for character in text if character.isalpha()]
    outside = sum(not character.isascii() for character in letters)
    if not letters or 2 * outside < len(letters):
        return None
    share = outside / len(letters)
    return f"ROUGE reads only the letters a to z: {share:.0%} of the references' letters are others; use chrf"


METRICS: dict[str, Metric] = {name: per_example(partial(rouge, name)) for name in NAMES}
