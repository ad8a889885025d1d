"""What a metric is given and what it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from tunesmith.data.templates.families import Parser
from tunesmith.errors import DataError
from tunesmith.evaluate.parse import Json, has_json, parse
from tunesmith.evaluate.statistics import Floats, Interval, Kind, Value, weighted_mean
from tunesmith.recipe import DEFAULT_METRIC_OPTIONS, MetricOptions
from tunesmith.records import ClassScores, Example, Prediction

Unit: TypeAlias = Literal["fraction", "points", "plain"]
"""`fraction`: 0 to 1, shown as a percentage; `points`: 0 to 100; `plain`: shown as it is."""

Needs: TypeAlias = Literal[
    "text", "choice_logprobs", "choice_logprobs_without_stop", "reference_logprob"
]
"""The part of a prediction that a metric reads."""


@dataclass(frozen=True)
class Answers:
    """Examples and their predictions, in the same order, the parser that reads both, and the
    settings of metrics that have some.
    """

    examples: Sequence[Example]
    predictions: Sequence[Prediction]
    parser: str
    options: MetricOptions = DEFAULT_METRIC_OPTIONS

    @cached_property
    def texts(self) -> list[str]:
        """What the system answered, stripped."""
        return [prediction.text.strip() for prediction in self.predictions]

    @cached_property
    def references(self) -> list[tuple[str, ...]]:
        """All right answers of each example, stripped; at least one."""
        return [tuple(r.strip() for r in e.references or (e.completion,)) for e in self.examples]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The declared choices; in a task without them, every answer that is right somewhere."""
        seen: dict[str, None] = {}
        for example, references in zip(self.examples, self.references, strict=True):
            seen.update(dict.fromkeys(example.choices or references))
        return tuple(seen)

    @cached_property
    def choices(self) -> list[tuple[str, ...]]:
        """The choices of each example, all labels where it has none."""
        return [example.choices or self.labels for example in self.examples]

    @cached_property
    def parsed(self) -> list[Json]:
        """What the parser reads in each prediction, None where it cannot."""
        return [
            parse(text, self.parser, choices)
            for text, choices in zip(self.texts, self.choices, strict=True)
        ]

    @cached_property
    def valid(self) -> Floats:
        """1 where the answer has the task's format: a choice, a number, JSON, a text that is not
        empty.
        """
        # a bare null is valid JSON, but is parsed to None like an answer that cannot be read
        if self.parser == "json":
            return np.array([float(has_json(text)) for text in self.texts])
        return np.array([float(value is not None and value != "") for value in self.parsed])

    def where(self, i: int) -> str:
        """The file and line of example i, for error messages."""
        example = self.examples[i]
        return f"{example.source or 'example'} ({example.id})"

    def parsed_references(self, parser: str) -> list[tuple[Json, ...]]:
        """The references of each example as `parser` reads them; a choice is taken as it is.

        Raises:
            DataError: a reference cannot be read.
        """
        rows: list[tuple[Json, ...]] = []
        for i, references in enumerate(self.references):
            values: tuple[Json, ...] = (
                references
                if parser == "choice"
                else tuple(parse(reference, parser, self.labels) for reference in references)
            )
            if None in values:
                unread = references[values.index(None)]
                raise DataError(f"{self.where(i)}: the reference {unread[:80]!r} is not a {parser}")
            rows.append(values)
        return rows


@dataclass(frozen=True)
class Metric:
    """One entry of the table of metrics: how it is computed, and how it is shown and chosen.

    A metric is computed in two steps, so that thousands of resamples are cheap: `rows` reads the
    answers once, `value` combines the rows under any weighting. A per-example metric has one
    column, its score, and `value` is their weighted mean; a corpus metric has the counts that it
    is computed from.

    Attributes:
        title: As shown in reports and plots.
        rows: answers -> rows_ND, one row for each example.
        value: (weights_RN, rows_ND) -> values_R.
        quality: rows_ND -> quality_N, higher is better. It only says which of two answers to an
            example is the better one. None: the first column, with the sign of the metric.
        higher_is_better: False for errors and perplexity.
        binary: The scores are 0 and 1: proportions, with Wilson's interval and McNemar's test.
        unit: How a value is written.
        range: The least and the greatest value there can be; intervals stay inside. None: 0 to 1
            for a fraction, 0 to 100 for points, and no ends for a plain number.
        support: rows_ND -> support_K, the rows of each class, for a metric that averages K classes
            with equal weight; intervals need a few rows of each. None: all rows count alike.
        correlation: The value is a correlation of numbers, which has an interval of its own.
        log_scale: The value is e to the power of a mean, whose interval it has.
        weights: rows_ND -> weight_N, the denominators of a value that is a ratio of sums: how much
            each row weighs in it. None: all weigh the same.
        parsers: The parsers that read answers for this metric, the preferred one first;
            `tunesmith score` takes the first that suits the references.
        needs: What a prediction must hold. Metrics of likelihoods cannot be asked for in a recipe,
            because baselines without a model have none; they are added where they can be computed.
        uses_reference: False where only the form of an answer counts.
        auxiliary: Shown in the second table, beside the task's metrics.
        by_class: The report adds a table of classes and the confusion matrix.
        per_class: The table of classes, for answers that have several at once and so no matrix.
        warn: A warning that the report shows, or None.
        signature: The settings that must agree for two scores to be comparable, written as
            sacrebleu does.
    """

    title: str
    rows: Callable[[Answers], Floats]
    value: Value = weighted_mean
    quality: Callable[[Floats], Floats] | None = None
    higher_is_better: bool = True
    binary: bool = False
    unit: Unit = "fraction"
    range: Interval | None = None
    support: Callable[[Floats], Floats] | None = None
    correlation: bool = False
    log_scale: bool = False
    weights: Callable[[Floats], Floats] | None = None
    parsers: tuple[Parser, ...] = ("text",)
    needs: Needs = "text"
    uses_reference: bool = True
    auxiliary: bool = False
    by_class: bool = False
    per_class: Callable[[Answers], list[ClassScores]] | None = None
    warn: Callable[[Answers], str | None] | None = None
    signature: Callable[[Answers], str] | None = None

    @property
    def per_example(self) -> bool:
        """Whether every example has its own score."""
        return self.value is weighted_mean

    @property
    def kind(self) -> Kind:
        """What intervals need to know."""
        ends = {"fraction": (0.0, 1.0), "points": (0.0, 100.0), "plain": (-math.inf, math.inf)}
        return Kind(
            self.range or ends[self.unit],
            self.binary,
            self.support,
            self.correlation,
            self.log_scale,
            self.weights,
        )

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return 1 if self.higher_is_better else -1

    def gain_interval(self, ci: tuple[float, float]) -> tuple[float, float]:
        """The interval of a gain, which is positive where it is better, from a difference's."""
        low, high = ci
        return (low, high) if self.higher_is_better else (-high, -low)

    def row_quality(self, rows_ND: Floats) -> Floats:
        """quality_N, higher is better: for wins, ties and losses."""
        return self.quality(rows_ND) if self.quality else self.sign * rows_ND[:, 0]


def per_example(score: Callable[[Answers], Sequence[float]]) -> Callable[[Answers], Floats]:
    """The rows of a metric that scores each example: scores_N as rows_ND with one column."""

    def rows(answers: Answers) -> Floats:
        return np.asarray(score(answers), dtype=float).reshape(-1, 1)

    return rows


def of_sums(function: Callable[[Floats], Floats]) -> Value:
    """The value of a corpus metric that is a function of column sums (sums_RD -> values_R)."""

    def value(weights_RN: Floats, rows_ND: Floats) -> Floats:
        return function(weights_RN @ rows_ND)

    return value


def best_over_references(answers: Answers, score: Callable[[str, str], float]) -> list[float]:
    """score(text, reference), the best over each example's references."""
    pairs = zip(answers.texts, answers.references, strict=True)
    return [max(score(text, reference) for reference in references) for text, references in pairs]
