"""Where the time of a training step goes: rows a second, the fraction of the machine's limit,
milliseconds by kind.

    OMP_NUM_THREADS=2 python benchmarks/step_profile.py --model FOLDER --shared FOLDER --data trec
    customer_reviews

The rows are rendered with the model's chat template and trained with tunesmith's own loop; of each
data set the first `--steps` steps after `WARM_UP` are timed, and `--profiled` more are looked into
with torch's profiler, whose own time makes these steps slower. To compare two versions run it in
turns with PYTHONPATH set to one and the other.

On a machine that others use too, waiting threads must not spin (OMP_WAIT_POLICY=PASSIVE), and
`thread_milliseconds` says about how long a step takes without them: the main thread's own processor
time, of which it does not wait any.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from train_rows import DATA_SETS
from transformers import AutoModelForCausalLM, AutoTokenizer

from tunesmith.machine import probe_machine
from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.train.loop import train
from tunesmith.train.packing.plan import TrainingData
from tunesmith.train.roofline import Limit, lower_bound, model_size

SHARED = Path(__file__).resolve().parents[2] / "shared"
WARM_UP = 2
KINDS = {
    "aten::mm": "matrix products", "aten::addmm": "matrix products", "aten::bmm": "matrix products",
    "aten::linear": "matrix products", "mkldnn::_linear_pointwise": "matrix products",
    "aten::_scaled_dot_product_flash_attention_for_cpu": "attention",
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": "attention",
    "_TreeAttention": "attention", "_TreeAttentionBackward": "attention",
    "aten::_fused_adamw_": "optimiser", "aten::linalg_vector_norm": "gradient norm",
    "aten::copy_": "casts and copies", "aten::_to_copy": "casts and copies",
    "aten::cat": "casts and copies",
    "aten::add": "sums", "aten::add_": "sums", "aten::sum": "sums",
    "aten::mul": "multiplications", "aten::mul_": "multiplications",
}  # fmt: skip


def rendered(pairs: list[tuple[str, str]], tokenizer: Any, num_rows: int) -> TrainingData:
    """The first rows of a seeded shuffle, as a user's message and the assistant's answer."""
    chosen = [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))[:num_rows]]
    prompts, rows = [], []
    for prompt, answer in chosen:
        text = prompt
        if tokenizer.chat_template:
            message = [{"role": "user", "content": prompt}]
            text = tokenizer.apply_chat_template(
                message, tokenize=False, add_generation_prompt=True
            )
        ids = tokenizer(text, add_special_tokens=False).input_ids
        prompts.append(len(ids))
        rows.append(
            ids
            + tokenizer(answer.strip(), add_special_tokens=False).input_ids
            + [tokenizer.eos_token_id]
        )
    flat = np.concatenate([np.array(row, dtype=np.int32) for row in rows])
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return TrainingData.from_arrays(flat, offsets, prompts, [f"row {i}" for i in range(len(rows))])


def run(
    model: Any, data: TrainingData, args: argparse.Namespace
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """What the loop says of every step, and milliseconds a profiled step by kind of operator."""
    records: list[dict[str, Any]] = []
    watch = profile(activities=[ProfilerActivity.CPU])
    last, last_cpu = time.perf_counter(), time.thread_time()

    def note(record: dict[str, Any]) -> None:
        nonlocal last, last_cpu
        wall, cpu = time.perf_counter() - last, time.thread_time() - last_cpu
        records.append({**record, "wall": wall, "cpu": cpu})
        if args.profiled and len(records) == WARM_UP + args.steps:
            watch.start()
        if args.profiled and len(records) == WARM_UP + args.steps + args.profiled:
            watch.stop()
        last, last_cpu = time.perf_counter(), time.thread_time()

    config = TrainConfig(
        num_train_epochs=1,
        train_batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        lr_scheduler_type="constant",
        warmup_ratio=0.0,
        dtype=args.dtype,
        gradient_checkpointing=False,
        report_to=[],
    )
    with tempfile.TemporaryDirectory() as folder:
        train(model, data, config, run=RunDir(Path(folder)), on_progress=note)
    return records, by_kind(watch, args.profiled) if args.profiled else {}


def by_kind(watch: Any, steps: int) -> dict[str, float]:
    """Milliseconds a step by kind; operators of no kind by their names."""
    found: dict[str, float] = defaultdict(float)
    for event in watch.key_averages():
        found[KINDS.get(event.key, event.key)] += event.self_cpu_time_total / 1000 / steps
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def summary(
    records: list[dict[str, Any]], args: argparse.Namespace, limit: Limit, num_steps: int
) -> dict[str, float]:
    """Rates and times of a step after warm-up, and the share of the roofline bound."""
    timed = [record["wall"] for record in records[WARM_UP : WARM_UP + args.steps]]
    return {
        "rows_per_second": args.batch_size * len(timed) / sum(timed),
        "milliseconds": 1000 * statistics.median(timed),
        "thread_milliseconds": 1000
        * statistics.median(r["cpu"] for r in records[WARM_UP : WARM_UP + args.steps]),
        "of_the_limit": limit.seconds / num_steps / (sum(timed) / len(timed)),
        "tokens": sum(record["forward_tokens"] for record in records) / len(records),
    }


def main() -> None:
    """Profile a few steps and print where their time goes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", type=Path, required=True, help="folder of a model and its tokenizer"
    )
    parser.add_argument("--shared", type=Path, default=SHARED, help="folder with data/")
    parser.add_argument(
        "--data", nargs="+", choices=DATA_SETS, default=["trec", "customer_reviews", "dialogsum"]
    )
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--profiled", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--losses", action="store_true", help="print the loss of every step too")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    for name in args.data:
        num_steps = WARM_UP + args.steps + args.profiled
        data = rendered(DATA_SETS[name](args.shared), tokenizer, num_steps * args.batch_size)
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
        machine = probe_machine(dtype=torch.float32 if args.dtype == "float32" else torch.bfloat16)
        limit = lower_bound(
            data, model_size(model.config), machine, batch_size=args.batch_size, epochs=1
        )
        records, kinds = run(model, data, args)
        found = {
            "data": name,
            "gflops": machine.flops_per_second / 1e9,
            "gb_per_second": machine.bytes_per_second / 1e9,
            **summary(records, args, limit, num_steps),
            "milliseconds_by_kind": {kind: round(ms, 1) for kind, ms in kinds.items() if ms >= 1},
            "losses": [record["loss"] for record in records] if args.losses else [],
        }
        print(json.dumps(found))


if __name__ == "__main__":
    main()
