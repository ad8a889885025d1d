"""Small tokenizers of the kinds that real models have, trained in a moment on this project's own
documentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

LLAMA3_RULE = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| "
    r"?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
CONTROL = re.compile(
    r"<[|｜][^|｜<>]{1,40}[|｜]>|</?s>|<(?:bos|eos|start_of_turn|end_of_turn)>|\[/?INST\]"
)


def _text() -> list[str]:
    root = Path(__file__).parents[1]
    return [
        (root / name).read_text(encoding="utf-8") for name in ("docs/architecture.md", "README.md")
    ]


@cache
def _gpt2() -> str:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _trained(inner, decoders.ByteLevel(), pre_tokenizers.ByteLevel.alphabet())


@cache
def _llama3() -> str:
    inner = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(LLAMA3_RULE), behavior="isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return _trained(inner, decoders.ByteLevel(), pre_tokenizers.ByteLevel.alphabet())


@cache
def _sentencepiece(always: bool) -> str:
    """As Llama 2's: `always` puts a blank before each text between special tokens, as its first
    conversion did.
    """
    inner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if always:
        inner.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return _trained(inner, decoder, [], ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))])


def _trained(inner: Any, decoder: Any, alphabet: list[str], first: list[str] | None = None) -> str:
    trainer = trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=alphabet, special_tokens=first or [], show_progress=False
    )
    words = [word for text in _text() for word in re.findall(r"\s*\S+", text)]
    inner.train_from_iterator(words, trainer)
    inner.decoder = decoder
    return str(inner.to_str())


KINDS: dict[str, Callable[[], str]] = {
    "gpt2": _gpt2,
    "llama3": _llama3,
    "sentencepiece": lambda: _sentencepiece(always=False),
    "sentencepiece, blank always": lambda: _sentencepiece(always=True),
}


def tokenizer_for(kind: str, chat_template: str | None, bos: str | None, eos: str) -> Any:
    """A tokenizer of that kind with every control token that the template writes."""
    inner = Tokenizer.from_str(KINDS[kind]())
    found = dict.fromkeys([*([bos] if bos else []), eos, *CONTROL.findall(chat_template or "")])
    known = [token for token in found if not token.startswith("[")]
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in known])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=bos, eos_token=eos)
    tokenizer.chat_template = chat_template
    return tokenizer
