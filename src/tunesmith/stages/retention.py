"""What training cost elsewhere: the texts and tasks of `evaluation.panel`, before and after."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from transformers import PreTrainedModel

from tunesmith.chat.format import ChatFormat
from tunesmith.data.store import read_examples
from tunesmith.evaluate.compare import compare, evaluate
from tunesmith.evaluate.retention import bits_per_byte, compare_panel, read_texts
from tunesmith.evaluate.system_table import BASE, TUNED
from tunesmith.evaluate.systems import answer
from tunesmith.progress import progress
from tunesmith.recipe import Recipe, load_recipe
from tunesmith.records import RetentionRow
from tunesmith.run_files import read_manifest, read_record, run_state, write_record
from tunesmith.rundir import RunDir
from tunesmith.stages.common import decoding
from tunesmith.stages.prepare import prepare

Models = tuple[PreTrainedModel, PreTrainedModel]
"""The base and the tuned one."""


def measure_retention(run: RunDir, recipe: Recipe, models: Models, chat: ChatFormat) -> None:
    """Write one row for each member of the panel.

    A text file is measured in bits per byte; a recipe's test set, in its own template, by its
    primary metric.
    """
    rows = [
        _task(run, recipe, Path(name), models, chat)
        if name.endswith((".yaml", ".yml"))
        else _text(recipe, Path(name), models, chat)
        for name in recipe.evaluation.panel
    ]
    write_record(run.panel, tuple(rows))


def read_retention(run: RunDir) -> tuple[RetentionRow, ...]:
    """The rows in the panel's order; none where nothing was asked."""
    return read_record(run.panel, tuple[RetentionRow, ...]) if run.panel.exists() else ()


def _text(recipe: Recipe, path: Path, models: Models, chat: ChatFormat) -> RetentionRow:
    settings, texts = recipe.evaluation, read_texts(path)
    with progress(f"reading {path.name}", 2 * len(texts)) as advance:
        before, after = (
            bits_per_byte(
                model,
                chat.tokenizer,
                texts,
                batch_tokens=settings.batch_tokens,
                on_progress=advance,
            )
            for model in models
        )
    change = compare_panel(
        before,
        after,
        confidence=settings.confidence,
    )
    return RetentionRow(path.name, "bits_per_byte", **asdict(change))


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
    task, test = read_manifest(panel_run).task, read_examples(panel_run.examples("test"))
    primary = task.primary
    how = replace(
        decoding(panel_run, other, chat, models[1]),
        backend=recipe.evaluation.backend,
        dtype=str(models[1].dtype).removeprefix("torch."),
    )
    with progress(f"panel {path.stem}", 2 * len(test)) as advance:
        before, after = (
            evaluate(
                name,
                "test",
                test,
                answer(model, chat, test, how, advance),
                [primary],
                task.parser,
                metric_options=task.options,
            )
            for name, model in zip((BASE, TUNED), models, strict=True)
        )
    settings = recipe.evaluation
    change = compare(
        before, after, primary, resamples=settings.resamples, confidence=settings.confidence
    )
    return RetentionRow(
        name=path.stem,
        metric=primary,
        before=before.estimates[primary].mean,
        after=after.estimates[primary].mean,
        difference=change.difference,
        ci=change.ci,
        detectable=change.smallest_detectable,
        n=change.n,
        note=change.note,
    )
