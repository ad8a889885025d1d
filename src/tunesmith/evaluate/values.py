"""Values of a set of rows under any weighting, and which rows belong together.

Every statistic of a set of rows is a `Value`: a function of how often each row counts. A resample
is then a row of weights, a swap of two systems is one too, and so is leaving rows out; thousands
are computed in one matrix product. Shape suffixes: N rows, D numbers a row, R weightings, C
clusters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Value: TypeAlias = Callable[[Floats, Floats], Floats]
"""(weights_RN, rows_ND) -> values_R"""

_CHUNK = 2_000_000  # weights in memory at a time


def weighted_mean(weights_RN: Floats, rows_ND: Floats) -> Floats:
    """The mean of the first column, the Value of all per-example metrics."""
    mean: Floats = (weights_RN @ rows_ND[:, 0]) / weights_RN.sum(axis=1)
    return mean


def cluster_numbers(clusters: Sequence[str] | None, n: int) -> Ints:
    """The number of each row's cluster, 0, 1, 2 ... in order of appearance.

    Without clusters each row is its own.
    """
    if clusters is None:
        return np.arange(n)
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=int)


def chunks(total: int, width: int) -> Iterator[range]:
    """0 to `total` in pieces of which each takes a bounded number of weights at `width` a piece."""
    size = max(1, _CHUNK // max(1, width))
    for start in range(0, total, size):
        yield range(start, min(start + size, total))
