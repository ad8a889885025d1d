"""Which of two answers is preferred: the pairs that are shown, and what the votes come to.

People (`review.py`) and a language model (`llm_judge.py`) vote on the same pairs, and their votes
are counted by the same functions. A vote is a number: 1 for system b, 0 for system a, one half for
a tie.
"""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from tunesmith.errors import DataError
from tunesmith.evaluate.statistics import estimate_mean, mcnemar
from tunesmith.records import Estimate, Example, Prediction

TIE = 0.5
Ballot: TypeAlias = Mapping[str, float]
"""One voter's votes by example id."""


# ---- the pairs


@dataclass(frozen=True)
class AnswerPair:
    """The answers of two systems to one test row; rows of one `cluster` are not independent."""

    example_id: str
    cluster: str
    a_text: str
    b_text: str


@dataclass(frozen=True)
class PairSample:
    """Pairs drawn from `rows` test rows; to `same` of these both systems gave the same answer."""

    pairs: tuple[AnswerPair, ...]
    rows: int
    same: int


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


@dataclass(frozen=True)
class Count:
    """What votes on pairs come to.

    Attributes:
        wins, ties, losses: Pairs in which b was preferred, neither, a; of several people's votes
            on a pair the mean decides.
        win_rate: The mean vote for b, ties half, over pairs.
        p: Two-sided sign test, over clusters.
        longer: How often the longer answer was preferred, of the pairs with a preference and
            different lengths; None without such pairs.
    """

    wins: int
    ties: int
    losses: int
    win_rate: Estimate
    p: float
    longer: Estimate | None

    @property
    def pairs(self) -> int:
        """Pairs with a vote."""
        return self.wins + self.ties + self.losses


@dataclass(frozen=True)
class Agreement:
    """How far voters agree: of people with each other, of a model with the people.

    `kappa` is beyond chance, None where two voters have no pair in common or it is not defined;
    `agreed` the share of the `common` votes that are the same, None where there are none.
    """

    kappa: float | None = None
    agreed: float | None = None
    common: int = 0


@dataclass(frozen=True)
class Preference:
    """What one judge (the people of a review together, or a model) prefers of systems a and b.

    Attributes:
        kind: Who voted.
        judge: The people's number, or the model's name.
        first: How often the answer that was shown first (on the left) won, of the votes with a
            preference; None without such votes.
        rows, same: As in PairSample.
        inconsistent: The share of pairs on which a model's verdict changed with the order.
        unreadable: Replies of a model without a verdict; they count as ties.
    """

    kind: Literal["people", "model"]
    judge: str
    a: str
    b: str
    count: Count
    first: Estimate | None
    agreement: Agreement
    rows: int
    same: int
    inconsistent: float | None = None
    unreadable: int = 0


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
