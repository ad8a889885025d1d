"""Where the format and not the knowledge decides, the report says so."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tunesmith.evaluate.compare import compare, evaluate
from tunesmith.evaluate.unreadable import unreadable_notes, unreadable_systems
from tunesmith.records import Comparison, Evaluation, Example, Prediction

LABELS = ("good", "bad")
N = 20


def logprobs(i: int, right: int | None) -> tuple[float, ...]:
    if right is None:
        return ()
    return (-1.0, -2.0) if i < right else (-2.0, -1.0)


def answered(system: str, texts: Sequence[str], right: int | None) -> Evaluation:
    """`right` of the N rows have their right label as the likeliest one; None: no likelihoods."""
    examples = [
        Example(f"{i}", f"{i}", "", "", "good", ("good",), LABELS) for i in range(len(texts))
    ]
    predictions = [
        Prediction(
            f"{i}",
            text,
            True,
            1,
            choice_logprobs=logprobs(i, right),
            choice_logprobs_without_stop=logprobs(i, right),
        )
        for i, text in enumerate(texts)
    ]
    metrics = ["accuracy"] if right is None else ["accuracy", "choice_acc"]
    return evaluate(system, "test", examples, predictions, metrics, "choice")


def few(a: Evaluation, b: Evaluation, metric: str) -> Comparison:
    return compare(a, b, metric)


def test_a_system_above_a_tenth_is_named_with_the_comparison_by_likelihood() -> None:
    base = answered("base", ["good"] * 13 + ["what?"] * 7, right=12)
    tuned = answered("tuned", ["good"] * 20, right=18)
    (found,) = unreadable_systems([base, tuned], few)
    assert (found.system, found.share) == ("base", pytest.approx(7 / 20))
    assert found.levels == (0.6, 0.9)
    assert found.ranked is not None
    assert found.ranked.difference == pytest.approx(0.3)
    (note,) = unreadable_notes([found])
    assert note.startswith(
        "Base model: 35 % of the answers could not be read: the format, not the knowledge, "
        "decides this comparison. By the likeliest label, which needs no reading: "
        "Base model 60.0 %, Tuned model 90.0 %, +30.0 points ["
    )


@pytest.mark.parametrize(("unread", "named"), [(0, 0), (2, 0), (3, 1)])
def test_a_tenth_itself_is_not_above_a_tenth(unread: int, named: int) -> None:
    base = answered("base", ["good"] * (N - unread) + [""] * unread, right=None)
    assert len(unreadable_systems([base], few)) == named


def test_a_tuned_model_that_cannot_be_read_is_compared_with_its_base() -> None:
    base = answered("base", ["good"] * N, right=10)
    tuned = answered("tuned", ["what?"] * N, right=10)
    (found,) = unreadable_systems([base, tuned], few)
    assert found.system == "tuned"
    assert found.ranked is not None
    assert (found.ranked.a, found.ranked.b, found.ranked.difference) == ("base", "tuned", 0.0)


def test_without_likelihoods_only_the_share_is_said() -> None:
    base = answered("base", ["what?"] * N, right=None)
    tuned = answered("tuned", ["good"] * N, right=10)
    (found,) = unreadable_systems([base, tuned], few)
    assert found.ranked is None
    assert unreadable_notes([found]) == [
        "Base model: 100 % of the answers could not be read: the format, not the knowledge, "
        "decides this comparison"
    ]


def test_free_text_is_always_read() -> None:
    examples = [Example(f"{i}", f"{i}", "", "", "good", ("good",)) for i in range(N)]
    predictions = [Prediction(f"{i}", "", True, 1) for i in range(N)]
    silent = evaluate("base", "test", examples, predictions, ["exact_match"], "text")
    assert unreadable_systems([silent], few) == []
