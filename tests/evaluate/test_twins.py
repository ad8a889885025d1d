"""The score without the test rows that have a near-twin in training, against hand computation."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tunesmith.evaluate.compare import compare, evaluate
from tunesmith.evaluate.twins import twin_scores
from tunesmith.records import Comparison, Evaluation, Example, Prediction, TwinScores

N = 40
EXAMPLES = {
    f"{row}/one": Example(f"{row}/one", f"{row}", "one", "?", "good", ("good",), ("good", "bad"))
    for row in range(N)
}


def answered(system: str, right: set[int]) -> Evaluation:
    predictions = [
        Prediction(example_id, "good" if row in right else "bad", True, 1)
        for row, example_id in enumerate(EXAMPLES)
    ]
    return evaluate(system, "test", list(EXAMPLES.values()), predictions, ["accuracy"], "choice")


def against(a: Evaluation, tuned: Sequence[Evaluation], metric: str) -> Comparison:
    return compare(a, tuned[0], metric, resamples=1000)


def found(twins: set[int], base: set[int], tuned: set[int]) -> TwinScores:
    systems = answered("base", base), [answered("tuned", tuned)]
    whole = against(*systems, "accuracy")
    return twin_scores(EXAMPLES, {str(row) for row in twins}, systems, whole, against)


def test_the_rows_with_a_twin_are_left_out_of_both_systems() -> None:
    # the base has rows 0 to 9 right, the tuned model 0 to 29; rows 10 to 19 have a twin
    scores = found(set(range(10, 20)), set(range(10)), set(range(30)))
    assert (scores.rows, scores.rows_with_twin) == (40, 10)
    assert scores.levels == (pytest.approx(10 / 30), pytest.approx(20 / 30))
    assert scores.without is not None
    assert scores.without.n == 30
    assert (scores.without.wins, scores.without.losses) == (10, 0)
    assert scores.without.difference == pytest.approx(10 / 30)
    assert scores.sentence.startswith(
        "10 of the 40 test rows have a near-twin in training. Without them: accuracy 66.7 % "
        "against 33.3 %, +33.3 points ["
    )
    assert scores.sentence.endswith("; with all rows +50.0 points.")


def test_a_verdict_that_rests_on_twins_alone_is_named() -> None:
    # all that was gained are the rows that have a twin
    scores = found(set(range(10, 30)), set(range(10)), set(range(30)))
    assert scores.without is not None
    assert scores.without.difference == 0
    assert scores.sentence.endswith(" By these alone the verdict is: cannot tell.")


def test_rows_are_counted_once_however_many_wordings_they_have() -> None:
    examples = [
        Example(f"{row}/{wording}", f"{row}", wording, "?", "good", ("good",), ("good", "bad"))
        for row in range(20)
        for wording in ("one", "two")
    ]
    predictions = [Prediction(e.id, "good", True, 1) for e in examples]
    base, tuned = (
        evaluate(name, "test", examples, predictions, ["accuracy"], "choice")
        for name in ("base", "tuned")
    )
    whole = against(base, [tuned], "accuracy")
    by_id = {e.id: e for e in examples}
    scores = twin_scores(by_id, {"3", "another split's"}, (base, [tuned]), whole, against)
    assert (scores.rows, scores.rows_with_twin) == (20, 1)
    assert scores.sentence.startswith("1 of the 20 test rows has a near-twin in training.")
    assert scores.without is not None
    assert scores.without.n == 38


@pytest.mark.parametrize(
    "twins, sentence",
    [
        (set(), "None of the 40 test rows has a near-twin in training."),
        (
            set(range(39)),
            "39 of the 40 test rows have a near-twin in training: too few are left to judge "
            "without them.",
        ),
    ],
)
def test_with_no_twin_or_nothing_but_twins_there_is_only_the_count(
    twins: set[int], sentence: str
) -> None:
    scores = found(twins, set(range(10)), set(range(30)))
    assert scores.sentence == sentence
    assert (scores.without, scores.levels) == (None, None)
