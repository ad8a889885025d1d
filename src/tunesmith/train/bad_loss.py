"""What to do about a loss that is not finite or explodes: said from what is seen, not guessed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch

from tunesmith.errors import BadLossError

NAMED_ROWS = 8
LOWEST_RATE = 1e-7
"""Below this a lower learning rate is no remedy: float32 weights would hardly move."""


def bad_loss(
    step: int,
    what: str,
    rows: Sequence[str],
    peak: float,
    weights: Iterable[tuple[str, torch.Tensor]],
) -> BadLossError:
    """The error for `what` is wrong with the loss of step `step`; `rows` are the ids of those whose
    own loss is not finite, none where all are. `peak` is the schedule's highest learning rate.

    Weights that are not finite are named in place of rows: with them every row's loss is NaN.
    """
    damaged = next((name for name, values in weights if not _is_finite(values)), None)
    if damaged is not None:
        return BadLossError(
            f"step {step}: {what}: {damaged} has a NaN or an infinity in it",
            hint="not a fault of the rows: "
            + ("get the base model again" if step == 1 else _lower(peak)),
        )
    shown = ", ".join(rows[:NAMED_ROWS]) + (
        f" and {len(rows) - NAMED_ROWS} more" if len(rows) > NAMED_ROWS else ""
    )
    of_rows = f"; rows {shown}" if rows else ""
    look = ", and look at these rows" if rows else ""
    return BadLossError(
        f"step {step}: {what} (peak learning rate {peak:.2g}{of_rows})", hint=_lower(peak) + look
    )


def _lower(peak: float) -> str:
    """A lower peak, where there is one to advise."""
    if not math.isfinite(peak) or peak / 5 < LOWEST_RATE:
        return "try train.dtype=float32, or another base model"
    return f"try train.learning_rate={peak / 5:.1g} or a longer train.warmup_ratio"


def _is_finite(values: torch.Tensor) -> bool:
    return bool(values.detach().isfinite().all())
