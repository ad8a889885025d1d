"""What every metric is given and what it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from tunesmith.errors import DataError
from tunesmith.evaluate.parse import load_json, parse
from tunesmith.evaluate.statistics import Floats, Value, weighted_mean
from tunesmith.records import Example, Prediction

Unit = Literal["fraction", "points", "plain"]


@dataclass(frozen=True)
class Answers:
    """Examples with the predictions made for them, in the same order, and the parser that reads
    both.
    """

    examples: Sequence[Example]
    predictions: Sequence[Prediction]
    parser: str

    @cached_property
    def texts(self) -> list[str]:
        return [prediction.text.strip() for prediction in self.predictions]

    @cached_property
    def references(self) -> list[tuple[str, ...]]:
        """All right answers of each example, stripped; one at least."""
        return [tuple(r.strip() for r in e.references or (e.completion,)) for e in self.examples]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The declared choices, or where a task declares none the answers that are right somewhere."""
        seen: dict[str, None] = {}
        for example, references in zip(self.examples, self.references, strict=True):
            seen.update(dict.fromkeys(example.choices or references))
        return tuple(seen)

    @cached_property
    def choices(self) -> list[tuple[str, ...]]:
        return [example.choices or self.labels for example in self.examples]

    @cached_property
    def parsed(self) -> list[Any]:
        """What the parser reads in each prediction, None where it cannot."""
        return [
            parse(text, self.parser, choices)
            for text, choices in zip(self.texts, self.choices, strict=True)
        ]

    @cached_property
    def valid(self) -> Floats:
        """1 where the answer has the format of the task: a choice, a number, JSON, or any text at
        all.
        """
        if self.parser == "json":
            return np.array([float(is_json(text)) for text in self.texts])
        return np.array([float(value is not None and value != "") for value in self.parsed])

    def where(self, i: int) -> str:
        example = self.examples[i]
        return f"{example.source or 'example'} ({example.id})"

    def parsed_references(self, parser: str) -> list[tuple[Any, ...]]:
        """References as `parser` reads them (a choice is read as it stands); DataError for one that
        it cannot read.
        """
        rows: list[tuple[Any, ...]] = []
        for i, references in enumerate(self.references):
            values = (
                references
                if parser == "choice"
                else tuple(parse(reference, parser) for reference in references)
            )
            if None in values:
                unread = references[values.index(None)]
                raise DataError(f"{self.where(i)}: the reference {unread[:80]!r} is not a {parser}")
            rows.append(values)
        return rows


@dataclass(frozen=True)
class Metric:
    """`rows(answers)` gives rows_ND, one row an example; `value(weights_RN, rows_ND)` the metric on
    weighted rows.

    A per-example metric has one column, its score, and the weighted mean for its value; a corpus
    metric has the counts it is computed from. `quality(rows_ND)`, higher is better, says only which
    of two answers to an example is the better one. `unit`: fraction (0 to 1, shown as percent),
    points (0 to 100), plain.
    """

    rows: Callable[[Answers], Floats]
    value: Value = weighted_mean
    quality: Callable[[Floats], Floats] | None = None
    higher_is_better: bool = True
    binary: bool = False
    unit: Unit = "fraction"

    @property
    def per_example(self) -> bool:
        return self.value is weighted_mean

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return 1 if self.higher_is_better else -1

    def row_quality(self, rows_ND: Floats) -> Floats:
        return self.quality(rows_ND) if self.quality else self.sign * rows_ND[:, 0]


def per_example(score: Callable[[Answers], Sequence[float]], **meta: Any) -> Metric:
    def rows(answers: Answers) -> Floats:
        return np.asarray(score(answers), dtype=float).reshape(-1, 1)

    return Metric(rows, **meta)


def from_sums(
    rows: Callable[[Answers], Floats], of_sums: Callable[[Floats], Floats], **meta: Any
) -> Metric:
    """A corpus metric that is a function of column sums (sums_RD -> values_R)."""

    def value(weights_RN: Floats, rows_ND: Floats) -> Floats:
        return of_sums(weights_RN @ rows_ND)

    return Metric(rows, value, **meta)


def best_over_references(answers: Answers, score: Callable[[str, str], float]) -> list[float]:
    """score(text, reference), the best over each example's references."""
    pairs = zip(answers.texts, answers.references, strict=True)
    return [max(score(text, reference) for reference in references) for text, references in pairs]


def is_json(text: str) -> bool:
    try:
        load_json(text)
    except ValueError:
        return False
    return True
