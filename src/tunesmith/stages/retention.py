"""What training cost elsewhere: the texts and tasks of `evaluation.panel`, before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from tunesmith.chat.format import ChatFormat
from tunesmith.data.store import read_examples
from tunesmith.evaluate.compare import Resampling, evaluate
from tunesmith.evaluate.harness import PREFIX, harness_scores, is_harness_task
from tunesmith.evaluate.questions import LEAST, METRIC, PLAIN_TEXT, answerable, read_questions
from tunesmith.evaluate.retention import bits_per_byte, compare_panel, read_texts
from tunesmith.evaluate.system_table import BASE, TUNED
from tunesmith.evaluate.systems import rank
from tunesmith.evaluate.tasks import compare_systems, evaluate_task
from tunesmith.models.load import max_positions
from tunesmith.progress import note, progress
from tunesmith.recipe import Recipe, load_recipe
from tunesmith.records import Evaluation, Example, RetentionRow
from tunesmith.run_files import read_manifest, read_record, run_state, write_record
from tunesmith.rundir import RunDir
from tunesmith.stages.common import asks_general_questions, check_prepared, decoding
from tunesmith.stages.held import Held
from tunesmith.stages.prepare import prepare

Models = tuple[Held, Held]
"""The base and the tuned one."""


def measure_retention(run: RunDir, recipe: Recipe, models: Models, chat: ChatFormat) -> None:
    """Write the rows of the built-in suite, where it is on, and one for each member of the panel.

    A text file is measured in bits per byte; a recipe's test set, in its own template, by its
    primary metric; questions and tasks of the harness by the share that is right.
    """
    rows = _suite(run, recipe, models, chat) if asks_general_questions(recipe) else []
    for name in recipe.evaluation.panel:
        if is_harness_task(name):
            rows.append(_harness(recipe, name, models, chat))
        elif name.endswith((".yaml", ".yml")):
            rows.append(_task(run, recipe, Path(name), models, chat))
        else:
            rows.append(_text(recipe, Path(name), models, chat))
    write_record(run.panel, tuple(rows))


def read_retention(run: RunDir) -> tuple[RetentionRow, ...]:
    """The rows in the panel's order; none where nothing was asked."""
    return read_record(run.panel, tuple[RetentionRow, ...]) if run.panel.exists() else ()


def _suite(run: RunDir, recipe: Recipe, models: Models, chat: ChatFormat) -> list[RetentionRow]:
    """The general questions and the plain text that come with tunesmith."""
    rows, asked = [], read_questions()
    questions = answerable(asked, chat, max_positions(recipe.model, recipe.trust_remote_code))
    if len(questions) >= LEAST:
        rows.append(_questions(run, recipe, questions, models, chat))
    if len(questions) < len(asked):
        note(
            f"{len(asked) - len(questions):,} of {len(asked):,} general questions cannot be "
            "written with this tokenizer, or are longer than the model reads: they are not asked"
        )
    text = _text(recipe, PLAIN_TEXT, models, chat)
    return [*rows, replace(text, name="Plain text")]


def _questions(
    run: RunDir,
    recipe: Recipe,
    questions: Sequence[Example],
    models: Models,
    chat: ChatFormat,
) -> RetentionRow:
    how = replace(decoding(run, recipe, chat, models[1].model), dtype=models[1].source.dtype)
    answered = []
    with progress("retention suite: general questions", 2, unit="models") as advance:
        for name, held in zip((BASE, TUNED), models, strict=True):
            predictions = held.use(lambda model: rank(model, chat, questions, how))
            answered.append(evaluate(name, "test", questions, predictions, [METRIC], "choice"))
            advance(1)
    return _row("General questions", (answered[0], answered[1]), METRIC, recipe)


def _harness(recipe: Recipe, name: str, models: Models, chat: ChatFormat) -> RetentionRow:
    with progress(f"retention: {name}"):
        (before, metric), (after, _) = (
            held.use(partial(harness_scores, tokenizer=chat.tokenizer, name=name, system=system))
            for system, held in zip((BASE, TUNED), models, strict=True)
        )
    return _row(Path(name.removeprefix(PREFIX)).stem, (before, after), metric, recipe)


def _row(
    name: str, systems: tuple[Evaluation, Evaluation], metric: str, recipe: Recipe
) -> RetentionRow:
    """What two systems scored on the same rows, and the paired difference."""
    settings = recipe.evaluation
    judging = Resampling(confidence=settings.confidence, resamples=settings.resamples, seed=0)
    change = compare_systems(*systems, metric, **judging)
    before, after = (system.estimates[metric].mean for system in systems)
    return RetentionRow(
        name=name,
        metric=metric,
        before=before,
        after=after,
        difference=change.difference,
        ci=change.ci,
        detectable=_known(change.smallest_detectable),
        n=change.n,
        note=change.note,
        p=_known(change.p),
    )


def _text(recipe: Recipe, path: Path, models: Models, chat: ChatFormat) -> RetentionRow:
    settings, texts = recipe.evaluation, read_texts(path)
    with progress(f"retention: {path.name}", 2 * len(texts), unit="texts") as advance:
        before, after = (
            held.use(
                lambda model: bits_per_byte(
                    model,
                    chat.tokenizer,
                    texts,
                    batch_tokens=settings.batch_tokens,
                    on_progress=advance,
                )
            )
            for held in models
        )
    change = compare_panel(
        before,
        after,
        confidence=settings.confidence,
    )
    known = {**asdict(change), "detectable": _known(change.detectable)}
    return RetentionRow(path.name, "bits_per_byte", **known)


def _known(value: float) -> float | None:
    """JSON has no nan."""
    return None if math.isnan(value) else value


def _task(
    run: RunDir,
    recipe: Recipe,
    path: Path,
    models: Models,
    chat: ChatFormat,
) -> RetentionRow:
    other, folder = load_recipe(path)[0], run.path / "panel" / path.stem
    panel_run = RunDir(folder)
    if not run_state(panel_run).prepared:
        same = {
            "model": recipe.model,
            "trust_remote_code": recipe.trust_remote_code,
            "output_dir": str(folder),
        }
        prepare(other.model_copy(update=same), trainings=0)
    check_prepared(panel_run)
    task = read_manifest(panel_run).task
    test = [
        example
        for example in read_examples(panel_run.examples("test"))
        if not task.judged[example.task].held_out
    ]
    primary, settings = task.primary, recipe.evaluation
    how = replace(
        decoding(panel_run, other, chat, models[1].model),
        backend=recipe.evaluation.backend,
        dtype=models[1].source.dtype,
    )
    with progress(f"retention: {path.stem}", 2 * len(test)) as advance:
        before, after = (
            evaluate_task(
                name,
                "test",
                test,
                held.answers(test, how, advance),
                task,
                settings.confidence,
            )
            for name, held in zip((BASE, TUNED), models, strict=True)
        )
    return _row(path.stem, (before, after), primary, recipe)
