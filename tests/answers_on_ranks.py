"""What tests let the processes of a group answer with a model that stays sharded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from loss_oracle import build
from support import tiny_llama
from torch.distributed.tensor import DTensor

from tunesmith import pipeline
from tunesmith.distributed.group import by_rank, place
from tunesmith.distributed.in_step import InStep
from tunesmith.evaluate.generate import Generated, generate
from tunesmith.evaluate.likelihood import Ranked, rank_choices
from tunesmith.evaluate.retention import bits_per_byte
from tunesmith.recipe import FsdpConfig, Recipe
from tunesmith.train import answering
from tunesmith.train.answering import sharded_to_answer

CPU = torch.device("cpu")
PROMPTS = [[5 + (7 * i + j) % 80 for j in range(3 + 5 * i % 11)] for i in range(7)]
"""Of 3 to 13 tokens, seven of them: ranks have different numbers of rows."""
CHOICES = [[[9, 2], [9, 10, 2], [11, 2]]] * 7


def sharded(model: Any, dtype: str = "float32") -> InStep:
    return sharded_to_answer(model, dtype, CPU, FsdpConfig(), None)


def answered(model: Any) -> list[tuple[Generated, Ranked]]:
    """Answers and likelihoods of all rows, each rank's share by itself."""

    def own(rows: Sequence[int]) -> list[tuple[Generated, Ranked]]:
        prompts, choices = [PROMPTS[row] for row in rows], [CHOICES[row] for row in rows]
        budgets = [1 + 3 * row for row in rows]
        written = generate(model, prompts, stop_ids=[2], max_new_tokens=budgets)
        return list(zip(written, rank_choices(model, prompts, choices), strict=True))

    return by_rank(own, range(len(PROMPTS)))


def answered_in_step(names: Sequence[str], dtype: str = "float32") -> dict[str, Any]:
    """What each architecture answers, and whether every weight of it was in parts."""
    found = {}
    for name in names:
        passes = sharded(build(name), dtype)
        parts = [isinstance(weight, DTensor) for weight in passes.root.parameters()]
        found[name] = passes.run(answered), passes.run(answered), all(parts)
    return found


def texts_read_by_the_leader(tokenizer: Any, texts: Sequence[str]) -> list[float] | None:
    """The texts' likelihoods, for which the other ranks only give weights."""
    passes = sharded(tiny_llama())
    if place()[0]:
        passes.run(lambda _: None)
        return None
    scores = passes.run(lambda model: bits_per_byte(model, tokenizer, texts))
    return [score.nll for score in scores]


class Broken(RuntimeError):
    """A pass that fails."""


def passes_that_fail(failing: int) -> list[list[float]]:
    """Logits of passes, of which one rank has two that fail, in the last of the layers that are
    counted from `failing`.
    """
    passes = sharded(tiny_llama())
    rank, size = place()

    def fail(*_: object) -> None:
        raise Broken

    def own(model: Any) -> list[list[float]]:
        found = []
        for row in range(6 if rank == size - 1 else 2):
            ids = torch.tensor([PROMPTS[row]])
            broken = rank == size - 1 and row in (1, 2)
            handle = passes.layers[failing].register_forward_pre_hook(fail) if broken else None
            try:
                found.append(model(input_ids=ids).logits[0, -1].tolist())
            except Broken:
                found.append([])
            if handle:
                handle.remove()
        return found

    return passes.run(own)


def layers_run_twice() -> list[list[float]]:
    """Logits of a model that runs its layers twice in a pass; ranks have 3 rows and 1."""
    passes = sharded(looped(tiny_llama()))
    rows = PROMPTS[:1] if place()[0] else PROMPTS[:3]
    return passes.run(lambda model: logits(model, rows))


class Twice(torch.nn.ModuleList):
    """Layers that are run through twice."""

    def __getitem__(self, where: Any) -> Any:
        return [*self, *self] if isinstance(where, slice) else super().__getitem__(where)


def looped(model: Any) -> Any:
    """The model with its layers run through, and then once more."""
    model.model.layers.__class__ = Twice
    return model


@torch.no_grad()
def logits(model: Any, rows: Sequence[Sequence[int]]) -> list[list[float]]:
    return [
        model(input_ids=torch.tensor([row]), use_cache=False).logits[0, -1].tolist() for row in rows
    ]


def error_on_one_rank() -> list[Any]:
    """Of the last rank an error in the middle of its answers."""
    passes = sharded(tiny_llama())
    rank, size = place()

    def own(model: Any) -> list[Any]:
        logits(model, PROMPTS[:2])
        if rank == size - 1:
            raise Broken("this row cannot be answered")
        return logits(model, PROMPTS)

    return passes.run(own)


def run_sharded(recipe: Recipe) -> dict[str, Any]:
    """A whole run whose models are never whole in a process that answers."""
    whole = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(answering, "COMFORTABLE", 0.0)
        patched.setattr("tunesmith.stages.held._whole", lambda *_: whole.append(1))
        patched.setattr("tunesmith.train.sharded.Sharded.whole_model", lambda *_: whole.append(1))
        found = pipeline.run(recipe)
    assert not whole
    return found
