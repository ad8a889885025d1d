"""Systems without a model: they show what the labels alone can give.

Each reads the training rows and answers the test rows. The names are those of `system_table.py`.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.data.build import PLACEHOLDER
from tunesmith.evaluate.label_baselines import commonest_tags, linear_sets
from tunesmith.evaluate.metrics import Answers, find_metric
from tunesmith.evaluate.parse import parse_number
from tunesmith.evaluate.system_table import LINEAR
from tunesmith.recipe import DEFAULT_METRIC_OPTIONS, MetricOptions
from tunesmith.records import Example, Prediction

COPY_FAMILIES = ("summarise", "title", "translate", "rewrite")
CONSTANT_ROWS = 100


@dataclass(frozen=True)
class BaselineTask:
    """What a baseline is given.

    `metric` is the primary one. `layout` is the prompt with PLACEHOLDER where its only input
    stands, None where a template takes more than one text.
    """

    train: Sequence[Example]
    test: Sequence[Example]
    family: str
    parser: str
    metric: str
    layout: str | None
    options: MetricOptions = DEFAULT_METRIC_OPTIONS


@dataclass(frozen=True)
class Baseline:
    """When a baseline makes sense, and its answers to `task.test`."""

    fits: Callable[[BaselineTask], bool]
    answer: Callable[[BaselineTask], list[Prediction]]


def baseline_predictions(task: BaselineTask) -> dict[str, list[Prediction]]:
    """The answers of every baseline that fits the task, by the system's name."""
    return {
        name: baseline.answer(task) for name, baseline in BASELINES.items() if baseline.fits(task)
    }


def majority_predictions(
    train: Sequence[Example], examples: Sequence[Example], parser: str = "choice"
) -> list[Prediction]:
    """The training answer that is right most often, given to every example; for numbers the median,
    for tagged words each word's commonest tag.

    Among an example's own choices where it has any; the first seen of equals.
    """
    if parser == "tags":
        texts = commonest_tags(train, examples)
        return [_prediction(e, text) for e, text in zip(examples, texts, strict=True)]
    counts = Counter(example.completion for example in train)
    constant = max(counts, key=lambda text: counts[text], default="")
    numbers = [value for text in counts.elements() if (value := parse_number(text)) is not None]
    if parser == "number" and numbers:
        constant = f"{statistics.median(numbers):.15g}"
    return [
        _prediction(e, max(e.choices, key=lambda c: counts[c]) if e.choices else constant)
        for e in examples
    ]


def constant_predictions(
    train: Sequence[Example],
    examples: Sequence[Example],
    metric: str,
    parser: str,
    options: MetricOptions = DEFAULT_METRIC_OPTIONS,
) -> list[Prediction]:
    """One training answer given to every example: the one that scores best as the answer to all.

    What a model must beat that has learned more than how answers look. Candidates, and the rows
    they are tried on, are at most CONSTANT_ROWS training examples spread over the split.
    """
    step = max(1.0, len(train) / CONSTANT_ROWS)
    sample = [train[int(i * step)] for i in range(min(len(train), CONSTANT_ROWS))]
    kind, ones = find_metric(metric), np.ones((1, len(sample)))

    def value(text: str) -> float:
        predictions = [_prediction(example, text) for example in sample]
        answers = Answers(sample, predictions, parser, options)
        return kind.sign * float(kind.value(ones, kind.rows(answers))[0])

    best = max(dict.fromkeys(example.completion for example in sample), key=value)
    return [_prediction(example, best) for example in examples]


def copy_predictions(examples: Sequence[Example], layout: str | None = None) -> list[Prediction]:
    """The input as its own answer: the prompt without its `layout`, or the whole of it."""
    before, _, after = (layout or PLACEHOLDER).partition(PLACEHOLDER)
    return [
        _prediction(example, example.prompt.removeprefix(before).removesuffix(after))
        for example in examples
    ]


def linear_predictions(
    train: Sequence[Example], test: Sequence[Example], parser: str = "choice"
) -> list[Prediction]:
    """scikit-learn's logistic regression on word 1- and 2-gram TF-IDF of the prompts; for sets of
    labels one for each label.

    Where it cannot be fitted (one label in all rows, or no word in any) the commonest answer, which
    is what is left of it.
    """
    fit = linear_sets if parser == "labels" else _linear_labels
    try:
        answers = fit(train, test)
    except ValueError:
        return majority_predictions(train, test, "choice")
    return [_prediction(example, text) for example, text in zip(test, answers, strict=True)]


def _linear_labels(train: Sequence[Example], test: Sequence[Example]) -> list[str]:
    # scikit-learn takes a second to import, and only this baseline needs it
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415

    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=1000),
    )
    model.fit([example.prompt for example in train], [example.completion for example in train])
    return [str(label) for label in model.predict([example.prompt for example in test])]


def _prediction(example: Example, text: str) -> Prediction:
    return Prediction(example.id, text, stopped=True, num_tokens=0)


def _has_a_majority(task: BaselineTask) -> bool:
    """Free text and JSON rarely repeat an answer: they get the best constant one instead."""
    return task.parser in ("choice", "number", "labels", "tags")


BASELINES: dict[str, Baseline] = {
    "majority": Baseline(
        _has_a_majority, lambda task: majority_predictions(task.train, task.test, task.parser)
    ),
    "constant": Baseline(
        lambda task: task.parser == "labels" or not _has_a_majority(task),
        lambda task: constant_predictions(
            task.train, task.test, task.metric, task.parser, task.options
        ),
    ),
    "copy": Baseline(
        lambda task: task.family in COPY_FAMILIES,
        lambda task: copy_predictions(task.test, task.layout),
    ),
    LINEAR: Baseline(
        lambda task: task.parser == "labels" or bool(task.test[0].choices),
        lambda task: linear_predictions(task.train, task.test, task.parser),
    ),
}
