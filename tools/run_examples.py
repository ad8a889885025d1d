"""Run the example recipes with several models, one after the other, and print the rows of docs/results.md.

    python tools/run_examples.py --output runs/results --model built-in --model ../shared/models/stories260K

A run that is finished in --output is not run again. Seconds are the whole run: preparation to report.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

EXAMPLES = ("customer_reviews", "trec", "dialogsum", "banking77")
SYSTEMS = ("majority", "copy", "base", "base_few_shot", "tfidf_linear", "tuned")


def run(name: str, model: str, folder: Path) -> None:
    if (folder / "report.json").exists():
        return
    command = [
        sys.executable,
        "-m",
        "tunesmith.cli",
        "run",
        f"examples/{name}.yaml",
        f"model={model}",
        f"output_dir={folder}",
    ]
    started = time.monotonic()
    subprocess.run(command, check=True)
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
    args = parser.parse_args()
    rows = []
    for name in args.example or EXAMPLES:
        for model in args.model:
            folder = args.output / f"{name}-{Path(model).name}"
            run(name, model, folder)
            rows.append(row(name, model, folder))
    header = ["data", "model", "metric", "n", *SYSTEMS, "tuned minus best baseline", "verdict", "seconds"]
    print("| " + " | ".join(header) + " |", "|" + "---|" * len(header), *rows, sep="\n")


if __name__ == "__main__":
    main()
