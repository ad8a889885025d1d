"""Exact match and token F1 after SQuAD's normalisation (Rajpurkar et al. 2016, 2018)."""

from __future__ import annotations

import re
import string
from collections import Counter

from tunesmith.evaluate.metrics.base import Answers, Metric, best_over_references, per_example

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, with single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def same_normalised(text: str, reference: str) -> float:
    """1 where both are the same after normalisation."""
    return float(normalise(text) == normalise(reference))


def token_overlap_f1(text: str, reference: str) -> float:
    """F1 of the two multisets of tokens; where one is empty, 1 if both are (as in SQuAD 2.0)."""
    found, wanted = normalise(text).split(), normalise(reference).split()
    if not found or not wanted:
        return float(found == wanted)
    return 2 * (Counter(found) & Counter(wanted)).total() / (len(found) + len(wanted))


def squad_em(answers: Answers) -> list[float]:
    """Normalised exact match, the best of several references."""
    return best_over_references(answers, same_normalised)


def token_f1(answers: Answers) -> list[float]:
    """F1 of normalised tokens, the best of several references."""
    return best_over_references(answers, token_overlap_f1)


METRICS: dict[str, Metric] = {
    "squad_em": Metric("SQuAD exact match", per_example(squad_em), binary=True),
    "token_f1": Metric("Token F1", per_example(token_f1)),
}
