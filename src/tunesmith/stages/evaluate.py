"""Every system answers the sealed test rows: same rows, same token budget, same decoding."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from transformers import PreTrainedModel

from tunesmith.artefacts import forget, listed_hashes, record
from tunesmith.chat.format import ChatFormat
from tunesmith.data.store import read_examples
from tunesmith.errors import DataError
from tunesmith.evaluate.few_shot import (
    TRIAL_ROWS,
    best_wording,
    few_shot_exemplars,
    with_exemplars,
)
from tunesmith.evaluate.system_table import BASE, BASE_FEW_SHOT, SYSTEMS, TUNED
from tunesmith.evaluate.systems import Decoding, task_decodings, with_tasks
from tunesmith.progress import note, progress
from tunesmith.recipe import Recipe
from tunesmith.records import Example, Prediction
from tunesmith.run_files import (
    Evaluated,
    FewShot,
    FewShotByTask,
    Task,
    read_manifest,
    run_state,
    write_record,
)
from tunesmith.rundir import RunDir
from tunesmith.seal import check_seal, open_seal
from tunesmith.stages.common import (
    base_hashes,
    check_base,
    check_prepared,
    check_tuned,
    decoding,
    found_beside_answers,
    report_files,
    run_recipe,
    sample,
    store_answers,
    training_data,
    tuned_chat,
)
from tunesmith.stages.held import Held, hold
from tunesmith.stages.opponents import likeliest_by_task, opponents_by_task, trial_rows
from tunesmith.stages.prepare import check_backend
from tunesmith.stages.retention import measure_retention
from tunesmith.stages.tasks import baselines_by_task, of_task
from tunesmith.stages.threshold import save_threshold, store_base_confidence
from tunesmith.stages.working import stage


@stage("evaluation")
def evaluate(run: RunDir) -> None:
    """Store the answers of base, few-shot base and tuned and those of the baselines, and what
    training cost elsewhere. The use of the test split is recorded. DataError where rows, base or
    tuned model are not those that were made.
    """
    check_prepared(run)
    recipe, task = run_recipe(run), read_manifest(run).task
    if not run_state(run).trained:
        raise DataError(
            f"{run.path}: no tuned model yet", hint=f"`tunesmith train {run.path}` first"
        )
    check_backend(recipe)
    check_tuned(run)
    check_base(run, recipe)
    test, train_split, validation = (
        read_examples(run.examples(split)) for split in ("test", "train", "validation")
    )
    ids = [example.id for example in test]
    check_seal(run, ids)
    chat = tuned_chat(run, recipe)
    with progress("loading base and tuned model"):
        tuned, base = (hold(run, recipe, is_tuned, chat) for is_tuned in (True, False))
    _clear(run)
    how = for_the_test(decoding(run, recipe, chat, tuned.model, train_split), recipe)
    how = with_held_out(how, run, recipe, task, test, chat, tuned.model)
    # before the test is opened
    tuned.use(lambda model: save_threshold(run, recipe, model, chat, how))
    trial = trial_rows(task, validation)
    asked = [*test, *trial]
    prompted = base.use(
        lambda model: _few_shot(run, recipe, task, train_split, validation, asked, model, chat, how)
    )
    systems = [(BASE, base, asked), (TUNED, tuned, test)]
    if prompted:
        systems.insert(1, (BASE_FEW_SHOT, base, prompted))
    answers = {
        system: _answer(run, system, held, examples, how, test)
        for system, held, examples in systems
    }
    base.use(lambda model: store_base_confidence(run, model, chat, how, answers[BASE]))
    answers |= _baselines(run, task, train_split, asked, test)
    answers |= _likeliest(run, task, test, trial, answers)
    if trial:
        write_record(run.opponents, opponents_by_task(task, trial, answers))
    measure_retention(run, recipe, (base, tuned), chat)
    _use_the_test(run, ids)
    _finish(run, tuple(name for name in SYSTEMS if name in answers))


@stage("evaluation")
def answer_tuned(run: RunDir) -> None:
    """The tuned model's answers to the test split alone; the caller records the use."""
    check_prepared(run)
    check_tuned(run)
    recipe = run_recipe(run)
    check_backend(recipe)
    _clear(run)
    chat = tuned_chat(run, recipe)
    tuned = hold(run, recipe, True, chat)
    how = for_the_test(decoding(run, recipe, chat, tuned.model), recipe)
    test, task = read_examples(run.examples("test")), read_manifest(run).task
    how = with_held_out(how, run, recipe, task, test, chat, tuned.model)
    _answer(run, TUNED, tuned, test, how, test)
    _finish(run, (TUNED,))


def _clear(run: RunDir) -> None:
    """Remove what an earlier evaluation found, and take its answers off the list, and the report on
    them: they are made anew now.
    """
    stale = [run.verification, run.evaluated, *found_beside_answers(run)]
    forget(run, [*stale, *report_files(run), *run.evaluation.glob("*/*.parquet")])
    for path in stale:
        path.unlink(missing_ok=True)
    write_record(run.evaluated, Evaluated(()))  # begun, and not done


def _finish(run: RunDir, systems: tuple[str, ...]) -> None:
    """List what was found beside the answers, then say that they are all there."""
    answers = listed_hashes(run, run.evaluation.glob("*/*.parquet"))
    found = [path for path in found_beside_answers(run) if path.exists()]
    record(run, found, answers | base_hashes(run))
    write_record(run.evaluated, Evaluated(systems))
    record(run, [run.evaluated], answers | listed_hashes(run, found))


def for_the_test(how: Decoding, recipe: Recipe) -> Decoding:
    """What validation in training leaves out: the likelihood of the right answers, and another
    program's engine, which reads weights from a folder.
    """
    return replace(how, score_references=True, backend=recipe.evaluation.backend)


def with_held_out(
    how: Decoding,
    run: RunDir,
    recipe: Recipe,
    task: Task,
    test: Sequence[Example],
    chat: ChatFormat,
    model: PreTrainedModel,
) -> Decoding:
    """The decoding with that of the held-out tasks, which have no training answers to show how long
    one may be: their own test answers do, for all systems alike.
    """
    held_out = [name for name, own in task.tasks.items() if own.held_out]
    if not held_out:
        return how
    lengths = training_data(run, "test").num_trained.tolist()
    return with_tasks(how, task_decodings(held_out, test, lengths, chat, model, recipe.evaluation))


def _use_the_test(run: RunDir, ids: Sequence[str]) -> None:
    uses = open_seal(run, ids, "base, few-shot base and tuned")
    if uses > 1:
        note(
            f"the test split has now been used {uses} times; a choice made on it makes its "
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
) -> list[Example]:
    """The examples behind exemplars of their own task, in the wording that the base does best with;
    without those for which the model has no room.

    A held-out task has no exemplars, since all its rows are tested: the base model is asked
    zero-shot there, as the tuned one is.
    """
    asked: list[Example] = []
    records: dict[str, FewShot] = {}
    for name, own in task.judged.items():
        if own.held_out:
            continue
        prompted, records[name] = _few_shot_of_task(
            run,
            recipe,
            own,
            of_task(train_split, name),
            of_task(validation, name),
            of_task(examples, name),
            base,
            chat,
            how.of_task(name),
        )
        if records[name].mean_shown:
            asked += prompted
    if task.tasks:
        write_record(run.few_shot_by_task, FewShotByTask(records))
    else:
        write_record(run.few_shot, records[""])
    return asked


def _few_shot_of_task(
    run: RunDir,
    recipe: Recipe,
    task: Task,
    train_split: Sequence[Example],
    validation: Sequence[Example],
    examples: Sequence[Example],
    base: PreTrainedModel,
    chat: ChatFormat,
    how: Decoding,
) -> tuple[list[Example], FewShot]:
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
    return prompted, FewShot(**asdict(trial), exemplars=shown, mean_shown=mean_shown)


def _answer(
    run: RunDir,
    system: str,
    held: Held,
    examples: Sequence[Example],
    how: Decoding,
    test: Sequence[Example],
) -> dict[str, Prediction]:
    """By example id the answers to all examples, of which those to the test split are stored."""
    started = time.monotonic()
    with progress(SYSTEMS[system].title, len(examples)) as advance:
        predictions = held.answers(examples, how, advance)
    found = {prediction.example_id: prediction for prediction in predictions}
    ids = {example.id for example in examples}
    share = sum(example.id in ids for example in test) / len(examples)
    _store(run, system, test, found, (time.monotonic() - started) * share)
    return found


def _store(
    run: RunDir,
    system: str,
    test: Sequence[Example],
    answers: Mapping[str, Prediction],
    seconds: float = 0.0,
) -> None:
    answered = [example for example in test if example.id in answers]
    predictions = [answers[example.id] for example in answered]
    store_answers(run, system, answered, predictions, seconds)


def _baselines(
    run: RunDir,
    task: Task,
    train_split: Sequence[Example],
    examples: Sequence[Example],
    test: Sequence[Example],
) -> dict[str, dict[str, Prediction]]:
    """The answers of what needs no language model, by its name; those to the test are stored."""
    with progress("opponents without a language model"):
        found = baselines_by_task(task, train_split, examples)
    for name, answers in found.items():
        _store(run, name, test, answers)
    return found


def _likeliest(
    run: RunDir,
    task: Task,
    test: Sequence[Example],
    trial: Sequence[Example],
    answers: Mapping[str, Mapping[str, Prediction]],
) -> dict[str, dict[str, Prediction]]:
    """The answers of the systems that take the likeliest choice; those to the test are stored."""
    found = likeliest_by_task(task, test, trial, answers)
    for name, predictions in found.items():
        _store(run, name, test, predictions)
    return found
