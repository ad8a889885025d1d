from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.records import Estimate
from tunesmith.report.format import (
    DASH,
    duration,
    estimate,
    fact,
    in_sentence,
    interval,
    lower_is_better,
    metric_name,
    number,
    p_value,
    percent,
    signed,
    system_name,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.8124, "0.812"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
        (-0.5, "−0.500"),
        (-0.0001, "0.000"),
        (None, DASH),
    ],
)
def test_a_number_has_three_decimals_below_ten_and_fewer_above(
    value: float | None, text: str
) -> None:
    assert number(value) == text


def test_a_metric_says_itself_whether_lower_is_better() -> None:
    assert all(map(lower_is_better, ("mae", "rmse", "ter", "perplexity", "bits_per_byte", "empty")))
    assert not any(map(lower_is_better, ("accuracy", "bleu", "valid", "something of another tool")))


def test_what_is_not_finite_is_a_dash() -> None:
    assert [number(math.nan), signed(math.inf), p_value(math.nan)] == [DASH, DASH, DASH]


def test_a_difference_carries_its_sign_and_zero_carries_none() -> None:
    assert [signed(0.0412), signed(-0.0412), signed(0.0), signed(0.0002)] == [
        "+0.041",
        "−0.041",
        "0.000",
        "0.000",
    ]


def test_an_estimate_is_mean_and_interval() -> None:
    assert estimate(Estimate(0.8123, 40, 0.02, (0.768, 0.852))) == "0.812 [0.77, 0.85]"


def test_without_an_interval_the_reason_stands_in_its_place() -> None:
    none = (math.nan, math.nan)
    found = Estimate(0.8123, 40, 0.02, none, "only 5 groups")
    assert estimate(found) == "0.812 (no interval: only 5 groups)"
    assert interval(none, plus=True, note="no row differs") == "(no interval: no row differs)"
    assert interval(none) == "(no interval)"


def test_a_narrow_interval_keeps_its_ends_apart() -> None:
    assert interval((0.8112, 0.8134)) == "[0.8112, 0.8134]"
    assert interval((0.0151, 0.0289), plus=True) == "[+0.015, +0.029]"


@given(st.floats(0, 1), st.floats(0.0005, 0.5))
@settings(deadline=None, max_examples=200)
def test_two_different_ends_are_never_printed_alike(low: float, width: float) -> None:
    first, last = interval((low, low + width)).strip("[]").split(", ")
    assert first != last


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0001, "< 0.001"), (0.00754, "0.0075"), (0.0391, "0.039"), (0.4, "0.40"), (1.0, "1.00")],
)
def test_p_is_never_printed_as_zero(p: float, text: str) -> None:
    assert p_value(p) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (48.2, "48 s"),
        (125, "2 min 5 s"),
        (3599.7, "1 h 0 min"),
        (12_000, "3 h 20 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_facts_know_seconds_and_bytes() -> None:
    assert fact("seconds", 48.2) == ("time", "48 s")
    assert fact("peak_memory_bytes", 1_234_000_000) == ("peak memory", "1.23 GB")
    assert fact("fused", True) == ("fused", "yes")
    assert fact("optimisers", ["adamw", "muon"]) == ("optimisers", "adamw; muon")


def test_names_of_ours_are_words_and_other_names_stay() -> None:
    assert [system_name("base_few_shot"), system_name("gpt_x")] == ["Base model, few-shot", "gpt x"]
    assert [metric_name("macro_f1"), metric_name("field_accuracy")] == [
        "Macro F1",
        "Field accuracy",
    ]


def test_names_keep_their_capitals_inside_a_sentence() -> None:
    names = ["Accuracy", "ROUGE-L", "F1", "Pearson r", "Base model", ""]
    assert [in_sentence(name) for name in names] == [
        "accuracy",
        "ROUGE-L",
        "F1",
        "Pearson r",
        "base model",
        "",
    ]


def test_confidence_is_shown_without_needless_decimals() -> None:
    assert [percent(0.95), percent(0.999)] == ["95 %", "99.9 %"]
