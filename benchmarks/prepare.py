"""Rows per second of preparation, tunesmith beside TRL, on the same jsonl of prompts and
completions.

    python benchmarks/prepare.py --rows 100000 --peer-python /path/to/venv-with-trl/bin/python

Both read the file, tokenise prompt and prompt + completion, mask the prompt and write tables. TRL's
part is `datasets.load_dataset` and what `SFTTrainer` does with a data set before training.
tunesmith's part is all of `tunesmith prepare`: it also finds duplicates and near-duplicates,
splits, searches leaks, proves every row and writes the ledger; `tunesmith, no search` is without
near-duplicates and leaks. Each measurement is a fresh process, imports and model loading not
counted on either side; each is repeated and the fastest kept, in turn, so that a busy moment hits
all.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BUILT_IN_ROWS = "src/tunesmith/assets/reviews.csv:review:sentiment"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument(
        "--texts", action="append", help="FILE.csv:TEXT:LABEL to take texts from; can be repeated"
    )
    parser.add_argument(
        "--model", default="src/tunesmith/assets/base", help="a model folder; small is enough"
    )
    parser.add_argument(
        "--peer-python",
        help="python of an environment with trl; without it only tunesmith is measured",
    )
    parser.add_argument("--peer-processes", type=int, nargs="*", default=[1, os.cpu_count() or 1])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(CHILDREN[args.child[0]](*args.child[1:])))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        write_rows(rows, args.rows, args.texts or [BUILT_IN_ROWS])
        results = measure_all(args, rows, Path(folder))
    print(json.dumps(results, indent=2) if args.json else table(results, args.rows))


def write_rows(path: Path, n: int, sources: list[str]) -> None:
    """n rows with the texts of the sources in turn, each with its number in the text, so that no
    two are the same.
    """
    pairs = []
    for source in sources:
        file, text, label = source.rsplit(":", 2)
        with open(file, encoding="utf-8", newline="") as lines:
            pairs += [(row[text], row[label]) for row in csv.DictReader(lines)]
    with path.open("w", encoding="utf-8") as out:
        for number in range(n):
            text, label = pairs[number % len(pairs)]
            prompt = f"What kind of text is this?\n\nText {number}: {text}\nKind:"
            out.write(
                json.dumps({"prompt": prompt, "completion": label}, ensure_ascii=False) + "\n"
            )


def measure_all(args: argparse.Namespace, rows: Path, folder: Path) -> dict[str, dict[str, float]]:
    jobs = {
        "tunesmith": (sys.executable, ["tunesmith", "search"]),
        "tunesmith, no search": (sys.executable, ["tunesmith", "no search"]),
    }
    if args.peer_python:
        for processes in dict.fromkeys(args.peer_processes):
            jobs[f"trl, dataset_num_proc={processes}"] = (args.peer_python, ["trl", str(processes)])
    results: dict[str, dict[str, float]] = {}
    for repeat in range(args.repeats):
        for name, (python, child) in jobs.items():
            work = folder / f"{len(results)}-{repeat}-{child[1].replace(' ', '-')}-{child[0]}"
            found = run_child(
                python, [*child, str(rows), str(Path(args.model).resolve()), str(work)]
            )
            if name not in results or found["seconds"] < results[name]["seconds"]:
                results[name] = {**found, "rows_per_second": args.rows / found["seconds"]}
            print(f"{name}: {found['seconds']:.1f} s", file=sys.stderr)
    return results


def run_child(python: str, child: list[str]) -> dict[str, float]:
    done = subprocess.run(
        [python, __file__, "--child", *child], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def timed(job: Callable[[], object]) -> dict[str, float]:
    """Wall seconds, CPU seconds (child processes included) and the peak memory of this process."""
    started, cpu = time.monotonic(), sum(os.times()[:4])
    job()
    return {
        "seconds": time.monotonic() - started,
        "cpu_seconds": sum(os.times()[:4]) - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def prepare_with_tunesmith(search: str, rows: str, model: str, work: str) -> dict[str, float]:
    os.environ["TUNESMITH_CACHE"] = f"{work}/cache"  # empty: nothing prepared before may help
    # Imports are not counted, and the other system's environment has none of these packages.
    import datasketch  # noqa: F401

    from tunesmith import stages
    from tunesmith.models.load import load_tokenizer, max_positions
    from tunesmith.recipe import build_recipe

    # loaded again when preparing, but the libraries it needs are imported here
    load_tokenizer(model), max_positions(model)
    data = {"source": rows, "near_duplicates": search == "search"}
    recipe, _ = build_recipe({"model": model, "data": data, "output_dir": f"{work}/run"})
    return timed(lambda: stages.prepare.prepare(recipe))


def prepare_with_trl(processes: str, rows: str, model: str, work: str) -> dict[str, float]:
    os.environ["HF_DATASETS_CACHE"] = f"{work}/cache"
    import datasets
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer, network = (
        AutoTokenizer.from_pretrained(model),
        AutoModelForCausalLM.from_pretrained(model),
    )
    config = SFTConfig(
        output_dir=f"{work}/out",
        max_length=1024,
        dataset_num_proc=int(processes) if int(processes) > 1 else None,
        report_to=[],
        bf16=False,
        use_cpu=True,
    )

    def job() -> None:
        data = datasets.load_dataset("json", data_files=rows, split="train")
        SFTTrainer(model=network, args=config, train_dataset=data, processing_class=tokenizer)

    return timed(job)


CHILDREN = {"tunesmith": prepare_with_tunesmith, "trl": prepare_with_trl}


def table(results: dict[str, dict[str, float]], rows: int) -> str:
    lines = [
        f"{rows:,} rows",
        "",
        "| | rows/s | seconds | CPU seconds | peak MB |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, r in results.items():
        numbers = (
            f"{r['rows_per_second']:,.0f}",
            f"{r['seconds']:.1f}",
            f"{r['cpu_seconds']:.1f}",
            f"{r['peak_mb']:.0f}",
        )
        lines.append(f"| {name} | {' | '.join(numbers)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
