"""Votes to numbers, by hand."""

from __future__ import annotations

import math

import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score
from support import example

from tunesmith.errors import DataError
from tunesmith.evaluate.preference import AnswerPair
from tunesmith.evaluate.votes import (
    agreement,
    answer_pairs,
    count_votes,
    draw_pairs,
    mean_votes,
    sign_test,
)
from tunesmith.records import Prediction


def pairs(n: int, cluster: str = "") -> list[AnswerPair]:
    return [AnswerPair(f"e{i}", cluster or f"c{i}", "ab", "abc") for i in range(n)]


def test_wins_ties_and_losses_are_of_pairs_and_the_mean_of_several_votes_decides() -> None:
    ann = {"e0": 1.0, "e1": 1.0, "e2": 0.0, "e3": 0.5}
    ben = {"e0": 1.0, "e1": 0.0, "e2": 0.5}
    found = count_votes(pairs(5), [ann, ben], 0.95)
    # e0: 1, e1: 1/2, e2: 1/4, e3: 1/2; nobody voted on e4
    assert (found.wins, found.ties, found.losses, found.pairs) == (1, 2, 1, 4)
    assert found.win_rate.mean == pytest.approx((1 + 0.5 + 0.25 + 0.5) / 4)


def test_the_win_rate_without_ties_has_wilsons_interval() -> None:
    votes = {f"e{i}": float(i < 14) for i in range(20)}
    found = count_votes(pairs(20), [votes], 0.95)
    expected = stats.binomtest(14, 20).proportion_ci(method="wilson")
    assert found.win_rate.ci == pytest.approx((expected.low, expected.high))
    assert found.p == pytest.approx(stats.binomtest(14, 20).pvalue)


def test_two_raters_of_the_same_pairs_are_not_twice_the_pairs() -> None:
    votes = {f"e{i}": float(i < 14) for i in range(20)}
    one, two = (count_votes(pairs(20), [votes] * n, 0.95) for n in (1, 2))
    assert one == two


def test_rows_of_one_cluster_count_as_one_in_the_sign_test() -> None:
    # two clusters lean to b by 1 and 1/2, one to a, one not at all
    values = [1.0, 1.0, 1.0, 0.5, 0.0, 1.0, 0.0]
    clusters = ["x", "x", "y", "y", "z", "t", "t"]
    assert sign_test(values, clusters) == pytest.approx(stats.binomtest(1, 3).pvalue)
    assert sign_test([0.5, 0.5], ["x", "y"]) == 1.0


def test_clustered_votes_have_a_wider_interval() -> None:
    votes = {f"e{i}": float(i % 10 < 7) for i in range(40)}
    alone = pairs(40)
    # ten clusters of four rows with the same vote
    together = [AnswerPair(p.example_id, f"c{i % 10}", "ab", "abc") for i, p in enumerate(alone)]
    wide, narrow = (count_votes(p, [votes], 0.95).win_rate for p in (together, alone))
    assert wide.mean == narrow.mean
    assert wide.ci[1] - wide.ci[0] > 1.5 * (narrow.ci[1] - narrow.ci[0])


def test_the_longer_answer_is_counted_where_there_is_a_preference_and_a_longer_one() -> None:
    shown = [
        AnswerPair("e0", "0", "a", "abc"),  # b longer and preferred
        AnswerPair("e1", "1", "abc", "a"),  # a longer, b preferred
        AnswerPair("e2", "2", "abc", "a"),  # a longer and preferred
        AnswerPair("e3", "3", "a", "abc"),  # a tie
        AnswerPair("e4", "4", "abc", "xyz"),  # as long
    ]
    votes = {"e0": 1.0, "e1": 1.0, "e2": 0.0, "e3": 0.5, "e4": 1.0}
    longer = count_votes(shown, [votes], 0.95).longer
    assert longer is not None
    assert (longer.n, longer.mean) == (3, pytest.approx(2 / 3))
    assert count_votes(shown[3:], [votes], 0.95).longer is None


def test_no_votes_are_an_error() -> None:
    with pytest.raises(DataError, match="no votes"):
        count_votes(pairs(2), [{}], 0.95)


def test_agreement_of_two_is_cohens_kappa_over_the_common_pairs() -> None:
    ann = {"e0": 1.0, "e1": 1.0, "e2": 0.0, "e3": 0.5, "only ann": 1.0}
    ben = {"e0": 1.0, "e1": 0.0, "e2": 0.0, "e3": 0.5, "only ben": 0.0}
    found = agreement([ann, ben])
    # 3 of 4 agree; by chance (2/4 * 1/4) + (1/4 * 2/4) + (1/4 * 1/4) = 5/16
    assert found.kappa == pytest.approx((3 / 4 - 5 / 16) / (1 - 5 / 16))
    assert (found.agreed, found.common) == (0.75, 4)


def test_agreement_of_three_is_the_mean_over_pairs_of_raters() -> None:
    ballots = [
        {f"e{i}": vote for i, vote in enumerate(votes)}
        for votes in ([1.0, 0.0, 1.0, 0.5], [1.0, 0.0, 0.0, 0.5], [0.0, 0.0, 1.0, 1.0])
    ]
    # scikit-learn takes no fractions for classes
    labels = [[str(vote) for vote in ballot.values()] for ballot in ballots]
    kappas = [cohen_kappa_score(labels[i], labels[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert agreement(ballots).kappa == pytest.approx(sum(kappas) / 3)


def test_kappa_is_not_defined_where_two_raters_gave_one_and_the_same_verdict() -> None:
    found = agreement([{"e0": 1.0, "e1": 1.0}, {"e0": 1.0, "e1": 1.0}])
    assert (found.kappa, found.agreed, found.common) == (None, 1.0, 2)
    assert agreement([{"e0": 1.0}, {"e1": 1.0}]).agreed is None
    assert agreement([{"e0": 1.0}]).common == 0


def test_mean_votes_are_of_those_who_voted() -> None:
    assert mean_votes([{"e0": 1.0}, {"e0": 0.5, "e1": 0.0}]) == {"e0": 0.75, "e1": 0.0}


# ---- the sample


def test_rows_with_the_same_answer_are_not_shown_but_counted() -> None:
    examples = [example(i) for i in range(4)]
    a = [Prediction(e.id, text, True, 1) for e, text in zip(examples, "wxyz", strict=True)]
    b = [
        Prediction(e.id, text, True, 1)
        for e, text in zip(examples, ["w ", "q", "r", "z"], strict=True)
    ]
    sample = draw_pairs(answer_pairs(examples, a, b), 10, seed=0)
    assert {pair.example_id for pair in sample.pairs} == {"e1", "e2"}
    assert (sample.rows, sample.same) == (4, 2)
    with pytest.raises(DataError, match="the same answer to all 4"):
        draw_pairs(answer_pairs(examples, a, a), 10, seed=0)


def test_a_smaller_sample_is_the_beginning_of_a_larger_one() -> None:
    shown = pairs(50)
    few, many = (draw_pairs(shown, k, seed=3).pairs for k in (5, 20))
    assert few == many[:5]
    assert few != tuple(shown[:5])
    assert draw_pairs(shown, 5, seed=4).pairs != few
    assert not math.isnan(count_votes(few, [{few[0].example_id: 1.0}], 0.95).win_rate.mean)


@pytest.mark.parametrize(
    ("win", "tie"), [(0.5, 0.0), (0.9, 0.0), (0.4, 0.2), (0.6, 0.2), (0.3, 0.6), (0.1, 0.1)]
)
def test_the_win_rate_s_interval_covers_the_truth_as_often_as_it_says(
    win: float, tie: float
) -> None:
    """Exact: over every outcome of 20 pairs, by its probability."""
    n, covered = 20, 0.0
    for wins in range(n + 1):
        for ties in range(n - wins + 1):
            outcome = [1.0] * wins + [0.5] * ties + [0.0] * (n - wins - ties)
            votes = {f"e{i}": vote for i, vote in enumerate(outcome)}
            low, high = count_votes(pairs(n), [votes], 0.95).win_rate.ci
            if low <= win + tie / 2 <= high:
                counts = [wins, ties, n - wins - ties]
                covered += stats.multinomial.pmf(counts, n, [win, tie, 1 - win - tie])
    assert covered >= 0.95
