"""Run the example recipes with several models, one after the other, and print the rows of docs/results.md.

    python tools/run_examples.py --output runs/results --model built-in --model ../shared/models/stories260K

A run that is finished in --output is not run again. Seconds are the whole run: preparation to report.

With --shuffle-labels every file's answers are dealt out anew among its rows, so that there is nothing to learn but
their form and how often each occurs: a verdict of "better" would then be false.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tunesmith.data.rows import read_rows
from tunesmith.pipeline import demo_recipe
from tunesmith.recipe import Recipe, dump_recipe, load_recipe

EXAMPLES = ("demo", "customer_reviews", "trec", "dialogsum", "banking77")
SYSTEMS = ("majority", "constant", "copy", "base", "base_few_shot", "tfidf_linear", "tuned")


def recipe_of(name: str, folder: Path) -> Recipe:
    return demo_recipe(folder) if name == "demo" else load_recipe(Path(f"examples/{name}.yaml"))[0]


def shuffled(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe on copies of its files in which the answers have changed places."""
    answer = recipe.data.columns.get("label") or recipe.data.columns["target"]
    changed = {}
    for key in ("source", "test_source"):
        source = getattr(recipe.data, key)
        if source is not None:
            rows = [dict(row.values) for row in read_rows(source)]
            answers = [row[answer] for row in rows]
            random.Random(0).shuffle(answers)
            changed[key] = str(folder / f"{key}.jsonl")
            lines = [json.dumps(row | {answer: given}) for row, given in zip(rows, answers, strict=True)]
            Path(changed[key]).write_text("\n".join(lines), encoding="utf-8")
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=changed)})


def run(name: str, model: str, folder: Path, shuffle: bool) -> None:
    if (folder / "report.json").exists():
        return
    files = folder.with_name(f"{folder.name}.files")
    files.mkdir(parents=True, exist_ok=True)
    recipe = recipe_of(name, folder).model_copy(update={"model": model, "output_dir": str(folder)})
    written = files / "recipe.yaml"
    written.write_text(dump_recipe(shuffled(recipe, files) if shuffle else recipe), encoding="utf-8")
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "tunesmith.cli", "run", str(written)], check=True)
    (folder / "seconds.json").write_text(json.dumps(time.monotonic() - started))


def cell(report: dict[str, Any], system: str) -> str:
    found = report["evaluations"].get(system)
    return f"{found[report['verdict']['metric']]['mean']:.3f}" if found else ""


def row(name: str, model: str, folder: Path) -> str:
    report = json.loads((folder / "report.json").read_text())
    comparison, seconds = report["comparison"], json.loads((folder / "seconds.json").read_text())
    low, high = comparison["ci"]
    difference = f"{comparison['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
    cells = [name, Path(model).name, report["verdict"]["metric"], str(comparison["n"])]
    cells += [cell(report, system) for system in SYSTEMS]
    cells += [f"{difference} against {comparison['a']}", report["verdict"]["kind"], f"{seconds:.0f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--example", action="append", choices=EXAMPLES)
    parser.add_argument("--shuffle-labels", action="store_true")
    args = parser.parse_args()
    rows = []
    for name in args.example or EXAMPLES:
        for model in args.model:
            folder = args.output / f"{name}-{Path(model).name}"
            run(name, model, folder, args.shuffle_labels)
            rows.append(row(name, model, folder))
    header = ["data", "model", "metric", "n", *SYSTEMS, "tuned minus best baseline", "verdict", "seconds"]
    print("| " + " | ".join(header) + " |", "|" + "---|" * len(header), *rows, sep="\n")


if __name__ == "__main__":
    main()
