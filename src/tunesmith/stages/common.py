"""What several stages need: a run that is opened, and what is loaded from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from transformers import PreTrainedModel

from tunesmith.artefacts import SHOWN, check, listed_hashes, model_files, record
from tunesmith.chat.format import ChatFormat, chat_format, complete_tokenizer
from tunesmith.chat.template import ChatSettings
from tunesmith.data.build import PLACEHOLDER
from tunesmith.data.cache import input_hashes
from tunesmith.data.store import read_examples, read_token_arrays
from tunesmith.errors import DataError
from tunesmith.evaluate.predictions import write_predictions
from tunesmith.evaluate.system_table import SYSTEMS, TUNED
from tunesmith.evaluate.systems import Decoding, decoding_for, task_decodings, with_tasks
from tunesmith.machine import fastest_dtype
from tunesmith.models.load import default_device, fingerprint, load_model, load_tokenizer
from tunesmith.recipe import BUILT_IN_MODEL, Recipe, load_recipe
from tunesmith.records import SPLITS, Example, Prediction
from tunesmith.run_files import (
    AnsweredIn,
    is_made,
    read_evaluated,
    read_manifest,
    read_record,
    run_state,
    write_artefacts,
    write_record,
)
from tunesmith.rundir import RunDir
from tunesmith.seal import read_seal
from tunesmith.train.packing.plan import TrainingData

Item = TypeVar("Item")


def open_run(folder: Path) -> RunDir:
    """A prepared run; DataError where the folder is none."""
    run = RunDir(folder)
    if not run_state(run).prepared:
        raise DataError(
            f"{folder}: not a run folder", hint="`tunesmith run` or `tunesmith prepare` makes one"
        )
    return run


def run_recipe(run: RunDir) -> Recipe:
    """The recipe as it was resolved when the run was prepared; DataError where it has changed."""
    check(run, [run.recipe])
    return load_recipe(run.recipe)[0]


# ---- what was checked is what is used


def check_unchanged(run: RunDir) -> None:
    """DataError naming the first file, model, source or setting that is not what the run was
    prepared from.
    """
    check_prepared(run)
    recipe = run_recipe(run)
    check_base(run, recipe)
    manifest, found = read_manifest(run), input_hashes(recipe.data)
    # a source that is gone is not missed: its rows are in the run
    for name in sorted({*found} & {*manifest.inputs}):
        _check_same(name, found[name], manifest.inputs[name])


def check_prepared(run: RunDir) -> None:
    """DataError where a file that preparation made is not as it was made."""
    check(run, [*prepared_files(run), *(run.examples(split) for split in SPLITS), run.rows])


def prepared_files(run: RunDir) -> list[Path]:
    """The small ones, which say what the run is."""
    templates = [run.chat_template, run.original_chat_template]
    return [run.manifest, run.recipe, *templates, run.ledger, run.twins]


def check_base(run: RunDir, recipe: Recipe) -> None:
    """DataError where a file of the base model is not the one that the run was prepared with."""
    manifest, found = read_manifest(run), fingerprint(recipe.model)
    for name in sorted({*found, *manifest.model_files}):
        _check_same(
            f"{recipe.model}: {name}",
            found.get(name, "(none)"),
            manifest.model_files.get(name, "(none)"),
        )


def check_tuned(run: RunDir) -> None:
    """DataError where a file of the saved model is not as training made it, or came to it later."""
    check(run, [run.manifest, run.recipe, *model_files(run)])


def check_trained(run: RunDir) -> None:
    """DataError where there is no saved model, or it is not as training made it: for what uses
    it.
    """
    if not run_state(run).trained:
        raise DataError(
            f"{run.path}: no tuned model in this run",
            hint=f"finish it with `tunesmith resume {run.path}`",
        )
    check_tuned(run)


def check_evaluated(run: RunDir) -> None:
    """DataError where anything that the report is made from is not as its stage made it."""
    check(run, [*prepared_files(run), run.evaluated])
    read_seal(run)
    verification = [run.verification] if run_state(run).verified else []
    check(run, [*read_by_report(run), *judged_by_others(run), *verification])


def read_by_report(run: RunDir) -> list[Path]:
    """What a report is made from, but for what may be found anew after it: what people and models
    judge, and whether the saved model answers so.
    """
    names = read_evaluated(run, tuple(SYSTEMS))
    rows = [run.examples("test"), *([run.rows] if run_recipe(run).evaluation.slices else [])]
    answers = [run.predictions(name, "test") for name in names]
    told = [run.training, run.metrics, run.answered_in, run.evaluated]
    return [*prepared_files(run), *rows, *answers, *told, *found_beside_answers(run)]


def found_beside_answers(run: RunDir) -> list[Path]:
    """What evaluation may write beside the answers."""
    return [run.panel, run.threshold, run.opponents, run.few_shot, run.few_shot_by_task]


def report_files(run: RunDir) -> list[Path]:
    """But for model/README.md, which is for people to edit."""
    return [run.report_html, run.report_md, run.report_json, *run.plots.glob("*")]


def judged_by_others(run: RunDir) -> list[Path]:
    """Keys and votes of reviews, and what models replied, as far as they are there: a file of votes
    may be deleted.
    """
    reviews = [*run.reviews.glob("*/key.json"), *run.reviews.glob("*/votes/*.json")]
    return [*reviews, *run.judgements.glob("*.json")]


def _check_same(what: str, found: str, before: str) -> None:
    if found != before:
        raise DataError(
            f"{what} changed since the run was prepared: sha256 {found[:SHOWN]}, was "
            f"{before[:SHOWN]}",
            hint="put it back as it was, or start a new run in another output_dir",
        )


def list_prepared(run: RunDir) -> None:
    """Start the list of artefacts with all files that are there but the seal, which its uses
    change. Nothing else may see the folder yet.
    """
    made = [path for path in run.path.rglob("*") if path.is_file()]
    write_artefacts(run, {})
    made_from = {**read_manifest(run).inputs, **base_hashes(run)}
    record(run, [path for path in made if path not in (run.seal, run.artefacts)], made_from)


def base_hashes(run: RunDir) -> dict[str, str]:
    """The base model's files, for the `made_from` of what is made with them."""
    return {f"base model/{name}": sha for name, sha in read_manifest(run).model_files.items()}


def store_answers(
    run: RunDir,
    system: str,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    seconds: float = 0.0,
) -> None:
    """Write a system's answers to a split, and list them with the model and rows they come from."""
    write_predictions(run, system, examples, predictions, seconds)
    split = examples[0].split
    rows = [run.recipe, run.examples("train"), run.examples(split)]
    made_from = listed_hashes(run, rows + (model_files(run) if system == TUNED else []))
    record(run, [run.predictions(system, split)], made_from | base_hashes(run))


# ---- chat format and models


def chat_settings(recipe: Recipe) -> ChatSettings:
    """What the recipe says of the chat template."""
    return ChatSettings(recipe.chat_template, recipe.chat_template_kwargs)


def run_chat(run: RunDir, recipe: Recipe) -> ChatFormat:
    """The chat format that the run's rows were prepared in: its template is the run's own file."""
    tokenizer = load_tokenizer(recipe.model, recipe.trust_remote_code)
    if run.chat_template.exists():
        tokenizer.chat_template = run.chat_template.read_text(encoding="utf-8")
    complete_tokenizer(tokenizer)
    return chat_format(tokenizer, recipe.system or "")


def tuned_chat(run: RunDir, recipe: Recipe) -> ChatFormat:
    """The chat format of the saved model."""
    return chat_format(
        load_tokenizer(str(run.model), recipe.trust_remote_code), recipe.system or ""
    )


def asks_general_questions(recipe: Recipe) -> bool:
    """Whether the retention suite is on: by default for models that come with a chat template."""
    asked = recipe.evaluation.retention
    if asked != "auto":
        return asked
    if recipe.model == BUILT_IN_MODEL:
        return False
    return load_tokenizer(recipe.model, recipe.trust_remote_code).chat_template is not None


def load_base(recipe: Recipe) -> PreTrainedModel:
    """The model that the run starts from, in float32."""
    return load_model(recipe.model, trust_remote_code=recipe.trust_remote_code)


def load_trainable(recipe: Recipe) -> PreTrainedModel:
    """The model that the run starts from, as it is trained: float32, or 4 bits under adapters."""
    lora, remote = recipe.train.lora, recipe.trust_remote_code
    four_bit = lora is not None and lora.load_in_4bit
    return load_model(recipe.model, trust_remote_code=remote, load_in_4bit=four_bit)


def load_tuned(
    run: RunDir, recipe: Recipe, dtype: str = "auto", device: str | None = None
) -> PreTrainedModel:
    """The saved model. Code that the base brought was saved with it, and is trusted as the base's
    was.
    """
    return load_model(str(run.model), dtype, recipe.trust_remote_code, device)


# ---- rows


def training_data(run: RunDir, split: str) -> TrainingData:
    """Token ids and lengths of a split; of a large one the token ids are mapped from a file."""
    return TrainingData.from_arrays(*read_token_arrays(run.examples(split)))


def sample(items: Sequence[Item], n: int) -> list[Item]:
    """At most n of a split's examples, spread evenly over it."""
    step = max(1.0, len(items) / n)
    return [items[int(i * step)] for i in range(min(n, len(items)))]


# ---- how all systems answer


def decoding(
    run: RunDir,
    recipe: Recipe,
    chat: ChatFormat,
    model: PreTrainedModel,
    train_split: Sequence[Example] | None = None,
) -> Decoding:
    """The same for every system of a run; `train_split` where it has been read already."""
    if train_split is None:
        train_split = read_examples(run.examples("train"))
    lengths = training_data(run, "train").num_trained.tolist()
    dtype, settings = answered_in(run, recipe), recipe.evaluation
    how = decoding_for(train_split, lengths, chat, model, settings, dtype)
    trained = [name for name, task in read_manifest(run).task.tasks.items() if not task.held_out]
    if not trained:
        return how
    return with_tasks(how, task_decodings(trained, train_split, lengths, chat, model, settings))


def answered_in(run: RunDir, recipe: Recipe) -> str:
    """What answers are computed in, float32 or bfloat16: decided at its first use and kept through
    every resume, so that all systems, seeds and parts of a learning curve are answered alike.
    """
    if not is_made(run, run.answered_in):
        asked = recipe.evaluation.dtype
        fastest = fastest_dtype(torch.device(default_device()))
        write_record(run.answered_in, AnsweredIn(fastest if asked == "auto" else asked))
        record(run, [run.answered_in], listed_hashes(run, [run.recipe]))
    check(run, [run.answered_in])
    return read_record(run.answered_in, AnsweredIn).dtype


def prompt_writer(run: RunDir) -> Callable[[str], str] | None:
    """Puts one text into the run's prompt template; None where that takes more than one text."""
    layout = read_manifest(run).task.prompt_layout
    return None if layout is None else lambda text: layout.replace(PLACEHOLDER, text)
