"""A micro-batch of the plan as tensors, packed or padded.

Legend: U computed tokens of the micro-batch, B rows, T padded input tokens of a row, N trained
positions; of one bucket of rows whose own parts are about equally long: b rows, Q queries of a row,
K keys of a row, O own tokens.

Packed: the tokens that each row does not take over from the row before stand one after another in
one line of U tokens, without padding. A row's path is where its whole input stands in that line:
the part taken over is the beginning of the row before's path.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from tunesmith.train.packing.attention_cuda import Segments, segments_of
from tunesmith.train.packing.plan import Ints, MicroBatch, TrainingData

PADDING_ID = 0  # any token: what is computed at padding is never read


@dataclass(frozen=True)
class Bucket:
    """Rows whose attention is computed together, padded: queries at `own_bQ`, each seeing the row's
    path `path_bK` up to its own position. `depth_bQ` is a query's position in its row; padding
    repeats the last one, so that it sees something. `own_O` picks the real queries out of b * Q.
    `shares` is False where every path is the row's own.
    """

    own_bQ: torch.Tensor
    path_bK: torch.Tensor
    depth_bQ: torch.Tensor
    own_O: torch.Tensor
    shares: bool


@dataclass(frozen=True)
class Block:
    """Tokens [start, stop) of the line, each seen by itself and by the rest of [start, end) after
    it.
    """

    start: int
    stop: int
    end: int

    @property
    def keys(self) -> slice:
        return slice(self.start, self.stop)

    def cut(self, size: int) -> list[Block]:
        """The same in blocks of at most `size` tokens."""
        return [
            Block(at, min(at + size, self.stop), self.end)
            for at in range(self.start, self.stop, size)
        ]


@dataclass(frozen=True)
class Packed:
    """The prediction at token `positions_N[i]` is scored against `labels_N[i]`; the shift by one
    has been done here, once. Row i has `own[i]` tokens in the line and takes `shared[i]` over. Who
    sees whom is there in the form that each way to compute attention takes: `blocks`, `buckets`, or
    `segments`, which are made for varlen.py.
    """

    input_ids_U: torch.Tensor
    depth_U: torch.Tensor
    own: Ints
    shared: Ints
    positions_N: torch.Tensor
    labels_N: torch.Tensor
    segments: Segments | None = None

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return int((self.own + self.shared).max())

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        return _blocks(self.own.tolist(), self.shared.tolist())

    @cached_property
    def buckets(self) -> tuple[Bucket, ...]:
        starts, paths = _starts(self.own), _paths(self.own, self.shared)
        groups = _rows_of_similar_length(self.own)
        return tuple(
            _bucket(group, starts, self.own, self.shared, paths, self.depth_U.device)
            for group in groups
        )

    @cached_property
    def order_U(self) -> torch.Tensor:
        """Puts the outputs of the buckets, one after another, back into the line's order."""
        starts, rows = (
            _starts(self.own),
            [i for group in _rows_of_similar_length(self.own) for i in group],
        )
        written_U = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in rows])
        return _tensor(np.argsort(written_U), self.depth_U.device)


@dataclass(frozen=True)
class Padded:
    """Each row on its own line, padded on the right: under causal attention no trained position
    sees padding, and no mask is needed. `positions_N` are indices into the flattened (B * T)
    positions.
    """

    input_ids_BT: torch.Tensor
    positions_N: torch.Tensor
    labels_N: torch.Tensor


Batch = Packed | Padded


def to_packed(
    data: TrainingData, micro: MicroBatch, device: torch.device | str = "cpu", varlen: bool = False
) -> Packed:
    shared = micro.shared
    own = data.lengths[micro.rows] - 1 - shared
    first_own = data.offsets[micro.rows] + shared
    depth_U = np.concatenate([np.arange(s, s + n) for s, n in zip(shared, own, strict=True)])
    at_U = np.concatenate([np.arange(a, a + n) for a, n in zip(first_own, own, strict=True)])
    first_trained = np.maximum(data.num_prompt_tokens[micro.rows], 1)
    paths = _paths(own, shared)
    positions_N = np.concatenate(
        [path[n - 1 :] for path, n in zip(paths, first_trained, strict=True)]
    )
    labels_N = np.concatenate(
        [data.row(int(row))[n:] for row, n in zip(micro.rows, first_trained, strict=True)]
    )
    return Packed(
        input_ids_U=_tensor(data.input_ids[at_U], device),
        depth_U=_tensor(depth_U, device),
        own=own,
        shared=shared,
        positions_N=_tensor(positions_N, device),
        labels_N=_tensor(labels_N, device),
        segments=segments_of(paths, own, device) if varlen else None,
    )


def to_padded(data: TrainingData, micro: MicroBatch, device: torch.device | str = "cpu") -> Padded:
    starts, sizes = data.offsets[micro.rows], data.lengths[micro.rows] - 1
    width = int(sizes.max())
    inside_BT = np.arange(width) < sizes[:, None]
    at_BT = np.where(inside_BT, starts[:, None] + np.arange(width), 0)
    input_ids_BT = np.where(inside_BT, data.input_ids[at_BT], PADDING_ID)
    first_trained = np.maximum(data.num_prompt_tokens[micro.rows], 1) - 1
    positions_N = np.flatnonzero(inside_BT & (np.arange(width) >= first_trained[:, None]))
    labels_N = data.input_ids[at_BT.ravel()[positions_N] + 1]
    return Padded(
        _tensor(input_ids_BT, device), _tensor(positions_N, device), _tensor(labels_N, device)
    )


def _starts(own: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(own)])


def _paths(own: Ints, shared: Ints) -> list[Ints]:
    """Where each row's input tokens stand in the line."""
    paths: list[Ints] = []
    for i, start in enumerate(_starts(own)[:-1].tolist()):
        mine = np.arange(start, start + own[i])
        paths.append(np.concatenate([paths[i - 1][: shared[i]], mine]) if shared[i] else mine)
    return paths


def _blocks(own: list[int], shared: list[int]) -> tuple[Block, ...]:
    """The nodes of the rows' trie, in the line's order. A row that takes over `depth` tokens ends
    the blocks that reach deeper, and cuts the one that reaches over.
    """
    closed: list[Block] = []
    path: list[tuple[int, int]] = []  # open blocks (start, stop), one below the other
    at = 0
    for mine, depth in zip([*own, 0], [*shared, 0], strict=True):
        deep = sum(stop - start for start, stop in path)
        while deep > depth:
            start, stop = path.pop()
            deep -= stop - start
            kept = start + max(0, depth - deep)
            closed.append(Block(kept, stop, at))
            if kept > start:
                path.append((start, kept))
                break
        if mine:
            path.append((at, at + mine))
            at += mine
    return tuple(sorted(closed, key=lambda block: block.start))


def _rows_of_similar_length(own: Ints) -> list[list[int]]:
    """Rows by the power of two of their own tokens, so that at most half of a bucket is padding;
    rows without own tokens are in none.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for i, n in enumerate(own.tolist()):
        if n:
            groups[n.bit_length()].append(i)
    return [groups[size] for size in sorted(groups)]


def _bucket(
    rows: list[int],
    starts: Ints,
    own: Ints,
    shared: Ints,
    paths: list[Ints],
    device: torch.device | str,
) -> Bucket:
    counts = own[rows][:, None]
    inside_bQ = np.arange(counts.max()) < counts
    nearest_bQ = np.minimum(np.arange(counts.max()), counts - 1)
    path_bK = np.zeros((len(rows), max(len(paths[i]) for i in rows)), dtype=np.int64)
    for at, i in enumerate(rows):
        path_bK[at, : len(paths[i])] = paths[i]
    return Bucket(
        own_bQ=_tensor(starts[rows][:, None] + nearest_bQ, device),
        path_bK=_tensor(path_bK, device),
        depth_bQ=_tensor(shared[rows][:, None] + nearest_bQ, device),
        own_O=_tensor(np.flatnonzero(inside_bQ), device),
        shares=bool(shared[rows].any()),
    )


def _tensor(values: npt.NDArray[np.generic], device: torch.device | str) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64)).to(device, non_blocking=True)
