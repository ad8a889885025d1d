"""How a model answers: the same rows, token budget, greedy decoding and stop rules for all.

Base, few-shot base and tuned model differ in weights or prompt only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict

from transformers import PreTrainedModel

from tunesmith.chat.format import ChatFormat
from tunesmith.data.tokenize import tokenize_examples, tokenize_prompts
from tunesmith.evaluate.choice_tokens import choice_ids
from tunesmith.evaluate.forward import in_dtype
from tunesmith.evaluate.generate import Generated, generate, generate_vllm
from tunesmith.evaluate.likelihood import Choices, Ranked, choice_logprobs, rank_choices
from tunesmith.models.load import max_positions
from tunesmith.progress import progress
from tunesmith.recipe import EvaluationConfig
from tunesmith.records import Example, Prediction, TokenizedExample


@dataclass(frozen=True)
class TaskDecoding:
    """What differs between the tasks of a mixture; the fields are those of Decoding."""

    max_new_tokens: int
    newline_ids: frozenset[int]
    rank_choices: bool


@dataclass(frozen=True)
class Decoding:
    """What is the same for every system.

    Attributes:
        max_new_tokens: The token budget of an answer.
        stop_ids: Tokens that end an answer and do not belong to it.
        newline_ids: Tokens that end an answer of one line; empty where answers have several.
        batch_tokens: Tokens of one forward pass, and of the key-value cache.
        rank_choices: Compute the log-likelihood of every choice.
        score_references: Compute the log-likelihood of the right answer.
        backend: What generates, as in the recipe.
        dtype: What is computed in.
        tasks: What differs by Example.task, in a mixture of several.
    """

    max_new_tokens: int
    stop_ids: tuple[int, ...]
    newline_ids: frozenset[int]
    batch_tokens: int
    rank_choices: bool
    score_references: bool = False
    backend: str = "transformers"
    dtype: str = "float32"
    tasks: Mapping[str, TaskDecoding] = field(default_factory=dict)

    def of_task(self, task: str) -> Decoding:
        """As it is for one task; itself where it is the same for all."""
        if not self.tasks:
            return self
        own = self.tasks[task]
        return replace(
            self,
            max_new_tokens=own.max_new_tokens,
            newline_ids=own.newline_ids,
            rank_choices=self.rank_choices and own.rank_choices,
            tasks={},
        )


def decoding_for(
    train: Sequence[Example],
    lengths: Sequence[int],
    chat: ChatFormat,
    model: PreTrainedModel,
    settings: EvaluationConfig,
    dtype: str = "float32",
) -> Decoding:
    """The decoding that the training completions call for.

    The budget is the longest of them and a quarter more, unless `settings` name one; where none
    has a second line, a line end ends the answer. `lengths` are their tokens, the stop token
    included.
    """
    longest = max(lengths, default=16)
    one_line = all("\n" not in example.completion for example in train)
    choices = {example.choices for example in train}
    return Decoding(
        max_new_tokens=settings.max_new_tokens or longest + max(2, longest // 4),
        stop_ids=chat.stop_ids(model),
        newline_ids=chat.newline_ids if one_line else frozenset(),
        batch_tokens=settings.batch_tokens,
        rank_choices=settings.rank_choices and bool(train) and () not in choices,
        dtype=dtype,
    )


def with_tasks(decoding: Decoding, tasks: Mapping[str, TaskDecoding]) -> Decoding:
    """The decoding with what these tasks need besides those that it has; choices are ranked where
    one of them has any.
    """
    known = {**decoding.tasks, **tasks}
    return replace(decoding, tasks=known, rank_choices=any(t.rank_choices for t in known.values()))


def task_decodings(
    tasks: Sequence[str],
    examples: Sequence[Example],
    lengths: Sequence[int],
    chat: ChatFormat,
    model: PreTrainedModel,
    settings: EvaluationConfig,
) -> dict[str, TaskDecoding]:
    """What the completions of each task call for, as `decoding_for` has it for one; those of all
    examples where a task has none among them.
    """
    found = {}
    for task in tasks:
        own = [i for i, example in enumerate(examples) if example.task == task]
        rows = own or range(len(examples))
        how = decoding_for(
            [examples[i] for i in rows], [lengths[i] for i in rows], chat, model, settings
        )
        found[task] = TaskDecoding(how.max_new_tokens, how.newline_ids, how.rank_choices)
    return found


def answer(
    model: PreTrainedModel,
    chat: ChatFormat,
    examples: Sequence[Example],
    decoding: Decoding,
    on_progress: Callable[[int], None] | None = None,
) -> list[Prediction]:
    """One prediction for each example: the greedy answer and what else `decoding` asks for.

    Computed in `decoding.dtype`, by a copy of the model where its weights are in another. vLLM
    reads the weights from where `model` was loaded.
    """
    model = in_dtype(model, decoding.dtype)
    found: dict[int, Prediction] = {}
    for how, rows in _alike(examples, decoding):
        answers = _answer_alike(model, chat, [examples[i] for i in rows], how, on_progress)
        found.update(zip(rows, answers, strict=True))
    return [found[i] for i in range(len(examples))]


def _alike(examples: Sequence[Example], decoding: Decoding) -> list[tuple[Decoding, Sequence[int]]]:
    """Examples, by number, that are answered together: all of one task, and those of tasks that
    differ in their budgets only.
    """
    if not decoding.tasks:
        return [(decoding, range(len(examples)))]
    groups: dict[tuple[frozenset[int], bool], list[int]] = {}
    for i, example in enumerate(examples):
        own = decoding.of_task(example.task)
        groups.setdefault((own.newline_ids, own.rank_choices), []).append(i)
    return [
        (replace(decoding, newline_ids=newline_ids, rank_choices=ranked), rows)
        for (newline_ids, ranked), rows in groups.items()
    ]


def _answer_alike(
    model: PreTrainedModel,
    chat: ChatFormat,
    examples: Sequence[Example],
    decoding: Decoding,
    on_progress: Callable[[int], None] | None,
) -> list[Prediction]:
    prompts = tokenize_prompts(examples, chat)
    budgets = [decoding.of_task(example.task).max_new_tokens for example in examples]
    ranked: Sequence[Ranked] = [Ranked([])] * len(examples)
    written: list[Generated | None] = [None] * len(examples)
    if decoding.rank_choices:
        wanted = choice_ids(chat, examples)
        ranked = _ranked(model, prompts, wanted, decoding)
        if decoding.backend == "transformers":
            written = [
                _greedy(found, options, decoding.of_task(example.task))
                for example, found, options in zip(examples, ranked, wanted, strict=True)
            ]
    references = _reference_ids(model, chat, examples) if decoding.score_references else None
    waiting = [i for i, output in enumerate(written) if output is None]
    if on_progress:
        on_progress(len(examples) - len(waiting))
    # ranked choices have the reference's likelihood already
    together = references if references is not None and not decoding.rank_choices else None
    generated = _generated(
        model,
        [prompts[i] for i in waiting],
        None if together is None else [together[i] for i in waiting],
        [budgets[i] for i in waiting],
        decoding,
        on_progress,
    )
    for i, output in zip(waiting, generated, strict=True):
        written[i] = output
    outputs = [output for output in written if output is not None]
    texts = chat.tokenizer.batch_decode(
        [output.ids for output in outputs], skip_special_tokens=True
    )
    predictions = [
        Prediction(
            example.id,
            chat.read(text),
            output.stopped,
            len(output.ids),
            tuple(found.logprobs),
            token_ids=tuple(output.ids),
            choice_logprobs_without_stop=tuple(found.without_last),
        )
        for example, text, output, found in zip(examples, texts, outputs, ranked, strict=True)
    ]
    if references is None:
        return predictions
    logprobs = _reference_logprobs(
        model, prompts, references, examples, predictions, outputs, decoding
    )
    return [
        replace(prediction, reference_logprob=logprob, reference_tokens=len(ids))
        for prediction, logprob, ids in zip(predictions, logprobs, references, strict=True)
    ]


def rank(
    model: PreTrainedModel, chat: ChatFormat, examples: Sequence[Example], decoding: Decoding
) -> list[Prediction]:
    """The likeliest choice of each example as its answer, with the log-likelihoods of all; nothing
    is generated. For closed tasks, in `decoding.dtype`.
    """
    model, prompts = in_dtype(model, decoding.dtype), tokenize_prompts(examples, chat)
    found = _ranked(model, prompts, choice_ids(chat, examples), decoding)
    return [
        likeliest(example, ranked.logprobs, ranked.without_last)
        for example, ranked in zip(examples, found, strict=True)
    ]


def likeliest(
    example: Example, logprobs: Sequence[float], without_stop: Sequence[float]
) -> Prediction:
    """The likeliest choice as an answer, with the log-likelihoods of all."""
    return Prediction(
        example.id,
        example.choices[logprobs.index(max(logprobs))],
        stopped=True,
        num_tokens=0,
        choice_logprobs=tuple(logprobs),
        choice_logprobs_without_stop=tuple(without_stop),
    )


def _ranked(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    choices: Sequence[Choices],
    decoding: Decoding,
) -> list[Ranked]:
    with progress("likelihoods of the choices", len(prompts)) as advance:
        return rank_choices(
            model, prompts, choices, batch_tokens=decoding.batch_tokens, on_progress=advance
        )


def _greedy(
    found: Ranked, options: Sequence[Sequence[int]], decoding: Decoding
) -> Generated | None:
    """The choice that greedy decoding would write, so that it need not be generated; else None.

    Its stop token must be what ends it: a line end or the budget would cut it short.
    """
    if found.greedy is None:
        return None
    *ids, last = options[found.greedy]
    ends_early = {*decoding.stop_ids, *decoding.newline_ids} & set(ids)
    return (
        Generated(ids, True)
        if last in decoding.stop_ids and not ends_early and len(ids) < decoding.max_new_tokens
        else None
    )


class _Ends(TypedDict):
    stop_ids: tuple[int, ...]
    newline_ids: frozenset[int]
    max_new_tokens: list[int]


def _generated(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    references: Sequence[list[int]] | None,
    budgets: Sequence[int],
    decoding: Decoding,
    on_progress: Callable[[int], None] | None,
) -> list[Generated]:
    if not prompts:
        return []
    room = max_positions(model.config)
    ends: _Ends = {
        "stop_ids": decoding.stop_ids,
        "newline_ids": decoding.newline_ids,
        "max_new_tokens": [
            max(1, min(budget, room - len(prompt)))
            for budget, prompt in zip(budgets, prompts, strict=True)
        ],
    }
    if decoding.backend == "vllm":
        own_code = type(model).is_remote_code()  # it was loaded so: the recipe trusts it
        return generate_vllm(
            str(model.name_or_path),
            prompts,
            dtype=decoding.dtype,
            trust_remote_code=own_code,
            **ends,
        )
    return generate(
        model,
        prompts,
        batch_tokens=decoding.batch_tokens,
        references=references,
        on_progress=on_progress,
        **ends,
    )


def _reference_ids(
    model: PreTrainedModel, chat: ChatFormat, examples: Sequence[Example]
) -> list[list[int]] | None:
    """Token ids of each completion and its stop token; None where one does not fit the model."""
    rows = tokenize_examples(examples, chat, max_positions(model.config))
    fitting = [row for row in rows if isinstance(row, TokenizedExample)]
    if len(fitting) < len(rows):
        return None
    return [row.input_ids[row.num_prompt_tokens :] for row in fitting]


def _reference_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    references: Sequence[list[int]],
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    outputs: Sequence[Generated],
    decoding: Decoding,
) -> list[float]:
    """Log p of each completion, computed only where ranking or generating did not give it."""
    if decoding.rank_choices:
        return [
            p.choice_logprobs[e.choices.index(e.completion)]
            for p, e in zip(predictions, examples, strict=True)
        ]
    known = [output.reference_logprob for output in outputs]
    if all(logprob is not None for logprob in known):
        return [logprob for logprob in known if logprob is not None]
    options = [[ids] for ids in references]
    with progress("likelihoods of the right answers", len(prompts)) as advance:
        found = choice_logprobs(
            model, prompts, options, batch_tokens=decoding.batch_tokens, on_progress=advance
        )
    return [one for (one,) in found]
