"""Planned peak memory of each process beside the measured one: random Llamas on 2 and 4 processes.

    OMP_NUM_THREADS=1 python benchmarks/sharded_memory.py --cases 1 2 6 > sharded_memory.md

Shapes, rows and keys are those of memory_plan.py. The plan is made by one process, from the shape
alone, with what a process has in memory after a small training. The training is started by
torchrun, with gloo on a CPU: each process reads its own part of the weights and takes three steps,
and its peak is what the system says of it after the last one (peak RSS), before anything is saved.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memory_plan import CASES, CPU, STEPS, TINY, Case, config_of, rows_of, train_config, train_it
from transformers import AutoModelForCausalLM

from tunesmith.distributed.group import gathered, process_group
from tunesmith.machine import device_memory
from tunesmith.models.load import load_empty
from tunesmith.ranks import is_leader
from tunesmith.rundir import RunDir
from tunesmith.train.loop import train
from tunesmith.train.memory import peak_bytes, resident_bytes
from tunesmith.train.memory_plan import Place, plan_memory

RANKS = (2, 4)
USUAL = (1, 2, 4, 6)
NAMES = ("weights", "gradients", "optimizer", "gathered", "activations", "logits", "holes")


def measure(told: dict[str, Any], folder: str) -> None:
    """What one rank does; the leader prints the peaks of all, in bytes."""
    case = Case(**told)
    peaks: list[int] = []
    with process_group(), tempfile.TemporaryDirectory() as own:
        found = load_empty(folder)
        assert found is not None, "every weight is one tensor of the file"
        model, stored = found
        train(
            model,
            rows_of(case),
            train_config(case),
            run=RunDir(Path(gathered(own)[0])),
            on_progress=lambda _: peaks.append(peak_bytes(CPU)),
            read_weights=stored.read_into,
        )
        assert len(peaks) == STEPS
        all_peaks = gathered(peaks[-1])
    if is_leader():
        print(json.dumps(all_peaks), flush=True)


def planned(case: Case, ranks: int) -> dict[str, int]:
    """The plan's parts in bytes, with the libraries and the total."""
    train_it(Case(**asdict(TINY) | {"train": case.train}))
    place = Place(CPU, device_memory(CPU), resident_bytes(), ranks)
    found = plan_memory(config_of(case), rows_of(case), train_config(case), place)
    parts = {name: int(size) for name, size in asdict(found.peak).items()}
    return {"parameters": found.parameters, **parts, "libraries": place.libraries} | {
        "total": found.total
    }


def child(*arguments: str, ranks: int = 0) -> str:
    """The last line that this script prints with these arguments, on several ranks or alone."""
    starts = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command = [sys.executable, *(starts if ranks else []), __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return done.stdout.strip().splitlines()[-1]


def table_row(case: Case, ranks: int, plan: dict[str, int], peaks: list[int]) -> str:
    """One line of the markdown table, in MB."""
    keys = ", ".join(f"{key} {value}" for key, value in case.train.items() if key != "dtype")
    cells = " | ".join(f"{plan[name] / 1e6:.0f}" for name in (*NAMES, "libraries", "total"))
    shape = f"{plan['parameters'] / 1e6:.1f} M, {case.layers} x {case.hidden}"
    shape += ", tied" if case.tied else ""
    measured = ", ".join(f"{peak / 1e6:.0f}" for peak in sorted(peaks))
    off = f"{plan['total'] / max(peaks) - 1:+.1%}"
    dtype = case.train.get("dtype", "auto")
    start = f"| {ranks} | {shape} | {case.rows} x {case.length} | {dtype} | {keys} "
    return f"{start}| {cells} | {measured} | {off} |"


def main() -> None:
    """Print the table, or be a process of a line of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", type=int, default=USUAL)
    parser.add_argument("--ranks", nargs="+", type=int, default=RANKS)
    parser.add_argument("--plan", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.plan:
        print(json.dumps(planned(Case(**json.loads(args.plan[0])), int(args.plan[1]))))
        return
    if args.worker:
        measure(json.loads(args.worker[0]), args.worker[1])
        return
    print(
        "| processes | model | rows of a step | computed in | keys | weights | gradients | "
        "optimiser | gathered | activations | logits | holes | libraries | planned MB | "
        "measured MB of each | off by, of the largest |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for case in (CASES[number] for number in args.cases):
        told = json.dumps(asdict(case))
        with tempfile.TemporaryDirectory() as folder:
            AutoModelForCausalLM.from_config(config_of(case)).save_pretrained(folder)
            for ranks in args.ranks:
                peaks = json.loads(child("--worker", told, folder, ranks=ranks))
                plan = json.loads(child("--plan", told, str(ranks)))
                print(table_row(case, ranks, plan, peaks), flush=True)


if __name__ == "__main__":
    main()
