"""`tunesmith judge`: a language model behind an endpoint compares two systems' answers."""

from __future__ import annotations

import hashlib

from tunesmith.artefacts import record
from tunesmith.data.store import example_ids, read_examples
from tunesmith.evaluate.endpoint import Client, Endpoint
from tunesmith.evaluate.llm_judge import (
    INSTRUCTION,
    JudgedPair,
    Judgement,
    Message,
    judge_pairs,
)
from tunesmith.evaluate.preference import PairSample
from tunesmith.evaluate.system_table import TUNED
from tunesmith.progress import progress
from tunesmith.records import Example
from tunesmith.run_files import now, read_record, write_record
from tunesmith.rundir import RunDir
from tunesmith.seal import open_seal
from tunesmith.stages.common import check_evaluated
from tunesmith.stages.review import other_system, sample_pairs


def pairs_to_judge(run: RunDir, k: int, against: str | None = None) -> tuple[str, PairSample]:
    """The other system and the pairs, the same as a review with as many shows; DataError as there.

    Nothing is sent.
    """
    a = other_system(run, against)
    check_evaluated(run)
    return a, sample_pairs(run, read_examples(run.examples("test")), a, k)


def judge(run: RunDir, endpoint: Endpoint, a: str, sample: PairSample) -> None:
    """Ask the endpoint's model about every pair, in both orders, and store what it replied.

    Test rows leave the run, which is a use of the test split and recorded as one. A model that is
    asked again replaces what it said before; if it fails on the way, the pairs before that are
    kept where there was nothing yet: their order is random, so they are a smaller sample.

    Raises:
        RunError: the endpoint does not answer.
    """
    examples = {example.id: example for example in read_examples(run.examples("test"))}
    purpose = f"{len(sample.pairs)} rows shown to the model {endpoint.model} at {endpoint.host}"
    open_seal(run, example_ids(run.examples("test")), purpose)
    asked = {p.example_id: conversation(examples[p.example_id]) for p in sample.pairs}
    path, judged = run.judgement(_file_name(endpoint, a)), list[JudgedPair]()
    try:
        with progress(f"asking {endpoint.model}", len(sample.pairs), unit="pairs") as advance:
            for pair in judge_pairs(sample.pairs, asked, Client(endpoint).ask):
                judged.append(pair)
                advance(1)
    finally:
        if len(judged) == len(sample.pairs) or (judged and not path.exists()):
            found = Judgement(
                model=endpoint.model,
                endpoint=endpoint.shown,
                instruction=INSTRUCTION,
                a=a,
                b=TUNED,
                created=now(),
                pairs=tuple(judged),
                rows=sample.rows,
                same=sample.same,
            )
            write_record(path, found)
            record(run, [path])


def read_judgements(run: RunDir) -> list[Judgement]:
    """All that models judged, the oldest first."""
    paths = sorted(run.judgements.glob("*.json"))
    found = [read_record(path, Judgement) for path in paths]
    return sorted(found, key=lambda judgement: (judgement.created, judgement.model))


def conversation(example: Example) -> list[Message]:
    """What the answers reply to, as messages."""
    turns = [{"role": turn.role, "content": turn.content} for turn in example.history]
    return [*turns, {"role": example.asked_by, "content": example.prompt}]


def _file_name(endpoint: Endpoint, a: str) -> str:
    """By a hash: a model's name may hold what no file name can."""
    who = "\0".join((endpoint.shown, endpoint.model, a))
    return hashlib.sha256(who.encode()).hexdigest()[:16]
