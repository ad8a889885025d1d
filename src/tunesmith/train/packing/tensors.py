"""A micro-batch of the plan as tensors, packed or padded.

Packed: the tokens that a row does not share with the row before it, its own, are written one after
another in one line, without padding. Two rows of six input tokens, of which four are shared:

    row 0               A B C D e f
    row 1               A B C D g h
    input_ids_U         A B C D e f g h      the line: U = 8 tokens instead of 12
    depth_U             0 1 2 3 4 5 4 5      position in the row, for rotary embeddings and the like
    own, shared         [6, 2], [0, 4]
    path of row 0       0 1 2 3 4 5          where its input tokens are in the line
    path of row 1       0 1 2 3     6 7      its beginning is that of row 0's path

Every layer but attention treats each token by itself and does not notice. Attention has to let a
token see exactly its row's path up to itself: of the token g, that is A B C D g and not e f. What
that takes is computed here, in three forms for three ways to compute attention (see
packing/attention.py): `blocks` for plain causal attention on a CPU, `segments` for a CUDA kernel,
and `buckets` for everything else.

Prediction and label are aligned here too, once: the hidden state at `positions_N[i]` predicts
`labels_N[i]`, the next token of that row. A token of a shared prefix may predict several labels,
one per row, so a position can appear more than once.

Shapes: U computed tokens of the micro-batch, B rows, T padded input tokens of a row, N trained
positions; of one bucket of rows with about as many own tokens: b rows, Q queries of a row, K keys
of a row, O own tokens.
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

PADDING_ID = 0  # any valid token id: what is computed at padding is never read


@dataclass(frozen=True)
class Bucket:
    """Rows whose attention is computed together, padded to the longest.

    All are indices. `own_bQ`: where the rows' own tokens, the queries, are in the line; `path_bK`:
    where their keys are, of which each query sees those up to its own depth, `depth_bQ`. Padding
    among queries repeats the last real one, because a query that sees nothing would be NaN.
    `own_O` picks the real queries out of b * Q. `shares` is False where no row takes over anything,
    so that Q and K are the same tokens and plain causal attention will do.
    """

    own_bQ: torch.Tensor
    path_bK: torch.Tensor
    depth_bQ: torch.Tensor
    own_O: torch.Tensor
    shares: bool


@dataclass(frozen=True)
class Block:
    """Tokens [start, stop) of the line, as keys: seen by themselves and all up to `end` after them.

    That one range of queries is enough is what sorting the rows is for. Rows are in the order of a
    depth-first walk through the trie of their prefixes, so the rows under a common prefix, and with
    them all tokens that see it, are contiguous. In the example above the blocks are A B C D, seen
    up to the end of the line, e f, seen by themselves, and g h.
    """

    start: int
    stop: int
    end: int

    @property
    def keys(self) -> slice:
        """The block's tokens in the line."""
        return slice(self.start, self.stop)

    def cut(self, size: int) -> list[Block]:
        """The same as blocks of at most `size` tokens, each seen by the later ones too."""
        return [
            Block(at, min(at + size, self.stop), self.end)
            for at in range(self.start, self.stop, size)
        ]


@dataclass(frozen=True)
class Packed:
    """Rows in one line, with what they share computed once; see the module's example.

    Row i has `own[i]` tokens in the line and takes over `shared[i]`. The hidden state of token
    `positions_N[i]` of the line predicts `labels_N[i]`. `segments` are there where attention runs
    in attention_cuda.py; `blocks` and `buckets` are computed when they are first used.
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
        """Input tokens of the longest row."""
        return int((self.own + self.shared).max())

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Which queries see which keys, for attention_cpu.py."""
        return _blocks(self.own.tolist(), self.shared.tolist())

    @cached_property
    def buckets(self) -> tuple[Bucket, ...]:
        """The rows by their number of own tokens, for any attention function that takes masks."""
        starts, paths = _starts(self.own), _paths(self.own, self.shared)
        groups = _rows_of_similar_length(self.own)
        return tuple(
            _bucket(group, starts, self.own, self.shared, paths, self.depth_U.device)
            for group in groups
        )

    @cached_property
    def order_U(self) -> torch.Tensor:
        """Indices that put the outputs of the buckets, concatenated, into the line's order."""
        starts, rows = (
            _starts(self.own),
            [i for group in _rows_of_similar_length(self.own) for i in group],
        )
        written_U = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in rows])
        return _tensor(np.argsort(written_U), self.depth_U.device)


@dataclass(frozen=True)
class Padded:
    """Each row on its own line, padded on the right.

    Under causal attention no real token sees padding that comes after it, so no mask is needed.
    `positions_N` are indices into the flattened (B * T) positions, each predicting `labels_N[i]`.
    """

    input_ids_BT: torch.Tensor
    positions_N: torch.Tensor
    labels_N: torch.Tensor


Batch = Packed | Padded


def to_packed(
    data: TrainingData, micro: MicroBatch, device: torch.device | str = "cpu", varlen: bool = False
) -> Packed:
    """The rows in one line; `varlen` adds what attention_cuda.py needs."""
    shared = micro.shared
    own = data.lengths_of(micro.rows) - 1 - shared
    first_own = data.offsets[micro.rows] + shared
    depth_U = np.concatenate([np.arange(s, s + n) for s, n in zip(shared, own, strict=True)])
    at_U = np.concatenate([np.arange(a, a + n) for a, n in zip(first_own, own, strict=True)])
    first_trained = np.maximum(data.num_prompt_tokens[micro.rows], 1)
    paths = _paths(own, shared)
    # Token n of a row is predicted at token n - 1, which may be in the part that is taken over.
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
    """Each row on its own line; `micro.shared` is ignored."""
    starts, sizes = data.offsets[micro.rows], data.lengths_of(micro.rows) - 1
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
    """Where each row's own tokens start in the line, and where the line ends."""
    return np.concatenate([[0], np.cumsum(own)])


def _paths(own: Ints, shared: Ints) -> list[Ints]:
    """Where each row's input tokens are in the line."""
    paths: list[Ints] = []
    for i, start in enumerate(_starts(own)[:-1].tolist()):
        mine = np.arange(start, start + own[i])
        paths.append(np.concatenate([paths[i - 1][: shared[i]], mine]) if shared[i] else mine)
    return paths


def _blocks(own: list[int], shared: list[int]) -> tuple[Block, ...]:
    """The nodes of the rows' trie as blocks, in the order of the line.

    `path` are the blocks that make up the current row, from the root down. They stay open while
    rows share them. A row that takes over `depth` tokens closes the blocks below that depth, whose
    last reader was the row before, and splits the one across it: the upper part stays open, the
    lower part is closed. Its own tokens become a new block at the bottom.
    """
    closed: list[Block] = []
    path: list[tuple[int, int]] = []  # (start, stop) of the open blocks
    at = 0
    for mine, depth in zip([*own, 0], [*shared, 0], strict=True):  # a last row that closes them all
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
    """Indices of rows, grouped by the power of two of their own tokens.

    At most half of a group's queries are then padding. A row without own tokens, whose input equals
    that of the row before, has no queries and is in no group.
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
    """The bucket of these rows, as indices into the line."""
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
    """An int64 tensor, as indices and cross-entropy's labels have to be."""
    return torch.from_numpy(values.astype(np.int64)).to(device, non_blocking=True)
