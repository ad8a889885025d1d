"""From stored answers to the report: every system scored, the tuned one compared with the best
baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunesmith.data.store import read_examples
from tunesmith.errors import DataError
from tunesmith.evaluate.compare import best_baseline, compare, evaluate, to_json
from tunesmith.evaluate.metrics import likelihood_metrics
from tunesmith.evaluate.predictions import read_predictions
from tunesmith.evaluate.statistics import holm
from tunesmith.evaluate.system_table import LINEAR, SYSTEMS, TUNED
from tunesmith.evaluate.verdict import beside_linear, verdict
from tunesmith.progress import say
from tunesmith.recipe import Recipe
from tunesmith.records import Comparison, Evaluation, Example
from tunesmith.report.content import ForgettingRow, JudgedMetric, Report
from tunesmith.rundir import RunDir, read_json
from tunesmith.stages.seeds import seed_folders, with_seeds
from tunesmith.stages.verify import Verification


def build_report(run: RunDir, recipe: Recipe, history: Sequence[Mapping[str, Any]]) -> Report:
    """Everything the report shows, computed from the run folder alone; `history` is metrics.jsonl."""
    manifest, training = read_json(run.manifest), read_json(run.training)
    test, settings = read_examples(run.examples("test")), recipe.evaluation
    primary = manifest["metrics"][0]
    evaluations = system_evaluations(run, recipe, test, manifest)
    by_name = {evaluation.system: evaluation for evaluation in evaluations}
    reference = best_baseline([e for e in evaluations if SYSTEMS[e.system].reference], primary)
    others = [e for e in evaluations if e.system not in (reference.system, TUNED)]
    options: dict[str, Any] = {
        "resamples": settings.resamples,
        "confidence": settings.confidence,
        "seed": recipe.train.seed,
    }
    tuned = [
        by_name[TUNED],
        *(_tuned(other, recipe, test, manifest) for other in seed_folders(run, recipe)),
    ]
    metrics = dict.fromkeys([primary, *(settings.metrics or ())])
    judged, seed_notes = zip(
        *(_against(reference, tuned, metric, options) for metric in metrics), strict=True
    )
    adjusted = holm([comparison.p for comparison in judged])
    comparisons = [judged[0], *(compare(other, tuned[0], primary, **options) for other in others)]
    said = verdict(
        judged[0],
        confidence=settings.confidence,
        p=adjusted[0] if len(judged) > 1 else None,
        estimates=(reference.estimates[primary], tuned[0].estimates[primary]),
    )
    return Report(
        name=run.path.name,
        verdict_kind=said.kind,
        verdict=" ".join(
            [said.sentence, *_beside_linear(comparisons, by_name, primary, settings.confidence)]
        ),
        primary_metric=primary,
        evaluations=evaluations,
        comparisons=comparisons,
        judged=[JudgedMetric(c, p) for c, p in zip(judged, adjusted, strict=True)]
        if len(judged) > 1
        else [],
        examples={example.id: example for example in test},
        history=history,
        best_step=training["best_step"],
        training={
            name: value for name, value in training.items() if name not in ("history", "notes")
        },
        data=read_json(run.ledger),
        recipe=recipe.model_dump(mode="json"),
        versions=manifest["versions"],
        notes=[
            *manifest["notes"],
            *training["notes"],
            *filter(
                None,
                [*seed_notes[:1], _few_shot_note(run), _dtype_note(run), _verification_note(run)],
            ),
        ],
        test_uses=len(read_json(run.seal)["uses"]),
        forgetting=[ForgettingRow(**{**row, "ci": tuple(row["ci"])}) for row in _panel(run)],
        wordings=_by_wording(run, recipe, test, manifest),
        command=f"tunesmith run {run.recipe} output_dir=NEW_FOLDER",
        prompt_layout=manifest["prompt_layout"] or "",
        confidence=settings.confidence,
    )


def _beside_linear(
    comparisons: Sequence[Comparison],
    by_name: Mapping[str, Evaluation],
    metric: str,
    confidence: float,
) -> list[str]:
    """A sentence where there is a linear model."""
    estimates = by_name[TUNED].estimates[metric]
    return [
        beside_linear(c, (by_name[LINEAR].estimates[metric], estimates), confidence)
        for c in comparisons
        if c.a == LINEAR
    ]


def _against(
    reference: Evaluation, tuned: Sequence[Evaluation], metric: str, options: dict[str, Any]
) -> tuple[Comparison, str]:
    """The tuned model, in all its trainings, against the reference system on one metric; and a
    note where there are several trainings.
    """
    first, *others = (compare(reference, evaluation, metric, **options) for evaluation in tuned)
    if not others:
        return first, ""
    return with_seeds(
        first, [first.difference, *(c.difference for c in others)], options["confidence"]
    )


def _few_shot_note(run: RunDir) -> str:
    """How the base model was asked with exemplars; empty where it was not."""
    found = read_json(run.few_shot) if run.few_shot.exists() else {}
    if not found.get("mean_shown"):
        return ""
    scores = ", ".join(f"{name} {score:.3f}" for name, score in found["scores"].items())
    how = (
        f"the best of {len(found['scores'])} on {found['rows']} validation rows ({found['metric']}: {scores})"
        if scores
        else "the run's own"
    )
    return (
        f"the few-shot base saw {found['mean_shown']:.2g} of {len(found['exemplars'])} exemplars on average, in the "
        f"wording {found['wording']}, {how}"
    )


def _verification_note(run: RunDir) -> str:
    """What a fresh process made of the saved model; empty where none was asked."""
    return (
        Verification.of(read_json(run.verification)).sentence if run.verification.exists() else ""
    )


def _answered_in(run: RunDir) -> str:
    return str(read_json(run.answered_in)["dtype"]) if run.answered_in.exists() else "float32"


def _dtype_note(run: RunDir) -> str:
    """Empty for float32, which is what anyone would expect."""
    found = _answered_in(run)
    return (
        ""
        if found == "float32"
        else f"the answers and likelihoods of all models were computed in {found}"
    )


def _tuned(
    run: RunDir, recipe: Recipe, test: Sequence[Example], manifest: Mapping[str, Any]
) -> Evaluation:
    return next(e for e in system_evaluations(run, recipe, test, manifest) if e.system == TUNED)


def _panel(run: RunDir) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_json(run.panel) if run.panel.exists() else []
    return rows


def system_evaluations(
    run: RunDir,
    recipe: Recipe,
    test: Sequence[Example],
    manifest: Mapping[str, Any],
    wanted: Callable[[Example], bool] = lambda example: True,
) -> list[Evaluation]:
    """Each system that has answers, scored on the examples that are wanted."""
    kept = [example for example in test if wanted(example)]
    settings, found = recipe.evaluation, []
    for system in SYSTEMS:
        if run.predictions(system, "test").exists():
            predictions = read_predictions(run, system, "test")
            answers = [p for p, example in zip(predictions, test, strict=True) if wanted(example)]
            found.append(
                evaluate(
                    system,
                    "test",
                    kept,
                    answers,
                    [*manifest["metrics"], *likelihood_metrics(answers)],
                    manifest["parser"],
                    confidence=settings.confidence,
                    resamples=settings.resamples,
                    seed=recipe.train.seed,
                )
            )
    return found


def _by_wording(
    run: RunDir, recipe: Recipe, test: Sequence[Example], manifest: Mapping[str, Any]
) -> dict[str, list[Evaluation]]:
    """Wordings that training saw and those it never saw, apart; empty where there are no held-out
    wordings.
    """
    held_out = set(manifest["held_out_wordings"])
    if not held_out:
        return {}
    return {
        "Wordings seen in training": system_evaluations(
            run, recipe, test, manifest, lambda example: example.template not in held_out
        ),
        "Wordings never seen": system_evaluations(
            run, recipe, test, manifest, lambda example: example.template in held_out
        ),
    }


def compare_runs(
    a: RunDir, b: RunDir, recipes: tuple[Recipe, Recipe], metric: str | None = None
) -> dict[str, Any]:
    """The tuned models of two runs on the same test rows: b minus a, and the verdict."""
    found, dtypes = [], [_answered_in(run) for run in (a, b)]
    if dtypes[0] != dtypes[1]:
        say(
            f"note: {a.path} was answered in {dtypes[0]}, {b.path} in {dtypes[1]}: some answers differ by that alone"
        )
    for run, recipe in zip((a, b), recipes, strict=True):
        test, manifest = read_examples(run.examples("test")), read_json(run.manifest)
        tuned = [e for e in system_evaluations(run, recipe, test, manifest) if e.system == TUNED]
        if not tuned:
            raise DataError(
                f"{run.path}: not evaluated yet", hint=f"`tunesmith evaluate {run.path}` first"
            )
        found.append(replace(tuned[0], system=str(run.path)))
    comparison = compare(found[0], found[1], metric or read_json(a.manifest)["metrics"][0])
    judged = verdict(comparison)
    return {
        "verdict": {"kind": judged.kind, "sentence": judged.sentence},
        "comparison": to_json(comparison),
    }
