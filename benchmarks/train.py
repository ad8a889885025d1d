"""Training speed and memory on one machine: TRL, a plain transformers loop and tunesmith, on the
same token ids.

    pip install trl==1.16.0
    OMP_NUM_THREADS=2 python benchmarks/train.py --output docs/benchmarks/train

Every measurement is a process of its own (peak memory is the process's). All systems get the same
rows in the same order, the same number of rows per optimiser step, AdamW with the same constant
learning rate, clipping at 1.0, and random weights from the same seed. With `--dtype bfloat16` all
of them compute under autocast. `trl default` is what SFTConfig() gives on this machine (bf16
autocast where it chooses so, gradient checkpointing), but that rows are not cut at 1024 tokens;
`trl` is in `--dtype` and without checkpointing; `trl packed` merges rows into packs of 1024 tokens,
one a step, and so takes other optimiser steps. Use numbers of rows that the batch size divides.

First a parity gate: 20 float32 steps (of `--parity-batch-size` rows) in which the loss of each
system must agree with the plain loop's within 1e-5. A system that does not pass gets no speed. Then
the systems run in turn, `--repeats` times, and the median counts; the first `WARM_UP` steps of each
run are not timed. Rows of unique long answers (gsm8k) come first: there nothing is shared, and the
gain is smallest.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from train_rows import DATA_SETS, build_tokenizer, load_rows, save_rows, token_hash
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tunesmith.machine import Machine, probe_machine
from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.train.loop import train
from tunesmith.train.packing.plan import TrainingData
from tunesmith.train.roofline import lower_bound, model_size

SHARED = Path(__file__).resolve().parents[2] / "shared"
LEARNING_RATE = 1e-4
WARM_UP = 2
PARITY_STEPS = 20
PARITY = 1e-5
SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"vocab_size": 16_384, "hidden_size": 32, "intermediate_size": 64,
             "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
    "15m": {"vocab_size": 32_000, "hidden_size": 256, "intermediate_size": 768,
            "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4},
    "135m": {"vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1536,
             "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3},
}  # fmt: skip


def build_model(shape: str) -> LlamaForCausalLM:
    """A Llama of this shape with random weights, the same at each call."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(**SHAPES[shape], max_position_embeddings=4096, tie_word_embeddings=True)
    )


def rows_in_training_order(data: TrainingData) -> np.ndarray:
    """The order of tunesmith's first epoch with seed 0; the other systems are given the rows
    already in it.
    """
    return np.random.default_rng([0, 0]).permutation(len(data))


def run_tunesmith(
    model: Any, data: TrainingData, batch_size: int, work: Path, share: bool, dtype: str = "auto"
) -> list[dict[str, float]]:
    """Train one epoch with tunesmith's loop; loss, seconds and tokens of each step."""
    steps: list[dict[str, float]] = []
    last = time.perf_counter()

    def note(record: dict[str, Any]) -> None:
        nonlocal last
        now = time.perf_counter()
        steps.append(
            {
                "loss": record["loss"],
                "seconds": now - last,
                "forward_tokens": record["forward_tokens"],
            }
        )
        last = now

    config = TrainConfig(
        num_train_epochs=1,
        train_batch_size=batch_size,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        warmup_ratio=0.0,
        share_prefixes=share,
        dtype=dtype,
        report_to=[],
    )
    train(model, data, config, run=RunDir(work), on_progress=note)
    return steps


def run_transformers(
    model: Any, data: TrainingData, batch_size: int, work: Path, dtype: str
) -> list[dict[str, float]]:
    """The loop many tutorials show: pad, one pass, `model(input_ids, attention_mask, labels)`,
    AdamW.
    """
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    order, steps = rows_in_training_order(data), []
    for start in range(0, len(order), batch_size):
        started = time.perf_counter()
        rows = order[start : start + batch_size]
        width = int(data.lengths_of(rows).max())
        ids_BT = torch.zeros(len(rows), width, dtype=torch.long)
        labels_BT = torch.full((len(rows), width), -100)
        for i, row in enumerate(rows):
            n, length = int(data.num_prompt_tokens[row]), int(data.lengths_of(row))
            ids_BT[i, :length] = torch.from_numpy(data.row(row).astype(np.int64))
            labels_BT[i, n:length] = ids_BT[i, n:length]
        mask_BT = (torch.arange(width) < torch.from_numpy(data.lengths_of(rows))[:, None]).long()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = model(input_ids=ids_BT, attention_mask=mask_BT, labels=labels_BT).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds = time.perf_counter() - started
        steps.append({"loss": loss.item(), "seconds": seconds, "forward_tokens": width * len(rows)})
    return steps


def run_trl(
    model: Any, data: TrainingData, batch_size: int, work: Path, **settings: Any
) -> list[dict[str, float]]:
    """Train one epoch with TRL's SFTTrainer; loss, seconds and tokens of each step."""
    # only for this system: trl is optional, and its imports would count as memory of the others
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    order = rows_in_training_order(data)
    records = []
    for row in order:
        ids, n = data.row(row).tolist(), int(data.num_prompt_tokens[row])
        records.append({"input_ids": ids, "labels": [-100] * n + ids[n:]})
    steps: list[dict[str, float]] = []

    class Watch(TrainerCallback):  # type: ignore[misc]
        last = 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if not steps:
                self.last = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            now = time.perf_counter()
            steps.append({"seconds": now - self.last})
            self.last = now

        def on_log(
            self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any
        ) -> None:
            if "loss" in logs:
                steps[-1]["loss"] = logs["loss"]

    settings.setdefault("per_device_train_batch_size", batch_size)
    config = SFTConfig(
        output_dir=str(work),
        num_train_epochs=1,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        train_sampling_strategy="sequential",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        **settings,
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(records),
        processing_class=PreTrainedTokenizerFast.from_pretrained(os.environ["BENCHMARK_TOKENIZER"]),
    )
    trainer.add_callback(Watch())
    trainer.train()
    return steps


def in_dtype(dtype: str) -> dict[str, Any]:
    """SFTConfig's arguments for computing in `dtype`, without checkpointing, whole rows."""
    return {"bf16": dtype == "bfloat16", "gradient_checkpointing": False, "max_length": None}


PACKS = {"packing": True, "max_length": 1024, "per_device_train_batch_size": 1}
SYSTEMS: dict[str, Callable[..., list[dict[str, float]]]] = {
    "trl default": lambda *a, dtype: run_trl(*a, max_length=None),
    "trl": lambda *a, dtype: run_trl(*a, **in_dtype(dtype)),
    "trl packed": lambda *a, dtype: run_trl(*a, **(in_dtype(dtype) | PACKS)),
    "transformers": run_transformers,
    "tunesmith, nothing shared": lambda *a, dtype: run_tunesmith(*a, share=False, dtype=dtype),
    "tunesmith": lambda *a, dtype: run_tunesmith(*a, share=True, dtype=dtype),
}
IN_PARITY_GATE = ("trl", "transformers", "tunesmith, nothing shared", "tunesmith")


def peak_bytes() -> int:
    """Of this process, model and libraries included. Linux' VmHWM: getrusage's ru_maxrss begins at
    the parent's.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def child(
    system: str, shape: str, rows_file: Path, num_rows: int, batch_size: int, dtype: str
) -> dict[str, Any]:
    """Train in this process; what was measured, for its parent."""
    data = load_rows(rows_file, num_rows)
    model = build_model(shape)
    with tempfile.TemporaryDirectory() as work:
        steps = SYSTEMS[system](model, data, batch_size, Path(work), dtype=dtype)
    timed = steps[WARM_UP:]
    peak = peak_bytes()
    return {
        "losses": [step.get("loss", math.nan) for step in steps],
        # packs hold rows of their own number, on average rows / steps; in all others that is the
        # batch size
        "rows_per_second": len(data)
        / len(steps)
        * len(timed)
        / sum(step["seconds"] for step in timed),
        "first_step_seconds": steps[0]["seconds"],
        "forward_tokens": sum(step.get("forward_tokens", 0) for step in steps),
        "peak_bytes": peak,
        "token_hash": token_hash(data),
        "raw_tokens": int(data.lengths.sum()),
        "trained_tokens": int(data.num_trained.sum()),
        "rows": len(data),
        "steps": len(steps),
    }


def measure(
    system: str,
    args: argparse.Namespace,
    shape: str,
    data_name: str,
    num_rows: int,
    batch_size: int,
    dtype: str,
) -> dict[str, Any]:
    """One run in a fresh process; a run that fails says why and has no numbers."""
    rows_file = args.work / f"{data_name}.npz"
    sizes = [str(num_rows), str(batch_size)]
    command = [sys.executable, __file__, "--child", system, shape, str(rows_file), *sizes, dtype]
    environment = {**os.environ, "BENCHMARK_TOKENIZER": str(args.work / "tokenizer")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "killed"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    rate, peak = found["rows_per_second"], found["peak_bytes"] / 1e9
    print(
        f"{shape} {data_name} {system}, {num_rows} rows: {rate:.2f} rows/s, {peak:.2f} GB",
        file=sys.stderr,
    )
    return found


def parity(args: argparse.Namespace, shape: str, data_name: str) -> dict[str, float]:
    """The largest relative difference of a step's float32 loss from the plain loop's, by system."""
    num_rows = PARITY_STEPS * args.parity_batch_size
    systems = [s for s in IN_PARITY_GATE if s in args.systems or s == "transformers"]
    sizes = (num_rows, args.parity_batch_size, "float32")
    runs = {system: measure(system, args, shape, data_name, *sizes) for system in systems}
    for system, run in runs.items():
        if "error" in run:
            print(f"{system}: {run['error']}", file=sys.stderr)
    losses = {system: run.get("losses") for system, run in runs.items()}
    expected = losses["transformers"] or []
    return {
        system: max(abs(a - b) / b for a, b in zip(found, expected, strict=True))
        if found
        else math.inf
        for system, found in losses.items()
    }


def limit_seconds(args: argparse.Namespace, shape: str, data_name: str, machine: Machine) -> float:
    """The roofline bound of one epoch on this machine."""
    data = load_rows(args.work / f"{data_name}.npz", args.rows)
    size = model_size(build_model(shape).config)
    return lower_bound(data, size, machine, batch_size=args.batch_size, epochs=1).seconds


def summary(runs: list[dict[str, Any]], limit: float) -> dict[str, Any]:
    """Medians over the repeats, with the slowest and fastest."""
    good = [run for run in runs if "error" not in run]
    if not good:
        return {"error": runs[0]["error"]}
    rates = sorted(run["rows_per_second"] for run in good)
    first, rate = good[0], statistics.median(rates)
    row_tokens = first["raw_tokens"] / first["rows"]
    forward = first["forward_tokens"]
    return {
        "rows_per_second": rate,
        "slowest_to_fastest": [rates[0], rates[-1]],
        "trained_tokens_per_second": rate * first["trained_tokens"] / first["rows"],
        "raw_tokens_per_second": rate * row_tokens,
        "forward_per_raw_token": forward / first["raw_tokens"] if forward else math.nan,
        "peak_gb": statistics.median(run["peak_bytes"] for run in good) / 1e9,
        "first_step_seconds": statistics.median(run["first_step_seconds"] for run in good),
        "last_loss": first["losses"][-1],
        "of_the_limit": limit * rate / first["rows"],
        "optimiser_steps": first["steps"],
        "token_hash": first["token_hash"],
    }


def table(results: list[dict[str, Any]]) -> str:
    """The results as a markdown table."""
    lines = [
        "| shape | data | system | rows/s (slowest-fastest) | trained tokens/s "
        "| tokens forwarded per raw token | peak GB | last loss | of the limit "
        "| largest loss difference |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        head = f"| {r['shape']} | {r['data']} | {r['system']} |"
        if "error" in r:
            lines.append(f"{head} not measured: {r['error'][:80]} | | | | | | |")
            continue
        low, high = r["slowest_to_fastest"]
        difference = "other steps" if math.isnan(r["parity"]) else f"{r['parity']:.1e}"
        lines.append(
            f"{head} {r['rows_per_second']:.2f} ({low:.2f}-{high:.2f}) | "
            f"{r['trained_tokens_per_second']:.0f} | {r['forward_per_raw_token']:.2f} | "
            f"{r['peak_gb']:.2f} | {r['last_loss']:.4f} | {r['of_the_limit']:.0%} | "
            f"{difference} |"
        )
    return "\n".join(lines)


def environment(machine: Machine) -> dict[str, Any]:
    """Versions and rates that the numbers depend on."""
    packages = {}
    for name in ("torch", "transformers", "trl", "datasets", "numpy"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "matmul_gflops": machine.flops_per_second / 1e9,
        "copy_gb_per_second": machine.bytes_per_second / 1e9,
        "load_at_start": os.getloadavg(),
        "packages": packages,
        "command": " ".join(sys.argv),
    }


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Every system on every shape and data set, with parity of the losses where it is due."""
    machine = probe_machine(dtype=getattr(torch, args.dtype))
    tokenizer = build_tokenizer(SHARED)
    tokenizer.save_pretrained(args.work / "tokenizer")
    for name in args.data:
        save_rows(args.work / f"{name}.npz", name, SHARED, tokenizer)
    results = []
    for shape in args.shapes:
        for data_name in args.data:
            differences = parity(args, shape, data_name)
            print(f"{shape} {data_name}: loss differences {differences}", file=sys.stderr)
            systems = [s for s in args.systems if differences.get(s, 0.0) <= PARITY]
            limit = limit_seconds(args, shape, data_name, machine)
            runs: dict[str, list[dict[str, Any]]] = {system: [] for system in systems}
            sizes = (args.rows, args.batch_size, args.dtype)
            for _ in range(args.repeats):
                for system in systems:
                    runs[system].append(measure(system, args, shape, data_name, *sizes))
            for system in args.systems:
                found = (
                    summary(runs[system], limit)
                    if system in runs
                    else {"error": "its losses differ"}
                )
                where = {"shape": f"{shape} {args.dtype}", "data": data_name, "system": system}
                results.append({**where, "parity": differences.get(system, math.nan), **found})
    return {"environment": environment(machine), "results": results}


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Rows per second as bars, saved as an image."""
    import matplotlib  # the backend has to be chosen before pyplot is imported

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shapes = list(dict.fromkeys(r["shape"] for r in results))
    figure, axes = pyplot.subplots(1, len(shapes), figsize=(6 * len(shapes), 4), squeeze=False)
    for axis, shape in zip(axes[0], shapes, strict=True):
        mine = [r for r in results if r["shape"] == shape and "error" not in r]
        names, systems = (list(dict.fromkeys(r[key] for r in mine)) for key in ("data", "system"))
        for i, system in enumerate(systems):
            found = {r["data"]: r["rows_per_second"] for r in mine if r["system"] == system}
            at = np.arange(len(names)) + i * 0.8 / len(systems)
            heights, colour = (
                [found.get(name, 0) for name in names],
                f"C{list(SYSTEMS).index(system)}",
            )
            axis.bar(at, heights, 0.8 / len(systems), label=system, color=colour)
        axis.set(title=shape, ylabel="rows/s", yscale="log", xticks=np.arange(len(names)) + 0.4)
        axis.set_xticklabels(names, rotation=20)
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Parse arguments, then compare, or be the child of a comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", default=["15m", "135m"], choices=SHAPES)
    parser.add_argument("--data", nargs="+", default=list(DATA_SETS), choices=DATA_SETS)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--parity-batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, help="writes OUTPUT.md, OUTPUT.json and OUTPUT.png")
    parser.add_argument("--child", nargs=6, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        system, shape, rows_file, rows, batch_size, dtype = args.child
        print(json.dumps(child(system, shape, Path(rows_file), int(rows), int(batch_size), dtype)))
        return
    with tempfile.TemporaryDirectory() as work:
        args.work = Path(work)
        found = compare(args)
    print(table(found["results"]))
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.with_suffix(".md").write_text(table(found["results"]) + "\n")
        args.output.with_suffix(".json").write_text(json.dumps(found, indent=2))
        plot(found["results"], args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
