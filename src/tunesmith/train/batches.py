"""The step plan: which examples meet in an optimiser step, and how the step is cut into micro-batches.

A step is exactly the examples of its turn in the seeded shuffle. Inside a step nothing changes the update beyond
rounding: the last input token of each row is dropped (it predicts nothing), rows that begin with the same token ids
share one forward pass over them, and rows of similar length are cut into micro-batches under a token budget.

The cost model, in tokens: a pass of the model over n tokens costs `pass_tokens` + n, padding included. A group of
rows that share a prefix needs one more pass (the prefix), and saves the prefix for all rows but one.

Pure numpy, and a pure function of (token ids, seed, epoch, sizes): resuming at step k means asking for step k.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from tunesmith.errors import DataError
from tunesmith.records import IGNORE_INDEX, TokenizedExample

Ints = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.int32]

PASS_TOKENS = 64
MAX_DEPTH = 64


@dataclass(frozen=True)
class TrainingData:
    """Tokenised rows in flat arrays: row r is `input_ids[offsets[r]:offsets[r + 1]]`, and its first
    `num_prompt_tokens[r]` tokens are not trained. `from_arrays` checks; `from_examples` is for records."""

    input_ids: Tokens
    offsets: Ints
    num_prompt_tokens: Tokens
    ids: Sequence[str]

    @classmethod
    def from_examples(cls, examples: Sequence[TokenizedExample]) -> TrainingData:
        """Raises DataError where a row's labels are not its tokens after the prompt."""
        for example in examples:
            n = example.num_prompt_tokens
            if list(example.labels) != [IGNORE_INDEX] * n + list(example.input_ids[n:]):
                raise DataError(f"row {example.id}: the labels are not the tokens after its {n} prompt tokens")
        lengths = [len(example.input_ids) for example in examples]
        flat = np.fromiter((token for e in examples for token in e.input_ids), dtype=np.int32, count=sum(lengths))
        prompts = np.array([example.num_prompt_tokens for example in examples], dtype=np.int32)
        return cls.from_arrays(flat, np.concatenate([[0], np.cumsum(lengths)]), prompts, [e.id for e in examples])

    @classmethod
    def from_arrays(
        cls, input_ids: npt.ArrayLike, offsets: npt.ArrayLike, num_prompt_tokens: npt.ArrayLike, ids: Sequence[str]
    ) -> TrainingData:
        """Raises DataError for a row in which nothing is trained."""
        data = cls(
            np.ascontiguousarray(input_ids, dtype=np.int32),
            np.asarray(offsets, dtype=np.int64),
            np.asarray(num_prompt_tokens, dtype=np.int32),
            ids,
        )
        empty = np.flatnonzero(data.num_trained <= 0)
        if len(empty):
            row = int(empty[0])
            found, prompt = data.lengths[row], data.num_prompt_tokens[row]
            raise DataError(f"row {ids[row]}: nothing to train: {found} tokens, {prompt} of the prompt")
        return data

    def __len__(self) -> int:
        return len(self.num_prompt_tokens)

    @cached_property
    def lengths(self) -> Ints:
        return np.diff(self.offsets)

    @cached_property
    def num_trained(self) -> Ints:
        """Trained tokens of each row; a row's very first token has nothing before it and is never trained."""
        return self.lengths - np.maximum(self.num_prompt_tokens, 1)

    def row(self, r: int) -> Tokens:
        return self.input_ids[self.offsets[r] : self.offsets[r + 1]]

    @cached_property
    def sha256(self) -> str:
        """A fingerprint of all token ids, prompt lengths and row ids."""
        digest = sha256(self.input_ids.tobytes() + self.offsets.tobytes() + self.num_prompt_tokens.tobytes())
        digest.update("\n".join(self.ids).encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows of one forward and backward pass, longest first; their first `prefix` tokens are the same and are
    computed once (0: nothing shared)."""

    rows: Ints
    prefix: int


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step. `rows` and `num_trained` (the loss's denominator) count all ranks; `micro_batches` are
    this rank's."""

    index: int
    rows: Ints
    num_trained: int
    micro_batches: tuple[MicroBatch, ...]


def steps_per_epoch(num_rows: int, batch_size: int) -> int:
    return -(-num_rows // batch_size)


def plan_epoch(
    data: TrainingData,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    max_batch_tokens: int,
    share_prefixes: bool,
    rank: int = 0,
    world_size: int = 1,
    first_step: int = 0,
    pass_tokens: int = PASS_TOKENS,
) -> Iterator[Step]:
    """The steps of one epoch from `first_step` on, lazily; every row is in exactly one step."""
    order = np.random.default_rng([seed, epoch]).permutation(len(data))
    for index in range(first_step, steps_per_epoch(len(data), batch_size)):
        rows = order[index * batch_size : (index + 1) * batch_size]
        mine = _share_of_rank(data, rows, rank, world_size)
        micro_batches = cut(data, mine, max_batch_tokens, share_prefixes, pass_tokens)
        yield Step(index, rows, int(data.num_trained[rows].sum()), micro_batches)


def cut(
    data: TrainingData, rows: Ints, max_batch_tokens: int, share_prefixes: bool, pass_tokens: int = PASS_TOKENS
) -> tuple[MicroBatch, ...]:
    """Cut rows into micro-batches under the token budget, with shared prefixes where that plan is the cheaper one."""
    apart = _bins(data, rows, 0, max_batch_tokens, pass_tokens)
    if not share_prefixes or len(rows) < 2:
        return tuple(apart)
    groups = _prefix_groups(data, rows, pass_tokens)
    shared = [m for members, prefix in groups for m in _bins(data, members, prefix, max_batch_tokens, pass_tokens)]
    return tuple(min(apart, shared, key=lambda plan: sum(_cost(data, micro, pass_tokens) for micro in plan)))


def padded_tokens(data: TrainingData, micro: MicroBatch) -> int:
    """Tokens the model runs over for one micro-batch: the prefix once, and the longest rest for every row."""
    return micro.prefix + len(micro.rows) * int(data.lengths[micro.rows].max() - 1 - micro.prefix)


def _cost(data: TrainingData, micro: MicroBatch, pass_tokens: int) -> int:
    return padded_tokens(data, micro) + pass_tokens * (2 if micro.prefix else 1)


def _share_of_rank(data: TrainingData, rows: Ints, rank: int, world_size: int) -> Ints:
    """Longest row first, each to the rank with the fewest tokens so far: loads differ by at most one row."""
    if world_size == 1:
        return rows
    loads, mine = [0] * world_size, []
    for row in rows[np.argsort(-data.lengths[rows], kind="stable")]:
        lightest = loads.index(min(loads))
        loads[lightest] += int(data.lengths[row])
        if lightest == rank:
            mine.append(row)
    return np.array(mine, dtype=np.int64)


def sorted_by_tokens(data: TrainingData, rows: Ints) -> tuple[Ints, Ints]:
    """The rows in the order of their token ids, and how many first tokens each shares with the next one."""
    keyed = sorted((data.row(r).astype(">i4").tobytes(), r) for r in rows.tolist())
    common = [_common_tokens(a, b) for (a, _), (b, _) in itertools.pairwise(keyed)]
    return np.array([r for _, r in keyed], dtype=np.int64), np.array(common, dtype=np.int64)


def _common_tokens(a: bytes, b: bytes) -> int:
    """Tokens of four bytes that two byte strings have in common at their start."""
    size = min(len(a), len(b))
    if a[:size] == b[:size]:
        return size // 4
    different = np.frombuffer(a, dtype=np.int32, count=size // 4) != np.frombuffer(b, dtype=np.int32, count=size // 4)
    return int(different.argmax())


def _prefix_groups(data: TrainingData, rows: Ints, pass_tokens: int) -> list[tuple[Ints, int]]:
    """Groups of rows with the length of the prefix each shares; the last group holds the rows that share nothing."""
    in_order, common = sorted_by_tokens(data, rows)
    # The position before a row's first trained token stays in the row: it needs its own label.
    limits = np.maximum(data.num_prompt_tokens[in_order], 1) - 1
    common = np.minimum(common, np.minimum(limits[:-1], limits[1:]))
    inputs = data.lengths[in_order] - 1
    _, spans = _best_groups(common, inputs, 0, len(in_order), pass_tokens, 0)
    groups = [(in_order[lo:hi], prefix) for lo, hi, prefix in spans]
    is_alone = np.ones(len(in_order), dtype=bool)
    for lo, hi, _ in spans:
        is_alone[lo:hi] = False
    alone = in_order[is_alone]
    return [*groups, (alone, 0)] if len(alone) else groups


def _best_groups(
    common: Ints, inputs: Ints, lo: int, hi: int, pass_tokens: int, depth: int
) -> tuple[int, list[tuple[int, int, int]]]:
    """The cheapest grouping of sorted rows lo..hi: cost in tokens, and (lo, hi, prefix) of the groups that share.

    Rows lo..hi all share min(common) tokens. Either they share just these, or they are split where no more is
    shared and each part is grouped by itself, or they share nothing.
    """
    alone = int(inputs[lo:hi].sum())
    if hi - lo < 2:
        return alone, []
    here = common[lo : hi - 1]
    prefix = int(here.min())
    together = alone - (hi - lo - 1) * prefix + pass_tokens
    best: tuple[int, list[tuple[int, int, int]]] = (alone, [])
    if prefix and together < alone:
        best = (together, [(lo, hi, prefix)])
    can_save_more = int((here - prefix).sum()) > pass_tokens
    if not can_save_more or depth == MAX_DEPTH:
        return best
    cuts = [lo, *(np.flatnonzero(here == prefix) + lo + 1).tolist(), hi]
    parts = [_best_groups(common, inputs, a, b, pass_tokens, depth + 1) for a, b in itertools.pairwise(cuts)]
    split = sum(cost for cost, _ in parts)
    return (split, [span for _, spans in parts for span in spans]) if split < best[0] else best


def _bins(data: TrainingData, rows: Ints, prefix: int, budget: int, pass_tokens: int) -> list[MicroBatch]:
    """Cut rows, longest first, where a new pass is cheaper than the padding it saves; exact, by dynamic programming.

    best[i] is the lowest cost of the first i rows; the micro-batch that ends there starts at `start[i]`.
    """
    rows = rows[np.argsort(-data.lengths[rows], kind="stable")]
    sizes = (data.lengths[rows] - 1 - prefix).tolist()
    fixed = pass_tokens + ((prefix + pass_tokens) if prefix else 0)
    best, start = [0], [0]
    for end in range(1, len(sizes) + 1):
        lowest, chosen = best[end - 1] + sizes[end - 1], end - 1
        for first in range(end - 2, -1, -1):
            tokens = (end - first) * sizes[first]
            if prefix + tokens > budget:
                break
            if best[first] + tokens < lowest:
                lowest, chosen = best[first] + tokens, first
        best.append(lowest + fixed)
        start.append(chosen)
    bins, end = [], len(sizes)
    while end:
        bins.append(MicroBatch(rows[start[end] : end], prefix))
        end = start[end]
    return bins[::-1]
