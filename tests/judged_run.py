"""A run folder with answers, as `tunesmith evaluate` leaves it, without a model or a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tunesmith.artefacts import record
from tunesmith.data.ledger import LedgerFacts
from tunesmith.data.store import ExampleWriter
from tunesmith.evaluate.predictions import write_predictions
from tunesmith.recipe import Recipe, dump_recipe
from tunesmith.records import Example, Prediction, TokenizedExample
from tunesmith.run_files import (
    Evaluated,
    Task,
    TrainingFacts,
    new_manifest,
    write_artefacts,
    write_record,
)
from tunesmith.rundir import RunDir, write_atomic
from tunesmith.seal import write_seal

EXACT = Task(metrics=("exact_match",))


def judged_run(
    folder: Path,
    examples: Sequence[Example],
    answers: Mapping[str, Sequence[str]],
    task: Task = EXACT,
    seeds: int = 1,
) -> RunDir:
    """`answers` by system, in the order of the examples; of `seeds` trainings this is the first."""
    run = RunDir(folder)
    examples = [replace(example, split="test") for example in examples]
    run.examples("test").parent.mkdir(parents=True)
    writer = ExampleWriter(run.examples("test"))
    writer.write([(e, TokenizedExample(e.id, [1, 2], [-100, 2], 1)) for e in examples])
    writer.close()
    for system, texts in answers.items():
        write_answers(run, system, examples, texts)
    recipe = {"evaluation": RESAMPLES, "train": {"seeds": seeds}}
    write_atomic(run.recipe, dump_recipe(Recipe.model_validate(recipe)))
    write_seal(run, [example.id for example in examples])
    write_record(run.manifest, new_manifest(task, {}, {}, {}, ()))
    write_record(run.training, TrainingFacts(best_step=1, steps=1, history=(), seconds=1.0))
    write_record(run.ledger, LedgerFacts({"raw": 1, "kept": 1}, {}, {}, 0, 0, {}, {}, ()))
    write_atomic(run.metrics, "")
    run.model.mkdir()
    write_record(run.evaluated, Evaluated(tuple(answers)))
    write_artefacts(run, {})
    made = [path for path in run.path.rglob("*") if path.is_file()]
    record(run, [path for path in made if path not in (run.seal, run.artefacts)])
    return run


def write_answers(
    run: RunDir, system: str, examples: Sequence[Example], texts: Sequence[str]
) -> None:
    examples = [replace(example, split="test") for example in examples]
    found = [Prediction(e.id, text, True, 1) for e, text in zip(examples, texts, strict=True)]
    write_predictions(run, system, examples, found)
    if run.artefacts.exists():  # else the run is being made, and lists all at its end
        record(run, [run.predictions(system, "test")])


RESAMPLES = {"resamples": 100}
