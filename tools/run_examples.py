"""Run the example recipes with several models and print the rows of docs/results.md.

    python tools/run_examples.py --output runs/results --model built-in --model
    SmolLM2-135M-Instruct.Q4_1.gguf

A run that is finished in --output is not run again. Seconds are given for each stage, all in one
process.

With --shuffle-labels the answers of every file are shuffled among its rows, so that there is
nothing to learn but their form and frequencies: a verdict of "better" would then be false.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from example_rows import write_all

from tunesmith import stages
from tunesmith.data.sources.rows import read_rows
from tunesmith.recipe import BUILT_IN_MODEL, Recipe, load_recipe
from tunesmith.rundir import RunDir, read_json, write_json

EXAMPLES = (
    "demo", "customer_reviews", "trec", "dialogsum", "snips", "instruction_induction", "gsm8k",
    "mts_dialog", "banking77", "unseen_tasks",
)  # fmt: skip
SYSTEMS = ("majority", "constant", "copy", "base", "base_few_shot", "tfidf_linear", "tuned")
STAGES = ("prepare", "train", "evaluate", "verify", "report")
TINY_MODELS_RATE = 1e-3
"""For weights that know little and few epochs: the rule by size gives a third of it."""


def recipe_of(name: str, model: str, folder: Path, overrides: list[str]) -> Recipe:
    if name == "demo":
        return stages.demo.demo_recipe(folder, model)
    tiny = model == BUILT_IN_MODEL or "stories" in model
    rate = [f"train.learning_rate={TINY_MODELS_RATE}"] if tiny else []
    changes = [f"model={model}", f"output_dir={folder}", *rate, *overrides]
    return load_recipe(Path(__file__).parents[1] / "examples" / f"{name}.yaml", changes)[0]


def shuffled(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe on copies of its files with their answers shuffled among the rows."""
    answer = recipe.data.columns.get("label") or recipe.data.columns["target"]
    changed = {}
    for key in ("source", "test_source"):
        source = getattr(recipe.data, key)
        if source is not None:
            rows = [dict(row.values) for row in read_rows(source)]
            answers = [row[answer] for row in rows]
            random.Random(0).shuffle(answers)
            changed[key] = str(folder / f"{key}.jsonl")
            lines = [
                json.dumps(row | {answer: given}) for row, given in zip(rows, answers, strict=True)
            ]
            Path(changed[key]).write_text("\n".join(lines), encoding="utf-8")
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=changed)})


def run(recipe: Recipe, folder: Path, shuffle: bool) -> None:
    """Every stage that is not done, timed."""
    seconds_file, run_dir = folder / "seconds.json", RunDir(folder)
    if run_dir.report_json.exists():
        return
    if not run_dir.manifest.exists():
        files = folder.with_name(f"{folder.name}.files")
        files.mkdir(parents=True, exist_ok=True)
        took = {
            "prepare": timed(
                lambda: stages.prepare.prepare(shuffled(recipe, files) if shuffle else recipe)
            )
        }
        write_json(seconds_file, took)
    took = read_json(seconds_file)
    for stage in STAGES[1:]:
        took[stage] = timed(lambda stage=stage: getattr(getattr(stages, stage), stage)(run_dir))
        write_json(seconds_file, took)


def timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def cell(report: dict[str, Any], system: str, metric: str) -> str:
    found = report["evaluations"].get(system, {}).get(metric)
    return f"{found['mean']:.3f}" if found else ""


def row(name: str, model: str, folder: Path) -> str:
    report, seconds = read_json(folder / "report.json"), read_json(folder / "seconds.json")
    metric, comparison = report["verdict"]["metric"], report["comparison"]
    low, high = comparison["ci"]
    difference = f"{comparison['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
    rows = report["data"]["splits"]["train"]["examples"]
    cells = [name, Path(model).name, metric, f"{rows:,}", str(comparison["n"])]
    for system in SYSTEMS:
        cells.append(cell(report, system, metric))
        if system == "base":
            cells.append(cell(report, "base", "choice_acc"))
    cells += [f"{difference} against {comparison['a']}", report["verdict"]["kind"]]
    cells += [" + ".join(f"{seconds.get(stage, 0):.0f}" for stage in STAGES)]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--example", action="append", choices=EXAMPLES)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--shuffle-labels", action="store_true")
    parser.add_argument("overrides", nargs="*", help="key=value for every recipe but the demo's")
    args = parser.parse_args()
    write_all(args.data, Path("runs/rows"))
    rows = []
    for name in args.example or EXAMPLES:
        for model in args.model:
            folder = args.output / f"{name}-{Path(model).name}"
            run(recipe_of(name, model, folder, args.overrides), folder, args.shuffle_labels)
            rows.append(row(name, model, folder))
    systems = [*SYSTEMS[:4], "base by likelihood", *SYSTEMS[4:]]
    header = [
        "data",
        "model",
        "metric",
        "train",
        "n",
        *systems,
        "tuned minus best baseline",
        "verdict",
    ]
    header += [" + ".join(STAGES) + ", s"]
    print("| " + " | ".join(header) + " |", "|" + "---|" * len(header), *rows, sep="\n")


if __name__ == "__main__":
    main()
