"""Mixtures of several sources: how many examples each one gives to an epoch, and which."""

from __future__ import annotations

import random
from collections.abc import Mapping

from tunesmith.errors import DataError

DEFAULT_CAP = 3000


def mixture_rates(sizes: Mapping[str, int], cap: int = DEFAULT_CAP) -> dict[str, float]:
    """Examples-proportional rates with a cap: rate_i = min(n_i, cap) / sum_j min(n_j, cap).

    (Raffel et al. 2020, section 3.5.2; Wei et al. 2022 use cap = 3000.) Sources for replay count
    like any other. Raises DataError where no source has an example.
    """
    capped = {name: min(size, cap) for name, size in sizes.items()}
    total = sum(capped.values())
    if total == 0:
        raise DataError(
            f"a mixture of {len(sizes)} sources without an example",
            hint="see rejected.jsonl for why",
        )
    return {name: count / total for name, count in capped.items()}


def mixture_counts(
    sizes: Mapping[str, int], cap: int = DEFAULT_CAP, total: int | None = None
) -> dict[str, int]:
    """Examples of each source that add up to `total` (largest remainders); without a total,
    min(n_i, cap) each.
    """
    rates = mixture_rates(sizes, cap)
    if total is None:
        total = sum(min(size, cap) for size in sizes.values())
    exact = {name: rate * total for name, rate in rates.items()}
    counts = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (counts[name] - exact[name], name))
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def sample_mixture(
    sizes: Mapping[str, int], cap: int = DEFAULT_CAP, total: int | None = None, seed: int = 0
) -> list[tuple[str, int]]:
    """Which rows: (source, index into that source), shuffled, the same on every machine.

    A source gives no row a second time before it has given each row once; what one source gives
    does not depend on the other sources' rows, only on how many are asked of it.
    """
    drawn = [
        (name, index)
        for name, count in mixture_counts(sizes, cap, total).items()
        for index in _draw(sizes[name], count, f"{seed}/{name}")
    ]
    random.Random(f"{seed}").shuffle(drawn)
    return drawn


def _draw(size: int, count: int, seed: str) -> list[int]:
    if size == 0:
        return []
    passes, rest = divmod(count, size)
    return list(range(size)) * passes + random.Random(seed).sample(range(size), rest)
