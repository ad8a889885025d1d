"""Labels: what is trained, what is masked, and rows that are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import byte_tokenizer, shared
from tokenizers import models

from tunesmith.chat.format import ChatFormat, chat_format, complete_tokenizer
from tunesmith.data.tokenize import Rejected, tokenize_examples, tokenize_prompts
from tunesmith.models.load import load_tokenizer
from tunesmith.records import IGNORE_INDEX, Example, TokenizedExample, Turn


@pytest.fixture(scope="module")
def chat() -> ChatFormat:
    tokenizer = byte_tokenizer()
    complete_tokenizer(tokenizer)
    return chat_format(tokenizer)


def example(prompt: str = "ab", completion: str = "c", **other: object) -> Example:
    return Example("r1", "r1", "t", prompt, completion, source="rows.csv:2", **other)  # type: ignore[arg-type]


def one(chat: ChatFormat, *args: str, max_length: int = 100) -> TokenizedExample | Rejected:
    return tokenize_examples([example(*args)], chat, max_length)[0]


def test_prompt_is_masked_and_completion_and_stop_token_are_trained(chat: ChatFormat) -> None:
    token = chat.tokenizer.convert_tokens_to_ids
    a, b, space, c = token("a"), token("b"), token("Ġ"), token("c")
    assert one(chat, "ab", "c") == TokenizedExample(
        "r1", [0, a, b, space, c, 1], [IGNORE_INDEX] * 3 + [space, c, 1], num_prompt_tokens=3
    )


def test_pad_token_is_never_trained(chat: ChatFormat) -> None:
    row = one(chat, "ab", "c")
    assert isinstance(row, TokenizedExample)
    assert chat.tokenizer.pad_token_id not in row.labels


def test_a_row_that_is_too_long_is_refused_whole_and_never_cut(chat: ChatFormat) -> None:
    assert isinstance(one(chat, "ab", "c", max_length=6), TokenizedExample)
    refused = one(chat, "ab", "c", max_length=5)
    assert refused == Rejected("r1", "too_long", "6 tokens, max_length is 5", 6)


@pytest.mark.parametrize("text", ["<s>", "say </s> now", "<pad>"])
def test_control_tokens_in_the_data_are_refused(chat: ChatFormat, text: str) -> None:
    for row in (one(chat, text, "c"), one(chat, "ab", text)):
        assert isinstance(row, Rejected)
        assert row.reason == "control_token"


def test_an_answer_that_would_melt_into_its_prompt_is_tokenised_alone() -> None:
    end = "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"
    tokenizer = byte_tokenizer(
        chat_template="{% for m in messages %}{{ m['content'] }}{% endfor %}" + end
    )
    vocabulary = {"<s>": 0, "</s>": 1, "<pad>": 2, "a": 3, "b": 4, "ab": 5}
    tokenizer._tokenizer.model = models.BPE(vocab=vocabulary, merges=[("a", "b")])
    chat = ChatFormat(tokenizer, "", "</s>", "", "</s>", 1)
    assert tokenize_examples([example("a", "b")], chat, 100) == [
        TokenizedExample("r1", [3, 4, 1], [-100, 4, 1], 1)
    ]


def test_a_completion_the_tokenizer_cannot_spell_is_refused_with_both_strings() -> None:
    tokenizer = load_tokenizer(str(shared("models", "babyllama105")))
    complete_tokenizer(tokenizer)
    refused = tokenize_examples([example("ab", "one\ntwo")], chat_format(tokenizer), 100)[0]
    assert isinstance(refused, Rejected)
    assert refused.reason == "not_spelled"
    assert "'one\\ntwo</s>' into 'one<unk>two</s>'" in refused.detail


def test_prompts_for_generation_are_the_training_rows_prompts(chat: ChatFormat) -> None:
    row = one(chat, "a long prompt", "c")
    assert isinstance(row, TokenizedExample)
    assert tokenize_prompts([example("a long prompt")], chat) == [
        row.input_ids[: row.num_prompt_tokens]
    ]


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=20), st.booleans())
def test_decoded_labels_are_the_completion_and_the_stop_token(
    prompt: str, completion: str, turn: bool
) -> None:
    tokenizer = byte_tokenizer()
    complete_tokenizer(tokenizer)
    history = (Turn("user", "hello"), Turn("assistant", "hi")) if turn else ()
    given_example = replace(example(prompt, completion), history=history)
    row = tokenize_examples([given_example], chat_format(tokenizer), 10_000)[0]
    if isinstance(row, TokenizedExample):
        trained = [i for i in row.labels if i != IGNORE_INDEX]
        assert tokenizer.decode(trained) == f" {given_example.completion}</s>"
        assert len(row.labels) == len(row.input_ids)
