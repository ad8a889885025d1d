"""What is answered without a model."""

from __future__ import annotations

import pytest

from tunesmith.data.build import PLACEHOLDER
from tunesmith.evaluate.baselines import (
    BASELINES,
    BaselineTask,
    baseline_predictions,
    constant_predictions,
    copy_predictions,
    linear_predictions,
    majority_predictions,
)
from tunesmith.evaluate.system_table import LINEAR, SYSTEMS, TUNED
from tunesmith.records import Example, Prediction

LABELS = ("bad", "fair", "good")


def example(prompt: str, completion: str = "yes", choices: tuple[str, ...] = ()) -> Example:
    return Example(prompt, prompt, "t", prompt, completion, (completion,), choices)


def test_the_majority_is_the_commonest_training_answer_among_the_choices_there_are() -> None:
    train = [
        Example(str(i), "", "", "", label)
        for i, label in enumerate(["good", "bad", "good", "fair", "fair", "good"])
    ]
    examples = [
        Example("a", "", "", "", "bad", choices=LABELS),
        Example("b", "", "", "", "bad", choices=("bad", "fair")),
    ]
    assert [p.text for p in majority_predictions(train, examples)] == ["good", "fair"]
    free = [Example("c", "", "", "", "x")]
    assert [p.text for p in majority_predictions(train, free, "text")] == ["good"]


def test_the_constant_for_numbers_is_the_median() -> None:
    train = [
        Example(str(i), "", "", "", text) for i, text in enumerate(["1", "1", "5", "4", "3.5"])
    ]
    assert majority_predictions(train, [Example("a", "", "", "", "2")], "number")[0].text == "3.5"


def test_the_median_keeps_all_its_digits() -> None:
    train = [Example("1", "", "", "", "1234567")]
    assert majority_predictions(train, [train[0]], "number")[0].text == "1234567"


def test_the_best_constant_answer_is_the_one_most_like_the_others() -> None:
    train = [Example(t, t, "", "", t) for t in ("a b c", "a b d", "a b e", "x y z", "a q r")]
    examples = [Example("1", "1", "", "", "a b f"), Example("2", "2", "", "", "z")]
    found = constant_predictions(train, examples, "token_f1", "text")
    # tokens without the article a: "b c", "b d" and "b e" share one of two with each other, the
    # others share none
    assert [p.text for p in found] == ["a b c", "a b c"]
    often = [Example(str(i), str(i), "", "", text) for i, text in enumerate(["p", "q", "q", "r"])]
    assert constant_predictions(often, examples, "exact_match", "text")[0].text == "q"
    # for an error the lowest: the sums of distances to 1 9 2 4 3 are 14 26 11 11 10
    numbers = [Example(n, n, "", "", n) for n in ("1", "9", "2", "4", "3")]
    assert constant_predictions(numbers, examples, "mae", "number")[0].text == "3"


def test_copying_the_input_is_the_prompt_without_its_layout() -> None:
    examples = [Example("a", "", "", "Rewrite: x!", "y")]
    assert copy_predictions(examples) == [Prediction("a", "Rewrite: x!", True, 0)]
    assert copy_predictions(examples, f"Rewrite: {PLACEHOLDER}!")[0].text == "x"


@pytest.mark.parametrize(
    "train", [[example("Q1"), example("Q2")], [example("!"), example("?", "no")]]
)
def test_a_linear_model_that_cannot_be_fitted_gives_the_commonest_label(
    train: list[Example],
) -> None:
    """One label only; no word in any row."""
    assert [p.text for p in linear_predictions(train, [example("Q3")])] == ["yes"]


@pytest.mark.parametrize(
    ("family", "parser", "choices", "names"),
    [
        ("classify", "choice", ("no", "yes"), ["majority", LINEAR]),
        ("score", "number", (), ["majority"]),
        ("summarise", "text", (), ["constant", "copy"]),
        ("extract", "json", (), ["constant"]),
    ],
)
def test_a_task_gets_the_baselines_that_fit_its_answers(
    family: str, parser: str, choices: tuple[str, ...], names: list[str]
) -> None:
    train = [example("good food", "1", choices), example("bad food", "2", choices)]
    test = [example("food", "1", choices)]
    found = baseline_predictions(BaselineTask(train, test, family, parser, "exact_match", None))
    assert list(found) == names
    assert all([p.example_id for p in predictions] == ["food"] for predictions in found.values())


def test_every_baseline_is_in_the_table_and_the_linear_one_is_no_reference() -> None:
    assert set(BASELINES) <= set(SYSTEMS)
    assert [s.name for s in SYSTEMS.values() if not s.reference] == [LINEAR, TUNED]
