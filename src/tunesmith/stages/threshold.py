"""When the tuned model may answer by itself: fitted on validation before the test split is opened,
and looked at once on test.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from transformers import PreTrainedModel

from tunesmith.chat.format import ChatFormat
from tunesmith.data.store import read_examples
from tunesmith.evaluate.calibration import Ranked, confidences, fit_threshold, on_test, ranked
from tunesmith.evaluate.compare import Resampling
from tunesmith.evaluate.decisions import Calibration, Threshold
from tunesmith.evaluate.predictions import read_predictions
from tunesmith.evaluate.system_table import BASE, SYSTEMS, TUNED
from tunesmith.evaluate.systems import Decoding, likeliest, rank
from tunesmith.progress import progress
from tunesmith.recipe import Recipe
from tunesmith.records import Example, Prediction
from tunesmith.run_files import read_record, write_record
from tunesmith.rundir import RunDir
from tunesmith.stages.common import store_answers


def save_threshold(
    run: RunDir, recipe: Recipe, tuned: PreTrainedModel, chat: ChatFormat, how: Decoding
) -> None:
    """For closed tasks: store how likely the tuned model finds the choices of every validation row,
    and write its threshold into its folder.
    """
    examples = read_examples(run.examples("validation"))
    if not _closed(examples, how):
        return
    _store_confidence(run, TUNED, tuned, chat, how, examples, {})
    rows = ranked(examples, read_predictions(run, TUNED, "validation"))
    if rows is None:
        return
    settings, choices = recipe.evaluation, {example.choices for example in examples}
    found = fit_threshold(
        rows,
        settings.answer_at_accuracy,
        settings.confidence,
        choices.pop() if len(choices) == 1 else (),
    )
    write_record(run.threshold, found)


def store_base_confidence(
    run: RunDir,
    base: PreTrainedModel,
    chat: ChatFormat,
    how: Decoding,
    answers: Mapping[str, Prediction],
) -> None:
    """For closed tasks: store how likely the base model finds the choices of every validation row.

    Those among its `answers`, by example id, were ranked when they were answered.
    """
    examples = read_examples(run.examples("validation"))
    if _closed(examples, how):
        _store_confidence(run, BASE, base, chat, how, examples, answers)


def _closed(examples: Sequence[Example], how: Decoding) -> bool:
    return how.rank_choices and all(e.completion in e.choices for e in examples)


def _store_confidence(
    run: RunDir,
    system: str,
    model: PreTrainedModel,
    chat: ChatFormat,
    how: Decoding,
    examples: Sequence[Example],
    answers: Mapping[str, Prediction],
) -> None:
    started = time.monotonic()
    waiting = [example for example in examples if example.id not in answers]
    with progress(f"confidence on validation rows: {SYSTEMS[system].title}"):
        found = {p.example_id: p for p in rank(model, chat, waiting, how)}
    for example in examples:
        if known := answers.get(example.id):
            ranked_before = known.choice_logprobs, known.choice_logprobs_without_stop
            found[example.id] = likeliest(example, *ranked_before)
    predictions = [found[example.id] for example in examples]
    store_answers(run, system, examples, predictions, time.monotonic() - started)


def read_calibration(
    run: RunDir, test: Sequence[Example], judging: Resampling
) -> Calibration | None:
    """What the stored threshold gives on the test rows; None for tasks without one."""
    if not run.threshold.exists():
        return None
    threshold = read_record(run.threshold, Threshold)
    base, tuned = (_ranked(run, name, test) for name in (BASE, TUNED))
    if base is None or tuned is None:
        return None
    shown = [
        (BASE, "Base model", base, 1.0),
        (TUNED, "Tuned model", tuned, 1.0),
        (TUNED, "Tuned model, with temperature", tuned, threshold.temperature),
    ]
    systems = [confidences(*one, **judging) for one in shown]
    return on_test(threshold, systems, tuned, judging["confidence"])


def _ranked(run: RunDir, system: str, test: Sequence[Example]) -> Ranked | None:
    """None where the system has not answered just these rows, or not by choices."""
    predictions = read_predictions(run, system, "test")
    if [p.example_id for p in predictions] != [e.id for e in test]:
        return None
    return ranked(test, predictions)
