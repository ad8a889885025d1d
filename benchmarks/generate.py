"""Greedy answers, tunesmith beside transformers' `generate`: the same model, prompts, token budget
and stop tokens.

    python benchmarks/generate.py --model HuggingFaceTB/SmolLM2-135M-Instruct --data rows.jsonl
    --prompt "Summarise the dialogue.\\n\\n{dialogue}\\n\\nSummary:" --rows 48

`--prompt` is filled from the columns of a csv or jsonl file and goes through the model's chat
template; `--exemplars` puts so many first rows before each, as a long beginning that all prompts
share. transformers' prompts are sorted by length and padded on the left, in batches of each of
`--batch-sizes`; tunesmith writes as many answers at once ("rows at once") and, in its own line, as
many as it does by itself. Everything is measured in turn `--repeats` times; "seconds" is the
fastest, "CPU" the processor's time of that one, which other programs disturb less. "Same" counts
the answers that are token for token those of transformers in batches of the first size.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tunesmith.chat.format import chat_format, complete_tokenizer
from tunesmith.data.tokenize import tokenize_prompts
from tunesmith.evaluate.generate import Generated, generate
from tunesmith.models.load import load_model, load_tokenizer
from tunesmith.records import Example, Turn


@dataclass(frozen=True)
class Measured:
    """Of one system; `first` is the repeat's answers, `seconds` and `cpu_seconds` its fastest
    run's.
    """

    dtype: str
    system: str
    rows_at_once: str
    answers: list[Generated]
    seconds: float
    cpu_seconds: float


def main(arguments: Sequence[str] | None = None) -> list[Measured]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a model folder or hub id")
    parser.add_argument("--data", required=True, help="csv or jsonl")
    parser.add_argument(
        "--prompt", required=True, help="with the names of columns in braces; \\n is a line end"
    )
    parser.add_argument("--answer", default="", help="the same for the answer of an exemplar")
    parser.add_argument("--exemplars", type=int, default=0)
    parser.add_argument("--rows", type=int, default=48, help="the last ones of the file")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args(arguments)
    tokenizer = load_tokenizer(args.model)
    complete_tokenizer(tokenizer)
    prompts = read_prompts(args, tokenizer)
    print(machine())
    print("| dtype | system | rows at once | rows/s | seconds | CPU | same |")
    print("|---|---|---|---|---|---|---|")
    found = []
    for dtype in args.dtypes:
        model = load_model(args.model, dtype)
        ends = {
            "stop_ids": chat_format(tokenizer).stop_ids(model),
            "max_new_tokens": args.max_new_tokens,
        }
        measured = measure(
            model, prompts, tokenizer.pad_token_id, ends, args.batch_sizes, args.repeats, dtype
        )
        print("\n".join(table_row(one, measured[0].answers) for one in measured), flush=True)
        found += measured
    return found


def read_prompts(args: argparse.Namespace, tokenizer: Any) -> list[list[int]]:
    """Token ids of the last rows' prompts, the first rows before them as exemplars."""
    with Path(args.data).open(encoding="utf-8", newline="") as lines:
        rows = (
            [json.loads(line) for line in lines]
            if args.data.endswith(".jsonl")
            else list(csv.DictReader(lines))
        )

    def fill(text: str, row: dict[str, Any]) -> str:
        return text.replace("\\n", "\n").format(**row)

    shown = tuple(
        turn
        for row in rows[: args.exemplars]
        for turn in (
            Turn("user", fill(args.prompt, row)),
            Turn("assistant", fill(args.answer, row)),
        )
    )
    asked = [
        Example("", "", "", fill(args.prompt, row), "", history=shown) for row in rows[-args.rows :]
    ]
    return tokenize_prompts(asked, chat_format(tokenizer))


def measure(
    model: Any,
    prompts: list[list[int]],
    pad: int,
    ends: dict[str, Any],
    batch_sizes: Sequence[int],
    repeats: int,
    dtype: str,
) -> list[Measured]:
    """transformers first; each system's fastest of `repeats`, taken in turn."""
    jobs: list[tuple[str, str, Callable[[], list[Generated]]]] = []
    for size in batch_sizes:
        jobs.append(
            ("transformers", str(size), lambda size=size: theirs(model, prompts, size, pad, **ends))
        )  # type: ignore[misc]
        jobs.append(
            (
                "tunesmith",
                str(size),
                lambda size=size: generate(model, prompts, batch_rows=size, **ends),
            )
        )  # type: ignore[misc]
    jobs.append(("tunesmith", "its own", lambda: generate(model, prompts, **ends)))
    best: dict[int, Measured] = {}
    for _ in range(repeats):
        for number, (system, rows_at_once, job) in enumerate(jobs):
            started, cpu = time.perf_counter(), time.process_time()
            answers = job()
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
            if number not in best or seconds < best[number].seconds:
                best[number] = Measured(dtype, system, rows_at_once, answers, seconds, cpu)
    return [best[number] for number in range(len(jobs))]


def theirs(
    model: Any,
    prompts: list[list[int]],
    size: int,
    pad: int,
    stop_ids: Sequence[int],
    max_new_tokens: int,
) -> list[Generated]:
    answers: list[Generated] = [Generated([], False)] * len(prompts)
    ordered = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    for batch in (ordered[start : start + size] for start in range(0, len(ordered), size)):
        longest = len(prompts[batch[0]])
        padding = [longest - len(prompts[row]) for row in batch]
        ids_BT = torch.tensor(
            [[pad] * n + prompts[row] for n, row in zip(padding, batch, strict=True)]
        )
        mask_BT = torch.tensor([[0] * n + [1] * (longest - n) for n in padding])
        written_BT = model.generate(
            ids_BT.to(model.device),
            attention_mask=mask_BT.to(model.device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=list(stop_ids),
            pad_token_id=pad,
        )[:, longest:]
        for row, written in zip(batch, written_BT.tolist(), strict=True):
            end = next((i for i, token in enumerate(written) if token in stop_ids), None)
            answers[row] = Generated(written[:end], end is not None)
    return answers


def table_row(one: Measured, reference: list[Generated]) -> str:
    same = sum(a == b for a, b in zip(one.answers, reference, strict=True))
    rate = len(reference) / one.seconds
    return (
        f"| {one.dtype} | {one.system} | {one.rows_at_once} | {rate:.2f} | {one.seconds:.1f} | "
        f"{one.cpu_seconds:.1f} "
        f"| {same} of {len(reference)} |"
    )


def machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    processor = platform.processor() or platform.machine()
    return f"{versions}, {processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
