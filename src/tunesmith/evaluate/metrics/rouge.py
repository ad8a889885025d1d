"""ROUGE by the rouge-score package; with its Porter stemmer where that is asked for."""

from __future__ import annotations

from functools import cache, partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from tunesmith.evaluate.metrics.base import Answers, Metric, per_example

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer


@cache
def _scorer(name: str, stemmer: bool) -> RougeScorer:
    # rouge-score brings NLTK, which takes seconds to import
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415

    return RougeScorer([name], use_stemmer=stemmer)


def rouge(name: str, answers: Answers) -> list[float]:
    """F-measures, 0 to 1, the best of several references; rougeLsum takes lines as sentences."""
    scorer = _scorer(name, answers.options.rouge.stemmer)
    pairs = zip(answers.texts, answers.references, strict=True)
    return [
        float(scorer.score_multi(references, text)[name].fmeasure) for text, references in pairs
    ]


def signature(answers: Answers) -> str:
    """What must be the same for two scores to be comparable."""
    stemmer = "yes" if answers.options.rouge.stemmer else "no"
    return f"ROUGE|stemmer:{stemmer}|version:{version('rouge-score')}"


def _warn_of_other_scripts(answers: Answers) -> str | None:
    """rouge-score drops every letter but a to z."""
    references = [reference for row in answers.references for reference in row]
    lost = sum(mostly_other_letters(reference) for reference in references)
    if not lost:
        return None
    return (
        f"ROUGE reads only the letters a to z: {lost} of {len(references)} references "
        "are in others; use chrf"
    )


def mostly_other_letters(text: str) -> bool:
    """Whether more than half of the letters are none of ASCII's."""
    letters = [character.isascii() for character in text if character.isalpha()]
    return sum(letters) < len(letters) / 2


def _entry(name: str, title: str) -> Metric:
    return Metric(
        title,
        per_example(partial(rouge, name)),
        warn=_warn_of_other_scripts,
        signature=signature,
    )


METRICS: dict[str, Metric] = {
    "rouge1": _entry("rouge1", "ROUGE-1"),
    "rouge2": _entry("rouge2", "ROUGE-2"),
    "rougeL": _entry("rougeL", "ROUGE-L"),
    "rougeLsum": _entry("rougeLsum", "ROUGE-Lsum"),
}
