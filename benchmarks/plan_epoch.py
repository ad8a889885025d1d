"""How long the step plan of an epoch takes: seconds, and the peak memory of this process.

    OMP_NUM_THREADS=1 python benchmarks/plan_epoch.py --rows 1000000

Random token ids, 40 to 99 a row, of which the first 20 are the same in all rows; 16 rows a step.
With `--lengths-only` there are no token ids, and rows are cut by their lengths alone: what a plan
takes besides the tokens, which training reads from a file.
"""

from __future__ import annotations

import argparse
import resource
import time
from itertools import islice
from typing import Any

import numpy as np

from tunesmith.train.packing.plan import TrainingData, plan_epoch, steps_per_epoch

SHARED = 20
OWN = (20, 80)
PLAN: dict[str, Any] = {
    "seed": 0,
    "epoch": 0,
    "batch_size": 16,
    "max_batch_tokens": 4096,
    "share_prefixes": True,
}


def made_rows(num_rows: int) -> TrainingData:
    """Random ids under one shared prefix."""
    random = np.random.default_rng(0)
    lengths = SHARED + random.integers(*OWN, num_rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = random.integers(3, 32_000, offsets[-1], dtype=np.int32)
    ids[offsets[:-1, None] + np.arange(SHARED)] = random.integers(3, 32_000, SHARED)
    return TrainingData.from_arrays(
        ids, offsets, lengths - 4, [str(row) for row in range(num_rows)]
    )


def made_lengths(num_rows: int) -> TrainingData:
    """Rows of which only the lengths are there."""
    random = np.random.default_rng(0)
    offsets = np.zeros(num_rows + 1, dtype=np.int64)
    offsets[1:] = random.integers(SHARED + OWN[0], SHARED + OWN[1], num_rows, dtype=np.int32)
    prompts = np.subtract(offsets[1:], 4, dtype=np.int32, casting="unsafe")
    np.cumsum(offsets, out=offsets)
    no_ids = np.broadcast_to(np.int32(0), int(offsets[-1]))
    return TrainingData(no_ids, offsets, prompts, range(num_rows))


def main() -> None:
    """Time the plan of an epoch, and of one step in its middle, as a resumed run asks for it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--lengths-only", action="store_true")
    parser.add_argument("--steps", type=int, help="so many steps of the epoch; default: all")
    args = parser.parse_args()
    data = made_lengths(args.rows) if args.lengths_only else made_rows(args.rows)
    plan = {**PLAN, "share_prefixes": not args.lengths_only}
    started = time.perf_counter()
    steps = sum(1 for _ in islice(plan_epoch(data, **plan), args.steps))
    whole = time.perf_counter() - started
    started = time.perf_counter()
    middle = steps_per_epoch(len(data), plan["batch_size"]) // 2
    next(iter(plan_epoch(data, **plan, first_step=middle)))
    one = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{steps:,} steps in {whole:.1f} s, one from the middle in {one:.2f} s, peak {peak:.2f} GB"
    )


if __name__ == "__main__":
    main()
