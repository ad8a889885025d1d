"""Every system answers the sealed test rows: same rows, same token budget, same decoding."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from transformers import PreTrainedModel

from tunesmith.chat.format import ChatFormat
from tunesmith.data.store import read_examples
from tunesmith.errors import DataError
from tunesmith.evaluate.baselines import BaselineTask, baseline_predictions
from tunesmith.evaluate.few_shot import (
    TRIAL_ROWS,
    best_wording,
    few_shot_exemplars,
    with_exemplars,
)
from tunesmith.evaluate.forward import in_dtype
from tunesmith.evaluate.likeliest import likeliest_predictions
from tunesmith.evaluate.predictions import write_predictions
from tunesmith.evaluate.system_table import BASE, BASE_FEW_SHOT, LIKELIEST, SYSTEMS, TUNED
from tunesmith.evaluate.systems import Decoding, answer
from tunesmith.models.load import fit_embeddings
from tunesmith.progress import progress, say
from tunesmith.recipe import Recipe
from tunesmith.records import Example, Prediction
from tunesmith.run_files import Evaluated, FewShot, Task, read_manifest, run_state, write_record
from tunesmith.rundir import RunDir
from tunesmith.seal import check_seal, open_seal
from tunesmith.stages.common import decoding, load_base, load_tuned, run_recipe, sample, tuned_chat
from tunesmith.stages.opponents import (
    OPPONENT_ROWS,
    best_rankings,
    scores_of_opponents,
)
from tunesmith.stages.prepare import check_backend
from tunesmith.stages.retention import measure_retention
from tunesmith.stages.threshold import save_threshold
from tunesmith.stages.working import stage


@stage("evaluation")
def evaluate(run: RunDir) -> None:
    """Store the answers of base, few-shot base and tuned and those of the baselines, and what
    training cost elsewhere. The use of the test split is recorded.
    """
    recipe, task = run_recipe(run), read_manifest(run).task
    if not run_state(run).trained:
        raise DataError(
            f"{run.path}: no tuned model yet", hint=f"`tunesmith train {run.path}` first"
        )
    check_backend(recipe)
    test, train_split, validation = (
        read_examples(run.examples(split)) for split in ("test", "train", "validation")
    )
    ids = [example.id for example in test]
    check_seal(run, ids)
    chat = tuned_chat(run, recipe)
    tuned, base = load_tuned(run, recipe), load_base(recipe)
    fit_embeddings(base, chat.tokenizer)
    # of answers that are made anew now
    write_record(run.evaluated, Evaluated(()))
    for stale in (run.verification, run.panel, run.threshold):
        stale.unlink(missing_ok=True)
    how = for_the_test(decoding(run, recipe, chat, tuned, train_split), recipe)
    tuned, base = in_dtype(tuned, how.dtype), in_dtype(base, how.dtype)
    save_threshold(run, recipe, {BASE: base, TUNED: tuned}, chat, how)  # before the test is opened
    trial = sample(validation, OPPONENT_ROWS)
    asked = [*test, *trial]
    prompted = _few_shot(run, recipe, task, train_split, validation, asked, base, chat, how)
    systems = [(BASE, base, asked), (TUNED, tuned, test)]
    if prompted is not None:
        systems.insert(1, (BASE_FEW_SHOT, base, prompted))
    answers = {
        system: _answer(run, system, model, chat, examples, how, len(test))
        for system, model, examples in systems
    }
    answers |= _baselines(run, task, train_split, asked, len(test))
    answers |= _opponents(run, task, asked, answers, len(test))
    measure_retention(run, recipe, (base, tuned), chat)
    _use_the_test(run, ids)
    write_record(run.evaluated, Evaluated(tuple(name for name in SYSTEMS if name in answers)))


@stage("evaluation")
def answer_tuned(run: RunDir) -> None:
    """The tuned model's answers to the test split alone; the caller records the use."""
    recipe = run_recipe(run)
    check_backend(recipe)
    chat, tuned = tuned_chat(run, recipe), load_tuned(run, recipe)
    how = for_the_test(decoding(run, recipe, chat, tuned), recipe)
    test = read_examples(run.examples("test"))
    _answer(run, TUNED, tuned, chat, test, how, len(test))
    write_record(run.evaluated, Evaluated((TUNED,)))


def for_the_test(how: Decoding, recipe: Recipe) -> Decoding:
    """What validation in training leaves out: the likelihood of the right answers, and another
    program's engine, which reads weights from a folder.
    """
    return replace(how, score_references=True, backend=recipe.evaluation.backend)


def _use_the_test(run: RunDir, ids: Sequence[str]) -> None:
    uses = open_seal(run, ids, "base, few-shot base and tuned")
    if uses > 1:
        say(
            f"note: the test split has now been used {uses} times; a choice made on it makes its "
            "result optimistic"
        )


def _few_shot(
    run: RunDir,
    recipe: Recipe,
    task: Task,
    train_split: Sequence[Example],
    validation: Sequence[Example],
    examples: Sequence[Example],
    base: PreTrainedModel,
    chat: ChatFormat,
    how: Decoding,
) -> list[Example] | None:
    """The examples behind exemplars, in the wording that the base does best with; None where
    the model has no room for any.
    """
    exemplars = few_shot_exemplars(train_split, recipe.evaluation.few_shot, recipe.data.split.seed)
    asked, exemplars, trial = best_wording(
        recipe.data,
        run.rows,
        sample(validation, TRIAL_ROWS),
        examples,
        exemplars,
        chat,
        base,
        how,
        task.primary,
        task.parser,
        task.options,
    )
    prompted, mean_shown = with_exemplars(asked, exemplars, chat, base, how)
    shown = tuple(exemplar.row_id for exemplar in exemplars)
    write_record(run.few_shot, FewShot(**asdict(trial), exemplars=shown, mean_shown=mean_shown))
    return prompted if mean_shown else None


def _answer(
    run: RunDir,
    system: str,
    model: PreTrainedModel,
    chat: ChatFormat,
    examples: Sequence[Example],
    how: Decoding,
    num_test: int,
) -> list[Prediction]:
    """Answers to all examples, of which the first `num_test`, the test split's, are stored."""
    started = time.monotonic()
    with progress(f"evaluating {system}", len(examples)) as advance:
        predictions = answer(model, chat, examples, how, advance)
    seconds = (time.monotonic() - started) * num_test / len(examples)
    write_predictions(run, system, examples[:num_test], predictions[:num_test], seconds)
    return predictions


def _baselines(
    run: RunDir,
    task: Task,
    train_split: Sequence[Example],
    examples: Sequence[Example],
    num_test: int,
) -> dict[str, list[Prediction]]:
    """The answers of what needs no language model, by its name; those to the test are stored."""
    given = BaselineTask(
        train_split,
        examples,
        task.family,
        task.parser,
        task.primary,
        task.prompt_layout,
        task.options,
    )
    found = baseline_predictions(given)
    for name, predictions in found.items():
        write_predictions(run, name, examples[:num_test], predictions[:num_test])
    return found


def _opponents(
    run: RunDir,
    task: Task,
    examples: Sequence[Example],
    answers: Mapping[str, Sequence[Prediction]],
    num_test: int,
) -> dict[str, list[Prediction]]:
    """Store what the opponents score on the validation rows after the first `num_test`, and the
    answers to the test of those that take the likeliest choice, which are returned.
    """
    trial = examples[num_test:]
    tried = {name: found[num_test:] for name, found in answers.items() if len(found) > num_test}
    rankings = best_rankings(trial, tried) if trial else {}
    ranked = {
        LIKELIEST[name]: likeliest_predictions(examples, answers[name], ranking)
        for name, ranking in rankings.items()
    }
    for name, predictions in ranked.items():
        write_predictions(run, name, examples[:num_test], predictions[:num_test])
        tried[name] = predictions[num_test:]
    if trial:
        write_record(run.opponents, scores_of_opponents(task, trial, tried, rankings))
    return ranked
