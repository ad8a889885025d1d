"""What each way of saving memory saves and costs, on the shape of SmolLM2-135M on a CPU.

    OMP_NUM_THREADS=1 python benchmarks/memory_savings.py --model FOLDER > savings.md

Each line is a process of its own, which makes the model, takes a few steps of the same rows,
writes its checkpoint and ends: its peak is what the system says of the process (peak RSS), its time
that of the median step. Beside it are the peak that the plan foretold from the shape alone, and
whether the weights at the end are those of the plain run, bit for bit. The optimiser's state and
activations go to a file in the folder `--folder`; a folder in RAM would show nothing.

Without `--model` the weights are random.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PreTrainedConfig

from tunesmith.machine import device_memory
from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.train.checkpoint import latest_checkpoint, weights_sha256
from tunesmith.train.loop import train
from tunesmith.train.memory import peak_bytes, resident_bytes
from tunesmith.train.memory_plan import Place, plan_memory
from tunesmith.train.packing.plan import TrainingData
from tunesmith.train.trackers import read_metrics

CPU = torch.device("cpu")
SMOLLM2 = LlamaConfig(
    vocab_size=49_152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    max_position_embeddings=8192,
    tie_word_embeddings=True,
)
TINY = LlamaConfig(
    vocab_size=SMOLLM2.vocab_size,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
)
BACKWARD = {"optim_in_backward": True}
STATES, KEPT = {"offload_optimizer": "disk"}, {"offload_activations": "disk"}
CHECKPOINTING = {"gradient_checkpointing": True}
HALF = {"weights_dtype": "bfloat16"}
EIGHT_BIT = {"optim": "adamw_8bit"}
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "step in the backward pass": BACKWARD,
    "optimiser on disk": STATES,
    "activations on disk": KEPT,
    "checkpointing": CHECKPOINTING,
    "the four together": BACKWARD | STATES | KEPT | CHECKPOINTING,
    "Adafactor": {"optim": "adafactor"},
    "bfloat16 weights": HALF,
    "8-bit AdamW": EIGHT_BIT,
    "bfloat16 weights, 8-bit AdamW": HALF | EIGHT_BIT,
    "all together": BACKWARD | STATES | KEPT | CHECKPOINTING | HALF | EIGHT_BIT,
}


@dataclass(frozen=True)
class Case:
    """Keys of `train`, and what is trained: a folder, or nothing for random weights."""

    train: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    steps: int = 3
    rows: int = 2
    length: int = 256
    folder: str = ""


def config_of(case: Case) -> PreTrainedConfig:
    """The model's shape."""
    if not case.model:
        return SMOLLM2
    found: PreTrainedConfig = AutoConfig.from_pretrained(case.model)
    return found


def rows_of(case: Case) -> TrainingData:
    """Counting upwards from random numbers, half of each row trained: there is something to learn.
    Nothing is shared.
    """
    n, length = case.rows * case.steps, case.length + 1
    starts = np.random.default_rng(0).integers(3, 10_000, n)
    ids = (starts[:, None] + np.arange(length)).ravel() % config_of(case).vocab_size
    trained = length - case.length // 2
    return TrainingData.from_arrays(
        ids, np.arange(n + 1) * length, np.full(n, trained), [*map(str, range(n))]
    )


def train_config(case: Case) -> TrainConfig:
    """The case's keys, and one epoch without clipping."""
    keys: dict[str, Any] = {
        "num_train_epochs": 1,
        "train_batch_size": case.rows,
        # a step is one pass: rows that share little use a quarter of it
        "max_batch_tokens": 4 * case.rows * (case.length + 1),
        "max_grad_norm": 0.0,
        "learning_rate": 1e-4,
        "warmup_ratio": 0.0,
        "report_to": [],
        "dtype": "bfloat16",
    }
    return TrainConfig(**keys | case.train)


def train_it(case: Case, shape: PreTrainedConfig | None = None) -> dict[str, Any]:
    """Make the model and train it: seconds of the median step, the last loss, the weights' hash."""
    torch.manual_seed(0)
    if case.model and shape is None:
        model = AutoModelForCausalLM.from_pretrained(case.model, dtype=torch.float32)
    else:
        model = AutoModelForCausalLM.from_config(shape or SMOLLM2, dtype=torch.float32)
    with tempfile.TemporaryDirectory(dir=case.folder or None) as folder:
        run = RunDir(Path(folder))
        train(model, rows_of(case), train_config(case), run=run)
        steps, saved = read_metrics(run.metrics), latest_checkpoint(run.checkpoints)
        assert saved is not None
        return {
            "seconds": statistics.median(step["seconds"] for step in steps),
            "loss": steps[-1]["loss"],
            "sha256": weights_sha256(saved.path),
        }


def planned(case: Case) -> dict[str, Any]:
    """The plan's total and what it puts away, in bytes."""
    libraries = Case(**asdict(case) | {"model": "", "steps": 2, "rows": 2, "length": 16})
    train_it(libraries, TINY)  # loads what a training with these keys loads
    place = Place(CPU, device_memory(CPU), resident_bytes())
    found = plan_memory(config_of(case), rows_of(case), train_config(case), place)
    peak = found.peak
    return {"total": found.total, "away": peak.states_away + peak.kept_away}


def measured(case: Case) -> dict[str, Any]:
    """A training of this process, and its peak."""
    return train_it(case) | {"total": peak_bytes(CPU)}


def in_its_own_process(what: str, case: Case) -> dict[str, Any]:
    """`planned` or `measured`, found by a fresh process."""
    command = [sys.executable, __file__, "--child", what, json.dumps(asdict(case))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table_row(way: str, plan: dict[str, Any], found: dict[str, Any], plain: dict[str, Any]) -> str:
    """One line of the markdown table."""
    off = f"{plan['total'] / found['total'] - 1:+.1%}"
    same = "yes" if found["sha256"] == plain["sha256"] else "no"
    return (
        f"| {way} | {found['total'] / 1e6:.0f} | {found['total'] / plain['total']:.0%} "
        f"| {plan['total'] / 1e6:.0f} | {off} | {plan['away'] / 1e6:.0f} "
        f"| {found['seconds']:.2f} | {found['loss']:.4f} | {same} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or be the child of a line of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="", help="a folder with SmolLM2-135M")
    parser.add_argument("--folder", default="", help="where files are put, on a disk")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--steps", type=int, default=Case.steps)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.child:
        case = Case(**json.loads(args.child[1]))
        print(json.dumps((planned if args.child[0] == "planned" else measured)(case)))
        return
    print(
        "| | measured MB | of plain | planned MB | off by | put away, MB | s/step "
        f"| loss of step {args.steps} | same bits |\n|---|---|---|---|---|---|---|---|---|"
    )
    plain: dict[str, Any] = {}
    for way in args.ways:
        case = Case(WAYS[way], args.model, args.steps, folder=args.folder)
        plan, found = in_its_own_process("planned", case), in_its_own_process("measured", case)
        plain = plain or found
        print(table_row(way, plan, found, plain), flush=True)


if __name__ == "__main__":
    main()
