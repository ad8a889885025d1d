"""What each independent unit of the rows (a row, or a cluster of rows) adds to a number.

An interval needs of a number no more than this: how far each unit pulls it up or down. For a mean
that is its residual; for any other value it is the jackknife's, what leaving the unit out changes.
Shape suffixes: N rows, D numbers a row, C units.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tunesmith.evaluate.values import Floats, Ints, Value, chunks

MAX_UNITS = 1000  # left out one by one; more units than that are left out in this many parts

HALF = 0.5
"""How much of a unit is left out where a value averages over classes. Without the whole of one of
m rows their mean moves by 1 / (m - 1) of that row's residual, and its variance comes out too large
by m / (m - 1); without half a row it moves by 1 / (m - 1/2), and (m - 1/2)^2 is m (m - 1) but for a
quarter."""


@dataclass(frozen=True, eq=False)
class Influence:
    """A value and the pull of each unit on it.

    Attributes:
        value: The number.
        share_C: The share of the rows, or of their weights, that each unit holds; sums to 1.
        residual_C: How far each unit pulls the value from what the others say; sums to 0.
        bias: By how much the value is expected to be too high, by the jackknife.
        n: Rows.
        units: Independent units; more than C where they were left out in parts.
        concentration: The sum of squared shares of the units: 1/C for equal ones. Its inverse is
            Kish's (1965) effective number of units.
    """

    value: float
    share_C: Floats
    residual_C: Floats
    bias: float
    n: int
    units: int
    concentration: float

    @property
    def clustered(self) -> bool:
        """Whether some unit holds several rows."""
        return self.units < self.n

    @cached_property
    def weight_C(self) -> Floats:
        """The factor that makes each squared residual unbiased where a unit's rows are all alike.

        The residual of unit c then has the variance 1 - 2 w_c + sum w^2 times a unit's (Bell and
        McCaffrey 2002). For equal units it is Liang and Zeger's C / (C - 1).
        """
        share = self.share_C
        return 1.0 / (1.0 - 2.0 * share + float(share @ share))

    @cached_property
    def variance(self) -> float:
        """The variance of the value, by units."""
        return float(self.weight_C @ self.residual_C**2)

    @cached_property
    def freedom(self) -> float:
        """The degrees of freedom of `variance`: Satterthwaite's (1946), as Bell and McCaffrey
        (2002) have them for clusters whose rows are all alike. C - 1 for equal units, fewer where
        some hold most of the rows.
        """
        share = self.share_C
        total = float(share @ share)
        scale = self.weight_C * share**2
        own = float(((scale * (1 - 2 * share + total)) ** 2).sum())
        # the sum over all pairs c, d of scale_c scale_d (total - share_c - share_d)^2
        s0, s1, s2 = (float((scale * share**power).sum()) for power in (0, 1, 2))
        pairs = total**2 * s0**2 + 2 * s0 * s2 + 2 * s1**2 - 4 * total * s0 * s1
        same = float((scale**2 * (total - 2 * share) ** 2).sum())
        return total**2 / (own + pairs - same)

    @cached_property
    def skewness(self) -> float:
        """The skewness of the value as an estimate: a row's divided by the root of n."""
        squares = float(self.residual_C @ self.residual_C)
        return float((self.residual_C**3).sum()) / squares**1.5 if squares > 0 else 0.0

    @property
    def contribution_C(self) -> Floats:
        """What each unit adds to the value; sums to it."""
        contribution: Floats = self.residual_C + self.share_C * self.value
        return contribution

    def scaled(self, bounds: tuple[float, float]) -> Influence:
        """The same of (value - low) / (high - low)."""
        low, width = bounds[0], bounds[1] - bounds[0]
        scaled = self.at((self.value - low) / width, 1 / width)
        return replace(scaled, bias=self.bias / width)

    def at(self, value: float, derivative: float) -> Influence:
        """The same of a function of the value, by its derivative there; without the bias."""
        return replace(self, value=value, residual_C=self.residual_C * derivative, bias=0.0)


def influence_of_mean(values_N: Floats, number_N: Ints) -> Influence:
    """The influence of each unit on the mean of all rows; `number_N` are the rows' units."""
    n, sizes_C = len(values_N), np.bincount(number_N)
    mean = float(values_N.mean())
    residual_C = np.bincount(number_N, weights=values_N - mean) / n
    share_C = sizes_C / n
    return Influence(mean, share_C, residual_C, 0.0, n, len(sizes_C), float(share_C @ share_C))


def influence_of_value(
    value: Value,
    rows_ND: Floats,
    number_N: Ints,
    left_out: float = 1.0,
    most_parts: int = MAX_UNITS,
    weight_N: Floats | None = None,
) -> Influence:
    """The influence of each unit by the jackknife (Efron and Stein 1981): each is left out once.

    For a mean it equals `influence_of_mean`. Of more than `most_parts` units, sets are left out,
    drawn at random with a fixed seed. `left_out` is how much of a unit is left out: 1 or HALF.
    `weight_N` is how much each row weighs in the value, the denominators of a ratio of sums; None
    where all weigh the same.
    """
    n, weight_N = len(rows_ND), np.ones(len(rows_ND)) if weight_N is None else weight_N
    share = np.bincount(number_N, weights=weight_N) / weight_N.sum()
    part_N = _parts(number_N, len(share), most_parts)
    share_C = np.bincount(part_N, weights=weight_N) / weight_N.sum()
    whole = float(value(np.ones((1, n)), rows_ND)[0])
    without_C = _values_without(value, rows_ND, part_N, len(share_C), left_out)
    pull_C = (whole - without_C) * (1 / left_out - share_C)
    total = float(pull_C.sum())
    bias, residual_C = -total / left_out, pull_C - share_C * total
    return Influence(whole, share_C, residual_C, bias, n, len(share), float(share @ share))


def _parts(number_N: Ints, units: int, most: int) -> Ints:
    if units <= most:
        return number_N
    part_of = np.random.default_rng(0).permutation(units) % most
    parts: Ints = part_of[number_N]
    return parts


def _values_without(
    value: Value, rows_ND: Floats, part_N: Ints, parts: int, left_out: float
) -> Floats:
    """The value without that much of each part; values_C."""
    found = []
    for some in chunks(parts, len(rows_ND)):
        weights = 1.0 - left_out * (part_N == np.array(some)[:, None])
        found.append(value(weights, rows_ND))
    return np.concatenate(found)


def few_units(units: int, confidence: float) -> bool:
    """Whether so few units can never show a difference: of all 2^C ways to swap two systems by
    unit, the two most extreme are already more than 1 - confidence.
    """
    return 2.0 ** (1 - units) > 1 - confidence + 1e-12
