"""The largest published shapes whose every weight can be trained in 24, 80 and 141 GB, by the plan.

    python benchmarks/largest_model.py

Eight rows of 512 tokens a step, half of each trained, with gradient checkpointing, computed in
bfloat16; one row a micro-batch, and all eight where weights are stepped in the backward pass, for
that frees gradients only where a step is one pass. Only configs are made, on tensors without
numbers: no weights and no GPU are needed, and nothing is measured. The published sizes are written
below, with the parameters that they give.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, PreTrainedConfig, Qwen3Config

from tunesmith.devices import GB
from tunesmith.recipe import TrainConfig
from tunesmith.train.memory_plan import Place, plan_memory
from tunesmith.train.packing.plan import TrainingData

ROWS, LENGTH = 8, 512
MEMORIES = (24, 80, 141)
RESERVED = 1  # GB for CUDA itself, which no plan of tensors counts
IN_RAM = {"offload_optimizer": "cpu", "offload_activations": "cpu"}
BACKWARD = {
    "optim_in_backward": True,
    "max_grad_norm": 0.0,
    "max_batch_tokens": 4 * ROWS * (LENGTH + 1),  # rows that share little use a quarter of it
}
SMALL = {"optim": "adamw_8bit", "weights_dtype": "bfloat16"}
WAYS: dict[str, dict[str, Any]] = {
    "AdamW, float32 weights": {},
    "the same, states and activations in RAM": IN_RAM,
    "the same, and stepped in the backward pass": IN_RAM | BACKWARD,
    "Adafactor, float32 weights": {"optim": "adafactor"},
    "8-bit AdamW, bfloat16 weights": SMALL,
    "the same, stepped in the backward pass": SMALL | BACKWARD,
    "the same, and states and activations in RAM": SMALL | BACKWARD | IN_RAM,
}


def of(
    kind: type[PreTrainedConfig],
    hidden: int,
    wide: int,
    layers: int,
    heads: int,
    width: int,
    tied: bool,
) -> PreTrainedConfig:
    """A published shape; `width` is that of a head."""
    return kind(
        hidden_size=hidden,
        intermediate_size=wide,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=8,
        head_dim=width,
        vocab_size=VOCABULARIES[kind],
        max_position_embeddings=4096,
        tie_word_embeddings=tied,
    )


VOCABULARIES = {LlamaConfig: 128_256, Qwen3Config: 151_936}
SHAPES: dict[str, tuple[type[PreTrainedConfig], int, int, int, int, int, bool]] = {
    "Qwen3-0.6B": (Qwen3Config, 1024, 3072, 28, 16, 128, True),
    "Llama-3.2-1B": (LlamaConfig, 2048, 8192, 16, 32, 64, True),
    "Qwen3-1.7B": (Qwen3Config, 2048, 6144, 28, 16, 128, True),
    "Llama-3.2-3B": (LlamaConfig, 3072, 8192, 28, 24, 128, True),
    "Qwen3-4B": (Qwen3Config, 2560, 9728, 36, 32, 128, True),
    "Llama-3.1-8B": (LlamaConfig, 4096, 14_336, 32, 32, 128, False),
    "Qwen3-14B": (Qwen3Config, 5120, 17_408, 40, 40, 128, False),
    "Qwen3-32B": (Qwen3Config, 5120, 25_600, 64, 64, 128, False),
}


def rows() -> TrainingData:
    """Rows that share nothing, half of each trained."""
    offsets = np.arange(ROWS + 1) * (LENGTH + 1)
    ids = np.random.default_rng(0).integers(3, 1000, offsets[-1])
    return TrainingData.from_arrays(
        ids, offsets, np.full(ROWS, LENGTH // 2 + 1), [str(row) for row in range(ROWS)]
    )


def planned(config: PreTrainedConfig, **keys: Any) -> tuple[int, int]:
    """Parameters, and bytes at the peak on a GPU with room for anything."""
    usual: dict[str, Any] = {
        "train_batch_size": ROWS,
        "dtype": "bfloat16",
        "gradient_checkpointing": True,
        "max_batch_tokens": LENGTH,
        "report_to": [],
    }
    train = TrainConfig(**usual | keys)
    place = Place(torch.device("cuda"), 1 << 42)
    plan = plan_memory(config, rows(), train, place)
    return plan.parameters, plan.total


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    shapes = parser.parse_args(arguments).shapes
    print(f"| shape | parameters | {' | '.join(WAYS)} |\n|---|---|{'---|' * len(WAYS)}", flush=True)
    largest: dict[tuple[str, int], str] = {}
    for name in shapes:
        cells = []
        for way, keys in WAYS.items():
            parameters, total = planned(of(*SHAPES[name]), **keys)
            cells.append(f"{total / GB:.1f} GB")
            largest |= {(way, size): name for size in MEMORIES if total <= (size - RESERVED) * GB}
        print(f"| {name} | {parameters:,} | {' | '.join(cells)} |", flush=True)
    print(f"\n| memory | {' | '.join(WAYS)} |\n|---|{'---|' * len(WAYS)}")
    for size in MEMORIES:
        print(f"| {size} GB | {' | '.join(largest.get((way, size), '-') for way in WAYS)} |")


if __name__ == "__main__":
    main()
