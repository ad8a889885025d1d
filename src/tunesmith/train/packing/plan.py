"""The step plan: which examples share an optimiser step, and how it is cut into micro-batches.

An optimiser step is exactly `batch_size` consecutive examples of the epoch's seeded shuffle, so the
batch size means what it says, whatever the rows' lengths. Inside a step anything may be rearranged
that does not change the update beyond rounding, and three things are:

- the last token of each row is not an input (it predicts nothing; it is only a label)
- rows that begin with the same token ids are sent through the model once for that prefix, as rows
  under one instruction all do (packing/tensors.py has the how)
- the rows are cut into micro-batches under a budget of tokens, whose gradients are accumulated

Shared prefixes are found by sorting the step's rows by their token ids: each row then has its
longest common prefix with the row just before it, and its first `shared` tokens are taken over from
there, like a path in a trie. The cost model: a token that goes through the model costs 1, and one
that is taken over costs nothing but its attention, which is needed either way. Fewer than 8 common
tokens are not worth splitting attention for.

Pure numpy, and a pure function of token ids, seed, epoch and sizes. So there is nothing to save of
a data loader: resuming at step k is asking for the plan from step k on. Of a whole epoch only its
order is held, 4 bytes a row; a step is cut when it comes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from tunesmith.errors import DataError
from tunesmith.records import IGNORE_INDEX, TokenizedExample

Ints = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.int32]

MIN_SHARED = 8  # tokens; shorter common prefixes are computed for each row

CHECKED_AT_ONCE = 1 << 22  # rows

USEFUL_SHARE = 4
"""Rows that share little are cut at the budget divided by this.

Larger micro-batches gain no speed there and only take memory. The whole budget is for rows under
one long prefix: each further cut would compute that prefix once more.
"""


@dataclass(frozen=True)
class TrainingData:
    """Tokenised rows in flat arrays, which for a million rows is far less than lists would take.

    Row r is `input_ids[offsets[r]:offsets[r + 1]]` and its name `ids[r]`. There are no labels: its
    first `num_prompt_tokens[r]` tokens are not trained, and all others are their own labels. The
    tokens are not shifted; the shift by one happens once, where a batch is made. Made by
    `from_arrays` or `from_examples`, which check.
    """

    input_ids: Tokens
    offsets: Ints
    num_prompt_tokens: Tokens
    ids: Sequence[str]

    @classmethod
    def from_examples(cls, examples: Sequence[TokenizedExample]) -> TrainingData:
        """From records; DataError where a row's labels are not its tokens after the prompt."""
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
        """From anything numpy takes; DataError for a row in which nothing is trained."""
        data = cls(
            np.ascontiguousarray(input_ids, dtype=np.int32),
            np.asarray(offsets, dtype=np.int64),
            np.asarray(num_prompt_tokens, dtype=np.int32),
            ids,
        )
        for start in range(0, len(data), CHECKED_AT_ONCE):
            rows = np.arange(start, min(len(data), start + CHECKED_AT_ONCE))
            empty = rows[data.trained_of(rows) <= 0]
            if len(empty):
                row = int(empty[0])
                found, prompt = data.lengths_of(row), data.num_prompt_tokens[row]
                raise DataError(
                    f"row {ids[row]}: nothing to train: {found} tokens, {prompt} of the prompt"
                )
        return data

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.num_prompt_tokens)

    @property
    def lengths(self) -> Ints:
        """Tokens of each row, prompt and completion; made anew, for all rows."""
        return np.diff(self.offsets)

    @property
    def num_trained(self) -> Ints:
        """Trained tokens of each row; made anew, for all rows."""
        return self.trained_of(np.arange(len(self)))

    def lengths_of(self, rows: Ints | int) -> Ints:
        """Tokens of these rows, prompt and completion."""
        return np.asarray(self.offsets[rows + 1] - self.offsets[rows])

    def trained_of(self, rows: Ints | int) -> Ints:
        """Trained tokens of these rows.

        A row's very first token is never trained, also without a prompt: nothing predicts it.
        """
        return self.lengths_of(rows) - np.maximum(self.num_prompt_tokens[rows], 1)

    def row(self, r: int) -> Tokens:
        """The token ids of row r."""
        return self.input_ids[self.offsets[r] : self.offsets[r + 1]]

    @cached_property
    def sha256(self) -> str:
        """A fingerprint of all token ids, prompt lengths and row ids."""
        digest = sha256(self.input_ids.data)
        digest.update(self.offsets.data)
        digest.update(self.num_prompt_tokens.data)
        between = ""
        for row_id in self.ids:
            digest.update(f"{between}{row_id}".encode())
            between = "\n"
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """The rows of one forward and backward pass.

    The first `shared[i]` tokens of the i-th row are those of the one before it, and `shared[0]` is
    0: nothing is taken over from another micro-batch, whose activations are gone.
    """

    rows: Ints
    shared: Ints


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step, `index` within its epoch.

    `rows` and `num_trained`, the denominator of the loss, are those of all ranks; `micro_batches`
    are this rank's share. `idle` are passes beyond them whose loss does not count.
    """

    index: int
    rows: Ints
    num_trained: int
    micro_batches: tuple[MicroBatch, ...]
    idle: tuple[MicroBatch, ...] = ()


def steps_per_epoch(num_rows: int, batch_size: int) -> int:
    """The last step of an epoch has what is left, so no row is dropped."""
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

    `padded` plans for a model that needs each row on its own line: rows of similar length go
    together, padding counts, and nothing is shared.

    With `world_size` > 1 the plan is that of process `rank`: all ranks agree on the steps, and each
    has its share of every step's rows, so that the update is the same on any number of processes.
    """
    order = np.arange(len(data), dtype=np.uint32 if len(data) < 1 << 32 else np.int64)
    np.random.default_rng([seed, epoch]).shuffle(order)

    def cut_rows(rows: Ints) -> tuple[MicroBatch, ...]:
        return cut_as(data, rows, max_batch_tokens, share_prefixes, padded)

    for index in range(first_step, steps_per_epoch(len(data), batch_size)):
        rows = order[index * batch_size : (index + 1) * batch_size].astype(np.int64)
        num_trained = int(data.trained_of(rows).sum())
        yield Step(index, rows, num_trained, *passes(data, rows, cut_rows, rank, world_size))


def passes(
    data: TrainingData,
    rows: Ints,
    cut_rows: Callable[[Ints], tuple[MicroBatch, ...]],
    rank: int,
    world_size: int,
) -> tuple[tuple[MicroBatch, ...], tuple[MicroBatch, ...]]:
    """A rank's micro-batches of these rows, and as many idle ones as give every rank equally many.

    A sharded model's weights are gathered by all ranks together, so that none can make a pass
    alone. An idle pass is the rows' shortest one. Every rank cuts the shares of all, so nothing has
    to be communicated; together they are no more rows than one process has to cut.
    """
    shares = [cut_rows(share) for share in _shares(data, rows, world_size)]
    missing = max(len(share) for share in shares) - len(shares[rank])
    shortest = rows[np.argmin(data.lengths_of(rows))]
    idle = MicroBatch(np.array([shortest]), np.zeros(1, dtype=np.int64))
    return shares[rank], (idle,) * missing


def cut_as(
    data: TrainingData, rows: Ints, max_batch_tokens: int, share_prefixes: bool, padded: bool
) -> tuple[MicroBatch, ...]:
    """Cut rows in the way that a model needs them."""
    if padded:
        return cut_padded(data, rows, max_batch_tokens)
    return cut(data, rows, max_batch_tokens, share_prefixes)


def cut(
    data: TrainingData, rows: Ints, max_batch_tokens: int, share_prefixes: bool
) -> tuple[MicroBatch, ...]:
    """Cut rows into micro-batches of about equal cost under the budget; a single row may exceed it.

    Greedy, in one pass over the sorted rows. The target size divides the tokens evenly over as few
    micro-batches as the useful budget allows, so that no small rest is left for the last one.
    """
    if share_prefixes:
        rows, shared = sorted_by_tokens(data, rows)
        shared[shared < MIN_SHARED] = 0
    else:
        rows, shared = (
            rows[np.argsort(-data.lengths_of(rows), kind="stable")],
            np.zeros(len(rows), dtype=np.int64),
        )
    inputs = data.lengths_of(rows) - 1
    # What a row costs if it starts a micro-batch, and if it follows the row before it.
    alone, together, taken_over = inputs.tolist(), (inputs - shared).tolist(), shared.tolist()
    useful = max(1, max_batch_tokens // USEFUL_SHARE)
    least = -(-sum(together) // useful)
    target = -(-sum(together) // least) if least else 0
    starts: list[int] = []
    cost = 0
    for i in range(len(rows)):
        # A row that takes over more than it adds would cost twice as much or more after a cut.
        mostly_shared = taken_over[i] > together[i]
        limit, enough = (max_batch_tokens,) * 2 if mostly_shared else (useful, target)
        if not starts or cost >= enough or cost + together[i] > limit:
            starts.append(i)
            cost = alone[i]
        else:
            cost += together[i]
    shared[starts] = 0
    return _split(rows, shared, starts)


def cut_padded(data: TrainingData, rows: Ints, max_batch_tokens: int) -> tuple[MicroBatch, ...]:
    """Cut rows, longest first, at the budget, padding counted.

    Also where rows get less than half as long as the longest, so that less than half is padding.
    """
    rows = rows[np.argsort(-data.lengths_of(rows), kind="stable")]
    widths = (data.lengths_of(rows) - 1).tolist()
    starts: list[int] = []
    for i, width in enumerate(widths):
        longest = widths[starts[-1]] if starts else 0
        if not starts or 2 * width < longest or (i + 1 - starts[-1]) * longest > max_batch_tokens:
            starts.append(i)
    return _split(rows, np.zeros(len(rows), dtype=np.int64), starts)


def _split(rows: Ints, shared: Ints, starts: list[int]) -> tuple[MicroBatch, ...]:
    """The rows cut before each index in `starts`."""
    ends = [*starts[1:], len(rows)]
    return tuple(
        MicroBatch(rows[a:b], shared[a:b]) for a, b in zip(starts, ends[: len(starts)], strict=True)
    )


def forward_tokens(data: TrainingData, micro: MicroBatch, padded: bool) -> int:
    """Tokens that go through the model for one micro-batch, padding included."""
    inputs = data.lengths_of(micro.rows) - 1
    return len(inputs) * int(inputs.max()) if padded else int((inputs - micro.shared).sum())


def _shares(data: TrainingData, rows: Ints, world_size: int) -> list[Ints]:
    """Each rank's rows of a step: longest first, each to the rank with the fewest tokens so far.

    Greedy scheduling of longest jobs first (Graham 1969); loads differ by at most one row. Every
    rank computes the whole assignment, so none has to be communicated.
    """
    if world_size == 1:
        return [rows]
    loads, shares = [0] * world_size, [list[int]() for _ in range(world_size)]
    for row in rows[np.argsort(-data.lengths_of(rows), kind="stable")].tolist():
        lightest = loads.index(min(loads))
        loads[lightest] += int(data.lengths_of(row))
        shares[lightest].append(row)
    return [np.array(share, dtype=np.int64) for share in shares]


def sorted_by_tokens(data: TrainingData, rows: Ints) -> tuple[Ints, Ints]:
    """The rows sorted by their input tokens, and each one's common prefix with the one before.

    Sorted lexicographically, as words in a dictionary: no earlier row has a longer common prefix
    with a row than the one just before it. The last token, which is no input, is left out.
    """
    # As bytes, the highest of a token first: their order is that of the token ids, and Python
    # compares them much faster than lists.
    keyed = sorted((data.row(r)[:-1].astype(">i4").tobytes(), r) for r in rows.tolist())
    common = [_common_tokens(a, b) for (a, _), (b, _) in itertools.pairwise(keyed)]
    return np.array([r for _, r in keyed], dtype=np.int64), np.array(
        [0, *common][: len(rows)], dtype=np.int64
    )


def _common_tokens(a: bytes, b: bytes) -> int:
    """The length of the common prefix of two sequences of four-byte tokens.

    Read as large integers, the highest bit in which they differ tells where the first different
    token is, without a loop over tokens in Python.
    """
    size = min(len(a), len(b))
    differ = int.from_bytes(a[:size], "big") ^ int.from_bytes(b[:size], "big")
    return (8 * size - differ.bit_length()) // 32
