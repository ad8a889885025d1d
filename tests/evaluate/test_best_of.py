"""The best of several models, and what the rows cannot tell from it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tunesmith.evaluate.best_of import as_good_as_the_best, best_of
from tunesmith.evaluate.compare import Resampling, compare, evaluate
from tunesmith.records import Evaluation, Example, Prediction

HOW = Resampling(confidence=0.95, resamples=100, seed=0)


def model(right: Sequence[bool]) -> Evaluation:
    """Answers to rows whose right answer is `yes`."""
    examples = [
        Example(f"r{i}", f"r{i}", "t", "q", "yes", ("yes",), ("yes", "no"), group=f"r{i}")
        for i in range(len(right))
    ]
    answers = [Prediction(f"r{i}", "yes" if ok else "no", True, 1) for i, ok in enumerate(right)]
    return evaluate("m", "validation", examples, answers, ["accuracy"], "choice")


def first(n: int, of: int = 100) -> list[bool]:
    return [i < n for i in range(of)]


def test_the_best_has_the_highest_value_and_of_equals_is_the_first() -> None:
    models = {1: model(first(60)), 2: model(first(80)), 3: model(first(80))}
    assert best_of(models, "accuracy") == 2


def test_what_is_far_from_the_best_is_told_from_it_and_what_is_near_is_not() -> None:
    models = {1: model(first(50)), 2: model(first(80)), 3: model(first(79))}
    assert as_good_as_the_best(models, "accuracy", HOW) == [2, 3]
    assert as_good_as_the_best({5: models[1]}, "accuracy", HOW) == [5]


def test_ten_rows_tell_nothing_apart() -> None:
    models = {1: model(first(7, 10)), 2: model(first(9, 10))}
    assert as_good_as_the_best(models, "accuracy", HOW) == [1, 2]


@pytest.mark.parametrize("others, told", [(1, True), (9, False)])
def test_with_more_trials_a_difference_has_to_be_clearer(others: int, told: bool) -> None:
    """Seven rows of a hundred lost and none won: enough at 95 %, not at 1 - 0.05 / 9."""
    best, second = model(first(80)), model(first(73))
    assert compare(best, second, "accuracy", **HOW).ci[1] < 0
    models = {0: best, **dict.fromkeys(range(1, others + 1), second)}
    found = as_good_as_the_best(models, "accuracy", HOW)
    assert (found == [0]) is told
