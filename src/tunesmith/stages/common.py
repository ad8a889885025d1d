"""What several stages need: a run that is opened, and what is loaded from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from transformers import PreTrainedModel

from tunesmith.chat.format import ChatFormat, chat_format, complete_tokenizer
from tunesmith.chat.template import ChatSettings
from tunesmith.data.build import PLACEHOLDER
from tunesmith.data.cache import input_hashes
from tunesmith.data.store import read_examples, read_token_arrays
from tunesmith.errors import DataError
from tunesmith.evaluate.systems import Decoding, decoding_for, task_decodings, with_tasks
from tunesmith.machine import fastest_dtype
from tunesmith.models.load import default_device, fingerprint, load_model, load_tokenizer
from tunesmith.recipe import BUILT_IN_MODEL, Recipe, load_recipe
from tunesmith.records import Example
from tunesmith.run_files import AnsweredIn, read_manifest, read_record, run_state, write_record
from tunesmith.rundir import RunDir, file_sha256
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
    """The recipe as it was resolved when the run was prepared."""
    return load_recipe(run.recipe)[0]


def check_unchanged(run: RunDir) -> None:
    """DataError naming the first file, model or setting that is not what the run was prepared
    from.
    """
    manifest, hint = read_manifest(run), "start a new run in another output_dir"
    for name, sha256 in manifest.files.items():
        if not (run.path / name).exists() or file_sha256(run.path / name) != sha256:
            raise DataError(f"{run.path / name}: changed since the run was prepared", hint=hint)
    recipe = run_recipe(run)
    found = fingerprint(recipe.model)
    for name in sorted({*found, *manifest.model_files}):
        if found.get(name) != manifest.model_files.get(name):
            raise DataError(f"{recipe.model}: {name} changed since the run was prepared", hint=hint)
    found = input_hashes(recipe.data)
    # a source that is gone is not missed: its rows are in the run
    for name in sorted({*found} & {*manifest.inputs}):
        if found[name] != manifest.inputs[name]:
            raise DataError(f"{name}: changed since the run was prepared", hint=hint)


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


def load_tuned(
    run: RunDir, recipe: Recipe, dtype: str = "auto", device: str | None = None
) -> PreTrainedModel:
    """The saved model. Code that the base brought was saved with it, and is trusted as the base's
    was.
    """
    return load_model(str(run.model), dtype, recipe.trust_remote_code, device)


# ---- rows


def training_data(run: RunDir, split: str) -> TrainingData:
    """Token ids and lengths of a split, memory-mapped."""
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
    if not run.answered_in.exists():
        asked = recipe.evaluation.dtype
        fastest = fastest_dtype(torch.device(default_device()))
        write_record(run.answered_in, AnsweredIn(fastest if asked == "auto" else asked))
    return read_record(run.answered_in, AnsweredIn).dtype


def prompt_writer(run: RunDir) -> Callable[[str], str] | None:
    """Puts one text into the run's prompt template; None where that takes more than one text."""
    layout = read_manifest(run).task.prompt_layout
    return None if layout is None else lambda text: layout.replace(PLACEHOLDER, text)
