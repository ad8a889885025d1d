"""Rows as they will be trained: every token, which of them are trained, and what would be too long.

Nothing is written and no model is loaded. Rows are spread over the whole table; a row that
preparation would refuse is shown with the reason.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TypeVar

from tunesmith.data.build import Rendering, render_source_row, shorten
from tunesmith.data.plan import Source, plan_sources
from tunesmith.data.sources.members import SourceRows
from tunesmith.data.templates.resolve import Excluded
from tunesmith.data.tokenize import Format, Rejected, tokenize_examples
from tunesmith.data.unknown_tokens import unknown_id
from tunesmith.errors import DataError, TemplateError
from tunesmith.recipe import DataConfig
from tunesmith.records import Example, Row, TokenizedExample, Unserved

NUM_MEASURED = 1000  # rows whose lengths are counted, so that a few long ones are noticed
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is the part of the row's text that the token covers; "" for a further byte of a
    character, and the name of the unknown token where the model sees nothing else.
    """

    id: int
    text: str
    trained: bool
    special: bool


@dataclass(frozen=True)
class ShownRow:
    """One example, or why there is none.

    `problem` is why the row would be refused, else "". `too_long_by` counts the tokens above
    `max_length` before a field was shortened; `note` says what was shortened.
    """

    id: str
    source: str
    template: str
    tokens: tuple[Token, ...] = ()
    num_tokens: int = 0
    num_trained: int = 0
    max_length: int = 0
    too_long_by: int = 0
    problem: str = ""
    note: str = ""


@dataclass(frozen=True)
class Preview:
    """The rows to show, and what was counted over `num_examples` examples of rows from all over the
    table.
    """

    rows: tuple[ShownRow, ...]
    max_length: int
    num_examples: int
    median_tokens: int
    most_tokens: int
    num_too_long: int
    num_without: int
    notes: tuple[str, ...] = ()  # what was recognised in the files, and is odd about the labels

    def summary(self) -> str:
        """One line: lengths, and how many rows are too long or give no example."""
        if not self.num_examples:
            return f"none of {self.num_without:,} rows gives an example"
        counts = (
            f"{self.num_examples:,} examples from all over the table: "
            f"median {self.median_tokens:,} tokens"
        )
        longest = f"longest {self.most_tokens:,}, max_length is {self.max_length:,}"
        by = (
            f", by up to {self.most_tokens - self.max_length:,} tokens" if self.num_too_long else ""
        )
        without = f"; {self.num_without:,} rows give no example" if self.num_without else ""
        return f"{counts}, {longest}; {self.num_too_long:,} too long{by}{without}"


def spread(items: Iterable[T], k: int) -> list[T]:
    """At most k items, evenly from all over a stream of unknown length.

    One pass that keeps at most 2 * max(k, 100) of them: whenever that many are there, every second
    one is dropped and the stride doubled.
    """
    most = max(k, 100)
    kept: list[T] = []
    stride = 1
    for number, item in enumerate(items):
        if number % stride == 0:
            kept.append(item)
            if len(kept) == 2 * most:
                kept, stride = kept[::2], stride * 2
    n = min(k, len(kept))
    return [kept[(2 * i + 1) * len(kept) // (2 * n)] for i in range(n)]


def preview(data: DataConfig, chat: Format, max_length: int, num_rows: int = 3) -> Preview:
    """`num_rows` examples from all over the table, and the lengths of up to NUM_MEASURED rows.

    Raises what `prepare` raises for a table or template that cannot be used at all; one bad row is
    shown as such.
    """
    rows = SourceRows(data)
    sources = plan_sources(data, rows)
    shown = spread(
        ((source, row) for i, source in enumerate(sources) for row in rows.read(i)), NUM_MEASURED
    )
    outcomes = [outcome for source, row in shown for outcome in _outcomes(source, row, data)]
    lengths = _lengths([item.example for item in outcomes if isinstance(item, Rendering)], chat)
    return Preview(
        rows=tuple(
            _show(outcome, data, chat, max_length) for outcome in spread(outcomes, num_rows)
        ),
        max_length=max_length,
        num_examples=len(lengths),
        median_tokens=round(median(lengths or [0])),
        most_tokens=max(lengths, default=0),
        num_too_long=sum(length > max_length for length in lengths),
        num_without=len(outcomes) - len(lengths),
        notes=(*rows.notes, *(f.text for source in sources for f in source.findings)),
    )


def _outcomes(source: Source, row: Row, data: DataConfig) -> Sequence[Rendering | Excluded]:
    try:
        return render_source_row(source, row, source.split or "train", data)
    except (TemplateError, DataError) as error:
        name = source.templates[0].name if source.templates else str(source.fmt)
        return [Excluded(row.id, name, error.message, row.source)]


def _lengths(examples: Sequence[Example], chat: Format) -> list[int]:
    rows = tokenize_examples(examples, chat, sys.maxsize)
    return [len(row.input_ids) for row in rows if isinstance(row, TokenizedExample)]


def _show(
    outcome: Rendering | Excluded, data: DataConfig, chat: Format, max_length: int
) -> ShownRow:
    if isinstance(outcome, Excluded):
        return ShownRow(
            outcome.row_id,
            outcome.source,
            outcome.template,
            max_length=max_length,
            problem=outcome.reason,
        )
    example, problem, note, too_long_by = outcome.example, "", "", 0
    result = tokenize_examples([example], chat, max_length)[0]
    if isinstance(result, Rejected) and result.reason == "too_long":
        too_long_by = result.tokens - max_length
        shorter = shorten(outcome, data, chat, max_length)
        if shorter is not None:
            example, result = shorter.example, shorter.tokens
            note = f"{shorter.fields} shortened by {shorter.characters:,} characters"
    if isinstance(result, Rejected):
        problem = f"{result.reason.replace('_', ' ')}: {result.detail}"
    tokens = tuple(_tokens(example, chat))
    return ShownRow(
        example.id,
        example.source,
        example.template,
        tokens,
        len(tokens),
        sum(token.trained for token in tokens),
        max_length,
        too_long_by,
        problem,
        note,
    )


def _tokens(example: Example, chat: Format) -> Iterator[Token]:
    """Each token with the text it covers; none of a conversation that the chat template refuses."""
    text = chat.written([example])[0]
    if isinstance(text, Unserved):
        return
    whole, num_prompt_tokens = text.prompt + text.answer, len(chat.encode([text.prompt])[0])
    row = tokenize_examples([example], chat, sys.maxsize)[0]
    together = chat.encode([whole])[0]
    alone = isinstance(row, TokenizedExample) and row.input_ids != together
    parts = [text.prompt, text.answer] if alone else [whole]
    unknown, name = unknown_id(chat), str(chat.tokenizer.unk_token)
    special = {chat.tokenizer.convert_tokens_to_ids(token) for token in chat.special_tokens}
    position = 0
    for part in parts:
        found = chat.tokenizer.backend_tokenizer.encode(part, add_special_tokens=False)
        end = 0
        for token_id, (start, stop) in zip(found.ids, found.offsets, strict=True):
            # some tokenizers leave blanks out of their offsets: they go with the token after them
            start = min(start, end) if not part[end:start].strip() else start
            yield Token(
                token_id,
                name if token_id == unknown else part[max(start, end) : stop],
                position >= num_prompt_tokens,
                token_id in special or token_id == unknown,
            )
            end, position = max(end, stop), position + 1


def as_json(found: Preview) -> list[dict[str, object]]:
    """The shown rows as plain values."""
    return [asdict(row) for row in found.rows]
