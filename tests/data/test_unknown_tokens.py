"""Characters that a tokenizer does not know: counted, named, and shown as the model sees them."""

from __future__ import annotations

from typing import Any

from support import byte_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tunesmith.chat.format import chat_format, complete_tokenizer
from tunesmith.data.preview import preview
from tunesmith.data.tokenize import tokenize_examples
from tunesmith.data.unknown_tokens import UnknownTokens, unknown_id
from tunesmith.recipe import DataConfig
from tunesmith.records import Example, Finding, TokenizedExample


def letters_chat() -> Any:
    """One token a character, for a to z, blanks and line ends; everything else is <unk>."""
    names = ["<s>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz \n"]
    inner = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    complete_tokenizer(tokenizer)
    return chat_format(tokenizer)


def counted(chat: Any, *prompts: str) -> list[Finding]:
    found = UnknownTokens(chat)
    examples = [
        Example(f"{i}", f"{i}", "", text, "yes", ("yes",), source=f"rows.csv:{i + 2}")
        for i, text in enumerate(prompts)
    ]
    for example, row in zip(examples, tokenize_examples(examples, chat, 100), strict=True):
        assert isinstance(row, TokenizedExample)
        found.count(example, row)
    return found.findings()


def test_the_share_of_unknown_tokens_in_prompts_is_a_finding() -> None:
    # four characters each, one token a character: 3 of 12 are unknown
    assert counted(letters_chat(), "abcd", "a\u4f60\u597db", "\u4f60abc") == [
        Finding(
            "unknown_characters",
            "error",
            "25.0% of the prompts' tokens are <unk>, in 2 of 3 prompts, for example rows.csv:3; "
            "the model cannot tell these characters apart: \u4f60, \u597d",
            ("rows.csv:3",),
            "choose a model whose tokenizer knows them",
        )
    ]


def test_a_few_unknown_characters_are_a_warning() -> None:
    # 1 of 8 tokens
    (finding,) = counted(letters_chat(), "abcd", "abc\u4f60")
    assert finding.severity == "warning"
    assert finding.message.startswith("12.5% of the prompts' tokens are <unk>, in 1 of 2 prompts")


def test_known_characters_are_no_finding() -> None:
    assert counted(letters_chat(), "abcd", "efgh") == []


def test_a_tokenizer_that_knows_every_byte_has_no_unknown_token() -> None:
    tokenizer = byte_tokenizer()
    complete_tokenizer(tokenizer)
    chat: Any = chat_format(tokenizer)
    assert unknown_id(chat) is None
    chat.tokenizer.unk_token = chat.tokenizer.eos_token  # as GPT-2 has it
    assert unknown_id(chat) is None
    assert counted(chat, "\u4f60\u597d") == []


def test_a_preview_shows_the_unknown_token_in_place_of_the_character(tmp_path: Any) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a\u4f60b", "completion": "c"}\n', encoding="utf-8")
    [row] = preview(DataConfig(source=str(path)), letters_chat(), 100).rows
    shown = [(token.text, token.special) for token in row.tokens]
    assert shown[:3] == [("a", False), ("<unk>", True), ("b", False)]
