"""Metrics of sets of labels, beside scikit-learn's on indicator matrices."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, jaccard_score
from sklearn.preprocessing import MultiLabelBinarizer

from tunesmith.data.templates.label_cells import write_set
from tunesmith.evaluate.compare import compare, evaluate
from tunesmith.evaluate.metrics import MetricResult, score_predictions
from tunesmith.records import Example, Prediction

METRICS = ["exact_set", "jaccard", "multilabel_micro_f1", "multilabel_macro_f1"]
SETS = st.lists(st.frozensets(st.sampled_from(["a", "b", "c", "d, e"])), min_size=1, max_size=8)


def examples_of(right: Sequence[Sequence[str]]) -> list[Example]:
    texts = [write_set(labels) for labels in right]
    return [Example(f"{i}", f"{i}", "", "", text, (text,)) for i, text in enumerate(texts)]


def predictions_of(texts: Sequence[str]) -> list[Prediction]:
    return [Prediction(f"{i}", text, True, 0) for i, text in enumerate(texts)]


def score(right: Sequence[Sequence[str]], texts: Sequence[str]) -> MetricResult:
    return score_predictions(examples_of(right), predictions_of(texts), METRICS, "labels")


@settings(max_examples=60, deadline=None)
@given(SETS, st.data())
def test_each_metric_is_equal_to_scikit_learn_on_indicators(
    right: list[frozenset[str]], data: st.DataObject
) -> None:
    known = sorted({label for labels in right for label in labels})
    assume(len(known) > 1)  # one column is not a multi-label matrix to scikit-learn
    draw = st.frozensets(st.sampled_from(known))
    found = [data.draw(draw) for _ in right]
    result = score([sorted(labels) for labels in right], [write_set(labels) for labels in found])
    binarizer = MultiLabelBinarizer(classes=known)
    true, predicted = binarizer.fit_transform(right), binarizer.transform(found)
    options = {"zero_division": 0.0}
    assert result.corpus["multilabel_micro_f1"] == pytest.approx(
        f1_score(true, predicted, average="micro", **options)
    )
    assert result.corpus["multilabel_macro_f1"] == pytest.approx(
        f1_score(true, predicted, average="macro", **options)
    )
    assert sum(result.scores["exact_set"]) / len(right) == pytest.approx(
        accuracy_score(true, predicted)
    )
    assert sum(result.scores["jaccard"]) / len(right) == pytest.approx(
        jaccard_score(true, predicted, average="samples", zero_division=1.0)
    )


def test_an_unknown_label_is_a_false_positive() -> None:
    result = score([["a", "b"], ["a"]], ["a\nb\nz", "a"])
    assert result.scores["exact_set"] == [0.0, 1.0]
    assert result.scores["jaccard"] == [pytest.approx(2 / 3), 1.0]
    assert result.corpus["multilabel_micro_f1"] == pytest.approx(2 * 3 / (4 + 3))
    assert result.corpus["multilabel_macro_f1"] == 1.0


def test_an_answer_that_cannot_be_read_is_wrong_even_where_no_label_is_right() -> None:
    result = score([[], []], ["none", ""])
    assert result.scores["exact_set"] == [1.0, 0.0]
    assert result.scores["jaccard"] == [1.0, 0.0]
    assert result.scores["valid"] == [1.0, 0.0]


def test_of_several_right_sets_the_nearest_counts() -> None:
    example = Example("0", "0", "", "", "a\nb", ("a\nb", "c"))
    result = score_predictions([example], predictions_of(["c"]), METRICS, "labels")
    assert result.scores["exact_set"] == [1.0]
    assert result.corpus["multilabel_micro_f1"] == 1.0


def test_a_label_that_a_resample_does_not_draw_is_no_failure() -> None:
    """The interval of a faultless system is not pulled away from 1 by its rare labels."""
    right = [["a"], ["b"], ["c"], ["a"], ["a", "b"]] * 2
    perfect = evaluate(
        "perfect",
        "test",
        examples_of(right),
        predictions_of([write_set(labels) for labels in right]),
        METRICS,
        "labels",
    )
    found = perfect.estimates["multilabel_macro_f1"]
    assert (found.mean, found.ci[1]) == (1.0, 1.0)
    assert found.ci[0] > 0.6  # ten rows


def test_each_label_has_its_own_scores_and_there_is_no_confusion_matrix() -> None:
    details = score([["a", "b"], ["a"], ["b"]], ["a", "a\nb", "none"]).details
    assert details["per_class"] == [
        {"label": "a", "precision": 1.0, "recall": 1.0, "f1": 1.0, "n": 2},
        {"label": "b", "precision": 0.0, "recall": 0.0, "f1": 0.0, "n": 2},
    ]
    assert "confusion" not in details


def test_a_whole_set_beats_half_of_it() -> None:
    right = [["a", "b"], ["b", "c"], ["a", "c"]] * 10
    texts = {"half": [labels[0] for labels in right], "all": [", ".join(x) for x in right]}
    half, whole = (
        evaluate(
            name,
            "test",
            examples_of(right),
            predictions_of(found),
            METRICS,
            "labels",
        )
        for name, found in texts.items()
    )
    for metric in METRICS:
        comparison = compare(half, whole, metric, resamples=200)
        assert comparison.difference > 0
        assert (comparison.wins, comparison.losses) == (30, 0)
    assert whole.estimates["exact_set"].mean == 1.0
    assert half.estimates["jaccard"].mean == 0.5
