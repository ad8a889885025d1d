"""How the time for a row grows: four plots that are straight lines where they should be.

    OMP_NUM_THREADS=2 python benchmarks/train_scaling.py --output docs/benchmarks/train_scaling

Rows of random token ids with nothing in common on a model of 15 million parameters. Time per row
should fall with the batch size (the optimiser's share of it does) to a constant, rise in proportion
with length (and a little more: attention), rise in proportion with the vocabulary (the head, and
the embedding's gradient), and not change with the number of rows.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from train import LEARNING_RATE, SHAPES, WARM_UP
from transformers import LlamaConfig, LlamaForCausalLM

from tunesmith.recipe import TrainConfig
from tunesmith.rundir import RunDir
from tunesmith.train.loop import train
from tunesmith.train.packing.plan import TrainingData

TYPICAL = {"batch_size": 8, "length": 128, "vocabulary": 32_000, "rows": 128}
VARIED = {
    "batch_size": [1, 2, 4, 8, 16, 32],
    "length": [32, 64, 128, 256, 512],
    "vocabulary": [4_000, 8_000, 16_000, 32_000, 64_000],
    "rows": [128, 256, 512],
}
TRAINED_TOKENS = 16


def milliseconds_per_row(batch_size: int, length: int, vocabulary: int, rows: int) -> float:
    """Train random rows of this kind and time a row after warm-up."""
    random = np.random.default_rng(0)
    ids = random.integers(3, vocabulary, rows * length)
    data = TrainingData.from_arrays(
        ids,
        np.arange(rows + 1) * length,
        np.full(rows, length - TRAINED_TOKENS),
        [f"row {i}" for i in range(rows)],
    )
    torch.manual_seed(0)
    shape = {**SHAPES["15m"], "vocab_size": vocabulary}
    model = LlamaForCausalLM(
        LlamaConfig(**shape, max_position_embeddings=4096, tie_word_embeddings=True)
    )
    records: list[dict[str, Any]] = []
    config = TrainConfig(
        num_train_epochs=1, train_batch_size=batch_size, learning_rate=LEARNING_RATE, report_to=[]
    )
    with tempfile.TemporaryDirectory() as folder:
        train(model, data, config, run=RunDir(Path(folder)), on_progress=records.append)
    timed = records[min(WARM_UP, len(records) - 1) :]
    return 1000 * length * sum(r["seconds"] for r in timed) / sum(r["raw_tokens"] for r in timed)


def measure(repeats: int) -> dict[str, list[tuple[int, float]]]:
    """The fastest of several runs for each value, other values at their typical ones."""
    found: dict[str, list[tuple[int, float]]] = {}
    for name, values in VARIED.items():
        for value in values:
            setting = {**TYPICAL, name: value}
            fastest = min(milliseconds_per_row(**setting) for _ in range(repeats))
            found.setdefault(name, []).append((value, fastest))
            print(f"{name} {value}: {fastest:.1f} ms a row", flush=True)
    return found


def plot(found: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """The measured times over each varied value, saved as an image."""
    import matplotlib  # noqa: PLC0415  a backend has to be chosen before pyplot is imported

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(1, len(found), figsize=(4 * len(found), 3.2))
    axis: Any
    for axis, (name, points) in zip(axes, found.items(), strict=True):
        axis.plot(*zip(*points, strict=True), marker="o")
        axis.set(xlabel=name.replace("_", " "), ylabel="ms per row", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, and print or plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--output", type=Path, required=True, help="writes OUTPUT.json and OUTPUT.png"
    )
    args = parser.parse_args()
    found = measure(args.repeats)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.with_suffix(".json").write_text(json.dumps(found, indent=2))
    plot(found, args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
