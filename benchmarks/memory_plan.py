"""Planned peak memory beside measured: random Llamas of 5 to 65 million parameters on a CPU.

    OMP_NUM_THREADS=1 python benchmarks/memory_plan.py > memory.md

A plan and its training are processes of their own. The plan is made from the shape alone
(tunesmith.train.memory_plan), with what a process has in memory after one small training, which
loads whatever libraries a training loads. The training makes the model, takes three steps of the
same rows, and its peak is what the system says of the process (peak RSS).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from tunesmith.machine import device_memory
from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.train.adapters import wrap_lora
from tunesmith.train.loop import train
from tunesmith.train.memory import peak_bytes, resident_bytes
from tunesmith.train.memory_plan import Place, plan_memory
from tunesmith.train.packing.plan import TrainingData

CPU = torch.device("cpu")
STEPS = 3


@dataclass(frozen=True)
class Case:
    """A shape, rows of one length of which half is trained, and keys of `train`."""

    layers: int
    hidden: int
    vocabulary: int
    length: int
    rows: int
    tied: bool = True
    train: dict[str, Any] = field(default_factory=dict)


FLOAT, HALF = {"dtype": "float32"}, {"dtype": "bfloat16"}
SAVED = {"gradient_checkpointing": True}
CASES = (
    Case(4, 256, 8_000, 64, 16, train=FLOAT),
    Case(8, 256, 16_000, 128, 16, train=FLOAT),
    Case(8, 512, 16_000, 256, 8, False, train=FLOAT),
    Case(8, 512, 16_000, 256, 8, False, train=FLOAT | SAVED),
    Case(8, 512, 16_000, 256, 8, False, train=HALF),
    Case(8, 512, 16_000, 256, 8, False, train=HALF | SAVED),
    Case(6, 512, 32_000, 512, 8, train=FLOAT),
    Case(6, 512, 32_000, 512, 8, train=HALF),
    Case(12, 384, 16_000, 512, 4, train=FLOAT | {"optim": "adafactor"}),
    Case(12, 384, 16_000, 512, 4, train=HALF | {"optim": "adafactor"}),
    Case(8, 512, 16_000, 256, 8, train=FLOAT | {"optim": "muon"}),
    Case(8, 512, 16_000, 256, 8, False, train=FLOAT | {"lora": {"r": 16}}),
    Case(8, 512, 16_000, 256, 8, False, train=HALF | SAVED | {"lora": {"r": 16}}),
    Case(8, 512, 16_000, 128, 32, train=FLOAT | {"max_batch_tokens": 2048}),
    Case(16, 384, 8_000, 1024, 2, train=HALF),
    Case(20, 256, 32_000, 128, 8, train=FLOAT),
    Case(12, 512, 8_000, 256, 8, train=FLOAT | SAVED | {"optim": "adafactor"}),
    Case(24, 256, 16_000, 256, 4, train=HALF | {"weights_dtype": "bfloat16"}),
    Case(8, 768, 16_000, 256, 4, train=FLOAT | {"lora": {"r": 8}}),
    Case(8, 512, 16_000, 384, 6, False, train=HALF | {"lora": {"r": 16}}),
    Case(10, 512, 32_000, 64, 32, train=HALF | SAVED),
    Case(6, 768, 8_000, 512, 2, train=FLOAT | {"optim_in_backward": True, "max_grad_norm": 0}),
    Case(12, 384, 16_000, 256, 16, train=HALF | {"max_batch_tokens": 1024}),
    Case(3, 1024, 8_000, 256, 4, train=FLOAT),
)
TINY = Case(1, 32, 300, 16, 2)


def config_of(case: Case) -> LlamaConfig:
    """The Llama of a case; its feed-forward layers are 8/3 as wide as its hidden states."""
    return LlamaConfig(
        vocab_size=case.vocabulary,
        hidden_size=case.hidden,
        intermediate_size=case.hidden * 8 // 3 // 32 * 32,
        num_hidden_layers=case.layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=case.tied,
    )


def rows_of(case: Case) -> TrainingData:
    """Random ids, the same for plan and training; nothing is shared."""
    n, length = case.rows * STEPS, case.length + 1
    ids = np.random.default_rng(0).integers(3, case.vocabulary, n * length)
    return TrainingData.from_arrays(
        ids, np.arange(n + 1) * length, np.full(n, length - case.length // 2), [*map(str, range(n))]
    )


def train_config(case: Case) -> TrainConfig:
    """The case's keys, and one epoch without trackers."""
    keys = {"num_train_epochs": 1, "train_batch_size": case.rows, "report_to": []}
    return TrainConfig(**keys | case.train)  # type: ignore[arg-type]


def train_it(case: Case) -> None:
    """Make the model and train it."""
    config = train_config(case)
    model = AutoModelForCausalLM.from_config(config_of(case), dtype=torch.float32)
    if config.lora is not None:
        model = wrap_lora(model, config.lora, config.seed)
    with tempfile.TemporaryDirectory() as folder:
        train(model, rows_of(case), config, run=RunDir(Path(folder)))


def planned(case: Case) -> dict[str, int]:
    """The plan's parts in bytes, with the libraries and the total."""
    train_it(Case(**asdict(TINY) | {"train": case.train}))
    place = Place(CPU, device_memory(CPU), resident_bytes())
    found = plan_memory(config_of(case), rows_of(case), train_config(case), place)
    parts = {name: int(size) for name, size in asdict(found.peak).items()}
    return {"parameters": found.parameters, **parts, "libraries": place.libraries} | {
        "total": found.total
    }


def measured(case: Case) -> dict[str, int]:
    """The peak of this process."""
    train_it(case)
    return {"total": peak_bytes(CPU)}


def in_its_own_process(what: str, case: Case) -> dict[str, int]:
    """`planned` or `measured`, found by a fresh process."""
    command = [sys.executable, __file__, "--child", what, json.dumps(asdict(case))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def table_row(case: Case, plan: dict[str, int], peak: int) -> str:
    """One line of the markdown table, in MB."""
    keys = ", ".join(f"{key} {value}" for key, value in case.train.items() if key != "dtype")
    names = ("weights", "gradients", "optimizer", "activations", "logits", "holes")
    names += ("libraries", "total")
    cells = " | ".join(f"{plan[name] / 1e6:.0f}" for name in names)
    shape = f"{plan['parameters'] / 1e6:.1f} M, {case.layers} x {case.hidden}"
    shape += ", tied" if case.tied else ""
    rows = f"{case.rows} x {case.length}"
    off = f"{plan['total'] / peak - 1:+.1%}"
    dtype = case.train.get("dtype", "auto")
    return f"| {shape} | {rows} | {dtype} | {keys} | {cells} | {peak / 1e6:.0f} | {off} |"


def main() -> None:
    """Print the table, or be the child of a line of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", type=int, default=range(len(CASES)))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        case = Case(**json.loads(args.child[1]))
        print(json.dumps((planned if args.child[0] == "planned" else measured)(case)))
        return
    print(
        "| model | rows of a step | computed in | keys | weights | gradients | optimiser | "
        "activations | logits | holes | libraries | planned MB | measured MB | off by |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for case in (CASES[number] for number in args.cases):
        plan = in_its_own_process("planned", case)
        peak = in_its_own_process("measured", case)["total"]
        print(table_row(case, plan, peak), flush=True)


if __name__ == "__main__":
    main()
