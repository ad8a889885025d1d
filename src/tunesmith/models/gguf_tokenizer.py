"""A byte-level BPE tokenizer as the fields of a .gguf file, where llama.cpp splits text as it does.

llama.cpp knows splitting rules by name only. A file with another rule's name gives other token ids
than those that were trained, without a word, so that a tokenizer with any other rule is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import PreTokenizer
from transformers import PreTrainedTokenizerBase

from tunesmith.errors import ModelError
from tunesmith.rundir import JsonObject

if TYPE_CHECKING:
    from gguf import GGUFWriter

HINT = "export it as a folder (--to folder), or convert that with llama.cpp's convert_hf_to_gguf.py"
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""llama.cpp's types of tokens (gguf.TokenType)."""


def _regex(digits: str, letter: str = r"\p{L}", not_a_letter: str = r"\p{L}") -> str:
    return (
        rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?{letter}+|{digits}"
        rf"| ?[^\s{not_a_letter}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


def _bytes(use_regex: bool) -> JsonObject:
    how = {"add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}
    return {"type": "ByteLevel", **how}


def _sequence(*parts: JsonObject) -> JsonObject:
    return {"type": "Sequence", "pretokenizers": list(parts)}


def _split(pattern: str) -> JsonObject:
    how = {"behavior": "Isolated", "invert": False}
    return {"type": "Split", "pattern": {"Regex": pattern}, **how}


def _digits(each: bool) -> JsonObject:
    return {"type": "Digits", "individual_digits": each}


SPLITTING: dict[str, JsonObject] = {
    "gpt-2": _bytes(True),
    "smollm": _sequence(_digits(True), _bytes(True)),
    "llama-bpe": _sequence(_split(_regex(r"\p{N}{1,3}")), _bytes(False)),
    "dbrx": _sequence(_split(_regex(r"\p{N}{1,3}")), _bytes(False)),
    "qwen2": _sequence(_split(_regex(r"\p{N}")), _bytes(False)),
    "qwen35": _sequence(_split(_regex(r"\p{N}", r"[\p{L}\p{M}]", r"\p{L}\p{M}")), _bytes(False)),
    "falcon": _sequence(
        {"type": "Punctuation", "behavior": "Contiguous"},
        _bytes(True),
        _digits(False),
        _split("[0-9][0-9][0-9]"),
    ),
    "bloom": _sequence(
        _split(r" ?[^(\s|[.,!?…。，、।۔،])]+"),  # noqa: RUF001 - full stops and commas of scripts
        _bytes(False),
    ),
}
"""llama.cpp's names (llama-vocab.cpp) and what each is in a tokenizer.json, as transformers' own
tokenizers of these models have it. Rules that llama.cpp knows by a name but follows only nearly
(tekken, gpt-4o: letters with combining marks) are not among them.
"""
READ_AS_GPT2 = ("smollm", "falcon", "bloom")
"""Names whose rules transformers does not have."""
IGNORES_MERGES = ("llama-bpe",)
"""Where llama.cpp takes a word that is a token as that, whatever its merges."""
NORMALISED = {name: {"type": "NFC"} for name in ("gpt-2", "qwen2", "qwen35")}
"""llama.cpp does not normalise; these models' own .gguf files have no more either."""


def splitter(pre: str) -> PreTokenizer:
    """What one of llama.cpp's names is in the tokenizers library."""
    empty = json.loads(Tokenizer(BPE()).to_str())
    rule: PreTokenizer = Tokenizer.from_str(
        json.dumps(empty | {"pre_tokenizer": SPLITTING[pre]})
    ).pre_tokenizer
    return rule


@dataclass(frozen=True)
class TokenizerFields:
    """What the file says of the tokenizer; tokens, types and ids are those of the model."""

    pre: str
    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    stop_ids: tuple[int, ...]
    bos_id: int | None
    pad_id: int | None
    chat_template: str


def tokenizer_fields(
    tokenizer: PreTrainedTokenizerBase, stop_ids: Sequence[int], vocab_size: int
) -> TokenizerFields:
    """The fields for a model with `vocab_size` rows of embeddings; ModelError, naming what stands
    in the way, where llama.cpp would not give this tokenizer's ids.
    """
    content: JsonObject = json.loads(tokenizer.backend_tokenizer.to_str())
    pre, model = _splitting(content), content["model"]
    _check_bpe(model, pre)
    ids = tokenizer.get_vocab()
    if max(ids.values()) >= vocab_size:
        raise ModelError(
            f"the tokenizer has the id {max(ids.values())}, the model {vocab_size} embeddings",
            hint=HINT,
        )
    tokens, types = _tokens(ids, content["added_tokens"], vocab_size)
    if len(stop_ids) > 2:
        raise ModelError(
            f"{len(stop_ids)} tokens end an answer; a .gguf file names two (eos and eot)", hint=HINT
        )
    return TokenizerFields(
        pre,
        tokens,
        types,
        tuple(pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]),
        tuple(stop_ids),
        tokenizer.bos_token_id,
        tokenizer.pad_token_id,
        str(tokenizer.chat_template),
    )


def _splitting(content: JsonObject) -> str:
    """llama.cpp's name of how a tokenizer.json splits text."""
    rule = _plain(content["pre_tokenizer"])
    found = [name for name, known in SPLITTING.items() if _plain(known) == rule]
    if content["model"]["type"] != "BPE" or not found:
        kind = content["model"]["type"]
        raise ModelError(
            f"llama.cpp is not known to split text as this {kind} tokenizer does: "
            f"{json.dumps(rule)[:200]}",
            hint=f"known are {', '.join(SPLITTING)}; {HINT}",
        )
    ignores = bool(content["model"].get("ignore_merges"))
    name = min(found, key=lambda known: (known in IGNORES_MERGES) != ignores)
    if content["normalizer"] not in (None, NORMALISED.get(name)):
        raise ModelError(
            f"the tokenizer normalises text ({content['normalizer']['type']}), llama.cpp does not",
            hint=HINT,
        )
    return name


def _plain(rule: object) -> object:
    """A pre-tokenizer without what changes no id: offsets are of the text, not of the ids."""
    if isinstance(rule, list):
        return [_plain(part) for part in rule]
    if isinstance(rule, dict):
        return {key: _plain(value) for key, value in rule.items() if key != "trim_offsets"}
    return rule


def _check_bpe(model: JsonObject, pre: str) -> None:
    """ModelError for a setting of the BPE model that llama.cpp does not have."""
    wanted = {
        "dropout": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "byte_fallback": False,
        "ignore_merges": pre in IGNORES_MERGES,
    }
    for key, value in wanted.items():
        if (model.get(key) or None) != (value or None):
            raise ModelError(
                f"the tokenizer's {key} is {model[key]!r}; llama.cpp's {pre} has {value!r}",
                hint=HINT,
            )
    if not model["merges"]:
        raise ModelError("the tokenizer has no merges, which llama.cpp needs", hint=HINT)


def _tokens(
    ids: dict[str, int], added: list[JsonObject], vocab_size: int
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Text and type of each id; rows of embeddings without a token are named [PAD1], ...

    An added token may be special (CONTROL) or not (USER_DEFINED).
    """
    tokens = [f"[PAD{i}]" for i in range(vocab_size)]
    types = [UNUSED] * vocab_size
    for text, number in ids.items():
        tokens[number], types[number] = text, NORMAL
    for token in added:
        if token["lstrip"] or token["rstrip"] or token["single_word"]:
            raise ModelError(
                f"the token {token['content']!r} takes spaces around it along; llama.cpp's do not",
                hint=HINT,
            )
        types[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    return tuple(tokens), tuple(types)


def add_tokenizer(writer: GGUFWriter, fields: TokenizerFields) -> None:
    """Put the fields into a file."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(fields.pre)
    writer.add_token_list(list(fields.tokens))
    writer.add_token_types(list(fields.types))
    writer.add_token_merges(list(fields.merges))
    # rows were trained as the chat template writes them, and so they are to be served
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_eos_token_id(fields.stop_ids[0])
    if len(fields.stop_ids) > 1:
        writer.add_eot_token_id(fields.stop_ids[1])
    if fields.bos_id is not None:
        writer.add_bos_token_id(fields.bos_id)
    if fields.pad_id is not None:
        writer.add_pad_token_id(fields.pad_id)
    writer.add_chat_template(fields.chat_template)
