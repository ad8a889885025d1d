"""From stored answers to the report: every system scored, the tuned one compared with the best
baseline.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

from tunesmith.artefacts import listed_hashes, record
from tunesmith.data.ledger import LedgerFacts
from tunesmith.data.store import read_examples
from tunesmith.errors import DataError
from tunesmith.evaluate.compare import Resampling
from tunesmith.evaluate.headline import (
    Headline,
    Options,
    cheaper_question,
    headline,
    kept_question,
    task_question,
)
from tunesmith.evaluate.predictions import read_predictions
from tunesmith.evaluate.statistics import holm
from tunesmith.evaluate.system_table import BASE, LINEAR, SYSTEMS, TUNED
from tunesmith.evaluate.tasks import complete, evaluate_task
from tunesmith.evaluate.trainings import against_seeds, mean_of_seeds
from tunesmith.evaluate.twins import twin_scores
from tunesmith.evaluate.unreadable import unreadable_notes, unreadable_systems
from tunesmith.progress import progress, say
from tunesmith.recipe import Recipe
from tunesmith.records import (
    Comparison,
    Estimate,
    Evaluation,
    Example,
    RetentionRow,
    TaskReport,
    TwinScores,
)
from tunesmith.report.console import show as show_report
from tunesmith.report.content import JudgedMetric, LedgerCounts, Report
from tunesmith.report.write import write_report
from tunesmith.run_files import (
    AnsweredIn,
    FewShot,
    FewShotByTask,
    Opponents,
    Task,
    TrainingFacts,
    Twins,
    read_evaluated,
    read_manifest,
    read_record,
    run_state,
)
from tunesmith.rundir import RunDir
from tunesmith.seal import read_seal
from tunesmith.stages.common import check_evaluated, read_by_report, report_files, run_recipe
from tunesmith.stages.deciding import run_broken, run_gates, run_slices, slice_of_rows
from tunesmith.stages.opponents import how_chosen, strongest
from tunesmith.stages.preferences import read_preferences
from tunesmith.stages.retention import read_retention
from tunesmith.stages.seeds import seed_folders
from tunesmith.stages.task_verdicts import task_report
from tunesmith.stages.tasks import few_shot_note_by_task
from tunesmith.stages.threshold import read_calibration
from tunesmith.stages.verify import Verification
from tunesmith.stages.working import stage
from tunesmith.train.trackers import read_metrics


def judging_of(recipe: Recipe) -> Resampling:
    """The arguments of every comparison of one run."""
    settings = recipe.evaluation
    return Resampling(
        confidence=settings.confidence, resamples=settings.resamples, seed=recipe.train.seed
    )


@stage("the report")
def report(run: RunDir, show_all: bool = False) -> dict[str, Any]:
    """Score the stored answers, compare, and write report.html, report.md, report.json and the
    model card; the contents of report.json. The terminal shows the verdict and one metric, or with
    `show_all` every table. DataError where nothing was evaluated yet.
    """
    if not run_state(run).evaluated:
        raise DataError(
            f"{run.path}: not evaluated yet", hint=f"`tunesmith resume {run.path}` goes on"
        )
    check_evaluated(run)
    recipe = run_recipe(run)
    for other in seed_folders(run, recipe):
        check_evaluated(other)
    with progress("scoring the answers and resampling"):
        content = build_report(run, recipe, read_metrics(run.metrics))
    with progress("drawing and writing the page"):
        written = write_report(run, content)
    record(run, report_files(run), listed_hashes(run, read_by_report(run)))
    show_report(content, show_all)
    if not show_all:
        say(f"all tables: tunesmith report {shlex.quote(str(run.path))} --all")
    say(f"report: {run.report_html}")
    return written


def build_report(run: RunDir, recipe: Recipe, history: Sequence[Mapping[str, Any]]) -> Report:
    """Everything the report shows, from the run folder alone; `history` is metrics.jsonl."""
    manifest, training = read_manifest(run), read_record(run.training, TrainingFacts)
    task, judging = manifest.task, judging_of(recipe)
    primary, confidence = task.primary, recipe.evaluation.confidence
    test = read_examples(run.examples("test"))
    answered = _answered(run, recipe, test, task, lambda example: True)
    evaluations = _judged_alike(answered, recipe, task)
    by_name = {evaluation.system: evaluation for evaluation in evaluations}
    tuned = [by_name[TUNED], *_other_trainings(run, recipe, test, task)]
    by_name[TUNED] = mean_of_seeds(tuned, judging)
    evaluations = list(by_name.values())
    opponents = read_record(run.opponents, Opponents) if run.opponents.exists() else None
    reference = strongest(evaluations, primary, opponents)
    others = [e for e in evaluations if e.system not in (reference.system, TUNED)]
    asked = () if task.tasks else recipe.evaluation.metrics or ()
    metrics = dict.fromkeys([primary, *asked])
    judged, seed_notes = zip(
        *(
            against_seeds(strongest(evaluations, metric, opponents), tuned, metric, judging)
            for metric in metrics
        ),
        strict=True,
    )
    adjusted = holm([comparison.p for comparison in judged])
    comparisons = [
        judged[0],
        *(against_seeds(other, tuned, primary, judging)[0] for other in others),
    ]
    unreadable = unreadable_systems(
        evaluations, lambda a, _, metric: against_seeds(a, tuned, metric, judging)[0]
    )
    several = len(judged) > 1
    before = by_name.get(BASE, reference)
    broken = run_broken(before, tuned[0], task, confidence)
    held_out = _held_out(run, recipe, test, task)
    uses = read_seal(run).uses
    retention = read_retention(run)
    said = _headline(recipe, comparisons, by_name, retention, p=adjusted[0] if several else None)
    return Report(
        name=run.path.name,
        verdict_kind=said.kind,
        heading=said.heading,
        verdict=said.sentence,
        questions=said.questions,
        primary_metric=primary,
        evaluations=evaluations,
        comparisons=comparisons,
        judged=[JudgedMetric(*pair) for pair in zip(judged, adjusted, strict=True)]
        if several
        else [],
        examples={example.id: example for example in test},
        history=history,
        best_step=training.best_step,
        training=training.shown(),
        data=cast("LedgerCounts", asdict(read_record(run.ledger, LedgerFacts))),
        recipe=recipe.model_dump(mode="json"),
        versions=manifest.versions,
        notes=[
            *unreadable_notes(unreadable),
            *manifest.notes,
            *training.notes,
            *filter(None, seed_notes[:1]),
            *_run_notes(run),
        ],
        unreadable=unreadable,
        test_uses=len(uses),
        reference_note=how_chosen(opponents),
        retention=retention,
        wordings=_by_wording(run, recipe, test, task),
        command=f"tunesmith run {run.recipe} output_dir=NEW_FOLDER",
        prompt_layout=task.prompt_layout or "",
        confidence=confidence,
        tasks=_by_task(run, recipe, test, task, (answered, tuned[1:]), held_out, opponents),
        twins=_twins(run, recipe, test, (reference, tuned), judged[0], judging),
        slices=run_slices(run, recipe, test, (reference, tuned), primary, judging),
        broken=broken,
        gates=run_gates(recipe, judged[0], (before, tuned[0]), broken, retention),
        calibration=read_calibration(run, test, judging),
        preferences=read_preferences(run, confidence),
        held_out=held_out,
        slice_of=slice_of_rows(run, recipe, test),
        prepared=manifest.created,
        tested=uses[-1].at if uses else "",
        licence=manifest.licence,
    )


def _held_out(run: RunDir, recipe: Recipe, test: Sequence[Example], task: Task) -> list[Evaluation]:
    """Every system on the test rows of the tasks that were never trained."""
    if not any(own.held_out for own in task.tasks.values()):
        return []
    return _answered(run, recipe, test, task, lambda example: True, held_out=True)


def _by_task(
    run: RunDir,
    recipe: Recipe,
    test: Sequence[Example],
    task: Task,
    trained: tuple[Sequence[Evaluation], Sequence[Evaluation]],
    held_out: Sequence[Evaluation],
    opponents: Opponents | None,
) -> TaskReport | None:
    """What there is to say of each task of a mixture; None where there is one task. `trained` are
    the systems on the trained tasks, and the tuned model's later trainings.
    """
    if not task.tasks:
        return None
    systems, later = trained
    unseen = _other_trainings(run, recipe, test, task, held_out=True) if held_out else []
    margin = recipe.evaluation.margin
    return task_report(systems, held_out, opponents, margin, (later, unseen), **judging_of(recipe))


# ---- scores


def system_evaluations(
    run: RunDir,
    recipe: Recipe,
    test: Sequence[Example],
    task: Task,
    wanted: Callable[[Example], bool] = lambda example: True,
) -> list[Evaluation]:
    """Each system that has answers, scored on the examples that are wanted; of a mixture, each that
    has answered all trained tasks.
    """
    return _judged_alike(_answered(run, recipe, test, task, wanted), recipe, task)


def _judged_alike(found: list[Evaluation], recipe: Recipe, task: Task) -> list[Evaluation]:
    """Those that can be compared: of a mixture, each that has answered all trained tasks."""
    return complete(found, recipe.evaluation.confidence) if task.tasks else found


def _answered(
    run: RunDir,
    recipe: Recipe,
    test: Sequence[Example],
    task: Task,
    wanted: Callable[[Example], bool],
    held_out: bool = False,
) -> list[Evaluation]:
    names = read_evaluated(run, tuple(SYSTEMS))
    found = [_evaluation(run, recipe, test, task, name, wanted, held_out) for name in names]
    return [evaluation for evaluation in found if evaluation is not None]


def _other_trainings(
    run: RunDir,
    recipe: Recipe,
    test: Sequence[Example],
    task: Task,
    wanted: Callable[[Example], bool] = lambda example: True,
    held_out: bool = False,
) -> list[Evaluation]:
    """The tuned models of the second and later seeds; none where there is one."""
    folders = seed_folders(run, recipe)
    return [tuned_evaluation(other, recipe, test, task, wanted, held_out) for other in folders]


def tuned_evaluation(
    run: RunDir,
    recipe: Recipe,
    test: Sequence[Example],
    task: Task,
    wanted: Callable[[Example], bool] = lambda example: True,
    held_out: bool = False,
) -> Evaluation:
    """The tuned model alone, on the examples that are wanted, of a mixture on those of the trained
    or of the held-out tasks.
    """
    found = _evaluation(run, recipe, test, task, TUNED, wanted, held_out)
    if found is None:
        raise DataError(f"{run.path}: no answers of the tuned model to these test rows")
    return found


def _evaluation(
    run: RunDir,
    recipe: Recipe,
    test: Sequence[Example],
    task: Task,
    system: str,
    wanted: Callable[[Example], bool],
    held_out: bool = False,
) -> Evaluation | None:
    """One system on the examples that are wanted, those of trained or of held-out tasks; None where
    it has answered none of them.
    """
    answers = {p.example_id: p for p in read_predictions(run, system, "test")}
    examples = [
        e
        for e in test
        if e.id in answers and task.judged[e.task].held_out == held_out and wanted(e)
    ]
    if not examples:
        return None
    predictions = [answers[e.id] for e in examples]
    return evaluate_task(system, "test", examples, predictions, task, recipe.evaluation.confidence)


def _by_wording(
    run: RunDir, recipe: Recipe, test: Sequence[Example], task: Task
) -> dict[str, list[Evaluation]]:
    """Wordings that training saw and those it never saw, apart; empty where there are no held-out
    wordings.
    """
    held_out = set(task.held_out_wordings)
    if not held_out:
        return {}

    def found(seen: bool) -> list[Evaluation]:
        def wanted(example: Example) -> bool:
            return (example.template not in held_out) == seen

        by_name = {e.system: e for e in system_evaluations(run, recipe, test, task, wanted)}
        if TUNED in by_name:
            tuned = [by_name[TUNED], *_other_trainings(run, recipe, test, task, wanted)]
            by_name[TUNED] = mean_of_seeds(tuned, judging_of(recipe))
        return list(by_name.values())

    return {"Wordings seen in training": found(True), "Wordings never seen": found(False)}


# ---- what is said of the numbers


def _headline(
    recipe: Recipe,
    comparisons: Sequence[Comparison],
    by_name: Mapping[str, Evaluation],
    retention: Sequence[RetentionRow],
    p: float | None,
) -> Headline:
    """The three questions, from the primary metric's comparisons; the first is the verdict's."""
    settings, first = recipe.evaluation, comparisons[0]

    def estimates(c: Comparison) -> tuple[Estimate, Estimate]:
        return by_name[c.a].estimates[c.metric], by_name[c.b].estimates[c.metric]

    others = [c for c in comparisons[1:] if SYSTEMS[c.a].reference]
    linear = next((c for c in comparisons if c.a == LINEAR), None)
    options = Options(margin=settings.margin, confidence=settings.confidence)
    return headline(
        task_question(first, estimates(first), others, p=p, **options),
        cheaper_question(linear, estimates(linear) if linear else None, **options),
        kept_question(retention, settings.retention_margin),
    )


def _twins(
    run: RunDir,
    recipe: Recipe,
    test: Sequence[Example],
    systems: tuple[Evaluation, Sequence[Evaluation]],
    whole: Comparison,
    judging: Resampling,
) -> TwinScores | None:
    """The score without near-twins of training rows; None where they were not searched."""
    found = read_record(run.twins, Twins) if run.twins.exists() else Twins(searched=False)
    if not found.searched:
        return None
    return twin_scores(
        {example.id: example for example in test},
        found.test,
        systems,
        whole,
        lambda a, tuned, metric: against_seeds(a, tuned, metric, judging)[0],
        confidence=judging["confidence"],
        margin=recipe.evaluation.margin,
    )


def _run_notes(run: RunDir) -> list[str]:
    """How it was asked and computed, and what a fresh process made of the saved model."""
    verified = (
        [read_record(run.verification, Verification).sentence] if run_state(run).verified else []
    )
    return [*_few_shot_note(run), *_dtype_note(run), *verified]


def _few_shot_note(run: RunDir) -> list[str]:
    """How the base model was asked with exemplars, if it was."""
    if run.few_shot_by_task.exists():
        return few_shot_note_by_task(read_record(run.few_shot_by_task, FewShotByTask))
    found = read_record(run.few_shot, FewShot) if run.few_shot.exists() else None
    if found is None or not found.mean_shown:
        return []
    scores = ", ".join(f"{name} {score:.3f}" for name, score in found.scores.items())
    how = (
        f"the best of {len(found.scores)} on {found.rows} validation rows ({found.metric}: "
        f"{scores})"
        if scores
        else "the run's own"
    )
    return [
        f"the few-shot base saw {found.mean_shown:.2g} of {len(found.exemplars)} exemplars on "
        f"average, in the wording {found.wording}, {how}"
    ]


def _dtype_note(run: RunDir) -> list[str]:
    """None for float32, which is what anyone would expect."""
    found = dtype_of_answers(run)
    if found == "float32":
        return []
    return [f"the answers and likelihoods of all models were computed in {found}"]


def dtype_of_answers(run: RunDir) -> str:
    """What the run's answers were computed in."""
    return read_record(run.answered_in, AnsweredIn).dtype if run.answered_in.exists() else "float32"
