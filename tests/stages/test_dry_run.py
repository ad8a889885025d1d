"""What `plan` says that the test rows can show."""

from __future__ import annotations

import math

import pytest

from tunesmith.evaluate.power import smallest_accuracy_gain
from tunesmith.stages.dry_run import GainAt, Plan


def planned(rows: int, groups: int | None = None, metric: str = "accuracy") -> Plan:
    found = [smallest_accuracy_gain(groups or rows, share) for share in (0.5, 0.3, 0.1)]
    gains = tuple(
        GainAt(share, None if math.isnan(gain) else gain)
        for share, gain in zip((0.5, 0.3, 0.1), found, strict=True)
    )
    return Plan(
        rows={"train": 10, "validation": 5, "test": rows},
        steps=1, trained_tokens=1, tokens=1, parameters=1, learning_rate=1e-3, least_seconds=1.0,
        metric=metric, smallest_detectable=gains[0].gain, assumed_discordant=0.5, gains=gains,
        test_groups=groups or rows,
    )  # fmt: skip


@pytest.mark.parametrize(
    "rows, said", [(1, "one test row"), (5, "5 test rows"), (0, "0 test rows")]
)
def test_too_few_rows_cannot_show_any_gain(rows: int, said: str) -> None:
    """`plan` once said that one test row can show a gain of 153.4 points."""
    assert planned(rows).gain_sentence == (
        f"{said} cannot show any gain in accuracy that can occur"
    )


def test_the_gain_is_given_for_models_that_differ_much_or_little() -> None:
    assert planned(1000).gain_sentence == (
        "1,000 test rows can show a gain in accuracy (80 % power) of 6.4 points if the two models "
        "differ on 50 % of the rows, 4.9 points if the two models differ on 30 % of the rows, 2.9 "
        "points if the two models differ on 10 % of the rows"
    )


def test_models_do_not_differ_on_fewer_rows_than_one_of_them_gains() -> None:
    assert planned(24).gain_sentence == (
        "24 test rows can show a gain in accuracy (80 % power) of 40.0 points if the two models "
        "differ on 50 % of the rows, 31.0 points if they differ on those rows alone"
    )


def test_rows_of_a_group_count_once() -> None:
    found = planned(100, groups=5)
    assert found.gain_sentence.startswith("100 test rows in 5 groups cannot show any gain")
