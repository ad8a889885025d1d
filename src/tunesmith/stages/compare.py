"""`tunesmith compare`: two runs' tuned models on the same test rows, in all their trainings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tunesmith.data.store import read_examples
from tunesmith.errors import DataError
from tunesmith.evaluate.compare import to_json
from tunesmith.evaluate.system_table import TUNED
from tunesmith.evaluate.trainings import compare_pairs, differences_by_pair
from tunesmith.evaluate.verdict import verdict
from tunesmith.progress import note
from tunesmith.records import Comparison, Evaluation
from tunesmith.run_files import read_manifest
from tunesmith.rundir import RunDir
from tunesmith.stages.common import check_evaluated, run_recipe
from tunesmith.stages.report import dtype_of_answers, judging_of, tuned_evaluation
from tunesmith.stages.seeds import seed_folders


def compare_runs(a: RunDir, b: RunDir, metric: str | None = None) -> dict[str, Any]:
    """The tuned models of two runs on the same test rows: b minus a, and the verdict.

    Trainings with several seeds are paired by their place, as far as both runs have them, and the
    numbers are means over the pairs. DataError where a training was not evaluated yet.
    """
    trainings = [_trainings(run) for run in (a, b)]
    _say_of_dtypes(a, b)
    wanted, how = metric or read_manifest(a).task.primary, judging_of(run_recipe(a))
    numbers = [len(found) for found in trainings]
    pairs = [
        (_named(of_a, a), _named(of_b, b))
        for of_a, of_b in zip(*trainings, strict=False)  # the first of both
    ]
    comparison, differences = compare_pairs(pairs, wanted, how)
    note(_of_trainings(comparison, differences, numbers))
    judged = verdict(comparison)
    return {
        "verdict": {"kind": judged.kind, "sentence": judged.sentence},
        "comparison": to_json(comparison),
    }


def _trainings(run: RunDir) -> list[RunDir]:
    """The run and the folders of its other seeds, all of them evaluated."""
    found = [run, *seed_folders(run, run_recipe(run))]
    for training in found:
        if not training.predictions(TUNED, "test").exists():
            how = "evaluate" if training is run else "resume"
            raise DataError(
                f"{training.path}: not evaluated yet", hint=f"`tunesmith {how} {run.path}` first"
            )
        check_evaluated(training)
    return found


def _named(training: RunDir, run: RunDir) -> Evaluation:
    """The tuned model under the name of its run folder."""
    test, task = read_examples(training.examples("test")), read_manifest(training).task
    found = tuned_evaluation(training, run_recipe(training), test, task)
    return replace(found, system=str(run.path))


def _say_of_dtypes(a: RunDir, b: RunDir) -> None:
    dtypes = [dtype_of_answers(run) for run in (a, b)]
    if dtypes[0] != dtypes[1]:
        note(
            f"{a.path} was answered in {dtypes[0]}, {b.path} in {dtypes[1]}: some answers "
            "differ by that alone"
        )


def _of_trainings(found: Comparison, differences: list[float], numbers: list[int]) -> str:
    """How many trainings were compared, and what the interval holds of their luck."""
    of_each = " and ".join(
        f"{number} of {name}" for number, name in zip(numbers, (found.a, found.b), strict=True)
    )
    if found.runs > 1:
        left_out = f", the first of {of_each}" if numbers[0] != numbers[1] else ""
        return (
            f"{found.runs} trainings of each{left_out}, paired by their place: {found.metric} "
            f"differs by {differences_by_pair(differences)}; all numbers are means over them, and "
            "the interval includes how much trainings differ"
        )
    first = f" (there are {of_each}: only the first is compared)" if max(numbers) > 1 else ""
    return (
        f"one training of each{first}: the interval leaves out how much trainings of one recipe "
        "differ, which train.seeds in both recipes would show"
    )
