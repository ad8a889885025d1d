"""What training cost elsewhere: the texts and tasks of `evaluation.panel`, before and after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tunesmith.chat.format import ChatFormat
from tunesmith.data.store import read_examples
from tunesmith.evaluate.compare import compare, evaluate
from tunesmith.evaluate.retention import bits_per_byte, compare_panel, read_texts
from tunesmith.evaluate.system_table import BASE, TUNED
from tunesmith.evaluate.systems import Decoding, answer
from tunesmith.progress import progress
from tunesmith.recipe import Recipe, load_recipe
from tunesmith.rundir import RunDir, read_json

Models = tuple[Any, Any]
Prepare = Callable[[Recipe], object]
DecodingOf = Callable[[RunDir, Recipe, ChatFormat, Any], Decoding]


def panel_rows(
    run: RunDir,
    recipe: Recipe,
    models: Models,
    chat: ChatFormat,
    prepare: Prepare,
    decoding_of: DecodingOf,
) -> list[dict[str, Any]]:
    """One row for each member, the fields of report.content.ForgettingRow; `models` are base and
    tuned.

    A text file is measured in bits per byte; a recipe's test set, in its own template, by its
    primary metric.
    """
    return [
        _task(run, recipe, Path(name), models, chat, prepare, decoding_of)
        if name.endswith((".yaml", ".yml"))
        else _text(recipe, Path(name), models, chat)
        for name in recipe.evaluation.panel
    ]


def _text(recipe: Recipe, path: Path, models: Models, chat: ChatFormat) -> dict[str, Any]:
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
        resamples=settings.resamples,
        confidence=settings.confidence,
        seed=recipe.train.seed,
    )
    return {"name": path.name, "metric": "bits_per_byte", **asdict(change)}


def _task(
    run: RunDir,
    recipe: Recipe,
    path: Path,
    models: Models,
    chat: ChatFormat,
    prepare: Prepare,
    decoding_of: DecodingOf,
) -> dict[str, Any]:
    other, folder = load_recipe(path)[0], run.path / "panel" / path.stem
    if not (folder / "manifest.json").exists():
        same = {
            "model": recipe.model,
            "trust_remote_code": recipe.trust_remote_code,
            "output_dir": str(folder),
        }
        prepare(other.model_copy(update=same))
    panel_run = RunDir(folder)
    manifest, test = read_json(panel_run.manifest), read_examples(panel_run.examples("test"))
    decoding, primary = decoding_of(panel_run, other, chat, models[1]), manifest["metrics"][0]
    decoding = replace(
        decoding,
        backend=recipe.evaluation.backend,
        dtype=str(models[1].dtype).removeprefix("torch."),
    )
    with progress(f"panel {path.stem}", 2 * len(test)) as advance:
        before, after = (
            evaluate(
                name,
                "test",
                test,
                answer(model, chat, test, decoding, advance),
                [primary],
                manifest["parser"],
            )
            for name, model in zip((BASE, TUNED), models, strict=True)
        )
    settings = recipe.evaluation
    change = compare(
        before, after, primary, resamples=settings.resamples, confidence=settings.confidence
    )
    return {
        "name": path.stem,
        "metric": primary,
        "before": before.estimates[primary].mean,
        "after": after.estimates[primary].mean,
        "difference": change.difference,
        "ci": change.ci,
        "detectable": change.smallest_detectable,
        "n": change.n,
    }
