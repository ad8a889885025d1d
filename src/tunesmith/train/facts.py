"""training.json, what a training came to and how fast it was: its one writer and one reader."""

from __future__ import annotations

import resource
from dataclasses import asdict, fields
from pathlib import Path

import torch
from transformers import PreTrainedModel

from tunesmith.machine import probe_machine
from tunesmith.recipe import TrainConfig
from tunesmith.records import TrainingFacts
from tunesmith.rundir import read_json, write_json
from tunesmith.train.loop import TrainResult
from tunesmith.train.packing.plan import TrainingData
from tunesmith.train.roofline import lower_bound, model_size


def training_facts(
    result: TrainResult,
    model: PreTrainedModel,
    data: TrainingData,
    config: TrainConfig,
    trust_remote_code: bool = False,
) -> TrainingFacts:
    """The result with speed, memory, and how near it came to the roofline bound of this machine.

    `model` is the trained one with adapters merged. Takes a second: the machine's rates are
    measured in the dtype that the training computed in.
    """
    machine = probe_machine(model.device, getattr(torch, result.dtype))
    size = model_size(model.config, trust_remote_code)
    epochs = config.num_train_epochs
    least = lower_bound(data, size, machine, batch_size=config.train_batch_size, epochs=epochs)
    seconds = max(result.seconds, 1e-9)
    return TrainingFacts(
        **asdict(result),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        rows_per_second=round(epochs * len(data) / seconds, 2),
        least_seconds=round(least.seconds, 6),
        fraction_of_limit=round(least.seconds / seconds, 6),
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def facts_to_json(facts: TrainingFacts) -> dict[str, object]:
    """The facts as training.json has them; what is not known (None) is left out."""
    return {name: value for name, value in asdict(facts).items() if value is not None}


def write_facts(path: Path, facts: TrainingFacts) -> None:
    """Write training.json."""
    write_json(path, facts_to_json(facts))


def read_facts(path: Path) -> TrainingFacts:
    """Read training.json, also of a run of an older version, which may have other keys."""
    values = read_json(path)
    known = {field.name for field in fields(TrainingFacts)}
    return TrainingFacts(**{name: value for name, value in values.items() if name in known})
