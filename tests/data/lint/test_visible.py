"""Answers that the prompt shows."""

from __future__ import annotations

import pytest

from tunesmith.data.lint.rules import Rendered
from tunesmith.data.lint.visible import visible_target
from tunesmith.records import Finding, Row

CHOICES = ("good", "bad")


def rows(*rendered: Rendered) -> list[tuple[Row, Rendered]]:
    return [(Row(str(i), {}, f"a.csv:{i + 2}"), one) for i, one in enumerate(rendered)]


def labelled(number: int, form: str, choices: tuple[str, ...] = CHOICES) -> list[Rendered]:
    """`form` with the row's own label for {own} and the other one for {other}."""
    pairs = [("good", "bad") if i % 2 else ("bad", "good") for i in range(number)]
    return [
        Rendered(form.format(own=own, other=other, i=i), own, choices)
        for i, (own, other) in enumerate(pairs)
    ]


def test_labels_in_nine_of_ten_prompts_are_an_error_that_shows_one() -> None:
    found = labelled(18, "good or bad? text {i} ({own})") + labelled(2, "good or bad? text {i}")
    assert visible_target(rows(*found)) == Finding(
        "target_in_prompt",
        "error",
        "the prompt names its own label, and no other as often, in 18 of 20 rows, for example "
        "a.csv:2: the answer 'bad' in 'good or bad? text 0 (bad)'",
        ("a.csv:2", "a.csv:3"),
        "take the answer out of the columns of the input",
    )


def test_labels_in_half_of_the_prompts_are_a_warning_unless_others_are_named_as_well() -> None:
    half = labelled(10, "text {i} {own}")
    finding = visible_target(rows(*half, *labelled(10, "text {i}")))
    assert finding is not None
    assert finding.severity == "warning"
    assert visible_target(rows(*half, *labelled(8, "text {i}"), *labelled(2, "{other}"))) is None


def test_a_list_of_the_choices_and_now_and_then_a_name_are_no_finding() -> None:
    plain, named = labelled(11, "good or bad? {i}"), labelled(9, "good or bad? {own} {i}")
    assert visible_target(rows(*plain, *named)) is None


def test_case_does_not_hide_a_label_and_parts_of_words_are_none() -> None:
    assert visible_target(rows(*labelled(20, "{own}".upper().replace("OWN", "own") + " {i}")))
    assert visible_target(rows(*labelled(20, "{own}ish {i}"))) is None


def test_few_different_answers_are_labels_although_no_template_says_so() -> None:
    found = labelled(20, "{i}: {own}?", choices=())
    finding = visible_target(rows(*found))
    assert finding is not None
    assert "names its own label" in finding.message


def test_answers_at_the_end_of_their_prompts_are_an_error() -> None:
    found = [Rendered(f"What is {i}? ans{i}", f"ans{i}") for i in range(20)]
    finding = visible_target(rows(*found))
    assert finding is not None
    assert finding.severity == "error"
    assert "the prompt ends with its own answer, in 20 of 20 rows" in finding.message


def test_the_last_letter_of_a_word_is_no_answer_at_its_end() -> None:
    words = ["".join(chr(97 + (i * k) % 26) for k in range(1, 5)) for i in range(26)]
    assert visible_target(rows(*(Rendered(word, word[-1]) for word in words))) is None


@pytest.mark.parametrize("extractive, severity", [(True, "warning"), (False, "error")])
def test_long_answers_inside_are_an_error_only_where_answers_are_written_anew(
    extractive: bool, severity: str
) -> None:
    found = [
        Rendered(f"It {i} rained a lot today. So.", f"{i} rained a lot today") for i in range(20)
    ]
    finding = visible_target(rows(*found), extractive)
    assert finding is not None
    assert finding.severity == severity


def test_short_answers_inside_are_extracts() -> None:
    found = [Rendered(f"In {1900 + i} it rained. When?", str(1900 + i)) for i in range(20)]
    assert visible_target(rows(*found), extractive=False) is None


def test_few_rows_say_nothing() -> None:
    assert visible_target(rows(*labelled(19, "{own}"))) is None
