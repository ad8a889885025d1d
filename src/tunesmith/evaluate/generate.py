"""Greedy answers, the same whatever the batch size and the order of the rows.

Shape suffixes: B rows still unanswered, T tokens of the longest prompt after the shared prefix, S tokens seen so far.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from tunesmith.errors import InputError
from tunesmith.evaluate.caching import Caching, caching
from tunesmith.evaluate.forward import (
    Traits,
    cached_prefix,
    check_lengths,
    evaluating,
    prefix_groups,
    repeated,
    token_batches,
)


@dataclass(frozen=True, slots=True)
class Generated:
    """An answer's token ids without the stop token; `stopped`: the model ended it with one of its stop tokens."""

    ids: list[int]
    stopped: bool


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    stop_ids: Collection[int],
    max_new_tokens: int | Sequence[int],
    newline_ids: Collection[int] = frozenset(),
    batch_tokens: int = 8192,
    on_progress: Callable[[int], None] | None = None,
) -> list[Generated]:
    """The greedy answer to each prompt, in the prompts' order.

    An answer ends at a stop token, after `max_new_tokens` (one number, or one for each prompt), or with a token of
    `newline_ids` that follows other text: a base model's answer of one line. `batch_tokens` bounds the tokens in the
    KV cache of a batch. `on_progress` is called with the number of rows just answered.
    Raises ModelError naming the row where prompt and answer are longer than the model reads.
    """
    budgets = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    answers = [_Answer(frozenset(stop_ids), frozenset(newline_ids), budget) for budget in budgets]
    with evaluating(model) as kind:
        check_lengths(prompts, budgets, kind.limit)
        lengths = [len(prompt) + budget for prompt, budget in zip(prompts, budgets, strict=True)]
        level = caching(model, kind)
        for shared, rows in _groups(prompts, lengths, kind, level):
            prefix = cached_prefix(model, kind, prompts[rows[0]][:shared])
            for batch in token_batches(rows, lengths, batch_tokens if level > Caching.ALONE else 1):
                rests = [prompts[row][shared:] for row in batch]
                cache, mine = repeated(prefix, len(batch)), [answers[row] for row in batch]
                _answer_batch(model, kind, level, rests, shared, cache, mine)
                if on_progress:
                    on_progress(len(batch))
    return [Generated(answer.ids, answer.stopped) for answer in answers]


def _groups(
    prompts: Sequence[Sequence[int]], lengths: Sequence[int], kind: Traits, level: Caching
) -> list[tuple[int, list[int]]]:
    """Shared prefixes where padding between prefix and row is invisible; else rows with nothing shared.

    A sliding window counts padding as tokens, so a window that is shorter than the rows rules sharing out. Where
    padding is read, batches hold prompts of one length.
    """
    everything = range(len(prompts))
    if level < Caching.PADS:
        by_length = groupby(sorted(everything, key=lambda row: len(prompts[row])), key=lambda row: len(prompts[row]))
        return [(0, list(rows)) for _, rows in by_length]
    if level < Caching.SHARES or (kind.window is not None and kind.window < max(lengths, default=0)):
        return [(0, list(everything))]
    return prefix_groups(prompts)


@dataclass(slots=True)
class _Answer:
    """An answer being written."""

    stops: frozenset[int]
    newlines: frozenset[int]
    budget: int
    ids: list[int] = field(default_factory=list)
    stopped: bool = False
    has_text: bool = False

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
    model: Any,
    kind: Traits,
    level: Caching,
    rests: Sequence[Sequence[int]],
    shared: int,
    cache: Any | None,
    answers: list[_Answer],
) -> None:
    """Write the answers to one batch of prompts, whose first `shared` tokens are in the cache. Where no cache can be
    relied on, the batch is one row, which is read again for each token."""
    input_BT, mask_BS = _left_padded(rests, shared, kind.device)
    positions_BT = (mask_BS.cumsum(-1) - 1).clamp(min=0)[:, shared:]
    while answers:
        inputs: dict[str, Any] = {"input_ids": input_BT}
        if level:
            inputs[kind.cache_name] = cache
        if level >= Caching.PADS:
            inputs["attention_mask"] = mask_BS
        if level >= Caching.PLACED and kind.takes_positions:
            inputs["position_ids"] = positions_BT
        output = model(**inputs, use_cache=bool(level), logits_to_keep=1)
        cache = getattr(output, kind.cache_name) if level else None
        tokens_B = output.logits[:, -1].argmax(-1)
        goes_on = [answer.add(token) for answer, token in zip(answers, tokens_B.tolist(), strict=True)]
        going = [i for i, more in enumerate(goes_on) if more]
        positions_BT = positions_BT[:, -1:] + 1
        if cache is not None and going and len(going) < len(answers):
            keep_B = torch.tensor(going, device=kind.device)
            cache.reorder_cache(keep_B)
            tokens_B, mask_BS, positions_BT = tokens_B[keep_B], mask_BS[keep_B], positions_BT[keep_B]
        answers = [answers[i] for i in going]
        input_BT = tokens_B[:, None] if level else torch.cat([input_BT, tokens_B[:, None]], dim=1)
        mask_BS = torch.cat([mask_BS, mask_BS.new_ones(len(tokens_B), 1)], dim=1)


def _left_padded(rests: Sequence[Sequence[int]], shared: int, device: torch.device) -> tuple[Tensor, Tensor]:
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
            hint="pip install 'tunesmith[serve]', or set evaluation.backend=transformers",
        )


def generate_vllm(
    model_dir: str,
    prompts: Sequence[Sequence[int]],
    *,
    stop_ids: Collection[int],
    max_new_tokens: int | Sequence[int],
    newline_ids: Collection[int] = frozenset(),
) -> list[Generated]:
    """What `generate` does, by vLLM from a model folder; InputError where vLLM is not installed.

    vLLM takes nine tenths of the GPU's memory that is free.
    """
    check_vllm()
    from vllm import LLM, SamplingParams

    budgets = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    settings = [
        SamplingParams(temperature=0.0, max_tokens=budget, stop_token_ids=sorted(stop_ids), detokenize=False)
        for budget in budgets
    ]
    requests = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
    free, total = torch.cuda.mem_get_info() if torch.cuda.is_available() else (1, 1)
    engine = LLM(model=model_dir, enable_prefix_caching=True, gpu_memory_utilization=0.9 * free / total)
    outputs = engine.generate(requests, settings)
    answers = [_Answer(frozenset(stop_ids), frozenset(newline_ids), budget) for budget in budgets]
    for answer, output in zip(answers, outputs, strict=True):
        written = output.outputs[0]
        goes_on = all(answer.add(token) for token in written.token_ids)  # up to a line end, which vLLM is not told of
        answer.stopped = answer.stopped or (goes_on and written.finish_reason == "stop")
    return [Generated(answer.ids, answer.stopped) for answer in answers]
