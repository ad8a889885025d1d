"""Every system answers the sealed test rows: same rows, same token budget, same decoding."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace

from transformers import PreTrainedModel

from tunesmith.chat.format import ChatFormat
from tunesmith.data.store import read_examples
from tunesmith.errors import DataError
from tunesmith.evaluate.few_shot import (
    TRIAL_ROWS,
    best_wording,
    few_shot_exemplars,
    with_exemplars,
)
from tunesmith.evaluate.forward import in_dtype
from tunesmith.evaluate.predictions import write_predictions
from tunesmith.evaluate.system_table import BASE, BASE_FEW_SHOT, SYSTEMS, TUNED
from tunesmith.evaluate.systems import Decoding, answer, task_decodings, with_tasks
from tunesmith.models.load import fit_embeddings
from tunesmith.progress import progress, say
from tunesmith.recipe import Recipe
from tunesmith.records import Example
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
from tunesmith.seal import open_seal
from tunesmith.stages.common import (
    decoding,
    load_base,
    load_tuned,
    run_recipe,
    sample,
    training_data,
    tuned_chat,
)
from tunesmith.stages.prepare import check_backend
from tunesmith.stages.retention import measure_retention
from tunesmith.stages.tasks import baselines_by_task, in_order, of_task


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
    test, train_split = (read_examples(run.examples(split)) for split in ("test", "train"))
    chat = tuned_chat(run, recipe)
    tuned, base = load_tuned(run, recipe), load_base(recipe)
    fit_embeddings(base, chat.tokenizer)
    _use_the_test(run, test)
    for stale in (run.verification, run.evaluated, run.panel):  # of answers that are made anew now
        stale.unlink(missing_ok=True)
    how = for_the_test(decoding(run, recipe, chat, tuned, train_split), recipe)
    how = with_held_out(how, run, recipe, task, test, chat, tuned)
    tuned, base = in_dtype(tuned, how.dtype), in_dtype(base, how.dtype)
    prompted = _few_shot(run, recipe, task, train_split, test, base, chat, how)
    systems = [(BASE, base, test), (TUNED, tuned, test)]
    if prompted is not None:
        systems.insert(1, (BASE_FEW_SHOT, base, prompted))
    for system, model, examples in systems:
        _answer(run, system, model, chat, examples, how)
    baselines = _baselines(run, task, train_split, test)
    measure_retention(run, recipe, (base, tuned), chat)
    stored = {*baselines, *(name for name, *_ in systems)}
    write_record(run.evaluated, Evaluated(tuple(name for name in SYSTEMS if name in stored)))


def answer_tuned(run: RunDir) -> None:
    """The tuned model's answers to the test split alone; the caller records the use."""
    recipe = run_recipe(run)
    check_backend(recipe)
    chat, tuned = tuned_chat(run, recipe), load_tuned(run, recipe)
    how = for_the_test(decoding(run, recipe, chat, tuned), recipe)
    test, task = read_examples(run.examples("test")), read_manifest(run).task
    how = with_held_out(how, run, recipe, task, test, chat, tuned)
    _answer(run, TUNED, tuned, chat, test, how)
    write_record(run.evaluated, Evaluated((TUNED,)))


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


def _use_the_test(run: RunDir, test: Sequence[Example]) -> None:
    ids = [example.id for example in test]
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
    test: Sequence[Example],
    base: PreTrainedModel,
    chat: ChatFormat,
    how: Decoding,
) -> list[Example] | None:
    """The test examples behind exemplars of their own task, in the wording that the base does best
    with; None where the model has no room for any.

    A held-out task has no exemplars, since all its rows are tested: the base model is asked
    zero-shot there, as the tuned one is.
    """
    validation = read_examples(run.examples("validation"))
    asked: dict[str, Example] = {}
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
            of_task(test, name),
            base,
            chat,
            how.of_task(name),
        )
        if records[name].mean_shown:
            asked |= {example.id: example for example in prompted}
    if task.tasks:
        write_record(run.few_shot_by_task, FewShotByTask(records))
    else:
        write_record(run.few_shot, records[""])
    return in_order(test, asked) or None


def _few_shot_of_task(
    run: RunDir,
    recipe: Recipe,
    task: Task,
    train_split: Sequence[Example],
    validation: Sequence[Example],
    test: Sequence[Example],
    base: PreTrainedModel,
    chat: ChatFormat,
    how: Decoding,
) -> tuple[list[Example], FewShot]:
    exemplars = few_shot_exemplars(train_split, recipe.evaluation.few_shot, recipe.data.split.seed)
    asked, exemplars, trial = best_wording(
        recipe.data,
        run.rows,
        sample(validation, TRIAL_ROWS),
        test,
        exemplars,
        chat,
        base,
        how,
        task.primary,
        task.parser,
    )
    prompted, mean_shown = with_exemplars(asked, exemplars, chat, base, how)
    shown = tuple(exemplar.row_id for exemplar in exemplars)
    return prompted, FewShot(**asdict(trial), exemplars=shown, mean_shown=mean_shown)


def _answer(
    run: RunDir,
    system: str,
    model: PreTrainedModel,
    chat: ChatFormat,
    examples: Sequence[Example],
    how: Decoding,
) -> None:
    started = time.monotonic()
    with progress(f"evaluating {system}", len(examples)) as advance:
        predictions = answer(model, chat, examples, how, advance)
    write_predictions(run, system, examples, predictions, time.monotonic() - started)


def _baselines(
    run: RunDir, task: Task, train_split: Sequence[Example], test: Sequence[Example]
) -> list[str]:
    """Store the answers of what needs no language model; their names."""
    found = baselines_by_task(task, train_split, test)
    for name, answers in found.items():
        answered = [example for example in test if example.id in answers]
        write_predictions(run, name, answered, [answers[example.id] for example in answered])
    return list(found)
