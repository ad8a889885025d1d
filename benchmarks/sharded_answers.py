"""Time and memory of answering with whole copies and with a sharded model, for several numbers of
processes on one machine.

    OMP_NUM_THREADS=1 python benchmarks/sharded_answers.py --ranks 1 2 4 --hidden 1024 --layers 6

A random Llama, answers of a fixed number of tokens to made prompts, float32. Each number of
processes is started by torchrun; the leader prints a line of JSON for each way to hold the model.
Peaks are those of each process from its start: `libraries` before there is a model, `loaded` when
its weights are, `answered` when all rows are. `seconds` are the leader's; `cpu_seconds` each
rank's own processor clock, which other programs on the machine do not lengthen.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from sharded import made_model, peak_mb
from transformers import PreTrainedModel

from tunesmith.distributed.group import by_rank, gathered, process_group
from tunesmith.evaluate.generate import Generated, generate
from tunesmith.models.load import load_empty, load_model
from tunesmith.ranks import is_leader, world_size
from tunesmith.recipe import FsdpConfig
from tunesmith.train.answering import sharded_to_answer

PROMPT_TOKENS = (40, 120)
Use = Callable[[Callable[[PreTrainedModel], list[Generated]]], list[Generated]]


def made_prompts(number: int, vocabulary: int) -> list[list[int]]:
    """Random ids."""
    random = np.random.default_rng(0)
    lengths = random.integers(*PROMPT_TOKENS, number)
    return [random.integers(3, vocabulary, length).tolist() for length in lengths]


def held(name: str, whole: bool) -> tuple[PreTrainedModel, Use]:
    """The model, and what runs a function of it."""
    if whole:
        model = load_model(name, device="cpu")
        return model, lambda function: function(model)
    found = load_empty(name)
    assert found is not None, "every weight is one tensor of the file"
    empty, stored = found
    cpu = torch.device("cpu")
    passes = sharded_to_answer(empty, "float32", cpu, FsdpConfig(), stored.read_into)
    return passes.root.model, passes.run


def measure(options: argparse.Namespace) -> None:
    """What one rank does; the leader prints what all have found."""
    with process_group() if world_size() > 1 else nullcontext():
        libraries = gathered(round(peak_mb()))
        model, use = held(options.model, options.whole)
        loaded = gathered(round(peak_mb()))
        prompts = made_prompts(options.rows, model.config.vocab_size)
        started, clock = time.perf_counter(), time.process_time()

        def answer(model: PreTrainedModel) -> list[Generated]:
            def own(prompts: Sequence[list[int]]) -> list[Generated]:
                return generate(model, prompts, stop_ids=[], max_new_tokens=options.tokens)

            return by_rank(own, prompts)

        answers = use(answer)
        seconds, own_clock = time.perf_counter() - started, time.process_time() - clock
        found: dict[str, Any] = {
            "ranks": world_size(),
            "whole": options.whole,
            "weights_mb": round(sum(4 * p.numel() for p in model.parameters()) / 2**20),
            "seconds": round(seconds, 2),
            "cpu_seconds": [round(each, 2) for each in gathered(own_clock)],
            "libraries_mb": libraries,
            "loaded_mb": loaded,
            "answered_mb": gathered(round(peak_mb())),
            "answers": hash(tuple(token for answer in answers for token in answer.ids)),
        }
    if is_leader():
        print(json.dumps(found), flush=True)


def main() -> None:
    """Start each number of processes in turn, with whole copies and sharded."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rows", type=int, default=16, help="on all ranks together")
    parser.add_argument("--tokens", type=int, default=24, help="of each answer")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--whole", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--model", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.model:
        measure(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        made_model(options.hidden, options.layers).save_pretrained(folder)
        for number in options.ranks:
            for way in [["--whole"], []] if number > 1 else [["--whole"]]:
                starts = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(number)]
                own = [__file__, *sys.argv[1:], *way, "--model", folder]
                command = [sys.executable, "-m", *starts, *own]
                done = subprocess.run(
                    command, env=os.environ, capture_output=True, text=True, check=False
                )
                print(done.stdout.strip() if not done.returncode else done.stderr[-2000:])


if __name__ == "__main__":
    main()
