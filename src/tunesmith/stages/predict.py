"""`tunesmith predict`: the tuned model's answers to a file of rows, which need no labels.

Rows are read, put into the prompt and answered as the test rows were. Of a closed task the answer
is the likeliest choice, with its probability and, where a threshold was fitted (docs/deciding.md),
whether the model may give it by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax
from transformers import PreTrainedModel

from tunesmith.artefacts import check
from tunesmith.chat.format import ChatFormat
from tunesmith.data.build import Rendering, shorten
from tunesmith.data.sources.rows import read_rows
from tunesmith.data.sources.stored import StoredRows
from tunesmith.data.store import read_examples
from tunesmith.data.table_writer import check_new_table, table_writer
from tunesmith.data.templates.resolve import Excluded
from tunesmith.data.tokenize import Rejected, tokenize_examples
from tunesmith.data.unlabelled import Asking, asking, question
from tunesmith.errors import DataError
from tunesmith.evaluate.decisions import Threshold
from tunesmith.evaluate.forward import in_dtype
from tunesmith.evaluate.systems import Decoding, answer, rank
from tunesmith.progress import progress
from tunesmith.recipe import DataConfig, Recipe
from tunesmith.records import Example, Prediction, Row, TokenizedExample
from tunesmith.run_files import read_manifest, read_record
from tunesmith.rundir import RunDir
from tunesmith.stages.common import (
    check_prepared,
    check_trained,
    decoding,
    load_tuned,
    run_recipe,
    tuned_chat,
)
from tunesmith.stages.evaluate import with_held_out
from tunesmith.stages.prepare import usable_length

BATCH_ROWS = 1000
OWN = ("answer", "confidence", "abstain", "not_answered")
PROBABILITY = "probability_"
"""What columns are added: OWN, and one for each label, whose name it follows."""


@dataclass(frozen=True)
class Predicted:
    """How many rows there were, and for how many there is no answer; `abstained` are left to a
    person, None for an open task. Where no threshold was found they are all (`has_threshold`).
    """

    rows: int
    not_answered: int
    abstained: int | None
    has_threshold: bool
    output: str


@dataclass(frozen=True)
class Answering:
    """All that answers a row."""

    how: Asking
    model: PreTrainedModel
    chat: ChatFormat
    decoding: Decoding
    max_length: int
    threshold: Threshold | None


@dataclass(frozen=True)
class Answered:
    """What is known of a row: its answer, or why there is none. `confidence` and `abstain` are of
    closed tasks, `shares` the probability of each of its choices.
    """

    answer: str | None
    not_answered: str | None = None
    confidence: float | None = None
    abstain: bool | None = None
    shares: tuple[tuple[str, float], ...] = ()


def predict(run: RunDir, file: Path, output: Path, task: str | None = None) -> Predicted:
    """Write `output` (csv or jsonl): the rows of `file` in their order, with their answers.

    `task` names the one that the rows are of where the run has several. Raises InputError for an
    output that exists or has another ending, DataError for rows that do not fit the run's template,
    before any is answered.
    """
    check_new_table(output)
    check_trained(run)
    check_prepared(run)
    recipe = run_recipe(run)
    how = asking(recipe.data, StoredRows(run.rows), task)
    columns, total = _look_through(file, how)
    by = _answering(run, recipe, how)
    without = abstained = 0
    with progress("answers", total) as advance, table_writer(output, columns + _added(by)) as write:
        for rows in _batches(file, how.data):
            for row, found in zip(rows, _answers(rows, by), strict=True):
                write({**row.values, **_cells(found)})
                without += found.answer is None
                abstained += found.abstain is True
            advance(len(rows))
    has_threshold = by.threshold is not None and by.threshold.threshold is not None
    return Predicted(
        total, without, abstained if by.threshold else None, has_threshold, str(output)
    )


def _answering(run: RunDir, recipe: Recipe, how: Asking) -> Answering:
    model, chat = load_tuned(run, recipe), tuned_chat(run, recipe)
    every = decoding(run, recipe, chat, model)
    if how.source.held_out:
        test, task = read_examples(run.examples("test")), read_manifest(run).task
        every = with_held_out(every, run, recipe, task, test, chat, model)
    decide = every.of_task(how.source.task)
    model = in_dtype(model, decide.dtype)  # once, and not for every batch
    check(run, [run.threshold])
    has_threshold = decide.rank_choices and run.threshold.exists()
    threshold = read_record(run.threshold, Threshold) if has_threshold else None
    return Answering(how, model, chat, decide, usable_length(recipe), threshold)


# ---- the rows


def _rows(file: Path, data: DataConfig) -> Iterator[Row]:
    """A line that is no row is an error, as every row gets an answer."""
    return read_rows(file, data.encoding, names=data.names or (), sheet=data.sheet)


def _batches(file: Path, data: DataConfig) -> Iterator[list[Row]]:
    rows = _rows(file, data)
    while batch := list(islice(rows, BATCH_ROWS)):
        yield batch


def _look_through(file: Path, how: Asking) -> tuple[list[str], int]:
    """The columns of all rows, and how many rows there are. Raises for what cannot be asked."""
    columns, number = dict[str, None](), 0
    for row in _rows(file, how.data):
        number += 1
        columns |= dict.fromkeys(row.values)
        question(how, row)
    if not number:
        raise DataError(f"{file}: no rows", hint="the first line of a csv file names the columns")
    for column in columns:
        if column in OWN or column.startswith(PROBABILITY):
            raise DataError(
                f"{file}: has a column {column!r}, which answers are written to",
                hint="rename it",
            )
    return list(columns), number


# ---- their answers


def _answers(rows: Sequence[Row], by: Answering) -> list[Answered]:
    asked = _fitting([question(by.how, row) for row in rows], by)
    examples = [item for item in asked if isinstance(item, Example)]
    ask = rank if by.decoding.rank_choices else answer
    found = iter(ask(by.model, by.chat, examples, by.decoding) if examples else ())
    return [
        _read(item, next(found), by) if isinstance(item, Example) else Answered(None, item)
        for item in asked
    ]


def _fitting(items: Sequence[Rendering | Excluded], by: Answering) -> list[Example | str]:
    """The examples, shortened where their template allows that; why there is none otherwise."""
    rendered = [item.example for item in items if isinstance(item, Rendering)]
    tokens = iter(tokenize_examples(rendered, by.chat, by.max_length))
    return [
        item.reason if isinstance(item, Excluded) else _fitted(item, next(tokens), by)
        for item in items
    ]


def _fitted(item: Rendering, found: TokenizedExample | Rejected, by: Answering) -> Example | str:
    if not isinstance(found, Rejected):
        return item.example
    shorter = shorten(item, by.how.data, by.chat, by.max_length)
    return found.detail if shorter is None else shorter.example


def _read(example: Example, found: Prediction, by: Answering) -> Answered:
    if not by.decoding.rank_choices:
        return Answered(found.text)
    temperature = by.threshold.temperature if by.threshold else 1.0
    shares = softmax(np.array(found.choice_logprobs) / temperature).tolist()
    confidence, abstain = max(shares), None
    if by.threshold:
        least = by.threshold.threshold  # None where no confidence is enough
        abstain = least is None or confidence < least
    pairs = tuple(zip(example.choices, shares, strict=True)) if by.how.source.choices else ()
    return Answered(found.text, None, confidence, abstain, pairs)


# ---- the columns that are added


def _added(by: Answering) -> list[str]:
    """Only those that this run's task fills."""
    closed = by.decoding.rank_choices
    names = ["answer", *(["confidence"] if closed else []), *(["abstain"] if by.threshold else [])]
    labels = by.how.source.choices if closed else ()
    return [*names, *(PROBABILITY + label for label in labels), "not_answered"]


def _cells(found: Answered) -> dict[str, Any]:
    own = {name: getattr(found, name) for name in OWN}
    return own | {PROBABILITY + label: share for label, share in found.shares}
