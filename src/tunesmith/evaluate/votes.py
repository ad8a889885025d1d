"""The pairs that people and models judge, and what their votes come to."""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Sequence

import numpy as np

from tunesmith.errors import DataError
from tunesmith.evaluate.preference import TIE, Agreement, AnswerPair, Ballot, Count, PairSample
from tunesmith.evaluate.statistics import estimate_mean, mcnemar
from tunesmith.records import Estimate, Example, Prediction

# ---- the pairs


def answer_pairs(
    examples: Sequence[Example], a: Sequence[Prediction], b: Sequence[Prediction]
) -> list[AnswerPair]:
    """Every row's pair; predictions are in the order of the examples."""
    return [
        AnswerPair(e.id, e.group or e.row_id or e.id, x.text.strip(), y.text.strip())
        for e, x, y in zip(examples, a, b, strict=True)
    ]


def draw_pairs(pairs: Sequence[AnswerPair], k: int, seed: int) -> PairSample:
    """At most k pairs of different answers. Where they are the same there is nothing to judge.

    A smaller sample is the beginning of a larger one of the same seed, so that people and a model
    that see different numbers of pairs still have pairs in common.

    Raises:
        DataError: all answers are the same.
    """
    different = [pair for pair in pairs if pair.a_text != pair.b_text]
    if not different:
        raise DataError(
            f"both systems gave the same answer to all {len(pairs)} test rows",
            hint="there is nothing to compare; --against names another system",
        )
    random.Random(seed).shuffle(different)
    return PairSample(tuple(different[:k]), len(pairs), len(pairs) - len(different))


# ---- what the votes come to


def count_votes(pairs: Sequence[AnswerPair], ballots: Sequence[Ballot], confidence: float) -> Count:
    """Votes to numbers. Pairs without a vote are left out; DataError where no pair has one.

    The win rate's interval is Wilson's over pairs, by clusters. Wilson's variance is the largest
    that a mean of votes between 0 and 1 can have, so ties make it too wide rather than too narrow.
    """
    means = mean_votes(ballots)
    voted = [pair for pair in pairs if pair.example_id in means]
    if not voted:
        raise DataError("there are no votes")
    values = [means[pair.example_id] for pair in voted]
    return Count(
        wins=sum(value > TIE for value in values),
        ties=sum(value == TIE for value in values),
        losses=sum(value < TIE for value in values),
        win_rate=estimate_mean(values, [pair.cluster for pair in voted], confidence, True),
        p=sign_test(values, [pair.cluster for pair in voted]),
        longer=_longer_wins(voted, values, confidence),
    )


def mean_votes(ballots: Sequence[Ballot]) -> dict[str, float]:
    """The mean vote on each example that anyone voted on."""
    votes: dict[str, list[float]] = {}
    for ballot in ballots:
        for example_id, vote in ballot.items():
            votes.setdefault(example_id, []).append(vote)
    return {example_id: statistics.fmean(found) for example_id, found in votes.items()}


def sign_test(values: Sequence[float], clusters: Sequence[str]) -> float:
    """Exact two-sided p of the sign test: as many clusters lean to b as to a.

    A cluster leans by the sum of its votes' distances from a tie; without a lean it is left out.
    """
    leans: dict[str, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        leans[cluster] = leans.get(cluster, 0.0) + value - TIE
    to_b = sum(lean > 1e-9 for lean in leans.values())
    to_a = sum(lean < -1e-9 for lean in leans.values())
    # the same binomial test as McNemar's
    return mcnemar(to_a, to_b)


def share(successes: Sequence[bool], clusters: Sequence[str], confidence: float) -> Estimate | None:
    """A proportion with Wilson's interval; None of nothing."""
    if not successes:
        return None
    return estimate_mean(np.array(successes, dtype=float), clusters, confidence, True)


def _longer_wins(
    pairs: Sequence[AnswerPair], values: Sequence[float], confidence: float
) -> Estimate | None:
    found, clusters = [], []
    for pair, value in zip(pairs, values, strict=True):
        longer = len(pair.b_text) - len(pair.a_text)
        if longer and value != TIE:
            found.append((longer > 0) == (value > TIE))
            clusters.append(pair.cluster)
    return share(found, clusters, confidence)


# ---- agreement


def agreement(ballots: Sequence[Ballot]) -> Agreement:
    """Cohen's kappa of two voters over b, tie and a; of more the mean over all pairs of voters.

    Cohen (1960), by scikit-learn; the mean over pairs is Light's (1971). It is not defined where
    two voters used one and the same verdict throughout; such pairs count for `agreed` alone.
    """
    kappas: list[float] = []
    same = total = 0
    for one, other in itertools.combinations(ballots, 2):
        ids = sorted(one.keys() & other.keys())
        verdicts = [[_verdict(ballot[i]) for i in ids] for ballot in (one, other)]
        same += sum(x == y for x, y in zip(*verdicts, strict=True))
        total += len(ids)
        if len({*verdicts[0], *verdicts[1]}) > 1:
            # scikit-learn takes a second to import, and most runs have no votes
            from sklearn.metrics import cohen_kappa_score  # noqa: PLC0415

            kappas.append(float(cohen_kappa_score(*verdicts)))
    return Agreement(
        statistics.fmean(kappas) if kappas else None, same / total if total else None, total
    )


def _verdict(vote: float) -> str:
    return "tie" if vote == TIE else "b" if vote > TIE else "a"
