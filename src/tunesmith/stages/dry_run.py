"""Before the money is spent: what a recipe would do (`plan`), whether it can work (`check`), and
the least time it can take on this machine (`limit`). Each prepares the rows in a temporary folder
and leaves nothing behind.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from tunesmith import pipeline
from tunesmith.evaluate.metrics import find_metric
from tunesmith.evaluate.statistics import discordant_sd, smallest_detectable_effect
from tunesmith.machine import probe_machine
from tunesmith.models.load import default_device, fit_embeddings, load_config, load_model
from tunesmith.recipe import Recipe
from tunesmith.rundir import RunDir, read_json
from tunesmith.train.adapters import wrap_lora
from tunesmith.train.optim import default_learning_rate
from tunesmith.train.packing.plan import steps_per_epoch
from tunesmith.train.roofline import ModelSize, lower_bound, model_size
from tunesmith.train.sanity import CheckResult
from tunesmith.train.sanity import check as run_checks
from tunesmith.train.settings import computed_in

DISCORDANT = 0.3
"""Share of test rows on which two models are assumed to differ, for the smallest effect on a right/wrong metric."""


@contextmanager
def prepared(recipe: Recipe) -> Iterator[RunDir]:
    """The recipe's rows, prepared in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="tunesmith-") as folder:
        pipeline.prepare(
            recipe.model_copy(update={"output_dir": str(Path(folder) / "run")}), trainings=0
        )
        yield RunDir(Path(folder) / "run")


def plan(recipe: Recipe) -> dict[str, Any]:
    """Rows, steps, tokens, learning rate, the least time here, and the smallest gain the test rows
    can show.

    Of a metric that is not right or wrong, how much two models differ from row to row is not known
    beforehand: `assumed_discordant` is None, and the gain is in standard deviations of these
    differences.
    """
    with prepared(recipe) as run:
        ledger, train, metric = (
            read_json(run.ledger),
            recipe.train,
            read_json(run.manifest)["metrics"][0],
        )
        size = _size(recipe)
        least = _limit(run, recipe)
    rows, test_rows = ledger["splits"]["train"]["examples"], ledger["splits"]["test"]["rows"]
    steps = steps_per_epoch(rows, train.train_batch_size) * train.num_train_epochs
    binary = find_metric(metric).binary
    return {
        "rows": {split: counts["rows"] for split, counts in ledger["splits"].items()},
        "steps": steps,
        "trained_tokens": least["trained_tokens"],
        "tokens": least["raw_tokens"],
        "parameters": size.parameters,
        "learning_rate": train.learning_rate or default_learning_rate(size.parameters),
        "least_seconds": least["seconds"],
        "metric": metric,
        "smallest_detectable": smallest_detectable_effect(
            test_rows, discordant_sd(DISCORDANT) if binary else 1.0
        ),
        "assumed_discordant": DISCORDANT if binary else None,
    }


def check(recipe: Recipe) -> list[CheckResult]:
    """The sanity checks of train.check on the recipe's own rows and model."""
    with prepared(recipe) as run:
        model = load_model(recipe.model, trust_remote_code=recipe.trust_remote_code)
        fit_embeddings(model, pipeline.run_chat(run, recipe).tokenizer)
        if recipe.train.lora is not None:
            model = wrap_lora(model, recipe.train.lora, recipe.train.seed)
        return run_checks(model, pipeline.training_data(run, "train"), recipe.train)


def limit(recipe: Recipe) -> dict[str, Any]:
    """The lower bound on FLOPs, bytes and seconds of the recipe's training on this machine, in what
    it computes in.
    """
    with prepared(recipe) as run:
        return _limit(run, recipe)


def _size(recipe: Recipe) -> ModelSize:
    return model_size(load_config(recipe.model, recipe.trust_remote_code), recipe.trust_remote_code)


def _limit(run: RunDir, recipe: Recipe) -> dict[str, Any]:
    device = torch.device(default_device())
    dtype = computed_in(recipe.train, device)
    machine = probe_machine(device, getattr(torch, dtype))
    found = lower_bound(
        pipeline.training_data(run, "train"),
        _size(recipe),
        machine,
        batch_size=recipe.train.train_batch_size,
        epochs=recipe.train.num_train_epochs,
        seed=recipe.train.seed,
    )
    return asdict(found) | asdict(machine) | {"dtype": dtype}
