"""Entity F1 beside seqeval, which is its reference implementation."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.data.templates.tag_cells import write_tagged
from tunesmith.evaluate.metrics import score_predictions
from tunesmith.evaluate.metrics.tagging import entities
from tunesmith.records import Example, Prediction

METRICS = ["entity_f1", "entity_precision", "entity_recall"]
BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
TAGS = [*BIO, "E-PER", "S-PER", "E-LOC", "S-LOC", "B", "I", "E", "S", "I-A-B", "PER"]


def example(number: int, words: str, tags: str) -> Example:
    text = write_tagged(words.split(), tags.split())
    return Example(f"{number}", f"{number}", "", "", text, (text,))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(TAGS), max_size=9))
def test_entities_are_those_of_seqeval(tags: list[str]) -> None:
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling", reason="no seqeval here")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns of each tag that is not of a BIO scheme
        assert entities(tags) == labeling.get_entities(tags)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(*[st.sampled_from(BIO)] * 2), min_size=1, max_size=6),
        min_size=1,
        max_size=5,
    )
)
def test_precision_recall_and_f1_are_those_of_seqeval(rows: list[list[tuple[str, str]]]) -> None:
    seqeval = pytest.importorskip("seqeval.metrics", reason="no seqeval here")
    right, found = ([[pair[i] for pair in row] for row in rows] for i in (0, 1))
    words = ["word" + str(i) for i in range(6)]
    examples = [
        example(i, " ".join(words[: len(tags)]), " ".join(tags)) for i, tags in enumerate(right)
    ]
    predictions = [
        Prediction(f"{i}", write_tagged(words[: len(tags)], tags), True, 0)
        for i, tags in enumerate(found)
    ]
    corpus = score_predictions(examples, predictions, METRICS, "tags").corpus
    for name in ("f1", "precision", "recall"):
        reference = getattr(seqeval, f"{name}_score")(right, found, zero_division=0)
        assert corpus[f"entity_{name}"] == pytest.approx(reference)


def test_hand_counted_entities() -> None:
    tags = ["B-PER", "I-PER", "O", "I-LOC", "B-LOC", "I-PER"]
    assert entities(tags) == [("PER", 0, 1), ("LOC", 3, 3), ("LOC", 4, 4), ("PER", 5, 5)]


def test_the_counts_are_over_all_rows_and_a_short_answer_is_filled_up_and_said() -> None:
    examples = [
        example(0, "Ada met Bob", "B-PER O B-PER"),
        example(1, "in New York", "O B-LOC I-LOC"),
        example(2, "it rains", "O O"),
    ]
    texts = ["Ada B-PER\nmet O", "in O\nNew B-LOC\nYork I-LOC", "it B-LOC\nrains O"]
    predictions = [Prediction(f"{i}", text, True, 0) for i, text in enumerate(texts)]
    result = score_predictions(examples, predictions, METRICS, "tags")
    assert result.corpus == {
        "entity_f1": pytest.approx(2 * 2 / (3 + 3)),
        "entity_precision": pytest.approx(2 / 3),
        "entity_recall": pytest.approx(2 / 3),
    }
    assert result.rows["entity_f1"].tolist() == [[1, 1, 2], [1, 1, 1], [0, 1, 0]]
    assert result.details["warnings"] == [
        "1 of 3 answers do not have one tag for each word: "
        "missing tags count as O, further ones are left out"
    ]


def test_an_answer_without_tags_is_not_valid_and_has_no_entity() -> None:
    result = score_predictions(
        [example(0, "Ada left", "B-PER O")],
        [Prediction("0", "I do not know", True, 0)],
        METRICS,
        "tags",
    )
    assert result.scores["valid"] == [0.0]
    assert result.rows["entity_f1"].tolist() == [[0, 0, 1]]
