"""From stored answers to the report: every system scored, the tuned one compared with the best baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunesmith.data.examples import read_examples
from tunesmith.errors import DataError
from tunesmith.evaluate.compare import best_baseline, compare, evaluate, to_json
from tunesmith.evaluate.store import read_predictions
from tunesmith.evaluate.verdict import verdict
from tunesmith.recipe import Recipe
from tunesmith.records import Evaluation, Example, Prediction
from tunesmith.report.content import TUNED, ForgettingRow, Report
from tunesmith.rundir import RunDir, read_json
from tunesmith.seeds import seed_folders, with_seeds

BASELINES = ("base", "base_few_shot", "majority", "copy")
YARDSTICK = "tfidf_linear"
CHOICE_METRICS = ("choice_acc", "choice_acc_norm", "choice_acc_bytes")


def build_report(run: RunDir, recipe: Recipe, history: Sequence[Mapping[str, Any]]) -> Report:
    """Everything the report shows, computed from the run folder alone; `history` is metrics.jsonl."""
    manifest, training = read_json(run.manifest), read_json(run.training)
    test, settings = read_examples(run.examples("test")), recipe.evaluation
    primary = manifest["metrics"][0]
    evaluations = system_evaluations(run, recipe, test, manifest)
    by_name = {evaluation.system: evaluation for evaluation in evaluations}
    opponent = best_baseline([by_name[name] for name in BASELINES if name in by_name], primary)
    others = [e for e in evaluations if e.system not in (opponent.system, TUNED)]
    options: dict[str, Any] = {
        "resamples": settings.resamples,
        "confidence": settings.confidence,
        "seed": recipe.train.seed,
    }
    comparisons = [compare(other, by_name[TUNED], primary, **options) for other in (opponent, *others)]
    notes = [*manifest["notes"], *training["notes"]]
    seeds = seed_folders(run, recipe)
    if seeds:
        tuned = [_tuned(other, recipe, test, manifest) for other in seeds]
        differences = [comparisons[0].difference, *(compare(opponent, e, primary, **options).difference for e in tuned)]
        comparisons[0], note = with_seeds(comparisons[0], differences, settings.confidence)
        notes.append(note)
    estimates = opponent.estimates[primary], by_name[TUNED].estimates[primary]
    judged = verdict(comparisons[0], confidence=settings.confidence, estimates=estimates)
    return Report(
        name=run.path.name,
        verdict_kind=judged.kind,
        verdict=judged.sentence,
        primary_metric=primary,
        evaluations=evaluations,
        comparisons=comparisons,
        examples={example.id: example for example in test},
        history=history,
        best_step=training["best_step"],
        training={name: value for name, value in training.items() if name not in ("history", "notes")},
        data=read_json(run.ledger),
        recipe=recipe.model_dump(mode="json"),
        versions=manifest["versions"],
        notes=notes,
        test_uses=len(read_json(run.seal)["uses"]),
        forgetting=[ForgettingRow(**{**row, "ci": tuple(row["ci"])}) for row in _panel(run)],
        wordings=_by_wording(run, recipe, test, manifest),
        command=f"tunesmith run {run.recipe} output_dir=NEW_FOLDER",
        prompt_layout=manifest["prompt_layout"] or "",
        confidence=settings.confidence,
    )


def _tuned(run: RunDir, recipe: Recipe, test: Sequence[Example], manifest: Mapping[str, Any]) -> Evaluation:
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
    for system in (*BASELINES, YARDSTICK, TUNED):
        if run.predictions(system, "test").exists():
            predictions, seconds = read_predictions(run, system, "test")
            answers = [p for p, example in zip(predictions, test, strict=True) if wanted(example)]
            found.append(
                evaluate(
                    system,
                    "test",
                    kept,
                    answers,
                    [*manifest["metrics"], *(CHOICE_METRICS if _ranked(answers) else ())],
                    manifest["parser"],
                    confidence=settings.confidence,
                    resamples=settings.resamples,
                    seed=recipe.train.seed,
                    seconds=seconds,
                )
            )
    return found


def _ranked(predictions: Sequence[Prediction]) -> bool:
    return all(prediction.choice_logprobs for prediction in predictions)


def _by_wording(
    run: RunDir, recipe: Recipe, test: Sequence[Example], manifest: Mapping[str, Any]
) -> dict[str, list[Evaluation]]:
    """Wordings that training saw and those it never saw, apart; empty where there are no held-out wordings."""
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


def compare_runs(a: RunDir, b: RunDir, recipes: tuple[Recipe, Recipe], metric: str | None = None) -> dict[str, Any]:
    """The tuned models of two runs on the same test rows: b minus a, and the verdict."""
    found = []
    for run, recipe in zip((a, b), recipes, strict=True):
        test, manifest = read_examples(run.examples("test")), read_json(run.manifest)
        tuned = [e for e in system_evaluations(run, recipe, test, manifest) if e.system == TUNED]
        if not tuned:
            raise DataError(f"{run.path}: not evaluated yet", hint=f"`tunesmith evaluate {run.path}` first")
        found.append(replace(tuned[0], system=str(run.path)))
    comparison = compare(found[0], found[1], metric or read_json(a.manifest)["metrics"][0])
    judged = verdict(comparison)
    return {"verdict": {"kind": judged.kind, "sentence": judged.sentence}, "comparison": to_json(comparison)}
