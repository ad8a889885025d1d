"""What is said about a column's labels before anything is trained."""

from __future__ import annotations

import pytest

from tunesmith.data.label_findings import SeenLabel, joined_labels, label_notes, same_spelling


def notes(**rows: int) -> list[str]:
    return label_notes("mood", {name: SeenLabel(f"a.csv:{n}", n) for name, n in rows.items()})


def test_ordinary_labels_need_no_word() -> None:
    assert notes(sad=3, glad=4) == []
    assert notes() == []


@pytest.mark.parametrize("word", ["NaN", "None", "null", "N/A", "NA", "<NA>"])
def test_a_word_for_no_value_is_named_with_its_share(word: str) -> None:
    assert notes(**{"sad": 40, "glad": 48, word: 12}) == [
        f"the column 'mood' has the label '{word}' (12 of 100 rows, 12.0%, first a.csv:12), which "
        "often means that there is none, and is trained as a class: empty the cells of rows "
        "without a label, or name it among data.labels"
    ]


def test_spellings_of_one_label_are_named_with_a_line_that_joins_them() -> None:
    assert notes(positive=9, Positive=5, POSITIVE=2, **{"positive.": 3}, negative=8) == [
        "the column 'mood' spells labels in several ways, each of which is a class of its own: "
        "'positive' (9, first a.csv:9), 'Positive' (5, first a.csv:5), "
        "'POSITIVE' (2, first a.csv:2), 'positive.' (3, first a.csv:3); one name for each: "
        "data.labels: {POSITIVE: positive, Positive: positive, negative: negative, "
        "positive: positive, positive.: positive}"
    ]


@pytest.mark.parametrize(
    "one, other",
    [
        ("very good", "very_good"),
        ("Very-Good", "very  good"),
        ("'yes'", "Yes!"),
        ("caf\u00e9", "CAFE\u0301"),
        ("true", "True"),
    ],
)
def test_what_counts_as_one_spelling(one: str, other: str) -> None:
    assert same_spelling(one) == same_spelling(other)


@pytest.mark.parametrize(
    "one, other",
    [
        ("C", "C++"),
        ("C", "C#"),
        ("-1", "1"),
        (":)", ":("),
        ("1.5", "15"),
        ("A", "B"),
        ("R&D", "RD"),
    ],
)
def test_what_does_not(one: str, other: str) -> None:
    assert same_spelling(one) != same_spelling(other)


def test_numbers_ask_for_names_in_order_or_as_a_mapping() -> None:
    assert notes(**{"0": 5, "1": 6}) == [
        "the labels in 'mood' are 0 and 1, which say nothing to a language model: where they have "
        "names, give them: data.labels: [NAME OF 0, NAME OF 1]"
    ]
    assert notes(**{"1": 5, "-1": 6})[0].endswith("data.labels: {'-1': NAME OF -1, '1': NAME OF 1}")
    assert notes(**{"1": 5, "two": 6}) == []


def test_labels_of_all_files_of_a_task_are_counted_together() -> None:
    train, test = {"a": SeenLabel("a.csv:2", 3)}, {"a": SeenLabel("b.csv:2", 1)}
    assert joined_labels([train, test]) == {"a": SeenLabel("a.csv:2", 4)}
