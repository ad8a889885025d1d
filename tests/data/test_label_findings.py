"""What is said about a column's labels before anything is trained."""

from __future__ import annotations

import pytest

from tunesmith.data.label_findings import (
    SeenLabel,
    joined_labels,
    label_findings,
    same_spelling,
)
from tunesmith.records import Finding


def found(kind: str = "label", **rows: int) -> list[Finding]:
    seen = {name: SeenLabel(f"a.csv:{n}", n) for name, n in rows.items()}
    return label_findings("mood", seen, kind)


def names(kind: str = "label", **rows: int) -> list[str]:
    return [finding.name for finding in found(kind, **rows)]


def test_ordinary_labels_need_no_word() -> None:
    assert found(sad=3, glad=4) == []
    assert found() == []


@pytest.mark.parametrize("word", ["NaN", "None", "null", "N/A", "NA", "<NA>"])
def test_a_word_for_no_value_is_named_with_its_share(word: str) -> None:
    assert found(**{"sad": 40, "glad": 48, word: 12}) == [
        Finding(
            "null_label",
            "warning",
            f"the column 'mood' has the label '{word}' (12 of 100 rows, 12.0%, first a.csv:12), "
            "which often means that there is none, and is trained as a class",
            ("a.csv:12",),
            "empty the cells of rows without a label, or name it among data.labels",
        )
    ]


def test_spellings_of_one_label_are_named_with_a_line_that_joins_them() -> None:
    assert found(positive=9, Positive=5, POSITIVE=2, **{"positive.": 3}, negative=8) == [
        Finding(
            "label_spelling",
            "warning",
            "the column 'mood' spells labels in several ways, each of which is a class of its own: "
            "'positive' (9, first a.csv:9), 'Positive' (5, first a.csv:5), "
            "'POSITIVE' (2, first a.csv:2), 'positive.' (3, first a.csv:3)",
            ("a.csv:9", "a.csv:5", "a.csv:2", "a.csv:3"),
            "one name for each: data.labels: {POSITIVE: positive, Positive: positive, "
            "negative: negative, positive: positive, positive.: positive}",
        )
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


def test_a_rare_label_beside_a_common_one_is_a_typing_error_with_a_line_that_mends_it() -> None:
    (finding,) = found(positive=95, postive=4, negative=90)
    assert (finding.name, finding.severity) == ("label_typo", "warning")
    assert finding.message == (
        "the column 'mood' has rare labels that are nearly the same as common ones: "
        "'postive' (4, first a.csv:4) beside 'positive' (95, first a.csv:95)"
    )
    assert finding.hint == (
        "where they are typing errors: data.labels: "
        "{negative: negative, positive: positive, postive: positive}"
    )


@pytest.mark.parametrize("slip", ["postive", "posiitive", "positvie", "pozitive"])
def test_letters_left_out_doubled_swapped_or_changed_are_typing_errors(slip: str) -> None:
    assert names(positive=99, negative=99, **{slip: 1}) == ["label_typo"]


@pytest.mark.parametrize(
    "common, rare",
    [
        ("known", "unknown"),
        ("class 12", "class 13"),
        ("male", "female"),
        ("increase", "decrease"),
        ("joy", "toy"),
    ],
)
def test_other_words_are_other_labels(common: str, rare: str) -> None:
    assert names(**{common: 99, "else": 99, rare: 1}) == []


def test_two_common_labels_are_no_typing_errors_and_tags_never_are() -> None:
    # 5 in 95 is a twentieth and more
    assert names(positive=95, postive=5, negative=90) == []
    assert names("tags", **{"B-PERSON": 95, "I-PERSON": 2}) == []


def test_as_many_classes_as_rows_are_an_error_that_shows_two_of_them() -> None:
    ids = {f"id-{i}": 1 for i in range(20)}
    (finding,) = found(**ids)
    assert (finding.name, finding.severity) == ("one_class_per_row", "error")
    assert finding.message == (
        "the column 'mood' has 20 different labels in 20 rows, for example 'id-0' at a.csv:1 and "
        "'id-1' at a.csv:1: a class with one row cannot be learnt"
    )


def test_few_rows_or_two_of_each_class_are_no_error() -> None:
    assert names(**{f"id-{i}": 1 for i in range(19)}) == []
    assert names(**{f"id-{i}": 2 for i in range(20)}) == []
    assert names("labels", **{f"id-{i}": 1 for i in range(20)}) == []


def test_numbers_ask_for_names_in_order_or_as_a_mapping() -> None:
    assert found(**{"0": 5, "1": 6}) == [
        Finding(
            "number_labels",
            "warning",
            "the labels in 'mood' are 0 and 1, which say nothing to a language model",
            ("a.csv:5", "a.csv:6"),
            "where they have names, give them: data.labels: [NAME OF 0, NAME OF 1]",
        )
    ]
    signs = found(**{"1": 5, "-1": 6})[0]
    assert signs.hint.endswith("data.labels: {'-1': NAME OF -1, '1': NAME OF 1}")
    assert found(**{"1": 5, "two": 6}) == []


def test_labels_of_all_files_of_a_task_are_counted_together() -> None:
    train, test = {"a": SeenLabel("a.csv:2", 3)}, {"a": SeenLabel("b.csv:2", 1)}
    assert joined_labels([train, test]) == {"a": SeenLabel("a.csv:2", 4)}
