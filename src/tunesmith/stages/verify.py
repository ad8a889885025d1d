"""Whether the saved model alone does what the report says: a fresh process loads the folder and
answers test prompts.

Prompt ids, answers and stops must be those that are stored. A greedy answer may turn at a tie,
where the batch decides the last bits; it is told apart by the gap of the two logits, measured in
float32.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from tunesmith.artefacts import check, forget, listed_hashes, model_files, record
from tunesmith.chat.format import ChatFormat
from tunesmith.data.store import read_examples
from tunesmith.data.tokenize import tokenize_prompts
from tunesmith.errors import DataError, RunError
from tunesmith.evaluate.predictions import read_predictions
from tunesmith.evaluate.system_table import TUNED
from tunesmith.progress import progress
from tunesmith.records import Example, Prediction, Unserved
from tunesmith.run_files import write_record
from tunesmith.rundir import RunDir
from tunesmith.stages.common import answered_in, check_tuned, run_recipe, sample, tuned_chat
from tunesmith.stages.other_process import answer_of
from tunesmith.stages.working import stage

ROWS = 32
SHOWN = 60  # characters of an answer
TIE = {"float32": 1e-3, "bfloat16": 0.5}
"""Largest gap of two logits that rounding decides: bfloat16 has 8 bits, logits reach the tens."""


@dataclass(frozen=True)
class Verification:
    """`ties`: answers that part from the stored one where two tokens were nearly equally
    likely; `differences` say what else is not as it is stored.
    """

    rows: int
    answers_equal: int
    ties: int
    dtype: str
    differences: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What the report says of it."""
        equal = f"{self.answers_equal} of {self.rows} stored answers"
        what = f"a fresh process that loads model/ alone gives {equal}"
        ties = f", {self.ties} part from them at a tie between two tokens" if self.ties else ""
        return f"{what}{ties}" + (
            f"; {'; '.join(self.differences[:3])}" if self.differences else ""
        )


@stage("verification")
def verify(run: RunDir) -> Verification:
    """Ask a fresh process; what it found goes into the report. DataError where nothing was
    evaluated yet.
    """
    check_tuned(run)
    check(run, [run.examples("test"), run.predictions(TUNED, "test")])
    recipe = run_recipe(run)
    if not run.predictions(TUNED, "test").exists():
        raise DataError(
            f"{run.path}: not evaluated yet", hint=f"`tunesmith resume {run.path}` goes on"
        )
    with progress("a fresh process loads the saved model and answers"):
        found = verify_folder(
            run.model,
            tuned_chat(run, recipe),
            read_examples(run.examples("test")),
            read_predictions(run, TUNED, "test"),
            dtype=answered_in(run, recipe),
            trust_remote_code=recipe.trust_remote_code,
        )
    forget(run, [run.verification])
    write_record(run.verification, found)
    answers = listed_hashes(run, [*model_files(run), run.predictions(TUNED, "test")])
    record(run, [run.verification], answers)
    return found


class Job(TypedDict):
    """One row for the fresh process: what it renders, the stored answer, and its token ids.

    Where no ids are stored (older runs), those of `trained_text`, which is the answer as the
    template writes it, take their place.
    """

    messages: list[dict[str, object]]
    tools: object
    text: str
    token_ids: list[int]
    trained_text: str


class Answer(TypedDict):
    """What the fresh process gives back; `gap` is of the logits where the answers part, None where
    they do not.
    """

    prompt_ids: list[int]
    text: str
    last_id: int
    gap: NotRequired[float | None]


def verify_folder(
    folder: Path,
    chat: ChatFormat,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    dtype: str = "float32",
    trust_remote_code: bool = False,
) -> Verification:
    """Of at most 32 examples, evenly from all. A folder that does not load by itself is a
    difference too.
    """
    rows, wanted = sample(examples, ROWS), sample(predictions, ROWS)
    try:
        found = _ask(
            folder,
            [_job(chat, e, p) for e, p in zip(rows, wanted, strict=True)],
            dtype,
            trust_remote_code,
        )
    except RunError as error:
        return Verification(len(rows), 0, 0, dtype, (error.message,))
    prompts, ends = tokenize_prompts(rows, chat), set(chat.stop_ids())
    equal, ties, differences = 0, 0, []
    for example, stored, ids, row in zip(rows, wanted, prompts, found, strict=True):
        if row["prompt_ids"] != ids:
            there = len(row["prompt_ids"])
            differences.append(
                f"row {example.id}: the prompt's ids are others ({len(ids)} here, {there} there)"
            )
        elif _same(chat, stored, row, ends):
            equal += 1
        elif (gap := row.get("gap")) is not None and gap <= TIE[dtype]:
            ties += 1
        else:
            found_text = chat.read(row["text"])
            differences.append(f"row {example.id}: {_parting(found_text, stored.text)}")
    return Verification(len(rows), equal, ties, dtype, tuple(differences))


def _parting(found: str, stored: str) -> str:
    """Two answers from a little before where they part, so that the difference is seen."""
    pairs = enumerate(zip(found, stored, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), min(len(found), len(stored)))
    start = max(0, same - SHOWN // 3)
    shown = (f"{'...' if start else ''}{text[start : start + SHOWN]}" for text in (found, stored))
    return "the answer is {!r}, stored {!r}".format(*shown)


def _job(chat: ChatFormat, example: Example, stored: Prediction) -> Job:
    written = chat.answer_after(stored.text)
    return {
        "messages": chat.messages(example),
        "tools": json.loads(example.tools) if example.tools else None,
        "text": stored.text,
        "token_ids": [*stored.token_ids, *([chat.stop_id] if stored.stopped else [])]
        if stored.token_ids
        else [],
        "trained_text": stored.text if isinstance(written, Unserved) else written,
    }


def _same(chat: ChatFormat, stored: Prediction, row: Answer, ends: set[int]) -> bool:
    """An answer that was cut (a budget, or a line end where answers have one line) is the other's
    beginning.
    """
    text = chat.read(row["text"])
    if not stored.stopped:
        return text.startswith(stored.text)
    return text == stored.text and row["last_id"] in ends


def _ask(folder: Path, rows: list[Job], dtype: str, trust_remote_code: bool) -> list[Answer]:
    job = {
        "folder": str(folder),
        "rows": rows,
        "dtype": dtype,
        "trust_remote_code": trust_remote_code,
    }
    script = Path(__file__).with_name("fresh.py")
    failed = f"{folder}: does not load in a fresh process"
    answers: list[Answer] = answer_of([str(script)], failed, job)
    return answers
