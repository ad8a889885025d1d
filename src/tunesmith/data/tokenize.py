"""Examples to token ids and labels: the only place that decides which positions are trained.

Trained: the answer as the chat template writes it, with one stop token. Everything before is
IGNORE_INDEX. The prompt's ids are those of the prompt as it is served; the answer's are what
follows them where prompt and answer are tokenised together, else those of the answer alone, which
is how a model goes on. Each row is checked before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tunesmith.errors import DataError
from tunesmith.records import IGNORE_INDEX, Example, TokenizedExample, Unserved, Written

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Format(Protocol):
    """What tokenising needs of tunesmith.chat.format.ChatFormat."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Of the model, with a chat template."""

    @property
    def stop_token(self) -> str:
        """What ends an answer."""

    @property
    def stop_id(self) -> int:
        """The id of `stop_token`."""

    def prompts(self, examples: Sequence[Example]) -> list[str | Unserved]:
        """The text of each prompt as it is served, up to where the answer begins."""

    def written(self, examples: Sequence[Example]) -> list[Written | Unserved]:
        """The text of each prompt and answer."""

    def answer_text(self, example: Example) -> str:
        """An answer as the template writes it, without the stop token."""

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids, without adding special tokens."""

    def decode(self, ids: list[list[int]]) -> list[str]:
        """The texts of token ids, special tokens included."""

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Texts that become special tokens and so must not occur in rows."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot become training data, and why; `tokens` is its length where length was the
    reason.
    """

    example_id: str
    reason: str
    detail: str
    tokens: int = 0


def tokenize_examples(
    examples: Sequence[Example], chat: Format, max_length: int
) -> list[TokenizedExample | Rejected]:
    """Token ids and labels for each example, in order, or why it is refused."""
    texts = chat.written(examples)
    served = [text for text in texts if isinstance(text, Written)]
    prompts = chat.encode([text.prompt for text in served])
    together = chat.encode([text.prompt + text.answer for text in served])
    firsts = [
        whole[len(p) :] if whole[: len(p)] == p else []
        for p, whole in zip(prompts, together, strict=True)
    ]
    spelled = _spelled_after_last(chat, served, prompts, firsts)
    found = zip(served, prompts, firsts, spelled, strict=True)
    return [
        Rejected(example.id, "chat_template", text.detail)
        if isinstance(text, Unserved)
        else _label(example, *next(found), chat, max_length)
        for example, text in zip(examples, texts, strict=True)
    ]


def tokenize_prompts(examples: Sequence[Example], chat: Format) -> list[list[int]]:
    """The ids of each prompt as it is served; DataError naming the row that the chat template
    refuses.
    """
    prompts = chat.prompts(examples)
    for example, prompt in zip(examples, prompts, strict=True):
        if isinstance(prompt, Unserved):
            raise DataError(f"{example.source or example.id}: row {example.id}: {prompt.detail}")
    return chat.encode([prompt for prompt in prompts if isinstance(prompt, str)])


def _answer_ids(prompt_ids: list[int], prompt: str, answer: str, chat: Format) -> list[int] | None:
    """The first way of tokenising that gives the text back; some tokenizers put a blank before a
    text to itself.
    """
    before, wanted = chat.decode([prompt_ids])[0], answer.removesuffix(chat.stop_token)
    for exact in (True, False):
        for ids in _ways(prompt_ids, prompt, answer, chat):
            after = chat.decode([prompt_ids + ids[:-1]])[0]
            spelled = after[len(before) :] if after.startswith(before) else None
            if spelled is not None and (
                spelled == wanted if exact else spelled.removeprefix(" ") == wanted
            ):
                return ids
    return None


def _ways(prompt_ids: list[int], prompt: str, answer: str, chat: Format) -> Iterator[list[int]]:
    together, alone = chat.encode([prompt + answer, answer])
    if together[: len(prompt_ids)] == prompt_ids:
        yield together[len(prompt_ids) :]
    yield alone


def _spelled_after_last(
    chat: Format, texts: Sequence[Written], prompts: list[list[int]], answers: list[list[int]]
) -> list[bool]:
    """Whether the answer's ids, after the prompt's last one and without the stop token, decode to
    the answer: that settles it for nearly all rows, and all of them are decoded at once.
    """
    last = [ids[-1:] for ids in prompts]
    one_each = list({tuple(ids): None for ids in last})
    before = dict(zip(one_each, chat.decode([list(ids) for ids in one_each]), strict=True))
    whole = chat.decode([first + answer[:-1] for first, answer in zip(last, answers, strict=True)])
    return [
        bool(answer) and after == before[tuple(first)] + text.answer.removesuffix(chat.stop_token)
        for text, first, answer, after in zip(texts, last, answers, whole, strict=True)
    ]


def _label(
    example: Example,
    text: Written,
    prompt: list[int],
    answer: list[int],
    is_spelled: bool,
    chat: Format,
    max_length: int,
) -> TokenizedExample | Rejected:
    control = _control_token(example, chat)
    if control:
        return Rejected(
            example.id, "control_token", f"the text contains the special token {control!r}"
        )
    found = answer if is_spelled else _answer_ids(prompt, text.prompt, text.answer, chat)
    ids = chat.encode([text.answer])[0] if found is None else found
    length = len(prompt) + len(ids)
    if length > max_length:
        return Rejected(
            example.id, "too_long", f"{length} tokens, max_length is {max_length}", length
        )
    if found is None or found[-1] != chat.stop_id:
        wanted, spelled = text.answer.strip(), chat.decode([ids])[0].strip()
        return Rejected(
            example.id,
            "not_spelled",
            f"the tokenizer turns the completion {wanted!r} into {spelled!r}",
        )
    return TokenizedExample(
        example.id, prompt + found, [IGNORE_INDEX] * len(prompt) + found, len(prompt), text.remarks
    )


def _control_token(example: Example, chat: Format) -> str | None:
    turns = (example.prompt, example.completion, *(turn.content for turn in example.history))
    keys = (
        example.tools,
        example.prompt_keys,
        example.answer_keys,
        *(turn.keys for turn in example.history),
    )
    return next(
        (token for token in chat.special_tokens if any(token in text for text in (*turns, *keys))),
        None,
    )
