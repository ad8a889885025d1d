"""What shared beginnings lose where several processes share a step's rows.

    python benchmarks/sharded_prefixes.py runs/reviews/data/train.parquet ...

Tokens that go through the model on all processes together, relative to one process, for the first
steps of an epoch; 8,192 tokens are the budget of a micro-batch.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from tunesmith.data.store import read_token_arrays
from tunesmith.train.packing.plan import TrainingData, forward_tokens, plan_epoch

STEPS, RANKS, BATCH_SIZES = 30, (1, 2, 4, 8), (32, 256)


def tokens(data: TrainingData, batch_size: int, ranks: int) -> int:
    """Through the model, without idle passes."""
    plans = [
        plan_epoch(data, seed=0, epoch=0, batch_size=batch_size, max_batch_tokens=8192,
                   share_prefixes=True, rank=rank, world_size=ranks)
        for rank in range(ranks)
    ]  # fmt: skip
    steps = [step for plan in plans for step in itertools.islice(plan, STEPS)]
    return sum(forward_tokens(data, micro, False) for step in steps for micro in step.micro_batches)


def main() -> None:
    """A line for each file and batch size that it has rows for."""
    for name in sys.argv[1:]:
        data = TrainingData.from_arrays(*read_token_arrays(Path(name)))
        for batch_size in BATCH_SIZES:
            if len(data) < batch_size:
                continue
            found = [tokens(data, batch_size, ranks) for ranks in RANKS]
            told = ", ".join(
                f"{ranks}: {n / found[0]:.3f}" for ranks, n in zip(RANKS, found, strict=True)
            )
            print(f"{name}: {batch_size} rows a step: {told}")


if __name__ == "__main__":
    main()
