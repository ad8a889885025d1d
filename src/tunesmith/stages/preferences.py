"""What people and models prefer, for the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tunesmith.data.store import read_examples
from tunesmith.evaluate.llm_judge import model_prefers
from tunesmith.evaluate.predictions import read_predictions
from tunesmith.evaluate.preference import AnswerPair, Ballot, Preference
from tunesmith.evaluate.review import Review, Votes, ballot, check_votes, people_prefer
from tunesmith.evaluate.votes import answer_pairs
from tunesmith.progress import note
from tunesmith.rundir import RunDir
from tunesmith.stages.judge import read_judgements
from tunesmith.stages.review import read_reviews, stored_votes


def read_preferences(run: RunDir, confidence: float) -> tuple[Preference, ...]:
    """One for each review with votes, then one for each model that was asked.

    Votes on answers that the run no longer has are left out with a note.
    """
    voted = list(_voted(run))
    people = [people_prefer(review, votes, confidence) for review, votes in voted]
    models = [
        model_prefers(judgement, _ballots(voted, judgement.a, judgement.b), confidence)
        for judgement in read_judgements(run)
        if _current(
            run,
            judgement.a,
            judgement.b,
            [pair.answers for pair in judgement.pairs],
            f"what {judgement.model} judged",
        )
    ]
    return (*people, *models)


def _voted(run: RunDir) -> Iterator[tuple[Review, list[Votes]]]:
    """The reviews of the run's present answers that have votes."""
    for review in read_reviews(run):
        votes = stored_votes(run, review.id)
        for one in votes:
            check_votes(run.review_votes(review.id), one, review)
        shown = [pair.answers for pair in review.pairs]
        if votes and _current(run, review.a, review.b, shown, f"review {review.id}"):
            yield review, votes


def _ballots(voted: Sequence[tuple[Review, list[Votes]]], a: str, b: str) -> list[Ballot]:
    """Everyone's votes on two systems."""
    return [
        ballot(review, one)
        for review, votes in voted
        if (review.a, review.b) == (a, b)
        for one in votes
    ]


def _current(run: RunDir, a: str, b: str, shown: Sequence[AnswerPair], what: str) -> bool:
    """Whether the run's systems still answer as they did when they were judged."""
    if all(run.predictions(system, "test").exists() for system in (a, b)):
        answers = (read_predictions(run, system, "test") for system in (a, b))
        now = set(answer_pairs(read_examples(run.examples("test")), *answers))
        if now.issuperset(shown):
            return True
    note(f"{what} is left out of the report: the systems have other answers by now")
    return False
