"""What decides deployment, from a run's stored answers: slices of the test split, rows that broke,
and the recipe's gates.
"""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.data.sources.members import members
from tunesmith.data.sources.stored import StoredRows
from tunesmith.errors import RecipeError, did_you_mean
from tunesmith.evaluate.compare import Resampling
from tunesmith.evaluate.decisions import Broken, Gate, SliceRow
from tunesmith.evaluate.gates import (
    broken_gate,
    broken_rows,
    gain_gate,
    not_measured,
    retention_gates,
    right_or_wrong,
    same_answers,
)
from tunesmith.evaluate.slices import Slicing, judge_slices, row_by_row, slicings
from tunesmith.evaluate.trainings import against_seeds, mean_estimate
from tunesmith.recipe import Recipe
from tunesmith.records import Comparison, Evaluation, Example, RetentionRow
from tunesmith.run_files import Task
from tunesmith.rundir import RunDir
from tunesmith.stages.common import asks_general_questions

# ---- before any work


def check_gates(recipe: Recipe) -> None:
    """RecipeError for a gate on what the recipe does not measure."""
    settings = recipe.evaluation
    limit, measured = settings.gates.largest_retention_loss, bool(settings.panel)
    if limit is not None and not measured and not asks_general_questions(recipe):
        raise RecipeError(
            "evaluation.gates.largest_retention_loss: nothing is measured before and after",
            hint="set evaluation.retention=true, or list texts or tasks in evaluation.panel",
        )


def check_task_gates(recipe: Recipe, task: Task) -> None:
    """RecipeError where rows that broke are to be counted, and no metric says right or wrong."""
    asked = recipe.evaluation.gates.largest_broken_share
    if asked is not None and right_or_wrong(task.metrics) is None:
        raise RecipeError(
            "evaluation.gates.largest_broken_share: no answer is right or wrong by "
            f"{', '.join(task.metrics)}",
            hint="add exact_match to evaluation.metrics, or leave the gate out",
        )


def check_slices(recipe: Recipe, rows: StoredRows) -> None:
    """RecipeError for a column of `evaluation.slices` that no source of test rows has."""
    for name in recipe.evaluation.slices:
        numbers = _test_members(recipe)
        first = [next(rows.read(number)).values for number in numbers]
        if any(name in values for values in first):
            continue
        if not any(name in row.values for number in numbers for row in rows.read(number)):
            known = {str(column) for values in first for column in values}
            raise RecipeError(
                f"evaluation.slices: there is no column {name!r} in the rows that are tested on",
                hint=did_you_mean(name, known),
            )


def _test_members(recipe: Recipe) -> list[int]:
    """Numbers of the sources that test rows come from: the user's test file, where there is one."""
    named = list(enumerate(members(recipe.data)))
    own = [number for number, m in named if m.is_own_file and m.split == "test"]
    return own or [number for number, member in named if member.split is None]


# ---- when the report is written


def run_slices(
    run: RunDir,
    recipe: Recipe,
    test: Sequence[Example],
    systems: tuple[Evaluation, Sequence[Evaluation]],
    metric: str,
    judging: Resampling,
) -> list[SliceRow]:
    """Every slice of the test rows that all systems answered: the second, in all its trainings,
    against the first. None where they have no rows of this metric.
    """
    reference, tuned = systems
    if any(metric not in system.rows for system in (reference, *tuned)):
        return []
    by_id = {example.id: example for example in test}
    answered = [by_id[example_id] for example_id in reference.example_ids]
    ways = _ways(run, recipe, answered)
    (reference, name), *trainings = (row_by_row(one, metric) for one in (reference, *tuned))
    return judge_slices(
        reference,
        [training for training, _ in trainings],
        ways,
        name,
        lambda a, b, metric: against_seeds(a, b, metric, judging)[0],
        lambda b, metric: mean_estimate(b, metric, judging),
        judging["confidence"],
    )


def slice_of_rows(
    run: RunDir, recipe: Recipe, test: Sequence[Example]
) -> dict[str, dict[str, str]]:
    """The part that each test row is in, by the way of dividing and the example's id."""
    ids = [example.id for example in test]
    return {way.name: dict(zip(ids, way.values, strict=True)) for way in _ways(run, recipe, test)}


def _ways(run: RunDir, recipe: Recipe, test: Sequence[Example]) -> list[Slicing]:
    return slicings(test, _columns(run, recipe, test))


def _columns(
    run: RunDir, recipe: Recipe, test: Sequence[Example]
) -> list[tuple[str, Sequence[object]]]:
    """The value of each example's row in each column that is asked for; None where it has none."""
    wanted = list(dict.fromkeys(recipe.evaluation.slices))
    if not wanted or not run.rows.exists():
        return []
    ids, rows = {example.row_id for example in test}, StoredRows(run.rows)
    found = {
        row.id: row.values for number in _test_members(recipe) for row in rows.find(number, ids)
    }
    return [(name, [found.get(e.row_id, {}).get(name) for e in test]) for name in wanted]


def run_broken(
    before: Evaluation, tuned: Evaluation, task: Task, confidence: float
) -> Broken | None:
    """Rows that broke, by the first metric that says right or wrong; None where none does."""
    metric = right_or_wrong(task.metrics)
    return broken_rows(before, tuned, metric, confidence) if metric else None


def run_gates(
    recipe: Recipe,
    gain: Comparison,
    answers: tuple[Evaluation, Evaluation],
    broken: Broken | None,
    panel: Sequence[RetentionRow],
) -> list[Gate]:
    """The recipe's gates. `gain` is the verdict's comparison, `answers` are those before training
    and after it.
    """
    gates, found, unchanged = recipe.evaluation.gates, list[Gate](), same_answers(*answers)
    if gates.least_gain is not None:
        found.append(gain_gate(gates.least_gain, gain, unchanged))
    if gates.largest_broken_share is not None:
        found.append(
            broken_gate(gates.largest_broken_share, broken)
            if broken
            else not_measured("largest_broken_share", gates.largest_broken_share)
        )
    if gates.largest_retention_loss is not None:
        limit, name = gates.largest_retention_loss, "largest_retention_loss"
        found += retention_gates(limit, panel, unchanged) or [not_measured(name, limit)]
    return found
