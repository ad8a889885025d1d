"""Which of two answers is preferred, as data: the pairs that are shown, the votes, their sum.

People (`review.py`) and a language model (`llm_judge.py`) vote on the same pairs, and their votes
are counted by the same functions (`votes.py`). A vote is a number: 1 for system b, 0 for system a,
one half for a tie. Nothing heavy is imported here, because the data of a report are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tunesmith.records import Estimate

TIE = 0.5
Ballot: TypeAlias = Mapping[str, float]
"""One voter's votes by example id."""


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
