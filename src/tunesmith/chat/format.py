"""From a conversation to what is trained: the prompt as it is served, and the answer as the
template writes it.

The chat template is the only authority. A prompt is what `apply_chat_template(...,
add_generation_prompt=True)` gives; the answer is what the template writes after it when the
conversation is finished, up to and with the stop token. Where a template moves or drops something
once an answer follows (a system message that stands in the last user turn), the prompt stays as it
is served and the answer is what the template writes after a single turn, if the finished
conversation ends with it too. What cannot be served is refused, row by row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tunesmith.chat.syntax import writes_content_as_is
from tunesmith.chat.template import (
    CHAT_TEMPLATE,
    ChatSettings,
    behind_header,
    chosen_template,
    pinned,
    with_stop_token,
)
from tunesmith.errors import ModelError, TemplateError
from tunesmith.jinja_budget import OverBudget
from tunesmith.records import Example, Turn, Unserved, Written

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PAD_TOKEN = "<|pad|>"  # noqa: S105
EOS_TOKEN = "<|eos|>"  # noqa: S105
QUESTION, ANSWER = "Qx7 q", "Ay9 a"
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look.",
        "parameters": {"type": "object", "properties": {}},
    },
}
END_OF_REASONING = "</think>"
OVER_BUDGET = "set chat_template to a file with a template that is known to work"
MOST_OVER_BUDGET = 20
"""Of the rows that are written together, a thousand at most."""
REASONING = ("reasoning_content", "reasoning", "thinking")
KEYS_TO_WRITE = ("name", "tool_calls", *REASONING)
"""Keys of a message that mean something: a row is refused where its template leaves them out."""

Message = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Structure:
    """A conversation of certain roles in pieces: texts of the template, and numbers that stand for
    the contents.
    """

    pieces: tuple[str | int, ...]
    before_answer: str
    after_answer: str


@dataclass(frozen=True)
class ChatFormat:
    """How one tokenizer's chat template writes conversations, found by rendering it.

    After the prompt of a single user turn it writes `lead`, the answer, `tail` (which ends with the
    stop token), and `rest`. `system` is the message of conversations that bring none; where the
    template does not take one it goes to the first user turn.
    """

    tokenizer: PreTrainedTokenizerBase
    lead: str
    tail: str
    rest: str
    stop_token: str
    stop_id: int
    takes_system: bool = True
    as_is: bool = False
    system: str = ""

    def messages(self, example: Example) -> list[Message]:
        """The messages that the prompt is made of, as `apply_chat_template` takes them."""
        return [_message(turn) for turn in self._turns(example)[0]]

    def prompts(self, examples: Sequence[Example]) -> list[str | Unserved]:
        """The text of each prompt as it is served."""
        return _within_budget(self._prompt, examples)

    def written(self, examples: Sequence[Example]) -> list[Written | Unserved]:
        """Prompt and answer of each example."""
        return _within_budget(self._written, examples)

    def prompt_text(self, prompt: str) -> str:
        """A single user turn, ModelError where the template refuses it."""
        found = self._prompt(Example("", "", "", prompt, ""))
        if isinstance(found, Unserved):
            raise ModelError(found.detail)
        return found

    def answer_text(self, example: Example) -> str:
        """The answer as the template writes it, tool calls included, without what stands around
        every answer.
        """
        found = self._written(example)
        return example.completion if isinstance(found, Unserved) else self._body(found.answer)

    def answer_after(self, text: str) -> str | Unserved:
        """What is trained of an answer after a single user turn."""
        found = self._written(Example("", "", "", QUESTION, text))
        return found if isinstance(found, Unserved) else found.answer

    def read(self, text: str) -> str:
        """The answer in a generated text, without what the template writes around each answer."""
        around = self.lead.strip(), self.tail.removesuffix(self.stop_token).strip()
        return text.strip().removeprefix(around[0]).removesuffix(around[1]).strip()

    def stop_ids(self, model: PreTrainedModel | None = None) -> tuple[int, ...]:
        """Every token that ends an answer: the trained one first, then the tokenizer's and those of
        the model's generation config.
        """
        tokenizer = self.tokenizer
        config = getattr(model, "generation_config", None)
        configured = getattr(config, "eos_token_id", None)
        ids = [self.stop_id, tokenizer.eos_token_id]
        ids += configured if isinstance(configured, list) else [configured]
        return tuple(dict.fromkeys(i for i in ids if i not in (None, tokenizer.pad_token_id)))

    def encode(self, texts: list[str]) -> list[list[int]]:
        """What `tokenizer(texts, add_special_tokens=False)` gives, on all cores and without offsets
        and masks.
        """
        backend = self.tokenizer.backend_tokenizer
        if backend.truncation or backend.padding:  # a tokenizer.json may bring them along
            backend.no_truncation()
            backend.no_padding()
        return [found.ids for found in backend.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: list[list[int]]) -> list[str]:
        """The text of each, special tokens included, as it is: transformers may take out spaces
        before a full stop.
        """
        texts: list[str] = self.tokenizer.backend_tokenizer.decode_batch(
            ids, skip_special_tokens=False
        )
        return texts

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Strings that must not stand in a user's text: they would turn into control tokens."""
        added = self.tokenizer.added_tokens_decoder.values()
        return tuple(str(token.content) for token in added if token.special)

    @cached_property
    def newline_ids(self) -> frozenset[int]:
        """Tokens that end a line of text; none where the template itself writes lines around an
        answer.
        """
        if "\n" in self.lead + self.tail:
            return frozenset()
        vocabulary = range(len(self.tokenizer))
        pieces = self.tokenizer.convert_ids_to_tokens(list(vocabulary))
        marks = (
            "\n",
            "Ċ",
            "<0x0A>",
        )  # as itself, in byte-level BPE, in SentencePiece's byte fallback
        return frozenset(
            i
            for i, piece in zip(vocabulary, pieces, strict=True)
            if piece and any(m in piece for m in marks)
        )

    @cached_property
    def _structures(self) -> dict[tuple[str, ...], _Structure | Unserved]:
        return {}

    def _turns(self, example: Example) -> tuple[list[Turn], bool]:
        """The turns before the answer, and whether a system message was put into the user's."""
        turns = [*example.history, Turn(example.asked_by, example.prompt, example.prompt_keys)]
        if self.system and all(turn.role != "system" for turn in turns):
            turns.insert(0, Turn("system", self.system))
        if (
            not self.takes_system
            and len(turns) > 1
            and turns[0].role == "system"
            and turns[1].role == "user"
        ):
            first, second, *others = turns
            return [second._replace(content=f"{first.content}\n\n{second.content}"), *others], True
        return turns, False

    def _prompt(self, example: Example) -> str | Unserved:
        turns, _ = self._turns(example)
        found = self._structure(turns, example)
        if found is None:
            return self._render(self.messages(example), example.tools, ask=True)
        return found if isinstance(found, Unserved) else _filled(found, turns)

    def _written(self, example: Example) -> Written | Unserved:
        turns, merged = self._turns(example)
        remarks = (
            ("the chat template takes no system message: it was put into the first user turn",)
            if merged
            else ()
        )
        found = self._structure(turns, example)
        if isinstance(found, Unserved):
            return found
        if found is not None:
            return Written(
                _filled(found, turns),
                found.before_answer + example.completion + found.after_answer,
                remarks,
            )
        written = self._rendered(example, turns)
        return (
            written
            if isinstance(written, Unserved)
            else replace(written, remarks=(*remarks, *written.remarks))
        )

    # ---- templates that write contents as they are

    def _structure(self, turns: list[Turn], example: Example) -> _Structure | Unserved | None:
        """The pieces for these roles, found once; None where each conversation is rendered by
        itself.
        """
        if (
            not self.as_is
            or example.tools
            or example.answer_keys
            or any(turn.keys for turn in turns)
        ):
            return None
        roles = tuple(turn.role for turn in turns)
        if roles not in self._structures:
            self._structures[roles] = self._find_structure(roles)
        return self._structures[roles]

    def _find_structure(self, roles: tuple[str, ...]) -> _Structure | Unserved:
        marks = [f"\ue000{i}\ue001" for i in range(len(roles))]
        turns = [Turn(role, mark) for role, mark in zip(roles, marks, strict=True)]
        prompt = self._render([_message(turn) for turn in turns], "", ask=True)
        answer = self._answer(Example("", "", "", "", ANSWER), turns, prompt)
        if isinstance(prompt, Unserved) or isinstance(answer, Unserved):
            return prompt if isinstance(prompt, Unserved) else answer  # type: ignore[return-value]
        if any(mark not in prompt for mark in marks):
            left_out = next(
                role for role, mark in zip(roles, marks, strict=True) if mark not in prompt
            )
            return Unserved(f"the chat template leaves out a turn of the role {left_out}")
        pieces = [int(part) if i % 2 else part for i, part in enumerate(_split(prompt))]
        before, after = answer.rsplit(ANSWER, 1)
        return _Structure(tuple(pieces), before, after)

    # ---- templates that do more

    def _rendered(self, example: Example, turns: list[Turn]) -> Written | Unserved:
        messages = [_message(turn) for turn in turns]
        prompt = self._render(messages, example.tools, ask=True)
        answer = self._answer(example, turns, prompt)
        if isinstance(prompt, Unserved):
            return prompt
        if isinstance(answer, Unserved):
            return answer
        ignored = self._ignored(example, messages)
        if ignored:
            return Unserved(ignored)
        remarks = self._changed(example, turns, prompt, answer)
        return (
            remarks
            if isinstance(remarks, Unserved)
            else Written(prompt, answer, tuple(dict.fromkeys(remarks)))
        )

    def _answer(
        self, example: Example, turns: list[Turn], prompt: str | Unserved
    ) -> str | Unserved:
        """What the template writes after the prompt, up to and with the stop token."""
        if isinstance(prompt, Unserved):
            return prompt
        last = _message(Turn("assistant", example.completion, example.answer_keys))
        whole = self._render([*(_message(turn) for turn in turns), last], example.tools, ask=False)
        if isinstance(whole, Unserved):
            return whole
        if whole.startswith(prompt):
            found = whole[len(prompt) :]
        else:
            alone = self._alone(last, example.tools)
            if isinstance(alone, Unserved):
                return alone
            if not whole.endswith(alone):
                return Unserved(
                    "the finished conversation does not go on from its generation prompt"
                )
            found = alone
        end = self.tail + self.rest
        if not found.endswith(end):
            return Unserved(
                f"the chat template ends this answer with {found[-20:]!r} and others with {end!r}"
            )
        return found[: len(found) - len(self.rest)]

    def _alone(self, answer: Message, tools: str) -> str | Unserved:
        """What the template writes of an answer after a single user turn."""
        asked = [{"role": "user", "content": QUESTION}]
        prompt, whole = (
            self._render(asked, tools, ask=True),
            self._render([*asked, answer], tools, ask=False),
        )
        if isinstance(prompt, Unserved) or isinstance(whole, Unserved):
            return prompt if isinstance(prompt, Unserved) else whole
        if not whole.startswith(prompt):
            return Unserved("the finished conversation does not go on from its generation prompt")
        return whole[len(prompt) :]

    def _ignored(self, example: Example, messages: list[Message]) -> str:
        """Which key of a message, or whether the tools, the template leaves out; found by leaving
        it out oneself.
        """
        if not (
            example.tools or example.answer_keys or any(len(message) > 2 for message in messages)
        ):
            return ""
        whole = [*messages, _message(Turn("assistant", example.completion, example.answer_keys))]

        def without(i: int, key: str) -> str | Unserved:
            changed = {name: value for name, value in whole[i].items() if name != key}
            return self._render([*whole[:i], changed, *whole[i + 1 :]], example.tools, ask=False)

        full = self._render(whole, example.tools, ask=False)
        if example.tools and self._render(whole, "", ask=False) == full:
            return "the chat template takes no tools, and the row has some"
        for i, message in enumerate(whole):
            for key in KEYS_TO_WRITE:
                by_design = key in REASONING and i < len(whole) - 1  # earlier turns' is not served
                of_a_tool = key == "name" and message["role"] not in ("user", "assistant", "system")
                if message.get(key) and not by_design and not of_a_tool and without(i, key) == full:
                    return (
                        f"the chat template leaves out {key!r} of turn {i + 1}, {message['role']}"
                    )
        return ""

    def _changed(
        self, example: Example, turns: list[Turn], prompt: str, answer: str
    ) -> tuple[str, ...] | Unserved:
        """What the template took away, beyond the blanks around a text: of the prompt it is
        remarked, of an answer only blanks and reasoning may go.
        """
        remarks = []
        served = _squeezed(prompt)
        for i, turn in enumerate(turns):
            content = (
                turn.content.split(END_OF_REASONING)[-1]
                if turn.role == "assistant"
                else turn.content
            )
            if _squeezed(content) in served:
                continue
            others = [*turns[:i], turn._replace(content=QUESTION), *turns[i + 1 :]]
            if (
                self._render([_message(other) for other in others], example.tools, ask=True)
                == prompt
            ):
                return Unserved(
                    f"the chat template leaves out the text of a turn of the role {turn.role}"
                )
            remarks.append("the chat template cuts or changes the text of the prompt")
        body = self._body(answer)
        if body == example.completion:
            return tuple(remarks)
        wanted, found = _squeezed(example.completion), _squeezed(body)
        reasoning, mark, rest = wanted.rpartition(END_OF_REASONING)
        if wanted == found:
            remarks.append("the chat template takes away blanks or line ends around the answer")
        elif example.answer_keys and wanted in found:
            pass  # beside its tool calls or reasoning
        elif mark and reasoning.removeprefix("<think>") in found and found.endswith(rest):
            pass  # the reasoning is there, in the template's own form
        elif mark and rest == found.rpartition(END_OF_REASONING)[2]:
            remarks.append("the chat template takes away the reasoning before the answer")
        else:
            return Unserved(f"the chat template writes the answer as {body[:60]!r}")
        return tuple(remarks)

    def _body(self, answer: str) -> str:
        return answer[: len(answer) - len(self.tail)].removeprefix(self.lead)

    def _render(self, messages: Sequence[Message], tools: str, *, ask: bool) -> str | Unserved:
        try:
            return render_chat(
                self.tokenizer,
                messages,
                add_generation_prompt=ask,
                tools=json.loads(tools) if tools else None,
            )
        except ModelError as error:
            return Unserved(error.message)


def _within_budget(
    write: Callable[[Example], T | Unserved], examples: Sequence[Example]
) -> list[T | Unserved]:
    """What is written of each example; those that the template takes too many steps for are not
    served. Each costs a second, so TemplateError naming the row after MOST_OVER_BUDGET of them.
    """
    found: list[T | Unserved] = []
    over_budget = 0
    for example in examples:
        try:
            found.append(write(example))
        except TemplateError as error:
            over_budget += 1
            if over_budget > MOST_OVER_BUDGET:
                raise TemplateError(
                    f"{example.source or f'row {example.id}'}: {error.message}, as for "
                    f"{MOST_OVER_BUDGET} of the {len(found)} rows before it",
                    hint=error.hint,
                ) from error
            found.append(Unserved(error.message))
    return found


def _message(turn: Turn) -> Message:
    return {
        "role": turn.role,
        "content": turn.content,
        **(json.loads(turn.keys) if turn.keys else {}),
    }


def _split(text: str) -> list[str]:
    """Texts and the numbers between the marks, in turn."""
    parts: list[str] = []
    for piece in text.split("\ue000"):
        number, mark, after = piece.partition("\ue001")
        parts += [number, after] if mark else [piece]
    return parts


def _filled(structure: _Structure, turns: Sequence[Turn]) -> str:
    return "".join(
        turns[piece].content if isinstance(piece, int) else piece for piece in structure.pieces
    )


def _squeezed(text: str) -> str:
    return "".join(text.split())


def render_chat(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    *,
    add_generation_prompt: bool,
    tools: list[Message] | None = None,
) -> str:
    """ModelError where the template refuses these messages; TemplateError where it takes more steps
    than a rendering may.
    """
    try:
        text = tokenizer.apply_chat_template(
            list(messages),
            tools=None if tools is None else [*tools],
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
    except OverBudget as error:
        raise TemplateError(f"the chat template {error}", hint=OVER_BUDGET) from error
    except Exception as error:  # a template is the model author's program and may raise anything
        roles = ", ".join(str(message["role"]) for message in messages)
        raise ModelError(f"the chat template cannot render the roles {roles}: {error}") from error
    return str(text)


def _probe(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, ask: bool) -> str:
    """As `render_chat`, with a tool where a template is for conversations with tools only."""
    try:
        return render_chat(tokenizer, messages, add_generation_prompt=ask)
    except ModelError as error:
        try:
            return render_chat(tokenizer, messages, add_generation_prompt=ask, tools=[TOOL])
        except ModelError:
            raise error from None


def complete_tokenizer(
    tokenizer: PreTrainedTokenizerBase,
    settings: ChatSettings | None = None,
    now: datetime | None = None,
) -> list[str]:
    """Add what a tokenizer lacks (end token, chat template, pad token), make its template fit to be
    trained on and served (chat_template.py), and say what was done.

    The pad token is never a stop token: padding that ends answers, or stop tokens masked as
    padding, are the usual reasons for models that never stop.
    """
    notes = []
    if not tokenizer.is_fast:
        raise ModelError(
            f"{tokenizer.name_or_path}: a slow tokenizer", hint="save it with a tokenizer.json"
        )
    if tokenizer.eos_token_id is None:
        tokenizer.add_special_tokens({"eos_token": EOS_TOKEN})
        notes.append(f"the tokenizer had no end-of-sequence token: {EOS_TOKEN} added")
    notes += _complete_template(tokenizer, settings or ChatSettings(), now or datetime.now())
    stops = {tokenizer.eos_token_id, chat_format(tokenizer).stop_id}
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in stops:
        had = tokenizer.pad_token
        unknown = tokenizer.unk_token
        usable = unknown is not None and tokenizer.unk_token_id not in {
            *stops,
            tokenizer.bos_token_id,
        }
        tokenizer.pad_token = unknown if usable else PAD_TOKEN
        if not usable:
            tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
        was = "had no pad token" if had is None else f"padded with its stop token {had}"
        notes.append(f"the tokenizer {was}: {tokenizer.pad_token} is the pad token now")
    return notes


def _complete_template(
    tokenizer: PreTrainedTokenizerBase, settings: ChatSettings, now: datetime
) -> list[str]:
    template, notes = chosen_template(tokenizer, settings), []
    if template is None:
        begins = (
            tokenizer("x").input_ids[:1] == [tokenizer.bos_token_id]
            and tokenizer.bos_token_id is not None
        )
        template = ("{{- bos_token -}}" if begins else "") + CHAT_TEMPLATE
        notes.append(
            "the tokenizer had no chat template: a plain one added (text, space, answer, end token)"
        )

    def use(changed: str) -> None:
        tokenizer.chat_template, more = pinned(changed, settings.variables, now)
        told[:] = more

    told: list[str] = []
    use(template)
    if not _writes_a_stop_token(tokenizer):
        template = with_stop_token(template)
        use(template)
        notes.append(
            f"the chat template writes no stop token after an answer: the saved one writes "
            f"{tokenizer.eos_token}"
        )
    if _parts(tokenizer) is None:
        before = _shown_prompt(tokenizer)
        use(behind_header(template))
        notes.append(
            "the chat template's generation prompt does not begin a finished answer: the saved "
            f"one's is {_shown_prompt(tokenizer)!r}, in place of {before!r}"
        )
    return [*notes, *told]


def _shown_prompt(tokenizer: PreTrainedTokenizerBase) -> str:
    text = _probe(tokenizer, [{"role": "user", "content": QUESTION}], ask=True)
    return text.rpartition(QUESTION)[2]


def _writes_a_stop_token(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether any added token stands after the answer of a finished conversation."""
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]
    after = _probe(tokenizer, messages, ask=False).rpartition(ANSWER)[2]
    return any(str(token.content) in after for token in tokenizer.added_tokens_decoder.values())


def _parts(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str] | None:
    """What stands between a prompt and its answer, and after it; None where the answer does not
    follow the prompt.
    """
    asked = [{"role": "user", "content": QUESTION}]
    prompt = _probe(tokenizer, asked, ask=True)
    whole = _probe(tokenizer, [*asked, {"role": "assistant", "content": ANSWER}], ask=False)
    lead, answer, end = whole[len(prompt) :].partition(ANSWER)
    return (lead, end) if whole.startswith(prompt) and answer else None


def chat_format(tokenizer: PreTrainedTokenizerBase, system: str = "") -> ChatFormat:
    """The format of a completed tokenizer, found by rendering; ModelError where its template cannot
    be trained on.
    """
    parts = _parts(tokenizer)
    if parts is None:
        asked = [{"role": "user", "content": QUESTION}]
        prompt = _probe(tokenizer, asked, ask=True)
        raise ModelError(
            f"the chat template does not continue its own prompt {prompt!r} with the answer",
            hint="set chat_template to a file whose generation prompt ends where the answer begins",
        )
    prompt, other = (
        _probe(tokenizer, [{"role": "user", "content": c}], ask=True) for c in (QUESTION, ANSWER)
    )
    if prompt == other:
        raise ModelError(
            f"the chat template does not write the user's text: {prompt!r} whatever it is asked",
            hint="set chat_template to a file that writes each message's content",
        )
    lead, end = parts
    at = _end_of_answer(end, tokenizer)
    stop = (
        next(
            token for token in (tokenizer.eos_token, *_added(tokenizer)) if end[:at].endswith(token)
        )
        if at
        else tokenizer.eos_token
    )
    return ChatFormat(
        tokenizer,
        lead=lead,
        tail=end[:at],
        rest=end[at:],
        stop_token=stop,
        stop_id=cast(int, tokenizer.convert_tokens_to_ids(stop)),
        takes_system=_takes_system(tokenizer),
        as_is=isinstance(tokenizer.chat_template, str)
        and writes_content_as_is(tokenizer.chat_template),
        system=system,
    )


def _added(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The longest first, so that none hides behind its own beginning."""
    return sorted(
        (str(t.content) for t in tokenizer.added_tokens_decoder.values() if t.content),
        key=len,
        reverse=True,
    )


def _end_of_answer(end: str, tokenizer: PreTrainedTokenizerBase) -> int:
    """Where the stop token after an answer ends: it is the first added token or, where that is one
    of several in a row, the end-of-sequence token among them.
    """
    added = _added(tokenizer)
    starts = [at for at in (end.find(token) for token in added) if at >= 0]
    at, run = min(starts, default=-1), []
    while at >= 0 and (token := next((t for t in added if end.startswith(t, at)), "")):
        at += len(token)
        run.append((token, at))
    return next(
        (place for token, place in run if token == tokenizer.eos_token), run[0][1] if run else 0
    )


def _takes_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a system message is written: some templates refuse it, some pass over it."""
    marks = [{"role": "system", "content": ANSWER}, {"role": "user", "content": QUESTION}]
    try:
        return ANSWER in _probe(tokenizer, marks, ask=True)
    except ModelError:
        return False
