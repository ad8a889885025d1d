"""A blind comparison by people: who saw which answer on which side, and their votes.

The page (`report/review_page.py`) holds texts under ids that say nothing. Which system stands on
which side is in the key, which stays in the run folder.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tunesmith.errors import DataError
from tunesmith.evaluate.preference import TIE, AnswerPair, Ballot, PairSample, Preference
from tunesmith.evaluate.votes import agreement, count_votes, share
from tunesmith.run_files import now, read_record

Choice = Literal["left", "right", "tie"]
FROM_THE_PAGE = "give the file that the review page saves, unchanged"
MAX_NAME = 100


# ---- the key


@dataclass(frozen=True)
class BlindPair:
    """A pair under the id that the page knows it by; `left` is the system on the left side."""

    id: str
    left: Literal["a", "b"]
    answers: AnswerPair

    @property
    def sides(self) -> tuple[str, str]:
        """The text on the left and the one on the right."""
        texts = self.answers.a_text, self.answers.b_text
        return texts if self.left == "a" else texts[::-1]

    def vote(self, choice: Choice) -> float:
        """A choice of a side as a vote: 1 for b, 0 for a."""
        if choice == "tie":
            return TIE
        return float((choice == "left") == (self.left == "b"))


@dataclass(frozen=True)
class Review:
    """One page and its key: systems a and b, and the pairs in the page's order."""

    id: str
    a: str
    b: str
    created: str
    pairs: tuple[BlindPair, ...]
    rows: int
    same: int


def make_review(a: str, b: str, sample: PairSample, chance: random.Random | None = None) -> Review:
    """Random order, sides and ids.

    They are drawn from the system's randomness and not from the recipe's seed, which would tell
    anyone with tunesmith the sides. `chance` is for tests.
    """
    chance = chance or random.Random(secrets.randbits(256))
    pairs = list(sample.pairs)
    chance.shuffle(pairs)
    blind = tuple(
        BlindPair(f"{chance.getrandbits(48):012x}", chance.choice(("a", "b")), pair)
        for pair in pairs
    )
    return Review(f"{chance.getrandbits(32):08x}", a, b, now(), blind, sample.rows, sample.same)


# ---- votes


@dataclass(frozen=True)
class Vote:
    """A choice on the pair of this id."""

    pair: str
    choice: Choice


@dataclass(frozen=True)
class Votes:
    """What one person voted in a review: the file that the page saves."""

    review: str
    rater: str
    votes: tuple[Vote, ...]


def read_votes(path: Path) -> Votes:
    """A file of votes; DataError where it is none."""
    try:
        votes = read_record(path, Votes)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file", hint=FROM_THE_PAGE) from error
    except (OSError, ValueError) as error:  # a folder, bytes that are no text, text that is no JSON
        raise DataError(f"{path}: not a file of votes: {error}", hint=FROM_THE_PAGE) from error
    except DataError as error:
        raise DataError(error.message, hint=FROM_THE_PAGE) from error
    if not votes.rater.strip() or len(votes.rater) > MAX_NAME:
        raise DataError(
            f"{path}: rater: {votes.rater[:MAX_NAME]!r} is no name",
            hint="each person enters a name on the page, by which the votes are told apart",
        )
    return votes


def check_votes(path: Path, votes: Votes, review: Review) -> None:
    """DataError for no votes, a pair that the review does not have, and one voted on twice."""
    if not votes.votes:
        raise DataError(f"{path}: no votes in it", hint="vote on the page, then save again")
    known, seen = {pair.id for pair in review.pairs}, set[str]()
    for vote in votes.votes:
        if vote.pair not in known:
            raise DataError(
                f"{path}: pair {vote.pair[:40]!r} is not one of review {review.id}",
                hint=FROM_THE_PAGE,
            )
        if vote.pair in seen:
            raise DataError(f"{path}: pair {vote.pair} is voted on twice", hint=FROM_THE_PAGE)
        seen.add(vote.pair)


def same_rater(name: str) -> str:
    """What two spellings of one name have in common."""
    return " ".join(name.split()).casefold()


def ballot(review: Review, votes: Votes) -> Ballot:
    """The votes by example id."""
    pairs = {pair.id: pair for pair in review.pairs}
    return {
        pairs[vote.pair].answers.example_id: pairs[vote.pair].vote(vote.choice)
        for vote in votes.votes
    }


def people_prefer(review: Review, votes: Sequence[Votes], confidence: float) -> Preference:
    """What the people of one review prefer; DataError without votes."""
    ballots = [ballot(review, one) for one in votes]
    clusters = {pair.id: pair.answers.cluster for pair in review.pairs}
    sided = [vote for one in votes for vote in one.votes if vote.choice != "tie"]
    people = len(votes)
    return Preference(
        kind="people",
        judge="1 person" if people == 1 else f"{people} people",
        a=review.a,
        b=review.b,
        count=count_votes([pair.answers for pair in review.pairs], ballots, confidence),
        first=share(
            [vote.choice == "left" for vote in sided],
            [clusters[vote.pair] for vote in sided],
            confidence,
        ),
        agreement=agreement(ballots),
        rows=review.rows,
        same=review.same,
    )
