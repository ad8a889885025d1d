"""What a mixture of several tasks changes in the stages: the record of its tasks, and the few-shot
base and the baselines task by task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tunesmith.data.build import prompt_layout
from tunesmith.data.plan import Source
from tunesmith.errors import DataError, RecipeError
from tunesmith.evaluate.baselines import BASELINES, BaselineTask, baseline_predictions
from tunesmith.evaluate.metrics import OVER_TASKS, semantic
from tunesmith.evaluate.metrics.semantic import check_embedding_model
from tunesmith.evaluate.tasks import share_of
from tunesmith.recipe import Recipe
from tunesmith.records import SPLITS, Example, Prediction
from tunesmith.run_files import FewShotByTask, Task

WITHOUT_TRAINING_ROWS = ("copy",)
"""Baselines that a held-out task can have: the others learn from its training rows."""


# ---- the record


def run_task(recipe: Recipe, sources: Sequence[Source]) -> Task:
    """What the run's rows ask of a model. `sources` are in the order of `members`."""
    firsts: dict[str, Source] = {}
    for source in sources:
        if not source.is_replay:
            firsts.setdefault(source.task, source)
    if len(firsts) == 1:
        return _task(recipe, sources[0])
    tasks = {name: _task(recipe, source) for name, source in firsts.items()}
    _check_mean(tasks)
    wordings = dict.fromkeys(name for task in tasks.values() for name in task.held_out_wordings)
    return Task(
        family="mixture", metrics=(OVER_TASKS,), held_out_wordings=tuple(wordings), tasks=tasks
    )


def _task(recipe: Recipe, source: Source) -> Task:
    template = source.templates[0] if source.templates else None
    asked = source.metrics or recipe.evaluation.metrics
    if template is None:
        plain = Task(held_out=source.held_out, options=recipe.evaluation.metric_options)
        return _with_embeddings(replace(plain, metrics=tuple(asked)) if asked else plain, recipe)
    task = Task(
        family=template.family,
        parser=template.parser,
        metrics=tuple(asked or template.metrics),
        prompt_layout=prompt_layout(source),
        held_out_wordings=tuple(t.name for t in source.templates if t.held_out),
        held_out=source.held_out,
        options=recipe.evaluation.metric_options,
    )
    return _with_embeddings(task, recipe)


def _with_embeddings(task: Task, recipe: Recipe) -> Task:
    """Free text is also compared by its embeddings where the recipe names a model for that."""
    model = recipe.evaluation.metric_options.semantic_similarity.model
    check_embedding_model(task.metrics, model)  # a template can name the metric too
    if not model or (task.parser != "text" and semantic.NAME not in task.metrics):
        return task
    return replace(task, metrics=tuple(dict.fromkeys([*task.metrics, semantic.NAME])))


def _check_mean(tasks: Mapping[str, Task]) -> None:
    """RecipeError where no checkpoint could be chosen by the mean over the trained tasks."""
    trained = {name: task.primary for name, task in tasks.items() if not task.held_out}
    if any(share_of(primary) is not None for primary in trained.values()):
        return
    listed = ", ".join(f"{name} ({primary})" for name, primary in trained.items())
    raise RecipeError(
        "a mixture is judged by the mean over its tasks, and the metric of none is a share of 0 to "
        f"1 or of 100 points: {listed}",
        hint="name one first in the `metrics` of a source",
    )


def check_tasks(task: Task, counts: Mapping[str, Mapping[str, int]]) -> None:
    """DataError where a task has no rows to be trained or judged on. `counts` are examples by split
    and task.
    """
    for name, own in task.tasks.items():
        for split in ("test",) if own.held_out else ("train", "test"):
            if not counts[split].get(name):
                raise DataError(
                    f"the task {name!r} has no rows in the {split} split",
                    hint="give it more rows, or set data.split",
                )
        if own.held_out and any(counts[split].get(name) for split in SPLITS[:2]):
            raise DataError(
                f"rows of the held-out task {name!r} are in the training or validation split",
                hint="this is a mistake in tunesmith: please report it",
            )


# ---- answers that are made task by task


def of_task(examples: Sequence[Example], name: str) -> list[Example]:
    """The examples of one task, in their order; all where the run has one task."""
    return [example for example in examples if example.task == name]


def baselines_by_task(
    task: Task, train_split: Sequence[Example], test: Sequence[Example]
) -> dict[str, dict[str, Prediction]]:
    """By system and example id, the answers of every baseline to the tasks that it fits."""
    answers: dict[str, dict[str, Prediction]] = {}
    for name, own in task.judged.items():
        given = BaselineTask(
            of_task(train_split, name),
            of_task(test, name),
            own.family,
            own.parser,
            own.primary,
            own.prompt_layout,
            own.options,
        )
        for system, predictions in _baselines(given, own.held_out).items():
            known = answers.setdefault(system, {})
            known.update({prediction.example_id: prediction for prediction in predictions})
    return answers


def _baselines(given: BaselineTask, held_out: bool) -> dict[str, list[Prediction]]:
    if not held_out:
        return baseline_predictions(given)
    return {
        name: BASELINES[name].answer(given)
        for name in WITHOUT_TRAINING_ROWS
        if BASELINES[name].fits(given)
    }


# ---- what the report says


def few_shot_note_by_task(found: FewShotByTask) -> list[str]:
    """How the base model was asked with exemplars in each trained task."""
    shown = {name: own for name, own in found.tasks.items() if own.mean_shown}
    if not shown:
        return []
    mean = sum(own.mean_shown for own in shown.values()) / len(shown)
    wordings = ", ".join(f"{name} in {own.wording}" for name, own in shown.items() if own.scores)
    tried = f"; the wording was chosen on validation rows: {wordings}" if wordings else ""
    return [
        f"the few-shot base saw {mean:.2g} exemplars of the same task on average, in "
        f"{len(shown)} of {len(found.tasks)} trained tasks{tried}"
    ]
