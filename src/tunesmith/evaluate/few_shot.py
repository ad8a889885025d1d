"""The few-shot base: which exemplars it is shown, and in which wording it is asked.

The wording is the best of a few, tried on validation rows, so that the base model does not lose
for being asked awkwardly.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedModel

from tunesmith.chat.format import ChatFormat
from tunesmith.chat.template import CHAT_TEMPLATE
from tunesmith.data.plan import Source, plan_sources
from tunesmith.data.sources.members import members
from tunesmith.data.sources.stored import StoredRows
from tunesmith.data.templates.families import family_names
from tunesmith.data.templates.render import few_shot_prompt, render_row
from tunesmith.data.templates.resolve import PromptTemplate, find_templates
from tunesmith.data.tokenize import tokenize_prompts
from tunesmith.errors import InputError, TemplateError
from tunesmith.evaluate.metrics import find_metric, score_predictions
from tunesmith.evaluate.systems import Decoding, answer
from tunesmith.models.load import max_positions
from tunesmith.progress import note, progress
from tunesmith.recipe import DEFAULT_METRIC_OPTIONS, DataConfig, MetricOptions
from tunesmith.records import Example, Row, Turn

MAX_WORDINGS = 5
# tried beside the run's own: as many that list the choices as ones that do not
OF_A_KIND = 2
TRIAL_ROWS = 24  # of validation, for each wording


@dataclass(frozen=True)
class Trial:
    """The wording that was chosen, and the means of `metric` on `rows` validation rows.

    `scores` is empty where nothing was tried.
    """

    wording: str
    metric: str
    rows: int
    scores: dict[str, float]


class _Found(NamedTuple):
    """A row as it was read, and the source and the data section that apply to it."""

    source: Source
    row: Row
    data: DataConfig


def few_shot_exemplars(train: Sequence[Example], k: int, seed: int) -> list[Example]:
    """Draw k training examples for all prompts: the labels in turn, from the shorter half of each.

    Short ones, because a small model's context must hold all of them. The draw depends on `seed`
    alone.
    """
    rng = random.Random(seed)
    labels = (
        sorted({example.completion for example in train}) if train and train[0].choices else [""]
    )
    rng.shuffle(labels)
    chosen: list[Example] = []
    for turn in range(k):
        label = labels[turn % len(labels)]
        pool = [e for e in train if label in ("", e.completion) and e not in chosen]
        pool.sort(key=lambda e: (len(e.prompt), e.id))
        half = pool[: max(1, len(pool) // 2)]
        chosen += [rng.choice(half)] if half else []
    return chosen


def with_exemplars(
    examples: Sequence[Example],
    exemplars: Sequence[Example],
    chat: ChatFormat,
    model: PreTrainedModel,
    decoding: Decoding,
) -> tuple[list[Example], float]:
    """The examples with as many exemplars before the prompt as fit the model, and their mean
    number.
    """
    room = max_positions(model.config) - decoding.max_new_tokens
    prompted, counts = list(examples), [0] * len(examples)
    waiting = list(range(len(examples)))
    for k in range(len(exemplars), 0, -1):
        tried = [_with(examples[i], exemplars[:k], chat) for i in waiting]
        fits = [len(ids) <= room for ids in tokenize_prompts(tried, chat)]
        for i, example, fit in zip(waiting, tried, fits, strict=True):
            if fit:
                prompted[i], counts[i] = example, k
        waiting = [i for i in waiting if counts[i] == 0]
        if not waiting:
            break
    return prompted, sum(counts) / len(counts)


def _with(example: Example, exemplars: Sequence[Example], chat: ChatFormat) -> Example:
    """Exemplars as text for our plain chat template, as earlier turns for a tokenizer's own."""
    if chat.tokenizer.chat_template.endswith(CHAT_TEMPLATE):
        return replace(example, prompt=few_shot_prompt(exemplars, example.prompt))
    turns = tuple(
        t for e in exemplars for t in (Turn("user", e.prompt), Turn("assistant", e.completion))
    )
    system = tuple(turn for turn in example.history[:1] if turn.role == "system")
    return replace(example, history=(*system, *turns, *example.history[len(system) :]))


def best_wording(
    data: DataConfig,
    stored: Path,
    validation: Sequence[Example],
    test: Sequence[Example],
    exemplars: Sequence[Example],
    chat: ChatFormat,
    model: PreTrainedModel,
    decoding: Decoding,
    metric: str,
    parser: str,
    options: MetricOptions = DEFAULT_METRIC_OPTIONS,
) -> tuple[list[Example], list[Example], Trial]:
    """Test examples and exemplars in the wording with which the model does best on validation.

    `stored` is the run's file of rows (RunDir.rows). The run's own wording is kept where it has no
    family, where the run was prepared before that file was written, and among equals. An example
    keeps its wording where it is no longer rendered as it was prepared (it was shortened), and
    where the new wording would not fit the model.
    """
    names = {example.template for example in test}
    own = names.pop() if len(names) == 1 else "several"
    rows = (
        _rows(data, stored, {example.row_id for example in (*validation, *test, *exemplars)})
        if exemplars
        else {}
    )
    if not rows:
        return list(test), list(exemplars), Trial(own, metric, 0, {})
    room = max_positions(model.config) - decoding.max_new_tokens

    def reworded(examples: Sequence[Example], template: PromptTemplate) -> list[Example]:
        changed = [_reworded(example, template, rows, data) for example in examples]
        fits = [len(ids) <= room for ids in tokenize_prompts(changed, chat)]
        return [new if fit else old for new, old, fit in zip(changed, examples, fits, strict=True)]

    asked: dict[str, list[Example]] = {own: list(validation)}
    shown: dict[str, list[Example]] = {own: list(exemplars)}
    templates = {template.name: template for template in _candidates(next(iter(rows.values())))}
    for name, template in templates.items():
        examples = reworded(validation, template)
        if name != own and examples != list(validation):
            asked[name], shown[name] = examples, reworded(exemplars, template)
    if len(asked) == 1:
        return list(test), list(exemplars), Trial(own, metric, 0, {})
    scores = _scores(asked, shown, chat, model, decoding, metric, parser, options)
    best = max(scores, key=lambda name: find_metric(metric).sign * scores[name])
    chosen = list(test) if best == own else reworded(test, templates[best])
    return chosen, shown[best], Trial(best, metric, len(validation), scores)


def _scores(
    asked: dict[str, list[Example]],
    shown: dict[str, list[Example]],
    chat: ChatFormat,
    model: PreTrainedModel,
    decoding: Decoding,
    metric: str,
    parser: str,
    options: MetricOptions,
) -> dict[str, float]:
    """The metric of each wording's answers, which are generated together."""
    quick = replace(decoding, rank_choices=False, score_references=False)
    prompted = [
        with_exemplars(examples, shown[name], chat, model, decoding)[0]
        for name, examples in asked.items()
    ]
    together = [example for examples in prompted for example in examples]
    with progress(f"few-shot base: trying {len(asked)} wordings", len(together)) as advance:
        predictions = iter(answer(model, chat, together, quick, advance))
    scores = {}
    for name, examples in asked.items():
        answers = [next(predictions) for _ in examples]
        scores[name] = score_predictions(examples, answers, [metric], parser, options).value(metric)
    return scores


def _rows(data: DataConfig, stored: Path, wanted: set[str]) -> dict[str, _Found]:
    """The wanted rows as they were read when the run was prepared, by id; none of sources without a
    template.
    """
    if not stored.exists():
        note(f"there is no {stored}: the few-shot base is asked in the run's own wording")
        return {}
    rows, found = StoredRows(stored), dict[str, _Found]()
    try:
        planned = zip(plan_sources(data, rows), members(data), strict=True)
        for number, (source, member) in enumerate(planned):
            if source.templates:
                own = rows.find(number, wanted)
                found |= {row.id: _Found(source, row, member.data) for row in own}
    except InputError:  # a template file that is gone, or has changed
        return {}
    return found


def _candidates(found: _Found) -> list[PromptTemplate]:
    """The family's wordings that training may see and that are answered in the same form."""
    source, own = found.source, found.source.templates[0]
    template = found.data.template or ""
    if template.endswith((".yaml", ".yml")) or ".yaml/" in template:
        family = template.partition(".yaml/")[0] + ".yaml" if ".yaml/" in template else template
    elif own.name.startswith(f"{own.family}/") and own.family in family_names():
        family = own.family
    else:
        return []
    fit = [
        t
        for t in find_templates(family)
        if not (t.held_out or t.inverted) and t.parser == own.parser
    ]
    trained = [t for t in source.templates if not t.held_out]
    others = [t for t in fit if t.name not in {template.name for template in trained}]
    listed, plain = [t for t in others if t.options], [t for t in others if not t.options]
    return [*trained, *listed[:OF_A_KIND], *plain[:OF_A_KIND]][:MAX_WORDINGS]


def _reworded(
    example: Example,
    template: PromptTemplate,
    rows: dict[str, _Found],
    data: DataConfig,
) -> Example:
    if example.row_id not in rows:
        return example
    source, row, _ = rows[example.row_id]
    before = next((t for t in source.templates if t.name == example.template), None)
    if before is None:
        return example
    try:
        was, new = (
            render_row(
                t,
                row,
                columns=source.columns,
                label_names=source.labels,
                choices=source.choices,
                seed=data.split.seed,
            )
            for t in (before, template)
        )
    except TemplateError:  # a slot that only this wording needs
        return example
    same_answer = isinstance(new, Example) and (new.completion, new.choices) == (
        example.completion,
        example.choices,
    )
    if (
        isinstance(was, Example)
        and isinstance(new, Example)
        and was.prompt == example.prompt
        and same_answer
    ):
        return replace(example, prompt=new.prompt, template=template.name)
    return example
