"""The models that a run's systems answer with, as its processes have them: each a whole copy, or
all together one that is sharded.

The leader says what is done with a model, and the others take part where it asks them to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch
from transformers import PreTrainedModel

from tunesmith.chat.format import ChatFormat
from tunesmith.distributed.group import by_rank, for_all, together
from tunesmith.distributed.in_step import InStep
from tunesmith.distributed.leading import ask
from tunesmith.evaluate.forward import in_dtype
from tunesmith.evaluate.systems import Decoding, answer
from tunesmith.models.load import (
    default_device,
    embeddings_lack,
    empty_model,
    fit_embeddings,
    load_config,
    load_empty,
)
from tunesmith.recipe import Recipe
from tunesmith.records import Example, Prediction
from tunesmith.rundir import RunDir
from tunesmith.stages.common import answered_in, load_base, load_tuned, run_recipe, tuned_chat
from tunesmith.train.answering import has_room, sharded_to_answer

Found = TypeVar("Found")


@dataclass(frozen=True)
class Source:
    """Where a model comes from: the base or the tuned one of the run in `folder`, with weights in
    `dtype`, `sharded` or whole. It is what other processes are told.
    """

    folder: str
    is_tuned: bool
    dtype: str
    sharded: bool


@dataclass(frozen=True)
class Held:
    """A model and, where it is sharded, its `passes`: it has no weights of its own then, and what
    reads them has to be run by `use`.
    """

    source: Source
    chat: ChatFormat
    model: PreTrainedModel
    passes: InStep | None

    def use(self, function: Callable[[PreTrainedModel], Found]) -> Found:
        """What the function makes of the model, in this process; the leader's alone to call."""
        if self.passes is None:
            return function(self.model)
        ask("lend", self.source)
        return self.passes.run(function)

    def answers(
        self, examples: Sequence[Example], how: Decoding, advance: Callable[[int], None]
    ) -> list[Prediction]:
        """The answers to all examples, of which other processes give their share; vLLM spreads its
        work itself. The leader's alone to call.
        """
        if how.backend != "transformers":
            return answer(self.model, self.chat, examples, how, advance)
        ask("answer", self.source, list(examples), how)
        return self._share(examples, how, for_all(advance))

    def _share(
        self, examples: Sequence[Example], how: Decoding, advance: Callable[[int], None]
    ) -> list[Prediction]:
        def work(model: PreTrainedModel) -> list[Prediction]:
            return by_rank(lambda rows: answer(model, self.chat, rows, how, advance), examples)

        return work(self.model) if self.passes is None else self.passes.run(work)


def hold(run: RunDir, recipe: Recipe, is_tuned: bool, chat: ChatFormat) -> Held:
    """The base or the tuned model, ready to answer in the run's dtype; the leader's alone to call.

    Of several processes they are sharded where a whole copy takes too much of a process' memory.
    """
    dtype, sharded = answered_in(run, recipe), False
    if together() and recipe.evaluation.backend == "transformers":
        config = load_config(_name(run, recipe, is_tuned), recipe.trust_remote_code)
        size = empty_model(config, recipe.trust_remote_code)
        sharded = not has_room(size, torch.device(default_device()))
    source = Source(str(run.path), is_tuned, dtype, sharded)
    if sharded:
        ask("hold", source)
    return _loaded(source, recipe, chat)


# ---- what the others do


def help_to_hold(source: Source) -> None:
    """Load this process' part of a model."""
    _held(source)


def help_to_answer(source: Source, examples: Sequence[Example], how: Decoding) -> None:
    """Give this process' share of a system's answers, which the leader keeps."""
    _held(source)._share(examples, how, lambda _: None)


def help_by_lending(source: Source) -> None:
    """Give this process' part of the weights for as long as the leader uses the model."""
    passes = _held(source).passes
    assert passes is not None, "whole copies are not lent"
    passes.run(lambda _: None)


@lru_cache(maxsize=2)  # base and tuned, each asked several times
def _held(source: Source) -> Held:
    run = RunDir(Path(source.folder))
    recipe = run_recipe(run)
    return _loaded(source, recipe, tuned_chat(run, recipe))


# ---- loading


def _name(run: RunDir, recipe: Recipe, is_tuned: bool) -> str:
    return str(run.model) if is_tuned else recipe.model


def _loaded(source: Source, recipe: Recipe, chat: ChatFormat) -> Held:
    run = RunDir(Path(source.folder))
    if not source.sharded:
        model = in_dtype(_whole(run, recipe, source.is_tuned, chat), source.dtype)
        return Held(source, chat, model, None)
    name, read_weights = _name(run, recipe, source.is_tuned), None
    empty = load_empty(name, recipe.trust_remote_code)
    if empty is not None and not embeddings_lack(empty[0], chat.tokenizer):
        model, read_weights = empty[0], empty[1].read_into
    else:
        model = _whole(run, recipe, source.is_tuned, chat)
    device = torch.device(default_device())
    passes = sharded_to_answer(model, source.dtype, device, recipe.train.fsdp, read_weights)
    return Held(source, chat, passes.root.model, passes)


def _whole(run: RunDir, recipe: Recipe, is_tuned: bool, chat: ChatFormat) -> PreTrainedModel:
    model = load_tuned(run, recipe) if is_tuned else load_base(recipe)
    fit_embeddings(model, chat.tokenizer)
    return model
