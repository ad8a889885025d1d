"""Examples to token ids and labels: the only place that decides which positions are trained.

Trained: the completion and one stop token. Everything before is IGNORE_INDEX. Each row is proved before it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tunesmith.errors import DataError
from tunesmith.records import IGNORE_INDEX, Example, TokenizedExample


class Format(Protocol):
    """What tokenising needs of tunesmith.model.ChatFormat."""

    @property
    def tokenizer(self) -> Any: ...
    @property
    def stop_token(self) -> str: ...
    @property
    def stop_id(self) -> int: ...
    def prompt_text(self, prompt: str, history: tuple[tuple[str, str], ...] = ()) -> str: ...
    def completion_text(self, completion: str) -> str: ...
    def encode(self, texts: list[str]) -> list[list[int]]: ...
    def decode(self, ids: list[list[int]]) -> list[str]: ...
    @property
    def special_tokens(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot become training data, and why; `tokens` is its length where length was the reason."""

    example_id: str
    reason: str
    detail: str
    tokens: int = 0


def tokenize_examples(examples: Sequence[Example], chat: Format, max_length: int) -> list[TokenizedExample | Rejected]:
    """Token ids and labels for each example, in order; see `Rejected.reason` for what is refused.

    Raises DataError naming the row where the prompt's ids are not the beginning of prompt + completion.
    """
    prompts = [chat.prompt_text(e.prompt, e.history) for e in examples]
    completions = [chat.completion_text(e.completion) for e in examples]
    prompt_ids = chat.encode(prompts)
    whole_ids = chat.encode([p + c for p, c in zip(prompts, completions, strict=True)])
    answers = chat.decode([ids[len(p) :] for ids, p in zip(whole_ids, prompt_ids, strict=True)])
    rows = zip(examples, prompt_ids, whole_ids, answers, strict=True)
    return [_label(example, prompt, whole, answer, chat, max_length) for example, prompt, whole, answer in rows]


def tokenize_prompts(examples: Sequence[Example], chat: Format) -> list[list[int]]:
    return chat.encode([chat.prompt_text(e.prompt, e.history) for e in examples])


def _label(
    example: Example, prompt: list[int], whole: list[int], answer: str, chat: Format, max_length: int
) -> TokenizedExample | Rejected:
    control = _control_token(example, chat)
    if control:
        return Rejected(example.id, "control_token", f"the text contains the special token {control!r}")
    if len(whole) > max_length:
        return Rejected(example.id, "too_long", f"{len(whole)} tokens, max_length is {max_length}", len(whole))
    n = len(prompt)
    if whole[:n] != prompt:
        raise DataError(
            f"{example.source or example.id}: row {example.id}: the prompt's tokens are not the beginning of prompt + "
            f"completion: {chat.tokenizer.decode(prompt[-3:])!r} became {chat.tokenizer.decode(whole[n - 3 : n])!r}",
            hint="end the prompt with a letter or punctuation mark, or with the answer's cue, not inside a word",
        )
    expected = example.completion + chat.stop_token
    if answer.strip() != expected or whole[-1] != chat.stop_id:
        return Rejected(
            example.id, "not_spelled", f"the tokenizer turns the completion {expected!r} into {answer.strip()!r}"
        )
    bos = chat.tokenizer.bos_token_id
    if bos is not None and bos != chat.stop_id and whole.count(bos) > 1:
        return Rejected(example.id, "control_token", f"{whole.count(bos)} begin-of-sequence tokens")
    return TokenizedExample(example.id, whole, [IGNORE_INDEX] * n + whole[n:], n)


def _control_token(example: Example, chat: Format) -> str | None:
    texts = (example.prompt, example.completion, *(content for _, content in example.history))
    return next((token for token in chat.special_tokens if any(token in text for text in texts)), None)
