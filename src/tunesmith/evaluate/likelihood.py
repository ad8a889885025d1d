"""How likely a model finds each choice after its prompt, computed over one tree of prefixes.

The common beginning of all prompts is computed once for the evaluation, each prompt once, and
choices that begin with the same tokens share them: a row's choices are one sequence whose attention
mask is a tree. Nothing is approximated.

Shape suffixes: B sequences of a batch, S positions of one, P positions of the cached prefix, N
positions whose next token is asked for, E edges (a token after a position), T tokens of a tree, V
vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from tunesmith.errors import DataError
from tunesmith.evaluate.forward import (
    Inputs,
    Traits,
    cached_prefix,
    check_lengths,
    evaluating,
    pass_tokens,
    prefix_groups,
    repeated,
    target_logprobs,
    token_batches,
)
from tunesmith.models.architectures import UNSUITED

# larger trees are cut into several: the mask grows with the square of their tokens
_log = logging.getLogger(__name__)
MAX_TREE_TOKENS = 512
MAX_REST_TOKENS = 1024  # of a prompt after the shared prefix, for the same reason
# short rows stand side by side in sequences of this length, so that few copies of the prefix do
SEQUENCE_TOKENS = 256


Ints = npt.NDArray[np.int64]
Choices = Sequence[Sequence[int]]


@dataclass(frozen=True)
class ChoiceTree:
    """The tokens of several choices, those of a common beginning once.

    Node 0 is the prompt's last token; node i is `tokens[i - 1]`, at `depths[i - 1]` tokens after
    the prompt, and sees the nodes `visible[i - 1]`. Choice number `owners[j]` takes edge
    `steps[j]`, its last one where `ends[j]`; edge e is the token `targets[e]` after node
    `parents[e]`. A choice's last token is a target only: nothing is asked after it.
    """

    tokens: list[int]
    depths: list[int]
    visible_TT: npt.NDArray[np.bool_]
    parents: Ints
    targets: Ints
    owners: Ints
    steps: Ints
    ends: npt.NDArray[np.bool_]
    num_choices: int


@dataclass(frozen=True)
class _Item:
    """Some choices (`numbers`) of a row, to be scored in one piece; `rest` is its prompt after the
    shared prefix.
    """

    row: int
    numbers: list[int]
    rest: Sequence[int]
    tree: ChoiceTree

    def __len__(self) -> int:
        return len(self.rest) + len(self.tree.tokens)


@dataclass(slots=True)
class Ranked:
    """`logprobs[i]` is log p(choice i | prompt) in nats, summed over its tokens. `greedy` is the
    choice that greedy decoding writes, each of its tokens being the likeliest; None where it writes
    something else. `without_last[i]` leaves out the choice's last token, its stop token.
    """

    logprobs: list[float]
    greedy: int | None = None
    without_last: list[float] = field(default_factory=list)


def choice_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    choices: Sequence[Choices],
    *,
    batch_tokens: int = 8192,
    on_progress: Callable[[int], None] | None = None,
) -> list[list[float]]:
    """The likelihoods of `rank_choices` alone: `result[row][i]` belongs to `choices[row][i]`."""
    ranked = rank_choices(
        model, prompts, choices, batch_tokens=batch_tokens, on_progress=on_progress
    )
    return [found.logprobs for found in ranked]


def rank_choices(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    choices: Sequence[Choices],
    *,
    batch_tokens: int = 8192,
    on_progress: Callable[[int], None] | None = None,
) -> list[Ranked]:
    """How likely each choice of each row is.

    The ids of a choice hold its stop token where that is to be counted. `batch_tokens` bounds the
    tokens of a forward pass. `on_progress` is called with the number of rows just begun. Raises
    ModelError naming the row where prompt and choice are longer than the model reads, DataError for
    a choice without tokens.
    """
    if not prompts:
        return []
    _check_choices(choices)
    extra = [max((len(option) for option in options), default=0) for options in choices]
    with evaluating(model) as kind:
        check_lengths(prompts, extra, kind.limit)
        longest = max(len(prompt) + more for prompt, more in zip(prompts, extra, strict=True))
        fits = kind.masked and (kind.window is None or longest <= kind.window)
        as_trees = fits and _trees_are_exact(model, kind, prompts, choices)
        return _rank(model, kind, prompts, choices, as_trees, batch_tokens, on_progress)


def _trees_are_exact(
    model: PreTrainedModel,
    kind: Traits,
    prompts: Sequence[Sequence[int]],
    choices: Sequence[Choices],
) -> bool:
    """Whether two choices of the first row come out the same without a tree.

    Most models take the tree's mask and positions; one that ignores them (remote code may do
    anything) is found out here and read one choice at a time.
    """
    longest = [sorted(choices[0], key=len)[-2:]]
    plain = _rank(model, kind, prompts[:1], longest, False, 1024)[0].logprobs
    try:
        found = _rank(model, kind, prompts[:1], longest, True, 1024)[0].logprobs
    except UNSUITED:
        found = [float("nan")] * len(plain)  # a model that takes no such mask may say so
    # In half precision a likelihood of e^-20 is known to half a nat; a mask that is ignored costs
    # several.
    tolerance = 1e-3 if kind.dtype == torch.float32 else 0.25
    exact = all(
        abs(a - b) <= tolerance * max(1.0, abs(b)) for a, b in zip(found, plain, strict=True)
    )
    if not exact:  # slower and just as right: nothing that a user could act on
        _log.info(
            "%s cannot read choices as a tree: one forward pass for each choice",
            type(model).__name__,
        )
    return exact


def _rank(
    model: PreTrainedModel,
    kind: Traits,
    prompts: Sequence[Sequence[int]],
    choices: Sequence[Choices],
    as_trees: bool,
    batch_tokens: int,
    on_progress: Callable[[int], None] | None = None,
) -> list[Ranked]:
    result = [
        Ranked([0.0] * len(options), without_last=[0.0] * len(options)) for options in choices
    ]
    groups = _groups(prompts) if as_trees else [(0, list(range(len(prompts))))]
    for shared, rows in groups:
        prefix = cached_prefix(model, kind, prompts[rows[0]][:shared])
        items = _items(prompts, choices, rows, shared, as_trees)
        for batch in token_batches(
            range(len(items)), [len(item) for item in items], pass_tokens(kind, batch_tokens)
        ):
            chosen = [items[i] for i in batch]
            for item, found in zip(
                chosen, _score(model, kind, chosen, shared, prefix, as_trees), strict=True
            ):
                for place, number in enumerate(item.numbers):
                    result[item.row].logprobs[number] = found.logprobs[place]
                    result[item.row].without_last[number] = found.without_last[place]
                if found.greedy is not None:
                    result[item.row].greedy = item.numbers[found.greedy]
            if on_progress:
                on_progress(sum(0 in item.numbers for item in chosen))
    return result


def _groups(prompts: Sequence[Sequence[int]]) -> Iterator[tuple[int, list[int]]]:
    """Shared prefixes and their rows. A row with a long rest is alone, all but its last token a
    prefix: read without an explicit mask, which grows with the square of its tokens.
    """
    for shared, rows in prefix_groups(prompts):
        short = [row for row in rows if len(prompts[row]) - shared <= MAX_REST_TOKENS]
        if short:
            yield shared, short
        for row in sorted(set(rows) - set(short)):
            yield len(prompts[row]) - 1, [row]


def _check_choices(choices: Sequence[Choices]) -> None:
    for row, options in enumerate(choices):
        for number, option in enumerate(options):
            if not option:
                raise DataError(f"row {row}: choice {number} has 0 tokens")


def build_tree(choices: Choices) -> ChoiceTree:
    """The tree of `choices`; parents come before their children."""
    children: dict[tuple[int, int], int] = {}
    edges: dict[tuple[int, int], int] = {}
    tokens: list[int] = []
    depths: list[int] = []
    node_parents: list[int] = []
    owners: list[int] = []
    steps: list[int] = []
    ends: list[bool] = []
    for number, choice in enumerate(choices):
        node = 0
        for depth, token in enumerate(choice, start=1):
            owners.append(number)
            steps.append(edges.setdefault((node, token), len(edges)))
            ends.append(depth == len(choice))
            if depth == len(choice):
                break
            if (node, token) not in children:
                children[node, token] = len(tokens) + 1
                tokens.append(token)
                depths.append(depth)
                node_parents.append(node)
            node = children[node, token]
    visible_TT = np.eye(len(tokens), dtype=bool)
    for node, parent in enumerate(node_parents):
        if parent:
            visible_TT[node] |= visible_TT[parent - 1]
    parents, targets = np.array(list(edges), dtype=np.int64).reshape(-1, 2).T
    return ChoiceTree(
        tokens,
        depths,
        visible_TT,
        parents,
        targets,
        np.array(owners),
        np.array(steps),
        np.array(ends),
        len(choices),
    )


def _items(
    prompts: Sequence[Sequence[int]],
    choices: Sequence[Choices],
    rows: Sequence[int],
    shared: int,
    as_trees: bool,
) -> list[_Item]:
    known: dict[tuple[tuple[int, ...], ...], list[tuple[list[int], ChoiceTree]]] = {}
    items = []
    for row in rows:
        key = tuple(tuple(option) for option in choices[row])
        if key not in known:
            known[key] = _trees(key, as_trees)
        items += [_Item(row, numbers, prompts[row][shared:], tree) for numbers, tree in known[key]]
    return items


def _trees(choices: Choices, as_trees: bool) -> list[tuple[list[int], ChoiceTree]]:
    """The choices' numbers and tree; several of them where one would be too large; one a choice
    without trees.
    """
    if not as_trees:
        return [([number], build_tree([choice])) for number, choice in enumerate(choices)]
    pending, trees = [sorted(range(len(choices)), key=lambda number: tuple(choices[number]))], []
    while pending:
        numbers = pending.pop()
        tree = build_tree([choices[number] for number in numbers])
        if len(tree.tokens) > MAX_TREE_TOKENS and len(numbers) > 1:
            pending += [numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]]
        elif numbers:
            trees.append((numbers, tree))
    return trees


def _score(
    model: PreTrainedModel,
    kind: Traits,
    items: list[_Item],
    shared: int,
    prefix: Cache | None,
    as_trees: bool,
) -> Iterator[Ranked]:
    """Each item's choices, from one forward pass. The first item is the longest."""
    # some models have masks and tables no longer than their limit
    fits = min(SEQUENCE_TOKENS, kind.limit - shared)
    side_by_side = max(1, fits // len(items[0])) if as_trees else 1
    starts = [(i // side_by_side, i % side_by_side * len(items[0])) for i in range(len(items))]
    inputs = _inputs(items, starts, side_by_side * len(items[0]), shared, as_trees, kind)
    if as_trees:
        inputs[kind.cache_name] = repeated(prefix, starts[-1][0] + 1)
    logprobs_E, likeliest_E = _edges(model, inputs, items, starts, kind)
    begin = 0
    for tree in (item.tree for item in items):
        edges = tree.steps + begin
        begin += len(tree.targets)
        whole, without_last, unlikely = (
            np.bincount(tree.owners, weights=weights, minlength=tree.num_choices)
            for weights in (
                logprobs_E[edges],
                np.where(tree.ends, 0.0, logprobs_E[edges]),
                ~likeliest_E[edges],
            )
        )
        greedy = next(iter(np.flatnonzero(unlikely == 0).tolist()), None)
        yield Ranked(whole.tolist(), greedy, without_last.tolist())


def _inputs(
    items: list[_Item],
    starts: list[tuple[int, int]],
    length: int,
    shared: int,
    as_trees: bool,
    kind: Traits,
) -> Inputs:
    """Token ids, positions and the mask; padding comes last and sees only itself."""
    shape = (starts[-1][0] + 1, length)
    ids_BS, positions_BS = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for item, (sequence, start) in zip(items, starts, strict=True):
        n, end = len(item.rest), start + len(item)
        ids_BS[sequence, start:end] = [*item.rest, *item.tree.tokens]
        positions_BS[sequence, start : start + n] = np.arange(shared, shared + n)
        positions_BS[sequence, start + n : end] = np.array(item.tree.depths, dtype=np.int64) + (
            shared + n - 1
        )
    input_BS = torch.from_numpy(ids_BS).to(kind.device)
    inputs: Inputs = {"input_ids": input_BS, "use_cache": False}
    if as_trees:
        inputs["position_ids"] = torch.from_numpy(positions_BS).to(kind.device)
        inputs["attention_mask"] = _tree_mask(items, starts, shape, shared, kind)
        inputs["use_cache"] = shared > 0
    else:
        # padding comes last, where no other token sees it
        inputs["attention_mask"] = torch.ones_like(input_BS)
    return inputs


def _tree_mask(
    items: list[_Item],
    starts: list[tuple[int, int]],
    shape: tuple[int, int],
    shared: int,
    kind: Traits,
) -> Tensor:
    """0 where a position is seen, else the dtype's lowest number; (B, 1, S, P + S)."""
    batch, length = shape
    seen_BSS = np.broadcast_to(np.eye(length, dtype=bool), (batch, length, length)).copy()
    for item, (sequence, start) in zip(items, starts, strict=True):
        n, end = start + len(item.rest), start + len(item)
        seen_BSS[sequence, start:n, start:n] = np.tri(n - start, dtype=bool)
        seen_BSS[sequence, n:end, start:n] = True
        seen_BSS[sequence, n:end, n:end] = item.tree.visible_TT
    mask = torch.zeros(batch, 1, length, shared + length, dtype=kind.dtype, device=kind.device)
    unseen_BSS = torch.from_numpy(~seen_BSS).to(kind.device)
    mask[:, 0, :, shared:].masked_fill_(unseen_BSS, torch.finfo(kind.dtype).min)
    return mask


def _edges(
    model: PreTrainedModel,
    inputs: Inputs,
    items: list[_Item],
    starts: list[tuple[int, int]],
    kind: Traits,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Log p of every edge of every item in turn, and whether its token is the likeliest there."""
    begins = np.cumsum([0, *(1 + len(item.tree.tokens) for item in items)])
    asked = [
        np.arange(start + len(item.rest) - 1, start + len(item))
        for item, (_, start) in zip(items, starts, strict=True)
    ]
    sequences = np.repeat([sequence for sequence, _ in starts], np.diff(begins))
    where = tuple(
        torch.from_numpy(part).to(kind.device) for part in (sequences, np.concatenate(asked))
    )
    parents = [item.tree.parents + begin for item, begin in zip(items, begins, strict=False)]
    parents_E = torch.from_numpy(np.concatenate(parents)).to(kind.device)
    targets_E = torch.from_numpy(np.concatenate([item.tree.targets for item in items])).to(
        kind.device
    )
    logprobs_E, tokens_E = target_logprobs(
        model, (where[0], where[1]), parents_E, targets_E, inputs
    )
    return logprobs_E, tokens_E == targets_E.cpu().numpy()
