"""TRL and tunesmith on one NVIDIA GPU, in one call of under ten minutes.

    pip install 'tunesmith[gpu]' trl==1.16.0 python benchmarks/gpu.py > gpu.md python
    benchmarks/gpu.py --device cpu --shapes tiny --steps 3    # seconds: shows that the script runs,
    no more

Random models of Qwen3-0.6B's and Llama-3.2-1B's shape; rows of random token ids, the same for every
system, the same rows in every optimiser step, float32 weights and AdamW state with bfloat16 compute
(16 bytes a parameter) throughout. `trl default` is what SFTConfig() gives, but that rows are not
cut: padded, with gradient checkpointing, and TRL's fused head on trained positions, which it always
has. `trl tuned` adds Liger's kernels for the layers (TRL keeps its own head and loss), drops
checkpointing, and is padding-free where flash-attn is installed; without it rows stay padded,
because a mask over all rows in one line is slower than padding. tunesmith's attention is torch's
varlen_attn where the row says `varlen`. The first rows are long and unique, as chat is: there a
tuned peer is about as fast as tunesmith can be.

`bytes/parameter` is the peak, activations included, over the number of parameters. `of peak` is the
lower bound on FLOPs (tunesmith.train.roofline) over the time taken and the measured rate of a
bfloat16 matrix product: work that a system does twice or on padding does not count.

Each run is a process of its own. What does not fit into the time or the memory says so in its row.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models
from train import WARM_UP, run_trl, run_tunesmith
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, Qwen3Config
from transformers.utils import is_flash_attn_2_available

from tunesmith.machine import Machine, probe_machine
from tunesmith.recipe import TrainConfig
from tunesmith.train.loss import split_model
from tunesmith.train.packing.plan import TrainingData
from tunesmith.train.roofline import lower_bound, model_size
from tunesmith.train.settings import settle

BATCH_SIZE = 32
SECONDS = 570
WHOLE = {"max_length": None}  # rows longer than TRL's default of 1024 tokens are not cut
SYSTEMS = ("trl default", "trl tuned", "tunesmith, nothing shared", "tunesmith")
SHAPES: dict[str, Any] = {
    "Qwen3-0.6B": Qwen3Config(
        vocab_size=151_936, hidden_size=1024, intermediate_size=3072,
        num_hidden_layers=28, num_attention_heads=16,
        num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
    ),
    "Llama-3.2-1B": LlamaConfig(
        vocab_size=128_256, hidden_size=2048, intermediate_size=8192,
        num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, head_dim=64, tie_word_embeddings=True,
    ),
    "tiny": LlamaConfig(
        vocab_size=4096, hidden_size=64, intermediate_size=128,
        num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, tie_word_embeddings=True,
    ),
}  # fmt: skip
TINY_ROWS = 16  # the tiny shape's rows are so many times shorter
# name: tokens shared by all rows, then ranges of own prompt tokens and of trained tokens
ROWS = {
    "long unique chat": (0, (100, 800), (200, 1200)),
    "instruction of 50 tokens": (50, (100, 400), (20, 80)),
    "five fixed exemplars": (740, (40, 100), (60, 200)),
}


def made_rows(name: str, steps: int, shape: str) -> TrainingData:
    """Random ids of the lengths that `ROWS` gives."""
    parts = TINY_ROWS if shape == "tiny" else 1
    shared, own, trained = ROWS[name]
    random, n, vocabulary = (
        np.random.default_rng(0),
        steps * BATCH_SIZE,
        min(120_000, SHAPES[shape].vocab_size),
    )
    prompts = shared // parts + random.integers(own[0] // parts, own[1] // parts, n)
    lengths = prompts + random.integers(max(1, trained[0] // parts), trained[1] // parts, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = random.integers(10, vocabulary, offsets[-1]).astype(np.int32)
    prefix = random.integers(10, vocabulary, shared // parts).astype(np.int32)
    for start in offsets[:-1]:
        ids[start : start + len(prefix)] = prefix
    return TrainingData.from_arrays(ids, offsets, prompts, [f"row {i}" for i in range(n)])


def trl_settings(system: str, device: str, has_flash_attention: bool) -> dict[str, Any]:
    """SFTConfig's arguments. TRL takes rows, not tokens, at a time: 8 rows and 4 accumulations make
    a step of 32.
    """
    settings = {
        **WHOLE,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": BATCH_SIZE // 8,
    }
    if system == "trl default":
        return settings
    tuned = {"gradient_checkpointing": False, "use_liger_kernel": device == "cuda"}
    return settings | tuned | {"padding_free": has_flash_attention}


def child(
    system: str, shape: str, rows: str, steps: int, work: Path, device: str
) -> dict[str, Any]:
    """Train in this process; what was measured, for its parent."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(SHAPES[shape]).to(device)
    data = made_rows(rows, steps, shape)
    has_flash_attention = device == "cuda" and is_flash_attn_2_available()
    if system.startswith("trl"):
        settings = trl_settings(system, device, has_flash_attention)
        if settings.get("padding_free"):
            model.set_attn_implementation("flash_attention_2")
        attention = model.config._attn_implementation
        taken = run_trl(model, data, BATCH_SIZE, work, **settings)
    else:
        settled, _ = settle(split_model(model), data, TrainConfig(), torch.device(device))
        attention = "varlen" if settled.varlen else "buckets"
        taken = run_tunesmith(model, data, BATCH_SIZE, work, share=system == "tunesmith")
    timed = taken[WARM_UP:]
    on_cuda = device == "cuda"
    peak = (
        torch.cuda.max_memory_allocated()
        if on_cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {
        "seconds_per_step": sum(step["seconds"] for step in timed) / len(timed),
        "first_step_seconds": taken[0]["seconds"],
        "peak_bytes": peak,
        "loss": taken[-1]["loss"],
        "attention": attention,
    }


def measure(
    system: str, shape: str, rows: str, args: argparse.Namespace, deadline: float
) -> dict[str, Any]:
    """Run `child` in a fresh process, so that its peak memory is its own; or say why not."""
    left = deadline - time.monotonic()
    if left < 20:
        return {"error": "out of time"}
    command = [sys.executable, __file__, "--child", system, shape, rows, "--steps", str(args.steps)]
    command += ["--device", args.device]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=left, env=os.environ)
    except subprocess.TimeoutExpired:
        return {"error": "out of time"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["killed"])[-1][:100]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table_row(
    shape: str, rows: str, system: str, found: dict[str, Any], steps: int, machine: Machine
) -> str:
    """One line of the markdown table."""
    if "error" in found:
        return f"| {shape} | {rows} | {system} | not measured: {found['error']} | | | | | |"
    data = made_rows(rows, steps, shape)
    size = model_size(SHAPES[shape])
    limit = lower_bound(data, size, machine, batch_size=BATCH_SIZE, epochs=1)
    share = limit.flops / steps / found["seconds_per_step"] / machine.flops_per_second
    per_second = BATCH_SIZE / found["seconds_per_step"]
    tokens = data.lengths.mean() * per_second
    peak, each = found["peak_bytes"] / 1e9, found["peak_bytes"] / size.parameters
    head = (
        f"| {shape} | {rows} | {system} ({found['attention']}) | {per_second:.1f} | {tokens:.0f} |"
    )
    return f"{head} {peak:.1f} | {each:.0f} | {found['loss']:.4f} | {share:.0%} |"


def save_tokenizer(folder: Path) -> None:
    """TRL asks for one, though the rows are token ids."""
    inner = Tokenizer(models.WordLevel({"<eos>": 0, "<pad>": 1, "<unk>": 2}, unk_token="<unk>"))
    PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>"
    ).save_pretrained(folder)


def main() -> None:
    """Parse arguments, then compare, or be the child of a comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shapes", nargs="+", default=["Qwen3-0.6B", "Llama-3.2-1B"], choices=SHAPES
    )
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.steps <= WARM_UP:
        sys.exit(f"--steps {args.steps}: the first {WARM_UP} are not timed")
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no NVIDIA GPU here: not measured")
    with tempfile.TemporaryDirectory() as work:
        if args.child:
            print(json.dumps(child(*args.child, args.steps, Path(work), args.device)))
            return
        save_tokenizer(Path(work))
        os.environ["BENCHMARK_TOKENIZER"] = work
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Print a table of every system on every kind of rows."""
    deadline = time.monotonic() + SECONDS
    on_cuda = args.device == "cuda"
    machine = probe_machine(args.device, torch.bfloat16 if on_cuda else torch.float32)
    card = f"{torch.cuda.get_device_name() if on_cuda else 'a CPU'}, torch {torch.__version__}"
    print(f"{time.strftime('%Y-%m-%d')}, {card}, `{' '.join(sys.argv)}`;")
    print(f"a matrix product runs at {machine.flops_per_second / 1e12:.3g} TFLOPS.\n")
    print(
        "| model | rows | system | rows/s | raw tokens/s | peak GB | bytes/parameter "
        "| last loss | of peak |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for rows in args.rows:
        for shape in args.shapes:
            for system in SYSTEMS:
                found = measure(system, shape, rows, args, deadline)
                print(table_row(shape, rows, system, found, args.steps, machine), flush=True)


if __name__ == "__main__":
    main()
