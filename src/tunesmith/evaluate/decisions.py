"""What decides deployment, as records: slices of the test split, gates, and when a model may answer
by itself. Nothing is computed here, so that a report's data load no scipy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tunesmith.records import Comparison, Estimate

SliceFinding = Literal["worse", "better", "no difference shown", "too small to judge"]
GateResult = Literal["passed", "failed", "cannot tell"]


@dataclass(frozen=True, slots=True)
class SliceRow:
    """The tuned model against the reference system on one part of the test split.

    `slicing` is what it was divided by (label, prompt length, source or a column), `value` the
    part. `comparison` is tuned minus reference on these rows alone, `p_holm` its p-value adjusted
    for all slices. `detectable` is the smallest difference that so many rows show with 80 % power.
    """

    slicing: str
    value: str
    reference: Estimate
    tuned: Estimate
    comparison: Comparison
    p_holm: float
    detectable: float
    finding: SliceFinding


@dataclass(frozen=True, slots=True)
class Broken:
    """Rows that the system `before` had right and the tuned model has wrong: `broken` of `n`, which
    is `share` with its interval. `fixed` are those the other way round.

    `unchanged`: the tuned model gives the same answer to every row, so there is nothing to judge.
    """

    before: str
    metric: str
    n: int
    broken: int
    fixed: int
    share: Estimate
    unchanged: bool


@dataclass(frozen=True, slots=True)
class Gate:
    """One bound of `evaluation.gates`, or of the command line.

    `value` with its interval `ci` was found, in the same unit as `limit`. The result rests on the
    end of the interval that is further from passing; `why` says it in words.
    """

    name: str
    what: str
    limit: float
    value: float
    ci: tuple[float, float]
    result: GateResult
    why: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """When a model may answer by itself, as fitted on `rows` validation rows; it is saved with it.

    The confidence of a row is the largest probability of softmax(log-likelihoods of the choices /
    `temperature`). The model answers where that is at least `threshold`: on validation `answered`
    rows, of which `right` were right. From that, at least `accuracy_at_least` are, in the share
    `confidence` of such statements. Where no threshold reaches `target`, `threshold` and
    `accuracy_at_least` are None, and `rows_needed` is the number of rows, all right, from which one
    could. `choices` are those of all rows, empty where each row has its own.
    """

    temperature: float
    threshold: float | None
    target: float
    confidence: float
    rows: int
    answered: int
    right: int
    accuracy_at_least: float | None
    rows_needed: int
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Confidences:
    """How far a system's confidences on the test split can be believed.

    `accuracy` is of the likeliest choice. `ece` is the expected calibration error, and
    `ece_if_calibrated` what so many rows give on average where every confidence is right: it is
    never 0. `brier` is the mean squared distance between the probabilities of all choices and the
    truth, from 0 to 2. `curve` holds (coverage, risk): the share of rows answered, the most
    confident first, and the share of those that is wrong; `aurc` is the area under it.
    """

    system: str
    title: str
    temperature: float
    accuracy: Estimate
    ece: Estimate
    ece_if_calibrated: float
    brier: Estimate
    aurc: float
    curve: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """`threshold` as fitted on validation, and what it gives on the test split: `coverage` is the
    share of rows that are answered, `accuracy` the share of those that is right. None where there
    is no threshold, and `accuracy` where no row is answered.
    """

    threshold: Threshold
    systems: tuple[Confidences, ...]
    coverage: Estimate | None = None
    accuracy: Estimate | None = None
