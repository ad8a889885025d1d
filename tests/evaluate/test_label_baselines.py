"""What the labels alone give, for sets of labels and for tagged words."""

from __future__ import annotations

import pytest

from tunesmith.evaluate.baselines import BaselineTask, baseline_predictions
from tunesmith.evaluate.label_baselines import commonest_tags, linear_sets
from tunesmith.records import Example


def example(number: int, prompt: str, completion: str) -> Example:
    return Example(f"{number}", f"{number}", "t", prompt, completion, (completion,))


SETS = [
    example(0, "red wine", "drink\nred"),
    example(1, "red apple", "fruit\nred"),
    example(2, "white wine", "drink"),
    example(3, "green apple", "fruit"),
    example(4, "gravel", "none"),
    example(5, "white wine again", "drink"),
] * 3


def task(train: list[Example], test: list[Example], parser: str, metric: str) -> BaselineTask:
    return BaselineTask(train, test, "", parser, metric, None)


def test_sets_have_the_commonest_set_the_best_constant_one_and_a_linear_model() -> None:
    test = [example(9, "red wine", "drink\nred"), example(10, "gravel", "none")]
    found = baseline_predictions(task(SETS, test, "labels", "jaccard"))
    answers = {name: [p.text for p in predictions] for name, predictions in found.items()}
    assert answers == {
        "majority": ["drink", "drink"],
        "constant": ["drink", "drink"],
        "tfidf_linear": ["drink\nred", "none"],
    }


def test_the_linear_model_gives_a_label_of_all_rows_to_all_and_sorts() -> None:
    train = [example(i, f"wine {i % 2}", "b\na" if i % 2 else "a") for i in range(8)]
    assert linear_sets(train, [example(9, "wine 0", "a")]) == ["a"]


def test_without_any_label_there_is_no_linear_model() -> None:
    rows = [example(i, "gravel", "none") for i in range(4)]
    with pytest.raises(ValueError, match="no label"):
        linear_sets(rows, rows)
    found = baseline_predictions(task(rows, rows, "labels", "jaccard"))
    assert {p.text for p in found["tfidf_linear"]} == {"none"}


def test_tagged_words_have_each_words_commonest_tag() -> None:
    train = [
        example(0, "", "Cork B-LOC\nrains O"),
        example(1, "", "Cork B-PER\nsings O"),
        example(2, "", "Cork B-LOC"),
    ]
    test = [example(3, "", "Ada B-PER\nin O\nCork B-LOC")]
    assert commonest_tags(train, test) == ["Ada O\nin O\nCork B-LOC"]
    found = baseline_predictions(task(train, test, "tags", "entity_f1"))
    assert list(found) == ["majority"]
