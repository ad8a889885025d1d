"""What a number of rows can show: held against simulations of the tests that comparisons use."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.evaluate.metrics import find_metric
from tunesmith.evaluate.power import (
    Units,
    attainable_level,
    effective_units,
    largest_gain,
    mcnemar_power,
    randomisation_power,
    rows_to_tell,
    smallest_accuracy_gain,
    smallest_detectable,
    smallest_detectable_effect,
    smallest_mean_gain,
)
from tunesmith.records import Comparison


def comparison(difference: float, half: float, n: int = 200, **changes: object) -> Comparison:
    values = {
        "a": "base", "b": "tuned", "metric": "accuracy",
        "difference": difference, "se": half / 2, "se_clustered": half / 2,
        "ci": (difference - half, difference + half), "p": 0.3,
        "wins": 30, "ties": n - 50, "losses": 20, "n": n, "clusters": n,
        "smallest_detectable": 0.1,
    }  # fmt: skip
    return Comparison(**{**values, **changes})  # type: ignore[arg-type]


# ---- exact McNemar


def test_the_power_of_six_rows_that_only_one_system_can_have_right() -> None:
    # all six must be discordant and won: (1/2 + 0.9 / 2 / 1)^6 with every row discordant
    assert mcnemar_power(0.9, 6, 1.0) == pytest.approx(0.95**6)
    # five rows have p = 1/16 at best
    assert mcnemar_power(1.0, 5, 1.0) == 0.0


@pytest.mark.parametrize("n", [20, 100, 1000])
@pytest.mark.parametrize("discordant", [0.1, 0.5, 0.6])
def test_a_gain_that_is_called_detectable_is_found_in_80_percent(n: int, discordant: float) -> None:
    gain = smallest_accuracy_gain(n, discordant)
    rng = np.random.default_rng(0)
    differ = max(discordant, gain)
    discordant_R = rng.binomial(n, differ, 4000)
    wins_R = rng.binomial(discordant_R, (differ + gain) / 2 / differ)
    found = [
        wins > count - wins and scipy.stats.binomtest(wins, count).pvalue < 0.05 if count else False
        for wins, count in zip(wins_R.tolist(), discordant_R.tolist(), strict=True)
    ]
    assert 0.78 <= np.mean(found) <= 0.83


def test_rows_that_cannot_show_any_gain_have_none() -> None:
    assert math.isnan(smallest_accuracy_gain(1, 0.3))  # was 153.4 points
    assert math.isnan(smallest_accuracy_gain(5, 1.0))
    # whoever has 95 of 100 rows right leaves 5 to be won, and 5 of 5 has p = 1/16
    assert math.isnan(smallest_accuracy_gain(100, 0.5, most=0.05))


@given(st.integers(0, 300), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_a_detectable_gain_can_occur(n: int, discordant: float, most: float) -> None:
    gain = smallest_accuracy_gain(n, discordant, most=most)
    assert math.isnan(gain) or 0 < gain <= most


def test_systems_that_never_differed_still_have_a_detectable_gain() -> None:
    # six of 100 rows at least must differ then, and 6 wins to none are found
    gain = smallest_accuracy_gain(100, 0.0)
    assert scipy.stats.binom.sf(5, 100, gain) == pytest.approx(0.8, abs=0.01)


# ---- randomisation


def test_fewer_than_six_units_never_reach_5_percent() -> None:
    # 2^(m-1) pairs of signs: 1/16, 1/32, 3/64, 6/128
    levels = attainable_level(np.array([1.0, 5, 6, 7, 8]), 0.95)
    assert levels.tolist() == [0, 0, 1 / 32, 3 / 64, 6 / 128]
    assert math.isnan(smallest_detectable_effect(5, 1.0))
    assert smallest_detectable_effect(6, 1.0) < 2.5


@pytest.mark.parametrize("units", [6, 7, 10, 20])
def test_a_gain_over_few_clusters_is_found_by_the_exact_test_in_80_percent(units: int) -> None:
    gain = smallest_detectable_effect(units, 1.0)
    rng = np.random.default_rng(0)
    values_RC = rng.normal(gain, 1.0, (3000, units))
    signs = (
        np.array(list(itertools.product((-1, 1), repeat=units)))
        if units <= 10
        else rng.choice((-1, 1), (4000, units))
    )
    p_R = (np.abs(values_RC @ signs.T) >= np.abs(values_RC.sum(axis=1))[:, None] - 1e-9).mean(
        axis=1
    )
    assert 0.77 <= ((p_R < 0.05) & (values_RC.sum(axis=1) > 0)).mean() <= 0.86


def test_many_units_have_the_power_of_the_normal_distribution() -> None:
    assert smallest_detectable_effect(10_000, 1.0) == pytest.approx(
        (1.959964 + 0.841621) / 100, rel=2e-3
    )


def test_units_that_do_not_differ_show_nothing() -> None:
    # 2 % of 100 rows differ: two rows, which no test can be sure of, until more of them differ
    units = Units(100, 0.02, 0.1, 0.5)
    assert randomisation_power(0.01, units) < 0.02
    share, mean = units.at(smallest_mean_gain(units))
    assert share > 0.06
    assert mean == pytest.approx(0.5)


def test_unequal_clusters_count_for_fewer() -> None:
    assert effective_units([3, 3, 3]) == pytest.approx(3)
    assert effective_units([60, 3, 3, 3, 3]) == pytest.approx(72**2 / 3636)
    clusters = ["large"] * 60 + [f"c{i}" for i in range(4) for _ in range(3)]
    found = smallest_detectable(
        difference=0.1, se=0.05, differences_N=np.full(72, 0.1), differs_N=np.full(72, True),
        clusters=clusters, binary=True, most=1.0,
    )  # fmt: skip
    assert math.isnan(found)


def test_the_largest_gain_is_what_is_left_of_the_metric() -> None:
    gains = [largest_gain(find_metric(name), 0.9) for name in ("accuracy", "mae", "bleu")]
    assert gains == pytest.approx([0.1, 0.9, 99.1])


# ---- the rows that would tell


def test_omega_squared_of_a_ninth_and_3_points_need_969_rows() -> None:
    """Miller (2024), section 5; Student's t needs two rows more than the normal distribution."""
    found = rows_to_tell(
        comparison(0.03, 0.06, metric="rougeL", se_clustered=math.sqrt(1 / 9 / 200))
    )
    assert found is not None
    assert found.seen == 980  # 971 rounded up to two digits


def test_the_rows_that_would_tell_are_a_range() -> None:
    # 50 of 200 rows differ; +5 points [-2, +12]
    found = rows_to_tell(comparison(0.05, 0.07))
    assert found is not None
    assert (found.least, found.most, found.runs_decide) == (200, None, False)
    assert found.seen is not None
    assert 0.8 <= mcnemar_power(0.05, found.seen, 0.25) < 0.82
    assert found.words(lambda gain: f"{100 * gain:+.1f} points") == (
        "about 820 rows are needed for a gain as seen (+5.0 points), and more if it is smaller"
    )


def test_the_gain_that_the_interval_allows_gives_the_rows_that_are_needed_at_least() -> None:
    found = rows_to_tell(comparison(0.01, 0.05))  # +1 point [-4, +6]
    assert found is not None
    assert found.least is not None
    assert 0.8 <= mcnemar_power(0.06, found.least, 0.25) < 0.82
    assert found.words(lambda gain: f"{100 * gain:+.1f} points") == (
        f"at least about {found.least:,} rows are needed if the gain is as large as the interval "
        f"allows (+6.0 points), about 20,000 if it is the one seen (+1.0 points), and more if it "
        "is smaller"
    )


def test_no_interval_or_no_gain_gives_no_number_of_rows() -> None:
    assert rows_to_tell(comparison(-0.01, 0.07)) is None
    assert rows_to_tell(comparison(0.05, math.nan)) is None


def test_the_range_holds_the_rows_that_are_needed() -> None:
    """True gain 2 points, a quarter of the rows discordant, 200 rows; undecided samples alone."""
    rng = np.random.default_rng(0)
    needed = next(n for n in range(4000, 6000, 50) if mcnemar_power(0.02, n, 0.25) >= 0.8)
    held = seen = 0
    for _ in range(300):
        while True:
            values = rng.choice([1, 0, -1], 200, p=[0.135, 0.75, 0.115])
            gain, se = values.mean(), values.std(ddof=1) / math.sqrt(200)
            if 0 < gain < 1.96 * se:
                break
        wins, losses = int((values > 0).sum()), int((values < 0).sum())
        found = rows_to_tell(
            comparison(gain, 1.96 * se, wins=wins, losses=losses, ties=200 - wins - losses)
        )
        assert found is not None
        held += found.least is not None and found.least <= needed
        seen += found.seen is not None and found.seen < needed
    assert held >= 0.95 * 300
    assert seen > 0.5 * 300  # which is why a single number is not given


def test_where_trainings_differ_too_much_no_number_of_rows_tells() -> None:
    found = rows_to_tell(comparison(0.05, 0.15, runs=3, se_runs=0.03, se_clustered=0.05))
    assert found is not None  # t of 2 degrees is 4.30: 0.13 however many rows there are
    assert found.runs_decide
    assert "train with more seeds" in found.words(str)
    sure = rows_to_tell(comparison(0.05, 0.06, runs=3, se_runs=0.001, se_clustered=0.025))
    assert sure is not None
    assert not sure.runs_decide
    assert sure.seen is not None


def test_lower_is_better_counts_as_a_gain() -> None:
    found = rows_to_tell(comparison(-0.05, 0.07, metric="mae"))
    assert found is not None
    assert found.seen_gain == pytest.approx(0.05)
    assert found.largest_gain == pytest.approx(0.12)
