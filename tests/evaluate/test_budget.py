"""Validation in training costs at most a fifth of it, counted in tokens."""

from __future__ import annotations

from tunesmith.evaluate.budget import affordable_rows


def test_a_fifth_of_an_epoch_worked_out_by_hand() -> None:
    # 3 passes over 30,000 tokens are 90,000; a fifth of it is 18,000; a row is 200 + 4 * 40 = 360
    assert (
        affordable_rows(30_000, prompt_tokens=200, answer_tokens=40, num_choices=0, most=200) == 50
    )


def test_ranked_choices_read_the_prompt_again_and_each_choice() -> None:
    # a row is 200 + 4 * 2 + (200 + 6 * 2) = 420
    assert (
        affordable_rows(30_000, prompt_tokens=200, answer_tokens=2, num_choices=6, most=200) == 42
    )


def test_never_fewer_than_sixteen_rows_nor_more_than_were_asked_for() -> None:
    assert affordable_rows(10, 200, 40, 0, most=200) == 16
    assert affordable_rows(10, 200, 40, 0, most=9) == 9
    assert affordable_rows(10**9, 200, 40, 0, most=200) == 200
    assert affordable_rows(100, 0, 0, 0, most=200) == 60
