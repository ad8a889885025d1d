"""Checks before training: what a recipe would do (`plan`), whether it can work (`check`), and the
least time it can take on this machine (`roofline`). Each prepares the rows in a temporary folder
and leaves nothing behind.
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from tunesmith.data.ledger import LedgerFacts
from tunesmith.data.store import read_examples
from tunesmith.evaluate.metrics import find_metric
from tunesmith.evaluate.power import (
    effective_units,
    smallest_accuracy_gain,
    smallest_detectable_effect,
)
from tunesmith.machine import Machine, probe_machine
from tunesmith.models.load import default_device, load_config
from tunesmith.progress import progress, working
from tunesmith.recipe import Recipe
from tunesmith.records import SPLITS
from tunesmith.run_files import read_manifest, read_record
from tunesmith.rundir import RunDir
from tunesmith.stages.common import run_chat, training_data
from tunesmith.stages.memory import Memory, memory_of, place_asked
from tunesmith.stages.prepare import prepare
from tunesmith.stages.train import load_with_adapters
from tunesmith.train.optim import default_learning_rate
from tunesmith.train.packing.plan import TrainingData, steps_per_epoch
from tunesmith.train.processes import check_shared
from tunesmith.train.roofline import Limit, ModelSize, lower_bound, model_size
from tunesmith.train.sanity import CheckResult
from tunesmith.train.sanity import check as run_checks
from tunesmith.train.settings import computed_in

DISCORDANT = (0.5, 0.3, 0.1)
"""Shares of test rows on which two models may differ by a right/wrong metric. The first is the most
that two models of the same accuracy a differ if their mistakes have nothing to do with each other:
2 a (1 - a) <= 1/2. The others are for models that are alike."""


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
class GainAt:
    """The smallest gain that is found if two models differ on a share `discordant` of the rows, or
    on as many as the gain where that is more; None where no gain that can occur is found.
    """

    discordant: float
    gain: float | None

    @property
    def words(self) -> str:
        """As a sentence has it; "" without a gain."""
        if self.gain is None:
            return ""
        where = f"the two models differ on {100 * self.discordant:.0f} % of the rows"
        if self.gain > self.discordant:  # the two cannot differ on fewer rows than are gained
            where = "they differ on those rows alone"
        return f"{100 * self.gain:.1f} points if {where}"


@dataclass(frozen=True)
class Plan:
    """What a recipe would do. `rows` by split; `smallest_detectable` is the smallest gain in
    `metric` that the test rows can show at 80 % power, None where they cannot show any.

    `flops_per_epoch` and `seconds_per_epoch` are the least that an epoch takes, at the rates of
    `machine`: measured here, or those that a maker states. `memory` is for the same device.

    Rows of one group may stand or fall together, so that `test_groups` groups count once each. How
    often two models will differ is not known beforehand: `smallest_detectable` is for
    `assumed_discordant`, `gains` has it for other shares too. Of a metric that is not right or
    wrong these are None and empty, and the gain is in standard deviations of the rows' differences.
    """

    rows: dict[str, int]
    steps: int
    trained_tokens: int
    tokens: int
    parameters: int
    learning_rate: float
    least_seconds: float
    metric: str
    smallest_detectable: float | None
    assumed_discordant: float | None
    gains: tuple[GainAt, ...] = ()
    test_groups: int = 0
    flops_per_epoch: float = 0.0
    seconds_per_epoch: float = 0.0
    machine: str = "this machine"
    memory: Memory | None = None

    @property
    def gain_sentence(self) -> str:
        """What the test rows can show, as `plan` prints it."""
        n = self.rows["test"]
        rows = "one test row" if n == 1 else f"{n:,} test rows"
        if self.test_groups < n:
            rows += f" in {self.test_groups:,} group" + "s" * (self.test_groups != 1)
        known = [found for found in self.gains if found.gain is not None]
        if self.smallest_detectable is None and not known:
            return f"{rows} cannot show any gain in {self.metric} that can occur"
        if self.smallest_detectable is not None and self.assumed_discordant is None:
            return (
                f"{rows} can show a gain in {self.metric} of {self.smallest_detectable:.2f} "
                "standard deviations of the rows' differences (80 % power)"
            )
        gains = dict.fromkeys(found.words for found in known)  # as many as the gain: the same
        return f"{rows} can show a gain in {self.metric} (80 % power) of {', '.join(gains)}"

    @property
    def as_text(self) -> str:
        """What the run would cost, as `plan` and `init` print it."""
        lines = [
            f"{self.steps:,} steps over {self.rows['train']:,} training rows, "
            f"{self.trained_tokens:,} trained tokens of {self.tokens:,}",
            f"learning rate {self.learning_rate:.2g} for {self.parameters:,} parameters; at least "
            f"{self.least_seconds:.0f} s of training on {self.machine}, "
            f"{self.seconds_per_epoch:.1f} s and {self.flops_per_epoch / 1e12:.3g} TFLOP an epoch",
            *([self.memory.as_text] if self.memory else []),
            self.gain_sentence,
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Roofline:
    """The least work and time of a training, the rates of this machine that it rests on, and the
    number format that is computed in.
    """

    least: Limit
    machine: Machine
    dtype: str


def plan(
    recipe: Recipe, device: str | None = None, memory: str | None = None, processes: int = 1
) -> Plan:
    """Rows, steps, tokens, learning rate, the least time, peak memory, and what the test rows can
    show: on this machine, or on a `device` of the table or one of this much `memory`.

    Memory is that of each of so many `processes`, and the least time that of all their devices.
    InputError for what several cannot do.
    """
    place, rates = place_asked(device, memory, processes)
    check_shared(recipe.train, processes, place.device.type)
    name = device or (f"a device of {memory}" if memory else f"this machine ({place.device.type})")
    with prepared(recipe) as run:
        ledger = read_record(run.ledger, LedgerFacts)
        metric = read_manifest(run).task.primary
        units, groups, most = _test_units(run)
        data = training_data(run, "train")
        least = _roofline(data, recipe, place.device, rates).least
        needed = memory_of(recipe, data, place, name)
    train, size = recipe.train, _size(recipe)
    steps = steps_per_epoch(ledger.splits["train"].examples, train.train_batch_size)
    binary = find_metric(metric).binary
    devices = processes if place.device.type == "cuda" else 1  # processes share one CPU
    gains = [GainAt(d, _known(smallest_accuracy_gain(units, d, most=most))) for d in DISCORDANT]
    return Plan(
        rows={split: ledger.splits[split].rows for split in SPLITS},
        steps=steps * train.num_train_epochs,
        trained_tokens=least.trained_tokens,
        tokens=least.raw_tokens,
        parameters=size.parameters,
        learning_rate=train.learning_rate or default_learning_rate(size.parameters),
        least_seconds=least.seconds / devices,
        metric=metric,
        smallest_detectable=gains[0].gain
        if binary
        else _known(smallest_detectable_effect(units, 1.0)),
        assumed_discordant=DISCORDANT[0] if binary else None,
        gains=tuple(gains) if binary else (),
        test_groups=groups,
        flops_per_epoch=least.flops / train.num_train_epochs,
        seconds_per_epoch=least.seconds / devices / train.num_train_epochs,
        machine=f"{devices} x {device or 'this GPU'}" if devices > 1 else device or "this machine",
        memory=needed,
    )


def _known(gain: float) -> float | None:
    return None if math.isnan(gain) else gain


def _test_units(run: RunDir) -> tuple[int, int, float]:
    """Of the test rows: how many equally large groups they are worth, how many groups there are,
    and the largest gain that can occur: over the most frequent answer of the training rows, where
    there are choices.
    """
    test = read_examples(run.examples("test"))
    sizes = Counter(example.group or example.row_id or example.id for example in test)
    trained = Counter(example.completion for example in read_examples(run.examples("train")))
    most = 1.0
    if test and trained and all(example.choices for example in test):
        frequent = trained.most_common(1)[0][0]
        most -= sum(example.completion == frequent for example in test) / len(test)
    units = math.floor(effective_units(list(sizes.values()))) if sizes else 0
    return units, len(sizes), most


def check(recipe: Recipe) -> list[CheckResult]:
    """The sanity checks of train.sanity on the recipe's own rows and model."""
    with prepared(recipe) as run, working("check"), progress("six short trainings"):
        model = load_with_adapters(recipe, run_chat(run, recipe))
        return run_checks(model, training_data(run, "train"), recipe.train)


def roofline(recipe: Recipe) -> Roofline:
    """The lower bound on FLOPs, bytes and seconds of the recipe's training on this machine, in what
    it computes in.
    """
    with prepared(recipe) as run:
        data = training_data(run, "train")
        return _roofline(data, recipe, torch.device(default_device()))


def _size(recipe: Recipe) -> ModelSize:
    return model_size(load_config(recipe.model, recipe.trust_remote_code), recipe.trust_remote_code)


def _roofline(
    data: TrainingData, recipe: Recipe, device: torch.device, rates: Machine | None = None
) -> Roofline:
    """At stated `rates`, or at those measured here."""
    dtype = computed_in(recipe.train, device)
    machine = rates or probe_machine(device, getattr(torch, dtype))
    found = lower_bound(
        data,
        _size(recipe),
        machine,
        batch_size=recipe.train.train_batch_size,
        epochs=recipe.train.num_train_epochs,
        seed=recipe.train.seed,
    )
    return Roofline(found, machine, dtype)
