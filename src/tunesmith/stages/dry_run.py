"""Checks before training: what a recipe would do (`plan`), whether it can work (`check`), and the
least time it can take on this machine (`roofline`). Each prepares the rows in a temporary folder
and leaves nothing behind.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from tunesmith.data.ledger import LedgerFacts
from tunesmith.evaluate.metrics import find_metric
from tunesmith.evaluate.statistics import discordant_sd, smallest_detectable_effect
from tunesmith.machine import Machine, probe_machine
from tunesmith.models.load import default_device, fit_embeddings, load_config
from tunesmith.recipe import Recipe
from tunesmith.records import SPLITS
from tunesmith.run_files import read_manifest, read_record
from tunesmith.rundir import RunDir
from tunesmith.stages.common import load_base, run_chat, training_data
from tunesmith.stages.prepare import prepare
from tunesmith.train.adapters import wrap_lora
from tunesmith.train.optim import default_learning_rate
from tunesmith.train.packing.plan import steps_per_epoch
from tunesmith.train.roofline import Limit, ModelSize, lower_bound, model_size
from tunesmith.train.sanity import CheckResult
from tunesmith.train.sanity import check as run_checks
from tunesmith.train.settings import computed_in

DISCORDANT = 0.3
"""Share of test rows on which two models are assumed to differ by a right/wrong metric."""


@contextmanager
def prepared(recipe: Recipe) -> Iterator[RunDir]:
    """The recipe's rows, prepared in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="tunesmith-") as folder:
        run = RunDir(Path(folder) / "run")
        prepare(
            recipe.model_copy(update={"output_dir": str(run.path)}),
            trainings=0,
            list_rejected=False,
        )
        yield run


@dataclass(frozen=True)
class Plan:
    """What a recipe would do. `rows` by split; `smallest_detectable` is the smallest gain in
    `metric` that the test rows can show at 80 % power.

    Of a metric that is not right or wrong, how much two models differ from row to row is not known
    beforehand: `assumed_discordant` is None, and the gain is in standard deviations of these
    differences.
    """

    rows: dict[str, int]
    steps: int
    trained_tokens: int
    tokens: int
    parameters: int
    learning_rate: float
    least_seconds: float
    metric: str
    smallest_detectable: float
    assumed_discordant: float | None


@dataclass(frozen=True)
class Roofline:
    """The least work and time of a training, the rates of this machine that it rests on, and the
    number format that is computed in.
    """

    least: Limit
    machine: Machine
    dtype: str


def plan(recipe: Recipe) -> Plan:
    """Rows, steps, tokens, learning rate, the least time here, and what the test rows can show."""
    with prepared(recipe) as run:
        ledger = read_record(run.ledger, LedgerFacts)
        metric = read_manifest(run).task.primary
        least = _roofline(run, recipe).least
    train, size = recipe.train, _size(recipe)
    steps = steps_per_epoch(ledger.splits["train"].examples, train.train_batch_size)
    binary = find_metric(metric).binary
    deviation = discordant_sd(DISCORDANT) if binary else 1.0
    return Plan(
        rows={split: ledger.splits[split].rows for split in SPLITS},
        steps=steps * train.num_train_epochs,
        trained_tokens=least.trained_tokens,
        tokens=least.raw_tokens,
        parameters=size.parameters,
        learning_rate=train.learning_rate or default_learning_rate(size.parameters),
        least_seconds=least.seconds,
        metric=metric,
        smallest_detectable=smallest_detectable_effect(ledger.splits["test"].rows, deviation),
        assumed_discordant=DISCORDANT if binary else None,
    )


def check(recipe: Recipe) -> list[CheckResult]:
    """The sanity checks of train.sanity on the recipe's own rows and model."""
    with prepared(recipe) as run:
        model = load_base(recipe)
        fit_embeddings(model, run_chat(run, recipe).tokenizer)
        if recipe.train.lora is not None:
            model = wrap_lora(model, recipe.train.lora, recipe.train.seed)
        return run_checks(model, training_data(run, "train"), recipe.train)


def roofline(recipe: Recipe) -> Roofline:
    """The lower bound on FLOPs, bytes and seconds of the recipe's training on this machine, in what
    it computes in.
    """
    with prepared(recipe) as run:
        return _roofline(run, recipe)


def _size(recipe: Recipe) -> ModelSize:
    return model_size(load_config(recipe.model, recipe.trust_remote_code), recipe.trust_remote_code)


def _roofline(run: RunDir, recipe: Recipe) -> Roofline:
    device = torch.device(default_device())
    dtype = computed_in(recipe.train, device)
    machine = probe_machine(device, getattr(torch, dtype))
    found = lower_bound(
        training_data(run, "train"),
        _size(recipe),
        machine,
        batch_size=recipe.train.train_batch_size,
        epochs=recipe.train.num_train_epochs,
        seed=recipe.train.seed,
    )
    return Roofline(found, machine, dtype)
