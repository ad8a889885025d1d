"""How often the 95 % intervals of a mean over tasks hold the true mean.

    python benchmarks/coverage_tasks.py

k tasks of n rows, each row right or wrong for two systems that differ by another amount in each
task. "Shared": all tasks ask something of the same n rows, and what makes a row hard makes it hard
in all of them. "Sample": the tasks are drawn too, their true gains from a normal distribution.
"""

from __future__ import annotations

import argparse

import numpy as np

from tunesmith.evaluate.task_mean import Share, mean_of_a_sample, mean_of_tasks

CONFIDENCE = 0.95
TASKS, ROWS = (2, 6, 18), (10, 20, 50)


def over_these(rng: np.random.Generator, k: int, n: int, shared: bool, repeats: int) -> float:
    base_K, tuned_K = rng.uniform(0.05, 0.5, k), rng.uniform(0.3, 0.95, k)
    truth, held = float(np.mean(tuned_K - base_K)), 0
    for _ in range(repeats):
        hard_KN = (
            np.broadcast_to(rng.random((2, 1, n)), (2, k, n)) if shared else rng.random((2, k, n))
        )
        gain_KN = (hard_KN[0] < tuned_K[:, None]).astype(float) - (hard_KN[1] < base_K[:, None])
        found = mean_of_tasks(
            [share(gain_N, "" if shared else str(task)) for task, gain_N in enumerate(gain_KN)],
            CONFIDENCE,
        )
        held += found.ci[0] - 1e-12 <= truth <= found.ci[1] + 1e-12
    return held / repeats


def share(gain_N: np.ndarray, task: str) -> Share:
    mean = float(gain_N.mean())
    changes = {f"{task}/{i}": float(x - mean) / len(gain_N) for i, x in enumerate(gain_N)}
    return Share(mean, (mean, mean), changes)


def over_a_sample(rng: np.random.Generator, k: int, n: int, repeats: int) -> float:
    """Of the intervals that are shown: there is none where all gains are equal."""
    truth, held, shown = 0.2, 0, 0
    for _ in range(repeats):
        gain_K = np.clip(rng.normal(truth, 0.15, k), -0.2, 0.6)  # cut off alike on both sides
        seen_K = [
            rng.choice([-1, 0, 1], n, p=[0.2, 0.6 - gain, 0.2 + gain]).mean() for gain in gain_K
        ]
        low, high = mean_of_a_sample(seen_K, CONFIDENCE)[0].ci
        held += low <= truth <= high
        shown += not np.isnan(low)
    return held / shown


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=2000)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    print("| tasks | rows of each | these tasks | these tasks, shared rows | a sample of tasks |")
    print("|---|---|---|---|---|")
    for k in TASKS:
        for n in ROWS:
            cells = [
                over_these(rng, k, n, False, args.repeats),
                over_these(rng, k, n, True, args.repeats),
                over_a_sample(rng, k, n, args.repeats),
            ]
            print(
                f"| {k} | {n} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |", flush=True
            )


if __name__ == "__main__":
    main()
