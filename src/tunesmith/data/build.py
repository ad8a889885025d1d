"""The second pass: each row is rendered, tokenised, checked and written to its split.

The ledger counts what becomes of every row.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice

from tunesmith.data.ledger import Ledger
from tunesmith.data.lint.texts import TextScan
from tunesmith.data.plan import Index, Source
from tunesmith.data.sources.formats import format_examples
from tunesmith.data.sources.members import Rows
from tunesmith.data.store import ExampleWriter
from tunesmith.data.templates.environment import fitted_columns
from tunesmith.data.templates.render import assign_wording, render_row
from tunesmith.data.templates.resolve import Excluded, PromptTemplate
from tunesmith.data.tokenize import Format, Rejected, tokenize_examples
from tunesmith.data.unknown_tokens import UnknownTokens
from tunesmith.errors import TemplateError
from tunesmith.recipe import DataConfig
from tunesmith.records import SPLITS, Example, Row, TokenizedExample
from tunesmith.rundir import RunDir

BATCH_ROWS = 1000
PLACEHOLDER = "{text}"


@dataclass(frozen=True, slots=True)
class Rendering:
    """One example of a row and how to render it again with a shorter field."""

    example: Example
    template: PromptTemplate | None
    source: Source
    row: Row


def write_splits(
    index: Index,
    rows: Rows,
    data: DataConfig,
    chat: Format,
    max_length: int,
    run: RunDir,
    ledger: Ledger,
    on_rows: Callable[[int], None],
) -> None:
    """Write data/{train,validation,test}.parquet, and what becomes of every row into the ledger.

    `rows` are those that `index` was built from. `on_rows` is told the number of examples that have
    just been dealt with. Raises TemplateError or DataError naming file:line for a row whose values
    cannot be used.
    """
    writers = {split: ExampleWriter(run.examples(split)) for split in SPLITS}
    unknown, texts = UnknownTokens(chat), TextScan(data.scan)
    with _few_collections():
        for batch, results in _tokenized(_renderings(index, rows, data, ledger), chat, max_length):
            kept: dict[str, list[tuple[Example, TokenizedExample]]] = {
                split: [] for split in SPLITS
            }
            for item, result in zip(batch, results, strict=True):
                pair = _accepted(item, result, data, chat, max_length, ledger)
                if pair is not None:
                    unknown.count(*pair)
                    texts.count(pair[0])
                    kept[pair[0].split].append(pair)
            for split, pairs in kept.items():
                writers[split].write(pairs)
            on_rows(len(batch))
    for writer in writers.values():
        writer.close()
    ledger.findings += [*unknown.findings(), *texts.findings()]


def _accepted(
    item: Rendering,
    result: TokenizedExample | Rejected,
    data: DataConfig,
    chat: Format,
    max_length: int,
    ledger: Ledger,
) -> tuple[Example, TokenizedExample] | None:
    """What is written of an example, shortened if it has to be; None where it is rejected."""
    example = item.example
    if isinstance(result, Rejected) and result.reason == "too_long":
        shorter = shorten(item, data, chat, max_length)
        if shorter is not None:
            ledger.shortened(example.row_id, shorter.fields, shorter.characters)
            example, result = shorter.example, shorter.tokens
    if isinstance(result, Rejected):
        ledger.reject(example.row_id, example.source, result.reason, result.detail, example.split)
        return None
    if example.answer_keys:  # answers are compared with the call as the chat template writes it
        text = chat.answer_text(example)
        example = replace(example, completion=text, references=(text,))
    ledger.keep(example, result)
    return example, result


@contextmanager
def _few_collections() -> Iterator[None]:
    """Keep the garbage collector away from what is there already.

    torch and transformers are a million objects, which it would walk again and again.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _tokenized(
    renderings: Iterator[Rendering], chat: Format, max_length: int
) -> Iterator[tuple[list[Rendering], list[TokenizedExample | Rejected]]]:
    """Batches with their tokens, one batch behind the rendering.

    While one batch is tokenised, in Rust on all cores and without Python's lock, the next one is
    rendered here.
    """
    waiting: tuple[list[Rendering], Future[list[TokenizedExample | Rejected]]] | None = None
    with ThreadPoolExecutor(max_workers=1) as worker:
        while batch := list(islice(renderings, BATCH_ROWS)):
            job = worker.submit(
                tokenize_examples, [item.example for item in batch], chat, max_length
            )
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = batch, job
        if waiting is not None:
            yield waiting[0], waiting[1].result()


def _renderings(index: Index, rows: Rows, data: DataConfig, ledger: Ledger) -> Iterator[Rendering]:
    number = 0
    # Only of clusters with several rows. A cluster is named after its first row, which comes first
    # in this pass as well, so that its id is known when the others need it.
    first_ids: dict[int, str] = {}
    for position, source in enumerate(index.sources):
        for row in rows.read(position, ledger.unreadable):
            split, cluster = SPLITS[index.splits[number]], int(index.clusters[number])
            if index.is_shared[number]:
                first_ids[number] = row.id
            if index.dropped[number]:
                ledger.duplicate(row.id, row.source, split)
            elif index.leaked[number]:
                ledger.reject_leak(row.id, row.source)
            elif index.not_drawn[number]:
                ledger.not_drawn()
            else:
                ledger.row(row.id, split, conflicting=bool(index.conflicting[number]))
                group = (index.groups[number] if index.groups else None) or first_ids.get(
                    cluster, row.id
                )
                yield from _row_renderings(source, row, split, group, data, ledger)
            number += 1


def _row_renderings(
    source: Source, row: Row, split: str, group: str, data: DataConfig, ledger: Ledger
) -> Iterator[Rendering]:
    for outcome in render_source_row(source, row, split, data, group):
        if isinstance(outcome, Excluded):
            ledger.exclude(row.id, row.source, outcome.template, outcome.reason, split)
        else:
            yield outcome


def render_source_row(
    source: Source, row: Row, split: str, data: DataConfig, group: str | None = None
) -> list[Rendering | Excluded]:
    """All examples of a row: one for each answer of a conversation, or for each wording that the
    split asks for.

    `group` replaces the group that the template gives. Raises TemplateError or DataError naming
    file:line for values that cannot be used.
    """
    outcomes: list[tuple[Example | Excluded, PromptTemplate | None]]
    if source.fmt is not None:
        outcomes = [(outcome, None) for outcome in format_examples(source.fmt, row)]
    else:
        outcomes = [
            (_render(source, template, row, data), template)
            for template in _templates(source, row, split, data)
        ]
    return [
        Rendering(_placed(outcome, split, group, source.task), template, source, row)
        if isinstance(outcome, Example)
        else outcome
        for outcome, template in outcomes
    ]


def _placed(e: Example, split: str, group: str | None, task: str) -> Example:
    """`dataclasses.replace`, which takes four times as long, a tenth of all preparation."""
    group = e.group if group is None else group
    return Example(
        e.id, e.row_id, e.template, e.prompt, e.completion, e.references, e.choices, e.history,
        group, split, e.source, e.asked_by, e.prompt_keys, e.answer_keys, e.tools, task,
    )  # fmt: skip


def _templates(source: Source, row: Row, split: str, data: DataConfig) -> list[PromptTemplate]:
    """A row's wording, the same in every split; a test row is also put in the wordings that
    training never sees.
    """
    seen = [template for template in source.templates if not template.held_out] or list(
        source.templates
    )
    chosen = seen[assign_wording(row.id, len(seen), data.split.seed)]
    return (
        [chosen, *(t for t in source.templates if t.held_out and t is not chosen)]
        if split == "test"
        else [chosen]
    )


def _render(
    source: Source, template: PromptTemplate, row: Row, data: DataConfig, fit_to: int | None = None
) -> Example | Excluded:
    return render_row(
        template,
        row,
        columns=source.columns,
        label_names=source.labels,
        choices=source.choices,
        seed=data.split.seed,
        several=len(source.templates) > 1,
        fit_to=fit_to,
    )


@dataclass(frozen=True)
class Shortened:
    """An example that fits since its `fields` were cut, its prompt by `characters` in all."""

    example: Example
    tokens: TokenizedExample
    fields: str
    characters: int


def shorten(item: Rendering, data: DataConfig, chat: Format, max_length: int) -> Shortened | None:
    """A row that is too long, with its `fit` fields as long as they can be (by bisection).

    None where the template marks no field, or where cutting it altogether is not enough.
    """
    fields = fitted_columns(item.template.source) if item.template else frozenset()
    if not fields or item.template is None:
        return None
    whole = max(
        len(str(item.row.values.get(item.source.columns.get(name, name), ""))) for name in fields
    )
    found, too_short, too_long = None, 0, whole
    while too_long - too_short > 1:
        fit_to = (too_short + too_long) // 2
        example = _render(item.source, item.template, item.row, data, fit_to)
        if not isinstance(example, Example):
            break
        own = item.example
        example = replace(example, split=own.split, group=own.group, task=own.task)
        tokens = tokenize_examples([example], chat, max_length)[0]
        if isinstance(tokens, TokenizedExample):
            cut = len(item.example.prompt) - len(example.prompt)
            found, too_short = Shortened(example, tokens, ", ".join(sorted(fields)), cut), fit_to
        else:
            too_long = fit_to
    return found


def prompt_layout(source: Source) -> str | None:
    """The first template's prompt with {text} where its only text goes; None where it takes more
    than one text.
    """
    if not source.templates or len(source.inputs) != 1:
        return None
    template = source.templates[0]
    marker = "\ufdd4"
    values: Mapping[str, str] = {source.inputs[0]: marker}
    label = source.choices[0] if source.choices else "1"  # a text, a number and JSON alike
    row = Row("layout", {**dict.fromkeys(source.targets, label), **values}, "layout")
    labels = None if source.choices else source.labels
    try:
        example = render_row(
            template, row, columns=source.columns, label_names=labels, choices=source.choices
        )
    except TemplateError:  # a template that needs more than one text, or a date
        return None
    if not isinstance(example, Example) or example.prompt.count(marker) != 1:
        return None
    return example.prompt.replace(marker, PLACEHOLDER)
