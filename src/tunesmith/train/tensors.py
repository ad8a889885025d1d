"""A micro-batch of the plan as tensors.

Legend: B rows, T padded input tokens of a row (after the shared prefix), P tokens of the shared prefix,
N trained positions of the micro-batch. Rows are padded on the right, so under causal attention no trained position
sees padding and no attention mask is needed; what is computed at padding is never read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tunesmith.train.batches import MicroBatch, TrainingData

PADDING_ID = 0  # any token: it is never read


@dataclass(frozen=True)
class Batch:
    """`positions_N` are indices into the flattened (B * T) input positions; the model's prediction at
    `positions_N[i]` is scored against `labels_N[i]`. The shift by one has been done here, once."""

    prefix_P: torch.Tensor | None
    input_ids_BT: torch.Tensor
    positions_N: torch.Tensor
    labels_N: torch.Tensor


def to_batch(data: TrainingData, micro: MicroBatch, device: torch.device | str = "cpu") -> Batch:
    """Gather a micro-batch's tokens; each row's last token is only a label."""
    starts = data.offsets[micro.rows] + micro.prefix
    sizes = data.lengths[micro.rows] - 1 - micro.prefix
    width = int(sizes.max())
    inside_BT = np.arange(width) < sizes[:, None]
    at_BT = np.where(inside_BT, starts[:, None] + np.arange(width), 0)
    input_ids_BT = np.where(inside_BT, data.input_ids[at_BT], PADDING_ID)
    first_trained = np.maximum(data.num_prompt_tokens[micro.rows], 1) - 1 - micro.prefix
    trained_BT = inside_BT & (np.arange(width) >= first_trained[:, None])
    positions_N = np.flatnonzero(trained_BT)
    labels_N = data.input_ids[at_BT.ravel()[positions_N] + 1]
    prefix_P = data.row(int(micro.rows[0]))[: micro.prefix] if micro.prefix else None
    return Batch(
        prefix_P=None if prefix_P is None else _tensor(prefix_P, device),
        input_ids_BT=_tensor(input_ids_BT, device),
        positions_N=_tensor(positions_N, device),
        labels_N=_tensor(labels_N, device),
    )


def _tensor(values: np.ndarray, device: torch.device | str) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64)).to(device, non_blocking=True)
