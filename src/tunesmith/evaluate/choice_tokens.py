"""The token ids of each row's choices, as they follow that row's prompt.

A tokenizer may write a choice otherwise after another prompt: with a blank of its own or joined to
what stands before it. Tokens do not reach over a word with the white space around it, so rows whose
prompts end in the same word share their choices' ids; after most chat templates all rows do, since
the assistant's header is that word.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from tunesmith.chat.format import ChatFormat
from tunesmith.data.tokenize import tokenize_examples
from tunesmith.errors import DataError
from tunesmith.records import Example, TokenizedExample, Unserved

Place: TypeAlias = "tuple[str, tuple[str, ...], str, str]"


def choice_ids(chat: ChatFormat, examples: Sequence[Example]) -> list[list[list[int]]]:
    """Token ids of each choice of each example, and the stop token.

    Raises:
        DataError: the chat template cannot write one.
    """
    places = [
        _place(example, prompt)
        for example, prompt in zip(examples, chat.prompts(examples), strict=True)
    ]
    wanted = {
        (place, choice): replace(example, completion=choice)
        for place, example in zip(places, examples, strict=True)
        for choice in example.choices
    }
    found = dict(zip(wanted, _ids(chat, list(wanted.values())), strict=True))
    return [
        [found[place, choice] for choice in example.choices]
        for place, example in zip(places, examples, strict=True)
    ]


def _place(example: Example, prompt: str | Unserved) -> Place:
    """All that the ids of an answer to this example depend on, beside the answer."""
    text = prompt if isinstance(prompt, str) else ""  # refused with its reason when it is encoded
    roles = tuple(turn.role for turn in example.history)
    return _last_word(text), roles, example.tools, example.answer_keys


def _last_word(text: str) -> str:
    """With the white space after it and one character of that before it."""
    bare = text.rstrip()
    return text[max(0, *(bare.rfind(space) for space in " \n\t")) :]


def _ids(chat: ChatFormat, examples: Sequence[Example]) -> list[list[int]]:
    rows = tokenize_examples(examples, chat, sys.maxsize)
    for example, row in zip(examples, rows, strict=True):
        if not isinstance(row, TokenizedExample):
            raise DataError(
                f"{example.source or example.id}: the choice {example.completion!r}: {row.detail}"
            )
    return [
        row.input_ids[row.num_prompt_tokens :] for row in rows if isinstance(row, TokenizedExample)
    ]
