"""Characters that a model's tokenizer does not know: it writes one token, `<unk>`, for all of them,
so that the model sees the same text in different rows.
"""

from __future__ import annotations

from collections import Counter

from tunesmith.data.tokenize import Format
from tunesmith.records import Example, Finding, TokenizedExample

MOST_EXAMPLES = 200  # whose characters are looked at
MOST_CHARACTERS = 8  # that a finding names
ERROR_SHARE = 0.2  # of the prompts' tokens


def unknown_id(chat: Format) -> int | None:
    """The id of the tokenizer's own `<unk>`; None where it has none, or where that is its end or
    begin token, as those have it that know every byte.
    """
    tokenizer = chat.tokenizer
    name = tokenizer.unk_token
    if name is None or name in (tokenizer.eos_token, tokenizer.bos_token):
        return None
    found = tokenizer.convert_tokens_to_ids(name)
    return found if isinstance(found, int) else None


class UnknownTokens:
    """Counts unknown tokens in the prompts of the examples it is given."""

    def __init__(self, chat: Format) -> None:
        self._chat, self._id = chat, unknown_id(chat)
        self._tokens = self._unknown = self._prompts = self._with_unknown = 0
        self._first = ""
        self._characters: Counter[str] = Counter()

    def count(self, example: Example, tokens: TokenizedExample) -> None:
        """One example that is kept."""
        if self._id is None:
            return
        found = tokens.input_ids[: tokens.num_prompt_tokens].count(self._id)
        self._prompts += 1
        self._tokens += tokens.num_prompt_tokens
        if found:
            self._unknown += found
            self._with_unknown += 1
            self._first = self._first or example.source
            if self._with_unknown <= MOST_EXAMPLES:
                self._characters.update(c for c in example.prompt if not c.isspace())

    def findings(self) -> list[Finding]:
        """The share of unknown tokens, and the commonest characters that become them; [] where
        there are none. An error where a model sees little of its prompts.
        """
        if not self._unknown:
            return []
        known = self._chat.encode(list(self._characters))
        unknown = [c for c, ids in zip(self._characters, known, strict=True) if self._id in ids]
        unknown.sort(key=lambda c: -self._characters[c])
        shown = ", ".join(map(ascii_or_self, unknown[:MOST_CHARACTERS]))
        which = f"; the model cannot tell these characters apart: {shown}" if unknown else ""
        share = self._unknown / self._tokens
        return [
            Finding(
                "unknown_characters",
                "error" if share >= ERROR_SHARE else "warning",
                f"{share:.1%} of the prompts' tokens are {self._chat.tokenizer.unk_token}, in "
                f"{self._with_unknown:,} of {self._prompts:,} prompts, for example "
                f"{self._first}{which}",
                (self._first,),
                "choose a model whose tokenizer knows them",
            )
        ]


def ascii_or_self(character: str) -> str:
    """A character to be read in a note: itself, or its escape where it does not print."""
    return character if character.isprintable() else ascii(character)[1:-1]
