"""`tunesmith review`: a page on which people compare two systems blind, and their votes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tunesmith.artefacts import check, record
from tunesmith.data.store import example_ids, read_examples
from tunesmith.errors import DataError, did_you_mean
from tunesmith.evaluate.predictions import read_predictions
from tunesmith.evaluate.preference import PairSample
from tunesmith.evaluate.review import (
    Review,
    Votes,
    check_votes,
    make_review,
    read_votes,
    same_rater,
)
from tunesmith.evaluate.system_table import BASE, BASE_FEW_SHOT, SYSTEMS, TUNED
from tunesmith.evaluate.votes import answer_pairs, draw_pairs
from tunesmith.progress import note
from tunesmith.records import Example
from tunesmith.report.review_page import review_page
from tunesmith.run_files import read_evaluated, read_record, run_state, write_record
from tunesmith.rundir import RunDir, file_sha256, write_atomic
from tunesmith.seal import open_seal
from tunesmith.stages.common import check_evaluated, judged_by_others, run_recipe


def create_review(run: RunDir, k: int, against: str | None = None) -> Path:
    """Write a page with k pairs of the tuned model's answers and another system's, and its key.

    Showing test rows to people is a use of the test split, and recorded as one.

    Raises:
        DataError: the run is not evaluated, or has no such system, or no answers that differ.
    """
    a = other_system(run, against)
    check_evaluated(run)
    examples = read_examples(run.examples("test"))
    review = make_review(a, TUNED, sample_pairs(run, examples, a, k))
    purpose = f"{len(review.pairs)} rows shown to people (review {review.id})"
    open_seal(run, example_ids(run.examples("test")), purpose)
    page = run.review_page(review.id)
    write_record(run.review_key(review.id), review)
    record(run, [run.review_key(review.id)])
    write_atomic(page, review_page(review, {example.id: example for example in examples}))
    return page


def add_votes(run: RunDir, files: Sequence[Path]) -> None:
    """Store files of votes in the run; all of them, or none where one is not right.

    Raises:
        DataError: a file holds no votes, or those of another run, or of a person whose votes on
            that review are there already.
    """
    check(run, judged_by_others(run))
    reviews = {review.id: review for review in read_reviews(run)}
    voted = {
        (review, same_rater(votes.rater)): str(path)
        for review in reviews
        for path, votes in _vote_files(run, review)
    }
    found = []
    for file in files:
        votes = read_votes(file)
        if votes.review not in reviews:
            raise DataError(
                f"{file}: votes on review {votes.review[:40]!r}, which {run.path} does not have",
                hint=did_you_mean(votes.review, reviews),
            )
        check_votes(file, votes, reviews[votes.review])
        who = votes.review, same_rater(votes.rater)
        if who in voted:
            raise DataError(
                f"{file}: the votes of {votes.rater!r} on review {votes.review} are already in "
                f"{voted[who]}",
                hint="each person votes once; delete the older file to replace it",
            )
        voted[who] = str(file)
        found.append((file, votes))
    for file, votes in found:
        # by its content: a rater's name may hold what no file name can
        name = f"{file_sha256(file)[:16]}.json"
        path = run.review_votes(votes.review) / name
        write_record(path, votes)
        record(run, [path])


def read_reviews(run: RunDir) -> list[Review]:
    """All reviews of a run, the oldest first."""
    keys = [run.review_key(folder.name) for folder in _folders(run.reviews)]
    found = [read_record(key, Review) for key in keys if key.exists()]
    return sorted(found, key=lambda review: (review.created, review.id))


def stored_votes(run: RunDir, review: str) -> list[Votes]:
    """Everyone's votes in a review, each read again as strictly as when it came."""
    return [votes for _, votes in _vote_files(run, review)]


def _vote_files(run: RunDir, review: str) -> list[tuple[Path, Votes]]:
    paths = sorted(run.review_votes(review).glob("*.json"))
    return [(path, read_votes(path)) for path in paths]


def _folders(path: Path) -> list[Path]:
    return [folder for folder in sorted(path.iterdir()) if folder.is_dir()] if path.is_dir() else []


# ---- what people and models judge


def other_system(run: RunDir, against: str | None) -> str:
    """The system to compare the tuned model with; DataError where it has no answers.

    By default the base model with exemplars, the stronger way to use it, or without any.
    """
    if not run_state(run).evaluated:
        raise DataError(
            f"{run.path}: not evaluated yet", hint=f"`tunesmith resume {run.path}` goes on"
        )
    others = [name for name in read_evaluated(run, tuple(SYSTEMS)) if name != TUNED]
    wanted = against or (BASE_FEW_SHOT if BASE_FEW_SHOT in others else BASE)
    if wanted not in others:
        raise DataError(
            f"{run.path}: no answers of {wanted!r} to compare the tuned model with",
            hint=did_you_mean(wanted, others),
        )
    return wanted


def sample_pairs(run: RunDir, examples: Sequence[Example], a: str, k: int) -> PairSample:
    """At most k pairs of different answers of a and the tuned model; DataError as `draw_pairs`."""
    answers = [read_predictions(run, system, "test") for system in (a, TUNED)]
    pairs = answer_pairs(examples, *answers)
    sample = draw_pairs(pairs, k, run_recipe(run).data.split.seed)
    if len(sample.pairs) < k:
        note(
            f"{len(sample.pairs)} pairs, not {k}: to {sample.same} of {sample.rows} test "
            "rows both systems gave the same answer"
        )
    return sample
