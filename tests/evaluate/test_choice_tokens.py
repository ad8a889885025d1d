"""The ids of a row's choices are those of that row, however few are computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import plain_chat
from tokenizers import Tokenizer, decoders, models, normalizers
from tokenizers_of_kinds import KINDS, tokenizer_for
from transformers import PreTrainedTokenizerFast

from tunesmith.chat.format import ChatFormat, chat_format, complete_tokenizer
from tunesmith.data.tokenize import tokenize_examples
from tunesmith.errors import DataError
from tunesmith.evaluate import choice_tokens
from tunesmith.evaluate.choice_tokens import choice_ids
from tunesmith.records import Example, TokenizedExample, Turn

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' "
    "}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{{ ' ' + m['content'] + eos_token }}{% else %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% endif %}{% endfor %}"
)
TEMPLATES = {"plain": None, "chatml": CHATML, "inst": INST}
CHOICES = ("sports", "sports/tennis", "1", "12", "-1", "not sports", "(a)", "日本", "the")
ENDINGS = (
    "",
    ":",
    " ",
    "\n",
    "\nTopic:",
    "1",
    "2 +",
    "t",
    "日",
    "'",
    "/",
    "\n\n",
    " the",
    "(",
    "-",
)


def row(prompt: str, choices: Sequence[str] = CHOICES, **rest: Any) -> Example:
    return Example("1", "1", "", prompt, choices[0], (), tuple(choices), **rest)


def row_by_row(chat: ChatFormat, example: Example) -> list[list[int]]:
    """Each choice written out as that row's completion."""
    found = []
    for choice in example.choices:
        whole = Example("1", "1", "", example.prompt, choice, history=example.history)
        (tokens,) = tokenize_examples([whole], chat, 10_000)
        assert isinstance(tokens, TokenizedExample)
        found.append(tokens.input_ids[tokens.num_prompt_tokens :])
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_the_ids_are_those_of_each_rows_own_prompt(template: str, kind: str) -> None:
    tokenizer = tokenizer_for(kind, TEMPLATES[template], "<s>", "</s>")
    complete_tokenizer(tokenizer)
    chat = chat_format(tokenizer)
    earlier = (Turn("user", "Why?"), Turn("assistant", "Because."))

    @settings(max_examples=15, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.text(alphabet="ab the1.\n日", max_size=12),
                st.sampled_from(ENDINGS),
                st.sampled_from([(), earlier]),
            ),
            min_size=1,
            max_size=5,
        )
    )
    def holds(drawn: list[tuple[str, str, tuple[Turn, ...]]]) -> None:
        rows = [row(f"Q{text}{end}", history=history) for text, end, history in drawn]
        assert choice_ids(chat, rows) == [row_by_row(chat, example) for example in rows]

    holds()


def merging_chat() -> ChatFormat:
    """A tokenizer that puts a blank before each text, and joins one to a q that it follows."""
    pieces = ["<unk>", "</s>", *"abcqrs \n", "q ", " s"]
    inner = Tokenizer(
        models.BPE(
            vocab={piece: i for i, piece in enumerate(pieces)},
            merges=[("q", " "), (" ", "s")],
            unk_token="<unk>",
        )
    )
    inner.normalizer = normalizers.Prepend(" ")
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")
    complete_tokenizer(tokenizer)
    return chat_format(tokenizer)


def test_a_choice_after_another_prompts_end_can_have_other_tokens() -> None:
    """A blank after a 'q' would be the q's, so ' s' is then written alone, with its own blank."""
    chat = merging_chat()
    rows = [row("a", ("s", "b")), row("q", ("s", "b"))]
    found = choice_ids(chat, rows)
    assert found == [row_by_row(chat, example) for example in rows]
    assert found[0] != found[1]


def test_rows_whose_prompts_end_alike_are_tokenised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def counted(examples: Sequence[Example], *rest: Any) -> Any:
        counts.append(len(examples))
        return tokenize_examples(examples, *rest)

    monkeypatch.setattr(choice_tokens, "tokenize_examples", counted)
    rows = [row(f"question {i}\nTopic:", ("yes", "no")) for i in range(20)]
    choice_ids(plain_chat(), rows)
    assert counts == [2]


def test_a_choice_that_cannot_be_written_is_named() -> None:
    with pytest.raises(DataError, match=r"a.csv:3: the choice '</s>no': .*special token"):
        choice_ids(plain_chat(), [row("Q", ("yes", "</s>no"), source="a.csv:3")])
