"""The step plan: which examples meet in an optimiser step, and how the step is cut into
micro-batches.

A step is exactly the examples of its turn in the seeded shuffle. Inside a step nothing changes the
update beyond rounding: the last input token of each row is dropped (it predicts nothing), rows that
begin with the same token ids go through the model once for these, and the rows are cut into
micro-batches under a token budget.

Rows are put in the order of their token ids, so each row shares the most with the one before it,
and its first `shared` tokens are taken over from there. The cost model: a token that goes through
the model costs 1, one that is taken over costs nothing but its attention, which is the same either
way, and fewer than 8 common tokens are not worth one more piece of attention. Rows that share
little are cut at a quarter of the budget, since larger micro-batches gain nothing there; the whole
budget is for rows that would otherwise compute a long beginning again.

Pure numpy, and a pure function of (token ids, seed, epoch, sizes): resuming at step k means asking
for step k.
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

MIN_SHARED = 8
USEFUL_SHARE = 4  # of the budget, for rows that share little


@dataclass(frozen=True)
class TrainingData:
    """Tokenised rows in flat arrays: row r is `input_ids[offsets[r]:offsets[r + 1]]`, and its first
    `num_prompt_tokens[r]` tokens are not trained. `from_arrays` checks; `from_examples` is for
    records.
    """

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
                raise DataError(
                    f"row {example.id}: the labels are not the tokens after its {n} prompt tokens"
                )
        lengths = [len(example.input_ids) for example in examples]
        flat = np.fromiter(
            (token for e in examples for token in e.input_ids), dtype=np.int32, count=sum(lengths)
        )
        prompts = np.array([example.num_prompt_tokens for example in examples], dtype=np.int32)
        return cls.from_arrays(
            flat, np.concatenate([[0], np.cumsum(lengths)]), prompts, [e.id for e in examples]
        )

    @classmethod
    def from_arrays(
        cls,
        input_ids: npt.ArrayLike,
        offsets: npt.ArrayLike,
        num_prompt_tokens: npt.ArrayLike,
        ids: Sequence[str],
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
            raise DataError(
                f"row {ids[row]}: nothing to train: {found} tokens, {prompt} of the prompt"
            )
        return data

    def __len__(self) -> int:
        return len(self.num_prompt_tokens)

    @cached_property
    def lengths(self) -> Ints:
        return np.diff(self.offsets)

    @cached_property
    def num_trained(self) -> Ints:
        """Trained tokens of each row; a row's very first token has nothing before it and is never
        trained.
        """
        return self.lengths - np.maximum(self.num_prompt_tokens, 1)

    def row(self, r: int) -> Tokens:
        return self.input_ids[self.offsets[r] : self.offsets[r + 1]]

    @cached_property
    def sortable(self) -> bytes:
        """The tokens as big-endian bytes, whose order is the order of token ids."""
        return self.input_ids.astype(">i4").tobytes()

    @cached_property
    def sha256(self) -> str:
        """A fingerprint of all token ids, prompt lengths and row ids."""
        digest = sha256(
            self.input_ids.tobytes() + self.offsets.tobytes() + self.num_prompt_tokens.tobytes()
        )
        digest.update("\n".join(self.ids).encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows of one forward and backward pass; the first `shared[i]` tokens of row i are those of row
    i - 1.
    """

    rows: Ints
    shared: Ints


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step. `rows` and `num_trained` (the loss's denominator) count all ranks;
    `micro_batches` are this rank's.
    """

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
    padded: bool = False,
) -> Iterator[Step]:
    """The steps of one epoch from `first_step` on, lazily; every row is in exactly one step.

    `padded` plans for a model that needs each row on a line of its own: rows of similar length go
    together, padding counts, and nothing is shared.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(data))
    for index in range(first_step, steps_per_epoch(len(data), batch_size)):
        rows = order[index * batch_size : (index + 1) * batch_size]
        mine = _share_of_rank(data, rows, rank, world_size)
        if padded:
            micro_batches = cut_padded(data, mine, max_batch_tokens)
        else:
            micro_batches = cut(data, mine, max_batch_tokens, share_prefixes)
        yield Step(index, rows, int(data.num_trained[rows].sum()), micro_batches)


def cut(
    data: TrainingData, rows: Ints, max_batch_tokens: int, share_prefixes: bool
) -> tuple[MicroBatch, ...]:
    """Cut rows into micro-batches of about equal cost under the budget; a row alone may be over it."""
    if share_prefixes:
        rows, shared = sorted_by_tokens(data, rows)
        shared[shared < MIN_SHARED] = 0
    else:
        rows, shared = (
            rows[np.argsort(-data.lengths[rows], kind="stable")],
            np.zeros(len(rows), dtype=np.int64),
        )
    inputs = data.lengths[rows] - 1
    alone, together, taken_over = inputs.tolist(), (inputs - shared).tolist(), shared.tolist()
    useful = max(1, max_batch_tokens // USEFUL_SHARE)
    least = -(-sum(together) // useful)
    target = -(-sum(together) // least) if least else 0
    starts: list[int] = []
    cost = 0
    for i in range(len(rows)):
        limit, enough = (
            (max_batch_tokens, max_batch_tokens)
            if taken_over[i] > together[i]
            else (useful, target)
        )
        if not starts or cost >= enough or cost + together[i] > limit:
            starts.append(i)
            cost = alone[i]
        else:
            cost += together[i]
    shared[starts] = 0
    return _split(rows, shared, starts)


def cut_padded(data: TrainingData, rows: Ints, max_batch_tokens: int) -> tuple[MicroBatch, ...]:
    """Cut rows, longest first, where the budget ends or rows get less than half as long as the
    longest.
    """
    rows = rows[np.argsort(-data.lengths[rows], kind="stable")]
    widths = (data.lengths[rows] - 1).tolist()
    starts: list[int] = []
    for i, width in enumerate(widths):
        longest = widths[starts[-1]] if starts else 0
        if not starts or 2 * width < longest or (i + 1 - starts[-1]) * longest > max_batch_tokens:
            starts.append(i)
    return _split(rows, np.zeros(len(rows), dtype=np.int64), starts)


def _split(rows: Ints, shared: Ints, starts: list[int]) -> tuple[MicroBatch, ...]:
    ends = [*starts[1:], len(rows)]
    return tuple(
        MicroBatch(rows[a:b], shared[a:b]) for a, b in zip(starts, ends[: len(starts)], strict=True)
    )


def forward_tokens(data: TrainingData, micro: MicroBatch, padded: bool) -> int:
    """Tokens that go through the model for one micro-batch."""
    inputs = data.lengths[micro.rows] - 1
    return len(inputs) * int(inputs.max()) if padded else int((inputs - micro.shared).sum())


def _share_of_rank(data: TrainingData, rows: Ints, rank: int, world_size: int) -> Ints:
    """Longest row first, each to the rank with the fewest tokens so far: loads differ by at most
    one row.
    """
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
    """The rows in the order of their input tokens, and how many first ones each has in common with
    the one before.
    """
    starts, ends = (4 * data.offsets[rows]).tolist(), (4 * data.offsets[rows + 1] - 4).tolist()
    keyed = sorted(
        (data.sortable[a:b], r) for a, b, r in zip(starts, ends, rows.tolist(), strict=True)
    )
    common = [_common_tokens(a, b) for (a, _), (b, _) in itertools.pairwise(keyed)]
    return np.array([r for _, r in keyed], dtype=np.int64), np.array(
        [0, *common][: len(rows)], dtype=np.int64
    )


def _common_tokens(a: bytes, b: bytes) -> int:
    """Tokens of four bytes that two byte strings have in common at their start: as large integers,
    the highest bit in which they differ tells.
    """
    size = min(len(a), len(b))
    differ = int.from_bytes(a[:size], "big") ^ int.from_bytes(b[:size], "big")
    return (8 * size - differ.bit_length()) // 32
