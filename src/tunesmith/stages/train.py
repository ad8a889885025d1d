"""Training on the prepared rows, validated by generating answers; the best checkpoint is saved."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from tunesmith.artefacts import forget, listed_hashes, model_files, record
from tunesmith.chat.format import ChatFormat
from tunesmith.data.store import read_examples
from tunesmith.distributed.group import by_rank, for_all, place, together
from tunesmith.distributed.leading import ask
from tunesmith.evaluate.budget import affordable_rows
from tunesmith.evaluate.forward import common_prefix
from tunesmith.evaluate.metrics import MetricResult, find_metric, score_predictions
from tunesmith.evaluate.systems import Decoding, answer
from tunesmith.evaluate.tasks import validation_scores
from tunesmith.machine import probe_machine
from tunesmith.models.four_bit import dequantized
from tunesmith.models.load import default_device, embeddings_lack, fit_embeddings, load_empty
from tunesmith.models.save import save_model
from tunesmith.progress import note, progress
from tunesmith.ranks import world_size
from tunesmith.recipe import Recipe, TrainConfig
from tunesmith.records import Example, Prediction
from tunesmith.run_files import Task, TrainingFacts, read_manifest, write_record
from tunesmith.rundir import RunDir
from tunesmith.screen import ANSWERS, Answered
from tunesmith.stages.common import (
    answered_in,
    base_hashes,
    check_base,
    check_prepared,
    decoding,
    load_trainable,
    run_chat,
    run_recipe,
    sample,
    training_data,
)
from tunesmith.stages.memory import check_fits
from tunesmith.stages.planned_apart import check_fits_apart
from tunesmith.stages.working import stage
from tunesmith.train.adapters import merge_lora, with_base, wrap_lora, wrap_lora_empty
from tunesmith.train.checkpoint import weights_sha256
from tunesmith.train.loop import STANDARD_ERROR, TrainResult
from tunesmith.train.loop import train as train_model
from tunesmith.train.memory import give_back_freed_memory, peak_bytes
from tunesmith.train.packing.plan import TrainingData
from tunesmith.train.processes import check_processes
from tunesmith.train.roofline import lower_bound, model_size
from tunesmith.train.sharded import ReadWeights

SELECTED = "selected_by"  # the primary metric with the sign that makes more better


@stage("training")
def train(run: RunDir) -> None:
    """Train from the last good checkpoint, if there is one, and save model/. RunError and
    InputError are as in train.loop.train, InputError also for a training that does not fit into
    memory; DataError where rows or base are not those that were
    prepared.
    """
    recipe = run_recipe(run)
    check_processes(recipe.train)
    check_prepared(run)
    check_base(run, recipe)
    forget(run, [run.training, run.metrics, *model_files(run)])
    answered_in(run, recipe)  # decided before other processes read it
    data = training_data(run, "train")
    begun = _has_steps(run)
    if world_size() > 1:
        fit = check_fits_apart(run, recipe.train, begun)
    else:
        fit = check_fits(recipe, data, run.path, begun)
    if fit.keys:
        note(f"train.fit: {fit.keys}, for it does not fit otherwise; no update changes")
    ask("train", str(run.path))
    found = _trained(run, data, fit.train)
    give_back_freed_memory()
    chat, how = found.chat, found.how
    model = merge_lora(_plain(found.model, recipe, chat))
    write_record(run.training, _facts(model, data, recipe, found.result, fit.planned))
    # the threshold of an evaluation stays true where the same weights come back; the template that
    # was trained on has the other one beside it, under a name nothing loads
    files = [run.original_chat_template, run.threshold]
    save_model(model, chat.tokenizer, run.model, chat.stop_ids(model), how.max_new_tokens, files)
    _list_files(run, found.result)


def help_to_train(folder: str) -> None:
    """Take part in the leader's training: its share of every step, and of the answers."""
    run = RunDir(Path(folder))
    _trained(run, training_data(run, "train"), run_recipe(run).train)


@dataclass(frozen=True)
class _Trained:
    """What comes out of the loop, and what it was given that is still needed."""

    model: PreTrainedModel
    chat: ChatFormat
    how: Decoding
    result: TrainResult


def _trained(run: RunDir, data: TrainingData, config: TrainConfig) -> _Trained:
    """What every process does of a training; files are the leader's affair. `config` is the
    recipe's `train`, made to fit.
    """
    recipe, task = run_recipe(run), read_manifest(run).task
    chat = run_chat(run, recipe)
    model, read_weights = _to_train(recipe, chat)
    how = decoding(run, recipe, chat, model)
    validation = training_data(run, "validation")
    examples = read_examples(run.examples("validation"))
    num_rows = validation_rows(data, validation, examples, recipe, how.rank_choices)
    result = train_model(
        model,
        data,
        config,
        run=run,
        validation=validation,
        validate=_validator(chat, sample(examples, num_rows), how, task),
        validated_in=how.dtype,
        select=SELECTED,
        resume=True,
        read_weights=read_weights,
    )
    return _Trained(model, chat, how, result)


def _to_train(recipe: Recipe, chat: ChatFormat) -> tuple[PreTrainedModel, ReadWeights | None]:
    """The model; of several processes without its weights, with what reads each one's part."""
    lora, seed = recipe.train.lora, recipe.train.seed
    empty = load_empty(recipe.model, recipe.trust_remote_code) if together() else None
    if empty is not None and not embeddings_lack(empty[0], chat.tokenizer):
        model, stored = empty if lora is None else wrap_lora_empty(*empty, lora, seed)
        return model, stored.read_into
    return load_with_adapters(recipe, chat), None


def load_with_adapters(recipe: Recipe, chat: ChatFormat) -> PreTrainedModel:
    """The model that the run starts from, with room for its tokens and the recipe's adapters."""
    model, config = load_trainable(recipe), recipe.train
    fit_embeddings(model, chat.tokenizer)
    return model if config.lora is None else wrap_lora(model, config.lora, config.seed)


def _plain(model: PreTrainedModel, recipe: Recipe, chat: ChatFormat) -> PreTrainedModel:
    """The adapters on a base in float32: that of 4 bits with its numbers as they are, on the CPU,
    which has room for them. Merged in 4 bits, they would be rounded once more.
    """
    lora = recipe.train.lora
    if lora is None or not lora.load_in_4bit:
        return model
    base = dequantized(load_trainable(recipe)).cpu()
    fit_embeddings(base, chat.tokenizer)
    return with_base(model, base, lora)


def _list_files(run: RunDir, result: TrainResult) -> None:
    """The saved model and what is told of its training, made from the rows by way of the best
    checkpoint.
    """
    rows = [run.recipe, run.chat_template, run.examples("train"), run.examples("validation")]
    best = run.checkpoints / f"step-{result.best_step:06d}"
    checkpoint = {f"{best.relative_to(run.path).as_posix()} weights": weights_sha256(best)}
    made = [path for path in run.model.rglob("*") if path.is_file() and path != run.threshold]
    made_from = {**listed_hashes(run, rows), **base_hashes(run), **checkpoint}
    record(run, [run.training, run.metrics, *made], made_from)


def _validator(
    chat: ChatFormat, examples: Sequence[Example], how: Decoding, task: Task
) -> Callable[[PreTrainedModel], dict[str, float]]:
    """What the loop calls after each epoch: the means of the task's metrics over generated answers,
    the primary one also as what the checkpoint is selected by; of a mixture, the mean over its
    tasks.
    """

    def validate(model: PreTrainedModel) -> dict[str, float]:
        with progress("answering validation rows", len(examples)) as advance:
            predictions = by_rank(
                lambda rows: answer(model, chat, rows, how, for_all(advance)), examples
            )
            advance.answered(_shown(examples, predictions))
        if task.tasks:
            mean, error = validation_scores(examples, predictions, task)
            known = {} if error is None else {f"{SELECTED}{STANDARD_ERROR}": error}
            return {task.primary: mean, SELECTED: mean, **known}
        result = score_predictions(examples, predictions, task.metrics, task.parser, task.options)
        means = {name: sum(scores) / len(scores) for name, scores in result.scores.items()}
        means |= result.corpus
        selected = find_metric(task.primary).sign * means[task.primary]
        return means | {SELECTED: selected, **_standard_error(result, task.primary)}

    return validate


def _shown(examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[Answered]:
    """The first rows: the same after each epoch, so that one sees them change. What all prompts
    begin with is left out, as there is room for a few words only.
    """
    pairs = list(zip(examples, predictions, strict=True))[:ANSWERS]
    characters = {tuple(map(ord, example.prompt)) for example, _ in pairs}
    shared = common_prefix(list(characters)) if len(characters) > 1 else 0
    return [Answered(e.prompt[shared:], p.text, e.completion) for e, p in pairs]


def _standard_error(result: MetricResult, metric: str) -> dict[str, float]:
    """Of the selecting metric's mean over the rows; none for a metric of the whole split."""
    scores = result.scores.get(metric, [])
    if len(scores) < 2:
        return {}
    return {f"{SELECTED}{STANDARD_ERROR}": statistics.stdev(scores) / math.sqrt(len(scores))}


def validation_rows(
    data: TrainingData,
    validation: TrainingData,
    examples: Sequence[Example],
    recipe: Recipe,
    ranked: bool,
) -> int:
    """How many validation rows are answered after each epoch; a note where they are fewer than was
    asked for.
    """
    answers = validation.num_trained
    prompts = [validation.row(row)[:-n].tolist() for row, n in enumerate(answers[:200])]
    shared = common_prefix(prompts)
    asked = min(recipe.evaluation.num_validation_examples, len(examples))
    found = affordable_rows(
        int((data.lengths - shared).clip(min=1).sum()),
        float((validation.lengths - answers).mean()) - shared,
        float(answers.mean()),
        sum(len(example.choices) for example in examples) / len(examples) if ranked else 0.0,
        asked,
    )
    if found < asked:
        note(
            f"{found} of {asked} validation rows are answered after each epoch, for a fifth "
            "of its training time"
        )
    return found


def _facts(
    model: PreTrainedModel,
    data: TrainingData,
    recipe: Recipe,
    result: TrainResult,
    planned: int,
) -> TrainingFacts:
    """The result with speed, memory, and how near it came to the least time this machine allows.

    Of several processes the memory is the leader's, and the least time that of all together.
    """
    epochs, batch_size = len(result.history), recipe.train.train_batch_size
    device = torch.device(default_device())  # of several processes, the model is on the CPU by now
    machine = probe_machine(device, getattr(torch, result.dtype))
    size = model_size(model.config, recipe.trust_remote_code)
    least = lower_bound(data, size, machine, batch_size=batch_size, epochs=epochs)
    least_seconds, seconds = least.seconds / place()[1], max(result.seconds, 1e-9)
    return TrainingFacts(
        **asdict(result) | {"history": tuple(result.history), "notes": tuple(result.notes)},
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        rows_per_second=round(epochs * len(data) / seconds, 2),
        least_seconds=round(least_seconds, 6),
        fraction_of_limit=round(least_seconds / seconds, 6),
        peak_memory_bytes=peak_bytes(device),
        planned_memory_bytes=planned,
    )


def _has_steps(run: RunDir) -> bool:
    return any(run.checkpoints.glob("step-*"))
