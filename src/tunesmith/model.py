"""Models and tokenizers as Hugging Face folders: loading, what a base tokenizer lacks, stop tokens, saving.

A tokenizer without a chat template gets ours: BOS (where the tokenizer writes one), the user's text, one space,
the answer, the end-of-sequence token. So a plain string and a one-message chat give the same token ids.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from tunesmith.errors import ModelError
from tunesmith.loading import (
    default_device,
    fingerprint,
    fit_embeddings,
    load_config,
    load_model,
    load_tokenizer,
    max_positions,
    resolve_model,
)
from tunesmith.recipe import BUILT_IN_MODEL
from tunesmith.saving import write_model_folder

__all__ = [
    "BUILT_IN_MODEL",
    "ChatFormat",
    "chat_format",
    "complete_tokenizer",
    "default_device",
    "fingerprint",
    "fit_embeddings",
    "load_config",
    "load_model",
    "load_tokenizer",
    "max_positions",
    "render_chat",
    "resolve_model",
    "save_model",
    "stop_ids",
]
PAD_TOKEN = "<|pad|>"  # noqa: S105
EOS_TOKEN = "<|eos|>"  # noqa: S105
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}{{ ' ' + message['content'] + eos_token }}"
    "{%- else -%}{{ ('' if loop.first else '\n\n') + message['content'] }}"
    "{%- endif -%}{%- endfor -%}"
)

Message = dict[str, str]


@dataclass(frozen=True)
class ChatFormat:
    """How messages become text for one tokenizer: found by rendering its chat template once.

    `lead` stands between the rendered prompt and the answer, `stop_token` after the answer; `before` and `after`
    surround the text of a single user turn (None where the template does more than surround it).
    """

    tokenizer: Any
    lead: str
    stop_token: str
    stop_id: int
    before: str | None
    after: str | None

    def prompt_text(self, prompt: str, history: tuple[tuple[str, str], ...] = ()) -> str:
        if not history and self.before is not None:
            return f"{self.before}{prompt}{self.after}"
        messages = [{"role": role, "content": content} for role, content in (*history, ("user", prompt))]
        return render_chat(self.tokenizer, messages, add_generation_prompt=True)

    def completion_text(self, completion: str) -> str:
        return f"{self.lead}{completion}{self.stop_token}"

    def encode(self, texts: list[str]) -> list[list[int]]:
        """What `tokenizer(texts, add_special_tokens=False)` gives, on all cores and without offsets and masks."""
        backend = self.tokenizer.backend_tokenizer
        if backend.truncation or backend.padding:  # a tokenizer.json may bring them along
            backend.no_truncation()
            backend.no_padding()
        return [found.ids for found in backend.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: list[list[int]]) -> list[str]:
        """The text of each, special tokens included, as it is: transformers may take out spaces before a full stop."""
        texts: list[str] = self.tokenizer.backend_tokenizer.decode_batch(ids, skip_special_tokens=False)
        return texts

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Strings that must not stand in a user's text: they would turn into control tokens."""
        added = self.tokenizer.added_tokens_decoder.values()
        return tuple(str(token.content) for token in added if token.special)

    @cached_property
    def newline_ids(self) -> frozenset[int]:
        """Tokens that end a line of text."""
        vocabulary = range(len(self.tokenizer))
        pieces = self.tokenizer.convert_ids_to_tokens(list(vocabulary))
        marks = ("\n", "Ċ", "<0x0A>")  # as itself, in byte-level BPE, in SentencePiece's byte fallback
        return frozenset(
            i for i, piece in zip(vocabulary, pieces, strict=True) if piece and any(m in piece for m in marks)
        )


def complete_tokenizer(tokenizer: Any) -> list[str]:
    """Add what a base tokenizer lacks (end token, pad token, chat template), and say what was added.

    The pad token is never a stop token: padding that ends answers, or stop tokens masked as padding, are the usual
    reasons for models that never stop.
    """
    notes = []
    if not tokenizer.is_fast:
        raise ModelError(f"{tokenizer.name_or_path}: a slow tokenizer", hint="save it with a tokenizer.json")
    if tokenizer.eos_token_id is None:
        tokenizer.add_special_tokens({"eos_token": EOS_TOKEN})
        notes.append(f"the tokenizer had no end-of-sequence token: {EOS_TOKEN} added")
    if not tokenizer.chat_template:
        begins = tokenizer("x").input_ids[:1] == [tokenizer.bos_token_id] and tokenizer.bos_token_id is not None
        tokenizer.chat_template = ("{{- bos_token -}}" if begins else "") + CHAT_TEMPLATE
        notes.append("the tokenizer had no chat template: a plain one added (text, space, answer, end token)")
    stops = {tokenizer.eos_token_id, chat_format(tokenizer).stop_id}
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in stops:
        had = tokenizer.pad_token
        unknown = tokenizer.unk_token
        usable = unknown is not None and tokenizer.unk_token_id not in {*stops, tokenizer.bos_token_id}
        tokenizer.pad_token = unknown if usable else PAD_TOKEN
        if not usable:
            tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
        was = "had no pad token" if had is None else f"padded with its stop token {had}"
        notes.append(f"the tokenizer {was}: {tokenizer.pad_token} is the pad token now")
    return notes


def render_chat(tokenizer: Any, messages: list[Message], *, add_generation_prompt: bool) -> str:
    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt, enable_thinking=False
        )
    except Exception as error:  # a template is the model author's program and may raise anything
        roles = ", ".join(message["role"] for message in messages)
        raise ModelError(f"the chat template cannot render the roles {roles}: {error}") from error
    return str(text)


def chat_format(tokenizer: Any) -> ChatFormat:
    """Find the format by rendering one dialogue; ModelError where prompt + answer is not what training would see."""
    question, answer = "Qx7 q", "Ay9 a"
    user, assistant = {"role": "user", "content": question}, {"role": "assistant", "content": answer}
    prompt = render_chat(tokenizer, [user], add_generation_prompt=True)
    whole = render_chat(tokenizer, [user, assistant], add_generation_prompt=False)
    if not whole.startswith(prompt) or answer not in whole[len(prompt) :]:
        raise ModelError(
            f"the chat template does not continue its own prompt: {prompt!r} is not the beginning of {whole!r}",
            hint="give the tokenizer a chat template whose generation prompt ends where the answer begins",
        )
    lead, tail = whole[len(prompt) :].split(answer, 1)
    specials = {str(token.content): i for i, token in tokenizer.added_tokens_decoder.items()}
    found = [(tail.index(token), token) for token in specials if token in tail]
    stop = min(found)[1] if found and tail[: min(found)[0]].strip() == "" else tokenizer.eos_token
    before, _, after = prompt.partition(question)
    surrounds = render_chat(tokenizer, [{"role": "user", "content": "a  b\nc"}], add_generation_prompt=True)
    plain = surrounds == f"{before}a  b\nc{after}"
    base = ChatFormat(tokenizer, lead, stop, tokenizer.convert_tokens_to_ids(stop), None, None)
    return replace(base, before=before, after=after) if plain else base


def stop_ids(tokenizer: Any, model: Any | None = None) -> tuple[int, ...]:
    """Every token that ends an answer: the trained one first, then the tokenizer's and the generation config's."""
    ids = [chat_format(tokenizer).stop_id, tokenizer.eos_token_id]
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids += configured if isinstance(configured, list) else [configured]
    return tuple(dict.fromkeys(i for i in ids if i is not None and i != tokenizer.pad_token_id))


def save_model(model: Any, tokenizer: Any, folder: Path, max_new_tokens: int | None = None) -> None:
    """Write a folder that loads with from_pretrained and stops by itself; it appears whole or not at all."""
    stops = list(stop_ids(tokenizer, model))
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=stops if len(stops) > 1 else stops[0],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
        max_new_tokens=max_new_tokens,
    )
    model.config.eos_token_id = model.generation_config.eos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.bos_token_id = tokenizer.bos_token_id
    write_model_folder(model, tokenizer, folder)
