"""Try every decoder architecture of transformers on a tiny random model.

Writes the table of docs/architectures.md:

OMP_NUM_THREADS=1 python tools/architecture_table.py --write docs/architectures.md

The checks are in tests/architecture_checks.py, which tests/models/test_architectures.py runs too.
Exits with 1 if one fails, without writing the table.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import torch
import transformers
from transformers.utils import logging

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from architecture_checks import Verdict, verdict
from tiny_architectures import MODEL_TYPES

START, END = "<!-- table: tools/architecture_table.py -->", "<!-- end of table -->"


def try_all(model_types: Sequence[str]) -> tuple[list[Verdict], list[str]]:
    """The verdicts, and the model types with a failed check."""
    found, failed = [], []
    for model_type in model_types:
        try:
            found.append(verdict(model_type))
            print(f"{model_type}: {found[-1].runs} {found[-1].why}")
        except Exception as error:  # anything can fail in a model's code; the others still count
            failed.append(model_type)
            print(f"{model_type}: FAILED: {type(error).__name__}: {error}")
    return found, failed


def table(verdicts: Sequence[Verdict]) -> str:
    counts = Counter(found.runs for found in verdicts)
    by_kind = ", ".join(f"{number} {runs}" for runs, number in counts.most_common())
    lines = [
        f"{date.today().isoformat()}, transformers {transformers.__version__}, "
        f"torch {torch.__version__}, on a CPU: {len(verdicts)} model types; {by_kind}.",
        "",
        "| model type | runs | why |",
        "|---|---|---|",
        *(f"| {found.model_type} | {found.runs} | {found.why} |" for found in verdicts),
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model_types", nargs="*", help="default: all of them")
    parser.add_argument(
        "--write", type=Path, help="put the table into this file, between its two comments"
    )
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    verdicts, failed = try_all(arguments.model_types or MODEL_TYPES)
    if failed:
        print(f"{len(failed)} failed: {', '.join(failed)}")
        return 1
    if arguments.write:
        before, rest = arguments.write.read_text(encoding="utf-8").split(START)
        after = rest.split(END)[1]
        arguments.write.write_text(
            f"{before}{START}\n{table(verdicts)}\n{END}{after}", encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
