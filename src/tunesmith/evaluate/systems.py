"""The systems that are compared, each as predictions for the same examples.

Base, few-shot base and tuned differ in weights or prompt only: same rows, token budget, greedy
decoding, stop rules. The linear model on TF-IDF features reads the same rows and is the yardstick
of what the labels alone can give.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.chat.format import ChatFormat
from tunesmith.chat.template import CHAT_TEMPLATE
from tunesmith.data.build import PLACEHOLDER
from tunesmith.data.templates.render import few_shot_prompt
from tunesmith.data.tokenize import tokenize_examples, tokenize_prompts
from tunesmith.errors import DataError
from tunesmith.evaluate.compare import (
    constant_predictions,
    copy_input_predictions,
    majority_predictions,
)
from tunesmith.evaluate.forward import in_dtype
from tunesmith.evaluate.generate import Generated, generate, generate_vllm
from tunesmith.evaluate.likelihood import Ranked, choice_logprobs, rank_choices
from tunesmith.models.load import max_positions
from tunesmith.recipe import EvaluationConfig
from tunesmith.records import Example, Prediction, TokenizedExample, Turn

COPY_FAMILIES = ("summarise", "title", "translate", "rewrite")


@dataclass(frozen=True)
class Decoding:
    """What is the same for every system: the token budget, what ends an answer, whether choices are
    ranked and the right answer's likelihood is taken, what generates (`backend`, of the recipe),
    and what is computed in (`dtype`).
    """

    max_new_tokens: int
    stop_ids: tuple[int, ...]
    newline_ids: frozenset[int]
    batch_tokens: int
    rank_choices: bool
    score_references: bool = False
    backend: str = "transformers"
    dtype: str = "float32"


def decoding_for(
    train: Sequence[Example],
    lengths: Sequence[int],
    chat: ChatFormat,
    model: Any,
    settings: EvaluationConfig,
    dtype: str = "float32",
) -> Decoding:
    """From the training completions: the longest one in tokens (and a quarter more) is the budget;
    where none has a second line, a line end ends the answer. `lengths` are the completions' tokens,
    the stop token included.
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


def answer(
    model: Any,
    chat: ChatFormat,
    examples: Sequence[Example],
    decoding: Decoding,
    on_progress: Callable[[int], None] | None = None,
) -> list[Prediction]:
    """Greedy answers and, for closed tasks, the log-likelihood of every choice; one prediction for
    each example.

    Computed in `decoding.dtype`, by a copy of the model where its weights are in another. vLLM
    reads the weights from where `model` was loaded.
    """
    model = in_dtype(model, decoding.dtype)
    prompts = tokenize_prompts(examples, chat)
    ranked: Sequence[Ranked] = [Ranked([])] * len(examples)
    written: list[Generated | None] = [None] * len(examples)
    if decoding.rank_choices:
        ids = {
            choice: choice_ids(chat, examples[0], choice) for e in examples for choice in e.choices
        }
        wanted = [[ids[choice] for choice in example.choices] for example in examples]
        ranked = rank_choices(model, prompts, wanted, batch_tokens=decoding.batch_tokens)
        if decoding.backend == "transformers":
            written = [
                _greedy(found, options, decoding)
                for found, options in zip(ranked, wanted, strict=True)
            ]
    waiting = [i for i, output in enumerate(written) if output is None]
    if on_progress:
        on_progress(len(examples) - len(waiting))
    for i, output in zip(
        waiting,
        _generated(model, [prompts[i] for i in waiting], decoding, on_progress),
        strict=True,
    ):
        written[i] = output
    outputs = [output for output in written if output is not None]
    texts = chat.tokenizer.batch_decode(
        [output.ids for output in outputs], skip_special_tokens=True
    )
    predictions = [
        Prediction(
            example.id, chat.read(text), output.stopped, len(output.ids), tuple(found.logprobs)
        )
        for example, text, output, found in zip(examples, texts, outputs, ranked, strict=True)
    ]
    return (
        _with_references(predictions, model, chat, examples, decoding)
        if decoding.score_references
        else predictions
    )


def _greedy(
    found: Ranked, options: Sequence[Sequence[int]], decoding: Decoding
) -> Generated | None:
    """The answer that greedy decoding writes, where that is one of the choices with its stop token:
    it need not be written once more. Nothing but the stop token may end it before.
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


def _generated(
    model: Any,
    prompts: Sequence[list[int]],
    decoding: Decoding,
    on_progress: Callable[[int], None] | None,
) -> list[Generated]:
    if not prompts:
        return []
    room = max_positions(model.config)
    ends: dict[str, Any] = {
        "stop_ids": decoding.stop_ids,
        "newline_ids": decoding.newline_ids,
        "max_new_tokens": [
            max(1, min(decoding.max_new_tokens, room - len(prompt))) for prompt in prompts
        ],
    }
    if decoding.backend == "vllm":
        own_code = type(model).is_remote_code()  # it was loaded so: the recipe trusts it
        return generate_vllm(
            model.name_or_path, prompts, dtype=decoding.dtype, trust_remote_code=own_code, **ends
        )
    return generate(
        model, prompts, batch_tokens=decoding.batch_tokens, on_progress=on_progress, **ends
    )


def _with_references(
    predictions: Sequence[Prediction],
    model: Any,
    chat: ChatFormat,
    examples: Sequence[Example],
    decoding: Decoding,
) -> list[Prediction]:
    """The predictions with the log-likelihood of each completion; as they are where a completion
    does not fit.

    Where choices are ranked the completion is one of them and nothing is computed again.
    """
    rows = tokenize_examples(examples, chat, max_positions(model.config))
    if not all(isinstance(row, TokenizedExample) for row in rows):
        return list(predictions)
    before = [
        row.input_ids[: row.num_prompt_tokens] for row in rows if isinstance(row, TokenizedExample)
    ]
    ids = [
        row.input_ids[row.num_prompt_tokens :] for row in rows if isinstance(row, TokenizedExample)
    ]
    if decoding.rank_choices:
        ranked = [
            p.choice_logprobs[e.choices.index(e.completion)]
            for p, e in zip(predictions, examples, strict=True)
        ]
    else:
        batch_tokens = decoding.batch_tokens
        ranked = [
            one
            for (one,) in choice_logprobs(
                model, before, [[i] for i in ids], batch_tokens=batch_tokens
            )
        ]
    return [
        replace(prediction, reference_logprob=logprob, reference_tokens=len(tokens))
        for prediction, logprob, tokens in zip(predictions, ranked, ids, strict=True)
    ]


def choice_ids(chat: ChatFormat, example: Example, choice: str) -> list[int]:
    """Token ids of a choice and the stop token as they follow a prompt; DataError where it cannot
    be written.
    """
    row = tokenize_examples([replace(example, completion=choice)], chat, sys.maxsize)[0]
    if not isinstance(row, TokenizedExample):
        raise DataError(f"the choice {choice!r}: {row.detail}")
    return row.input_ids[row.num_prompt_tokens :]


def few_shot_exemplars(train: Sequence[Example], k: int, seed: int) -> list[Example]:
    """k training examples, the same for every prompt: the labels in turn, drawn from the shorter
    half of each.

    Short ones because a small model's context must hold all of them; the draw depends on `seed`
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
    model: Any,
    decoding: Decoding,
) -> tuple[list[Example], float]:
    """The examples, each with as many exemplars before its prompt as the model has room for, and
    their mean number.
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


def baseline_predictions(
    train: Sequence[Example],
    test: Sequence[Example],
    family: str,
    parser: str,
    metric: str,
    layout: str | None,
) -> dict[str, list[Prediction]]:
    """The baselines without a model by name: the answer that is given most often or, for free text
    and JSON, the one that is most like the others; and the input itself where the task rewrites it.
    """
    found = {}
    if parser in ("choice", "number"):
        found["majority"] = majority_predictions(train, test, parser)
    else:
        found["constant"] = constant_predictions(train, test, metric, parser)
    if family in COPY_FAMILIES:
        before, _, after = (layout or PLACEHOLDER).partition(PLACEHOLDER)
        inputs = [e.prompt.removeprefix(before).removesuffix(after) for e in test]
        found["copy"] = copy_input_predictions(test, inputs)
    return found


def linear_predictions(train: Sequence[Example], test: Sequence[Example]) -> list[Prediction]:
    """scikit-learn's logistic regression on word 1- and 2-gram TF-IDF of the prompts.

    Where it refuses (one label in all rows, or no word in any), the commonest label, which is what
    is left of it.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    try:
        model.fit([example.prompt for example in train], [example.completion for example in train])
    except ValueError:
        return majority_predictions(train, test, "choice")
    labels = model.predict([example.prompt for example in test])
    return [
        Prediction(example.id, str(label), True, 0)
        for example, label in zip(test, labels, strict=True)
    ]
