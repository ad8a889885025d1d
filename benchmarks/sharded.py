"""Time of a step and memory of each process, for several numbers of processes on one machine.

    OMP_NUM_THREADS=1 python benchmarks/sharded.py --ranks 1 2 4 --steps 6

A random Llama (40 million parameters by default), made rows under one shared beginning, float32.
Each number of processes is started by torchrun; the leader prints a line of JSON. A peak is that of
the process from its start: `libraries` before a model is there, `loaded` when its weights are,
`steps` after the last step, `peak` when all is saved. With `--whole` every process loads the whole
model, as one does by itself, and not its own part. Seconds are the leader's; `cpu_seconds` are a
step's on each rank's own processor clock, which other programs on the machine do not lengthen.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tunesmith.distributed.group import gathered, process_group
from tunesmith.models.load import load_empty, load_model
from tunesmith.ranks import is_leader, world_size
from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.train.loop import train
from tunesmith.train.packing.plan import TrainingData
from tunesmith.train.sharded import ReadWeights

VOCABULARY, SHARED, OWN, TRAINED = 8192, 60, (40, 120), 12


def made_model(hidden: int, layers: int) -> Any:
    """A random model of Llama's architecture, embeddings and head tied."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def made_rows(number: int) -> TrainingData:
    """Random ids, of which the first SHARED are the same in all rows, and the last are trained."""
    random = np.random.default_rng(0)
    lengths = SHARED + random.integers(*OWN, number)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = random.integers(3, VOCABULARY, offsets[-1], dtype=np.int32)
    ids[offsets[:-1, None] + np.arange(SHARED)] = random.integers(3, VOCABULARY, SHARED)
    names = [str(row) for row in range(number)]
    return TrainingData.from_arrays(ids, offsets, lengths - TRAINED, names)


def peak_mb() -> float:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def load(options: argparse.Namespace, peaks: list[float]) -> tuple[Any, ReadWeights | None]:
    """The model, and of several processes what reads each one's part; the peak then is noted."""
    if world_size() == 1 or options.whole:
        model = load_model(options.model, device="cpu")
        peaks.append(peak_mb())
        return model, None
    found = load_empty(options.model)
    assert found is not None, "every weight is one tensor of the file"
    empty, stored = found

    def read_weights(sharded: torch.nn.Module, device: torch.device) -> None:
        stored.read_into(sharded, device)
        peaks.append(peak_mb())

    return empty, read_weights


def measure(options: argparse.Namespace) -> None:
    """What one rank does; the leader prints what all have found."""
    seconds: list[float] = []
    losses: list[float] = []
    tokens: list[float] = []
    clock: list[float] = []
    peaks_of_steps: list[float] = []

    def note(metrics: dict[str, float]) -> None:
        seconds.append(metrics["seconds"])
        losses.append(metrics["loss"])
        tokens.append(metrics["forward_tokens"])
        clock.append(time.process_time())
        peaks_of_steps.append(peak_mb())

    config = TrainConfig(
        num_train_epochs=1,
        train_batch_size=options.rows,
        dtype="float32",
        report_to=[],
        max_batch_tokens=2048,
        gradient_checkpointing=False,
    )
    data = made_rows(options.rows * options.steps)
    group = process_group() if world_size() > 1 else nullcontext()
    with group, tempfile.TemporaryDirectory() as folder:
        libraries, loaded = peak_mb(), []
        model, read_weights = load(options, loaded)
        # written by the leader alone, to a folder that is the same for none of the others
        place = gathered(folder)[0]
        train(
            model,
            data,
            config,
            run=RunDir(Path(place)),
            on_progress=note,
            read_weights=read_weights,
        )
        peaks, stepped = gathered(peak_mb()), gathered(peaks_of_steps[-1])
        before, loaded = gathered(libraries), gathered(loaded[0])
        cpu = gathered(round(statistics.median(np.diff(clock)), 3))
    if is_leader():
        found = {
            "ranks": world_size(),
            "parameters": sum(p.numel() for p in model.parameters()),
            "seconds": round(statistics.median(seconds[1:]), 3),
            "fastest": round(min(seconds[1:]), 3),
            "slowest": round(max(seconds[1:]), 3),
            "cpu_seconds": cpu,
            "forward_tokens": round(statistics.mean(tokens)),
            "libraries_mb": [round(mb) for mb in before],
            "loaded_mb": [round(mb) for mb in loaded],
            "steps_mb": [round(mb) for mb in stepped],
            "peak_mb": [round(mb) for mb in peaks],
            "losses": [round(loss, 6) for loss in losses],
        }
        print(json.dumps(found), flush=True)


def main() -> None:
    """Start each number of processes in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rows", type=int, default=32, help="of one step, on all ranks together")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--whole", action="store_true", help="every process loads all weights")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--model", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        measure(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        made_model(options.hidden, options.layers).save_pretrained(folder)
        own = [__file__, *sys.argv[1:], "--worker", "--model", folder]
        for number in options.ranks:
            starts = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(number)]
            command = [sys.executable, "-m", *starts, *own]
            done = subprocess.run(
                command, env=os.environ, capture_output=True, text=True, check=False
            )
            print(done.stdout.strip() if not done.returncode else done.stderr[-2000:], flush=True)


if __name__ == "__main__":
    main()
