"""Greedy answers, the same whatever the batch size and the order of the rows.

Shape suffixes: B rows still unanswered, T tokens of the longest prompt after the shared prefix, S
tokens seen so far; see slots.py for R and b.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import groupby
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from tunesmith.errors import InputError
from tunesmith.evaluate.caching import Caching, agrees, caching, ordinary
from tunesmith.evaluate.forward import (
    Inputs,
    Traits,
    cached_prefix,
    check_lengths,
    evaluating,
    last_logits,
    pass_tokens,
    prefix_groups,
    repeated,
    target_logprobs,
    token_batches,
)
from tunesmith.evaluate.prepacked import prepacked
from tunesmith.evaluate.slots import Slots

# Answers written at once. With more rows than this, a step on a CPU takes longer in proportion.
CPU_ROWS = 32
GPU_ROWS = 256
REFILLED = 1 / 8  # share of free slots at which the next prompts are read
# With at most this share of the slots in use and nothing waiting, the empty ones are given up. Not
# earlier: every number of rows is another shape, for which torch plans its kernels anew.
KEPT = 3 / 4


_exact: WeakKeyDictionary[PreTrainedModel, dict[bool, bool]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Generated:
    """An answer's token ids without the stop token; `stopped`: the model ended it with one of its
    stop tokens. `reference_logprob` is log p of the row's reference in nats, if asked for.
    """

    ids: list[int]
    stopped: bool
    reference_logprob: float | None = None


def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    stop_ids: Collection[int],
    max_new_tokens: int | Sequence[int],
    newline_ids: Collection[int] = frozenset(),
    batch_tokens: int = 16384,
    batch_rows: int | None = None,
    references: Sequence[Sequence[int]] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[Generated]:
    """The greedy answer to each prompt, in the prompts' order.

    An answer ends at a stop token, after `max_new_tokens` (one number, or one for each prompt), or
    with a token of `newline_ids` that follows other text: a base model's answer of one line.
    `batch_tokens` bounds the tokens in the KV cache, `batch_rows` the answers written at once
    (None: what the device is fastest with). `references` are token ids whose likelihood after each
    prompt is wanted too: they are read together with it, so that it is read once for both. A model
    that cannot be run in slots leaves `reference_logprob` None. `on_progress` is called with the
    number of rows just answered. Raises ModelError naming the row where prompt and answer are
    longer than the model reads.
    """
    budgets = (
        [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    )
    known = [()] * len(prompts) if references is None else references
    answers = [
        _Answer(frozenset(stop_ids), frozenset(newline_ids), budget, reference)
        for budget, reference in zip(budgets, known, strict=True)
    ]
    tell = on_progress or (lambda _: None)
    with evaluating(model) as kind, prepacked(model):
        longest = [max(b, len(reference)) for b, reference in zip(budgets, known, strict=True)]
        check_lengths(prompts, longest, kind.limit)
        lengths = [len(prompt) + more for prompt, more in zip(prompts, longest, strict=True)]
        fits = _fits_slots(kind, lengths)
        apart = fits and kind.device.type == "cpu" and _slots_are_exact(model, kind, apart=True)
        in_slots = apart or (fits and _slots_are_exact(model, kind, apart=False))
        most = batch_rows or (GPU_ROWS if kind.device.type == "cuda" else CPU_ROWS)
        level = Caching.SHARES if in_slots else caching(model, kind)
        for shared, rows in _groups(prompts, lengths, kind, level):
            prefix = cached_prefix(model, kind, prompts[rows[0]][:shared])
            if in_slots:
                lengths_in_slots = [length - shared for length in lengths] if apart else lengths
                for size, alike in _slots_for(rows, lengths_in_slots, most, batch_tokens):
                    waiting = deque((prompts[row][shared:], answers[row]) for row in alike)
                    places = lengths_in_slots[alike[0]]
                    slots = Slots(size, places, kind.num_layers, kind.device, prefix, apart)
                    _Writer(
                        model, kind, slots, waiting, pass_tokens(kind, batch_tokens), tell
                    ).write()
                continue
            for batch in token_batches(rows, lengths, batch_tokens if level > Caching.ALONE else 1):
                for part in (batch[i : i + most] for i in range(0, len(batch), most)):
                    rests = [prompts[row][shared:] for row in part]
                    cache, mine = repeated(prefix, len(part)), [answers[row] for row in part]
                    _answer_batch(model, kind, level, rests, shared, cache, mine)
                    tell(len(part))
    return [Generated(one.ids, one.stopped, one.reference_logprob) for one in answers]


def _fits_slots(kind: Traits, lengths: Sequence[int]) -> bool:
    return kind.masked and (kind.window is None or max(lengths, default=0) <= kind.window)


def _slots_for(
    rows: Sequence[int], lengths: Sequence[int], most: int, batch_tokens: int
) -> Iterator[tuple[int, list[int]]]:
    """The rows, the longest first, and in how many slots they are answered: of the size of their
    longest. Rows of less than half its length have smaller slots, and so more of them, once there
    are rows enough to fill the larger ones.
    """
    ordered = sorted(rows, key=lambda row: (-lengths[row], row))
    while ordered:
        longest = lengths[ordered[0]]
        size = max(1, min(len(ordered), most, batch_tokens // longest))
        count = max(size, sum(2 * lengths[row] >= longest for row in ordered))
        yield size, ordered[:count]
        ordered = ordered[count:]


@dataclass
class _Writer:
    """Writes the answers of `waiting`, (rest of the prompt, answer) each, in the cache's slots: all
    of them at once, and the next ones in the places of those that are done.
    """

    model: PreTrainedModel
    kind: Traits
    slots: Slots
    waiting: deque[tuple[Sequence[int], _Answer]]
    pass_tokens: int
    tell: Callable[[int], None]
    writing: dict[int, _Answer] = field(default_factory=dict)  # by slot
    tokens: list[int] = field(default_factory=list)  # the last one of each slot

    def write(self) -> None:
        self.tokens = [0] * self.slots.num_rows
        with self.slots.attending(self.model.config.get_text_config()):
            self._write()

    def _write(self) -> None:
        while self.waiting or self.writing:
            free = self.slots.num_rows - len(self.writing)
            if self.waiting and free >= max(1, int(REFILLED * self.slots.num_rows)):
                self._fill(
                    [slot for slot in range(self.slots.num_rows) if slot not in self.writing]
                )
            elif not self.waiting and len(self.writing) <= KEPT * self.slots.num_rows:
                self._close_up()
            if self.writing:
                self._take(self._next_tokens(), list(self.writing))

    def _fill(self, free: list[int]) -> None:
        """Read as many waiting prompts as have a slot, in passes of about one length."""
        while free and self.waiting:
            longest = sum(map(len, (self.waiting[0][0], self.waiting[0][1].reference)))
            count = min(len(free), len(self.waiting), max(1, self.pass_tokens // longest))
            taken, free = free[:count], free[count:]
            rests, answers = zip(*(self.waiting.popleft() for _ in taken), strict=True)
            self.writing |= dict(zip(taken, answers, strict=True))
            first = self._first_tokens(taken, rests, answers)
            self._take(dict(zip(taken, first, strict=True)), taken)

    def _first_tokens(
        self, taken: Sequence[int], rests: Sequence[Sequence[int]], answers: Sequence[_Answer]
    ) -> list[int]:
        """Read prompts into slots; the first token of each answer. Where references are asked for,
        their likelihoods are put into the answers.
        """
        model, kind, slots = self.model, self.kind, self.slots
        if not answers[0].reference:
            first: list[int] = _read(model, kind, slots, taken, rests).argmax(-1).tolist()
            return first
        references = [answer.reference for answer in answers]
        logprobs, tokens = _read_on(model, kind, slots, taken, rests, references)
        for answer, logprob in zip(answers, logprobs, strict=True):
            answer.reference_logprob = logprob
        return tokens

    def _next_tokens(self) -> dict[int, int]:
        input_R1 = torch.tensor(self.tokens, device=self.kind.device)[:, None]
        tokens_R = _step(self.model, self.kind, self.slots, input_R1).argmax(-1).tolist()
        going = [1 if slot in self.writing else 0 for slot in range(self.slots.num_rows)]
        self.slots.positions_R += torch.tensor(going, device=self.kind.device)
        return dict(enumerate(tokens_R))

    def _take(self, tokens: dict[int, int], slots: list[int]) -> None:
        done = 0
        for slot in slots:
            self.tokens[slot] = tokens[slot]
            if not self.writing[slot].add(tokens[slot]):
                del self.writing[slot]
                done += 1
        if done:
            self.tell(done)

    def _close_up(self) -> None:
        kept = sorted(self.writing)
        self.slots.keep(kept)
        self.tokens = [self.tokens[slot] for slot in kept]
        self.writing = {i: self.writing[slot] for i, slot in enumerate(kept)}


def _read(
    model: PreTrainedModel,
    kind: Traits,
    slots: Slots,
    taken: Sequence[int],
    rests: Sequence[Sequence[int]],
) -> Tensor:
    """Read prompts into slots: the logits after each, in float32 (b, V)."""
    last_b = torch.tensor([len(rest) - 1 for rest in rests], device=kind.device)
    with slots.filling(taken, [slots.shared + len(rest) for rest in rests]):
        return last_logits(model, last_b, _to_read(kind, slots, rests))


def _read_on(
    model: PreTrainedModel,
    kind: Traits,
    slots: Slots,
    taken: Sequence[int],
    rests: Sequence[Sequence[int]],
    references: Sequence[Sequence[int]],
) -> tuple[list[float], list[int]]:
    """Read prompts and references into slots: log p of each reference, and the likeliest token
    after each prompt.

    A slot ends after its prompt. What stands behind it is not seen, and written over by the answer.
    """
    rows = [i for i, reference in enumerate(references) for _ in reference]
    places = [
        len(rest) - 1 + k
        for rest, reference in zip(rests, references, strict=True)
        for k in range(len(reference))
    ]
    where = (
        torch.tensor(rows, device=kind.device),
        torch.tensor(places, device=kind.device),
    )
    targets_E = torch.tensor([id for ids in references for id in ids], device=kind.device)
    whole = [[*rest, *ids] for rest, ids in zip(rests, references, strict=True)]
    with slots.filling(taken, [slots.shared + len(rest) for rest in rests]):
        logprobs_E, likeliest_E = target_logprobs(
            model,
            where,
            torch.arange(len(rows), device=kind.device),
            targets_E,
            _to_read(kind, slots, whole),
        )
    ends = np.cumsum([len(reference) for reference in references])
    sums = [float(part.sum()) for part in np.split(logprobs_E, ends[:-1])]
    return sums, likeliest_E[[0, *ends[:-1]]].tolist()


def _to_read(kind: Traits, slots: Slots, rows: Sequence[Sequence[int]]) -> Inputs:
    """A batch behind the shared prefix. Padding comes last, where nothing sees it."""
    longest = max(len(row) for row in rows)
    input_bT = torch.tensor(
        [[*row, *[0] * (longest - len(row))] for row in rows], device=kind.device
    )
    positions_T = torch.arange(slots.shared, slots.shared + longest, device=kind.device)
    return {
        "input_ids": input_bT,
        "position_ids": positions_T.expand(len(rows), -1),
        kind.cache_name: slots,
        "use_cache": True,
    }


def _step(model: PreTrainedModel, kind: Traits, slots: Slots, input_R1: Tensor) -> Tensor:
    """The logits after one more token in every slot, in float32 (R, V)."""
    inputs: Inputs = {
        "input_ids": input_R1,
        "position_ids": slots.positions_R[:, None],
        kind.cache_name: slots,
    }
    logits: Tensor = model(**inputs, attention_mask=slots.mask(kind.dtype), use_cache=True).logits[
        :, -1
    ]
    return logits.float()


def _slots_are_exact(model: PreTrainedModel, kind: Traits, apart: bool) -> bool:
    """As `_try_slots` finds, once for a model."""
    found = _exact.setdefault(model, {})
    if apart not in found:
        found[apart] = _try_slots(model, kind, apart)
    return found[apart]


def _try_slots(model: PreTrainedModel, kind: Traits, apart: bool) -> bool:
    """Whether two short rows of different lengths that begin alike come out as without slots.

    Most models take the mask, positions and cache they are given; one that ignores them (remote
    code may do anything) is found out here and keeps its own cache.
    """
    rows = [ordinary(model, row) for row in ([9, 4, 5, 7, 3, 11, 2], [9, 4, 13, 4, 6])]
    plain_BV = torch.stack(
        [
            model(input_ids=torch.tensor([row], device=kind.device), use_cache=False).logits[0, -1]
            for row in rows
        ]
    )

    def in_slots() -> Tensor:
        prefix = cached_prefix(model, kind, rows[0][:2])
        slots = Slots(2, 8, kind.num_layers, kind.device, prefix, apart)
        last_R1 = torch.tensor([row[-1:] for row in rows], device=kind.device)
        with slots.attending(model.config.get_text_config()):
            _read(model, kind, slots, [0, 1], [row[2:-1] for row in rows])
            return _step(model, kind, slots, last_R1)

    return agrees(in_slots, plain_BV, kind)


def _groups(
    prompts: Sequence[Sequence[int]], lengths: Sequence[int], kind: Traits, level: Caching
) -> list[tuple[int, list[int]]]:
    """Shared prefixes where padding between prefix and row is invisible; else rows with nothing
    shared.

    A sliding window counts padding as tokens, so a window that is shorter than the rows rules
    sharing out. Where padding is read, batches hold prompts of one length.
    """
    everything = range(len(prompts))
    if level < Caching.PADS:
        by_length = groupby(
            sorted(everything, key=lambda row: len(prompts[row])), key=lambda row: len(prompts[row])
        )
        return [(0, list(rows)) for _, rows in by_length]
    if level < Caching.SHARES or (
        kind.window is not None and kind.window < max(lengths, default=0)
    ):
        return [(0, list(everything))]
    return prefix_groups(prompts)


@dataclass(slots=True)
class _Answer:
    """An answer being written."""

    stops: frozenset[int]
    newlines: frozenset[int]
    budget: int
    reference: Sequence[int] = ()  # whose likelihood is wanted too
    ids: list[int] = field(default_factory=list)
    stopped: bool = False
    has_text: bool = False
    reference_logprob: float | None = None

    def add(self, token: int) -> bool:
        """Take the next token; whether the answer goes on."""
        if token in self.stops:
            self.stopped = True
            return False
        self.ids.append(token)
        line_ends = token in self.newlines and self.has_text
        self.has_text = self.has_text or token not in self.newlines
        return not line_ends and len(self.ids) < self.budget


def _answer_batch(
    model: PreTrainedModel,
    kind: Traits,
    level: Caching,
    rests: Sequence[Sequence[int]],
    shared: int,
    cache: Cache | None,
    answers: list[_Answer],
) -> None:
    """Write the answers to one batch of prompts, whose first `shared` tokens are in the cache.
    Where no cache can be relied on, the batch is one row, which is read again for each token.
    """
    input_BT, mask_BS = _left_padded(rests, shared, kind.device)
    positions_BT = (mask_BS.cumsum(-1) - 1).clamp(min=0)[:, shared:]
    while answers:
        inputs: Inputs = {"input_ids": input_BT}
        if level:
            inputs[kind.cache_name] = cache
        if level >= Caching.PADS:
            inputs["attention_mask"] = mask_BS
        if level >= Caching.PLACED and kind.takes_positions:
            inputs["position_ids"] = positions_BT
        output = model(**inputs, use_cache=bool(level), logits_to_keep=1)
        cache = getattr(output, kind.cache_name) if level else None
        tokens_B = output.logits[:, -1].argmax(-1)
        goes_on = [
            answer.add(token) for answer, token in zip(answers, tokens_B.tolist(), strict=True)
        ]
        going = [i for i, more in enumerate(goes_on) if more]
        positions_BT = positions_BT[:, -1:] + 1
        if cache is not None and going and len(going) < len(answers):
            keep_B = torch.tensor(going, device=kind.device)
            cache.reorder_cache(keep_B)
            tokens_B, mask_BS, positions_BT = (
                tokens_B[keep_B],
                mask_BS[keep_B],
                positions_BT[keep_B],
            )
        answers = [answers[i] for i in going]
        input_BT = tokens_B[:, None] if level else torch.cat([input_BT, tokens_B[:, None]], dim=1)
        mask_BS = torch.cat([mask_BS, mask_BS.new_ones(len(tokens_B), 1)], dim=1)


def _left_padded(
    rests: Sequence[Sequence[int]], shared: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Token ids and the attention mask, in which the shared prefix comes first."""
    longest = max(len(rest) for rest in rests)
    input_BT = torch.tensor([[0] * (longest - len(rest)) + list(rest) for rest in rests])
    seen_BT = torch.tensor([[0] * (longest - len(rest)) + [1] * len(rest) for rest in rests])
    mask_BS = torch.cat([torch.ones(len(rests), shared, dtype=torch.long), seen_BT], dim=1)
    return input_BT.to(device), mask_BS.to(device)


def check_vllm() -> None:
    """InputError where vLLM is not installed."""
    if find_spec("vllm") is None:
        raise InputError(
            "evaluation.backend is vllm, which is not installed",
            hint="pip install 'tunesmith[vllm]', or set evaluation.backend=transformers",
        )


def generate_vllm(
    model_dir: str,
    prompts: Sequence[Sequence[int]],
    *,
    stop_ids: Collection[int],
    max_new_tokens: int | Sequence[int],
    newline_ids: Collection[int] = frozenset(),
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> list[Generated]:
    """What `generate` does, by vLLM from a model folder; InputError where vLLM is not installed.

    vLLM takes nine tenths of the GPU's memory that is free.
    """
    check_vllm()
    # optional, and installed as of the line above
    from vllm import LLM, SamplingParams  # noqa: PLC0415

    budgets = (
        [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    )
    settings = [
        SamplingParams(
            temperature=0.0, max_tokens=budget, stop_token_ids=sorted(stop_ids), detokenize=False
        )
        for budget in budgets
    ]
    requests = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
    free, total = torch.cuda.mem_get_info() if torch.cuda.is_available() else (1, 1)
    engine = LLM(
        model=model_dir,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        enable_prefix_caching=True,
        gpu_memory_utilization=0.9 * free / total,
    )
    outputs = engine.generate(requests, settings)
    answers = [_Answer(frozenset(stop_ids), frozenset(newline_ids), budget) for budget in budgets]
    for answer, output in zip(answers, outputs, strict=True):
        written = output.outputs[0]
        # up to a line end, of which vLLM knows nothing
        goes_on = all(answer.add(token) for token in written.token_ids)
        answer.stopped = answer.stopped or (goes_on and written.finish_reason == "stop")
    return [Generated(answer.ids, answer.stopped) for answer in answers]
