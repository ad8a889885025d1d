"""Evaluations, paired comparisons joined by example id, and verdicts word for word."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tunesmith.errors import DataError
from tunesmith.evaluate.compare import compare, evaluate, to_json
from tunesmith.evaluate.metrics.classification import METRICS as BY_CLASS
from tunesmith.evaluate.power import rows_to_tell, smallest_accuracy_gain
from tunesmith.evaluate.statistics import (
    estimate_mean,
    mcnemar,
    paired_difference,
    standard_error,
    tango_interval,
    wilson_interval,
)
from tunesmith.evaluate.verdict import default_margin, fewest_units, verdict
from tunesmith.recipe import metric_options
from tunesmith.records import Comparison, Estimate, Evaluation, Example, Prediction

LABELS = ("bad", "fair", "good")


def evaluation(
    system: str,
    answers: Sequence[str],
    references: Sequence[str],
    metrics: Sequence[str] = ("accuracy",),
    parser: str = "choice",
    groups: Sequence[str] | None = None,
) -> Evaluation:
    choices = LABELS if parser == "choice" else ()
    groups = groups or [str(i) for i in range(len(answers))]
    examples = [
        Example(f"e{i}", f"r{i}", "", "", reference, (reference,), choices, group=group)
        for i, (reference, group) in enumerate(zip(references, groups, strict=True))
    ]
    predictions = [Prediction(f"e{i}", text, True, 1) for i, text in enumerate(answers)]
    return evaluate(system, "test", examples, predictions, metrics, parser)


def right_and_wrong(system: str, right: str, groups: Sequence[str] | None = None) -> Evaluation:
    """One row a character, 1 right and 0 wrong."""
    return evaluation(
        system, ["good" if r == "1" else "bad" for r in right], ["good"] * len(right), groups=groups
    )


# ---- one system


def test_a_proportion_has_wilsons_interval_and_its_n() -> None:
    estimate = right_and_wrong("base", "1111111100").estimates["accuracy"]
    assert (estimate.mean, estimate.n) == (0.8, 10)
    assert estimate.ci == wilson_interval(8, 10)


def test_rows_of_one_group_are_one_cluster() -> None:
    values = [1.0, 1, 0, 0, 1, 1, 0, 0]
    found = right_and_wrong("base", "11001100", groups=list("aabbccdd")).estimates["accuracy"]
    assert found == estimate_mean(values, list("aabbccdd"), proportion=True)
    assert found.se > right_and_wrong("base", "11001100").estimates["accuracy"].se


def test_wordings_of_one_data_row_are_one_cluster() -> None:
    examples = [
        Example(f"{row}/{w}", row, w, "", "x") for row in ("1", "2") for w in ("plain", "polite")
    ]
    predictions = [Prediction(example.id, "x", True, 1) for example in examples]
    assert evaluate("base", "test", examples, predictions, ["exact_match"], "text").clusters == [
        "1",
        "1",
        "2",
        "2",
    ]


def test_ability_stands_apart_from_format() -> None:
    found = evaluation(
        "base", ["good", "bad", "no idea", ""], ["good"] * 4, ["accuracy", "macro_f1"]
    )
    assert found.estimates["accuracy"].mean == 0.25
    assert found.estimates["valid"].mean == 0.5
    assert found.details["given_valid"]["accuracy"].mean == 0.5
    assert found.details["given_valid"]["accuracy"].n == 2


def test_without_a_valid_answer_there_is_no_ability_to_state() -> None:
    found = evaluation("base", ["?", "??"], ["good", "bad"])
    assert found.details["given_valid"] == {}


def test_a_corpus_metric_has_an_interval_around_its_value() -> None:
    rng = random.Random(0)
    true = [rng.choice(LABELS) for _ in range(100)]
    found = evaluation(
        "base", [t if rng.random() < 0.7 else "bad" for t in true], true, ["macro_f1"]
    )
    estimate = found.estimates["macro_f1"]
    assert estimate.ci[0] < estimate.mean < estimate.ci[1]
    assert estimate.n == 100
    assert "macro_f1" not in found.scores


def test_an_evaluation_is_json_without_arrays_or_nan() -> None:
    found = to_json(evaluation("base", ["good"], ["good"], ["accuracy", "macro_f1"]))
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["estimates"]["macro_f1"] == {
        "mean": 1 / 3,
        "n": 1,
        "se": None,
        "ci": [None, None],
        "note": "only 1 row",
    }
    assert "rows" not in found


# ---- two systems


def test_a_comparison_of_right_and_wrong_by_hand() -> None:
    # only a right: 3, only b right: 15, as in the known answer of McNemar's test
    a, b = (
        right_and_wrong("a", "1" * 3 + "0" * 15 + "1" * 22),
        right_and_wrong("b", "0" * 3 + "1" * 15 + "1" * 22),
    )
    found = compare(a, b, "accuracy")
    assert found.difference == pytest.approx(12 / 40)
    assert (found.wins, found.ties, found.losses) == (15, 22, 3)
    assert found.p == mcnemar(3, 15) == pytest.approx(0.00754, abs=5e-6)
    assert found.test == "exact McNemar"
    assert (
        found.se
        == found.se_clustered
        == pytest.approx(standard_error([-1.0] * 3 + [1.0] * 15 + [0.0] * 22))
    )
    # a has 15 of 40 rows wrong, and the two differ on 18
    assert found.smallest_detectable == smallest_accuracy_gain(40, 18 / 40, most=15 / 40)
    assert found.ci[0] < 0.3 < found.ci[1]
    assert found.ci[0] > 0
    assert (found.n, found.clusters) == (40, 40)


def test_five_groups_cannot_show_any_gain() -> None:
    """Their smallest p is 1/16; their power was 0.00 at the effect that was called detectable."""
    groups = [str(i // 8) for i in range(40)]
    a = right_and_wrong("a", "0" * 30 + "1" * 10, groups)
    b = right_and_wrong("b", "01" * 20, groups)
    assert math.isnan(compare(a, b, "accuracy", resamples=200).smallest_detectable)


def test_the_interval_of_right_and_wrong_is_tangos() -> None:
    a, b = right_and_wrong("a", "01" * 10), right_and_wrong("b", "0111" * 5)
    assert compare(a, b, "accuracy").ci == tango_interval(0, 5, 20)


def test_examples_are_joined_by_id_whatever_their_order() -> None:
    a, b = right_and_wrong("a", "0011"), right_and_wrong("b", "0111")
    turned = Evaluation(
        "b",
        "test",
        list(reversed(b.example_ids)),
        list(reversed(b.clusters)),
        list(reversed(b.predictions)),
        {name: list(reversed(scores)) for name, scores in b.scores.items()},
        b.estimates,
    )
    assert compare(a, turned, "accuracy") == compare(a, b, "accuracy")


def test_other_examples_are_refused() -> None:
    a, b = right_and_wrong("a", "0011"), right_and_wrong("b", "001")
    with pytest.raises(DataError) as caught:
        compare(a, b, "accuracy")
    assert str(caught.value) == (
        "a and b are not on the same examples: 1 are not in b, first 'e3'\n"
        "hint: evaluate both on the same split"
    )
    with pytest.raises(DataError, match="b and a are not on the same examples: 1 are not in b"):
        compare(b, a, "accuracy")


def test_an_example_that_stands_twice_is_refused() -> None:
    a = right_and_wrong("a", "0011")
    twice = replace(a, example_ids=["e0", "e1", "e2", "e2"])
    with pytest.raises(DataError, match="has an example twice"):
        compare(twice, twice, "accuracy")


def test_a_metric_that_was_not_evaluated_is_refused_with_the_nearest() -> None:
    a = right_and_wrong("a", "0011")
    with pytest.raises(DataError, match="a was not evaluated on 'choice_acc'"):
        compare(a, a, "choice_acc")


def test_scores_with_other_settings_are_refused() -> None:
    """Two runs, one of which counts characters as words."""
    a = evaluation("a", ["the cat sat"], ["the cat sat down"], ["bleu"], "text")
    other = metric_options({"bleu": {"tokenize": "char"}})
    b = evaluate(
        "b",
        "test",
        [Example("e0", "r0", "", "", "the cat sat down", group="0")],
        [Prediction("e0", "the cat sat", True, 1)],
        ["bleu"],
        "text",
        metric_options=other,
    )
    with pytest.raises(DataError, match=r"bleu: a was scored with .*tok:13a.*tok:char"):
        compare(a, b, "bleu")
    assert compare(b, b, "bleu").difference == 0


def test_clustered_rows_are_tested_by_cluster_and_not_by_mcnemar() -> None:
    groups = [str(i // 4) for i in range(24)]
    a, b = (
        right_and_wrong("a", "0" * 24, groups),
        right_and_wrong("b", "1111" * 3 + "0000" * 3, groups),
    )
    found = compare(a, b, "accuracy")
    assert found.test.startswith("exact randomisation, all 64 swaps")
    assert found.clusters == 6
    assert found.se_clustered > 1.5 * found.se
    assert mcnemar(0, 12) < 0.001 < 0.2 < found.p  # 3 clusters of 3 in one direction: 2/8


def test_errors_are_better_when_lower_and_the_difference_keeps_its_sign() -> None:
    references = [str(i % 5 + 1) for i in range(40)]
    far, near = (
        [str(int(r) + 3) for r in references],
        [str(int(r) + i % 2) for i, r in enumerate(references)],
    )
    for metric in ("mae", "rmse"):
        a = evaluation("far", far, references, [metric], "number")
        b = evaluation("near", near, references, [metric], "number")
        found = compare(a, b, metric)
        assert found.difference < -2
        assert (found.wins, found.losses) == (40, 0)
        assert verdict(found).kind == "better"
        assert verdict(compare(b, a, metric)).kind == "not better"


def test_ter_counts_a_win_where_it_is_lower() -> None:
    a = evaluation("a", ["x y z", "a b c"], ["a b c", "a b c"], ["ter"], "text")
    b = evaluation("b", ["a b c", "a b x"], ["a b c", "a b c"], ["ter"], "text")
    found = compare(a, b, "ter")
    assert found.difference == pytest.approx(100 * (1 / 6 - 3 / 6))
    assert (found.wins, found.ties, found.losses) == (1, 0, 1)


def test_stored_scores_are_enough_for_a_per_example_metric() -> None:
    a, b = right_and_wrong("a", "0011"), right_and_wrong("b", "0111")
    stored = replace(b, rows={})
    assert compare(a, stored, "accuracy") == compare(a, b, "accuracy")


def test_a_corpus_metric_is_compared_by_resampling_its_rows() -> None:
    rng = random.Random(0)
    true = [rng.choice(LABELS) for _ in range(150)]
    weak, strong = ([t if rng.random() < share else "bad" for t in true] for share in (0.3, 0.8))
    a, b = (
        evaluation("weak", weak, true, ["macro_f1"]),
        evaluation("strong", strong, true, ["macro_f1"]),
    )
    found = compare(a, b, "macro_f1", resamples=2000)
    assert found.difference == pytest.approx(
        b.estimates["macro_f1"].mean - a.estimates["macro_f1"].mean
    )
    assert found.p == pytest.approx(1 / 2001)
    assert 0 < found.ci[0] < found.difference < found.ci[1]
    assert found.wins + found.ties + found.losses == 150


def test_identical_systems_give_p_1_and_no_verdict() -> None:
    for metric in ("accuracy", "macro_f1"):
        true = ["good", "bad", "fair"] * 4
        a = evaluation("a", ["good", "bad", "bad"] * 4, true, [metric])
        found = compare(a, replace(a, system="b"), metric, resamples=500)
        assert (found.p, found.difference, found.wins, found.losses) == (1.0, 0.0, 0, 0)
        # rows that do not differ here may differ elsewhere
        assert found.ci[0] == pytest.approx(-found.ci[1])
        assert 0.2 < found.ci[1] < 0.3
        said = verdict(found)
        assert said.kind == "cannot tell"
        assert said.sentence == f"Cannot tell: b and a have the same {metric} on each of 12 rows."


def test_intervals_of_a_difference_in_macro_f1_cover_the_truth_in_93_to_97_percent() -> None:
    rng = np.random.default_rng(0)
    kind = BY_CLASS["macro_f1"]

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        true = rng.choice(3, size=n, p=[0.5, 0.3, 0.2])
        systems = [
            np.where(rng.random(n) < share, true, rng.integers(0, 3, n)) for share in (0.4, 0.5)
        ]
        one_hot = np.eye(3)
        counts = [
            np.hstack([one_hot[true] * one_hot[s], one_hot[s], one_hot[true]]) for s in systems
        ]
        return counts[0], counts[1]

    a, b = draw(1_000_000)
    ones = np.ones((1, len(a)))
    truth = float((kind.value(ones, b) - kind.value(ones, a))[0])
    covered = 0
    for _ in range(1000):
        a, b = draw(150)
        low, high = paired_difference(kind.value, a, b, None, kind=kind.kind).ci
        covered += low <= truth <= high
    assert 930 <= covered <= 970


# ---- verdicts


def comparison(difference: float, half: float, **changes: object) -> Comparison:
    values = {
        "a": "base",
        "b": "tuned",
        "metric": "accuracy",
        "difference": difference,
        "se": half / 2,
        "se_clustered": half / 2,
        "ci": (difference - half, difference + half),
        "p": 0.001 if abs(difference) > half else 0.3,
        "wins": 30,
        "ties": 150,
        "losses": 20,
        "n": 200,
        "clusters": 200,
        "smallest_detectable": 1.4 * half,
    }
    return Comparison(**{**values, **changes})  # type: ignore[arg-type]


def test_better_is_said_with_its_numbers() -> None:
    said = verdict(
        comparison(0.072, 0.041),
        estimates=(Estimate(0.64, 200, 0, (0, 0)), Estimate(0.712, 200, 0, (0, 0))),
    )
    assert said.kind == "better"
    assert said.sentence == (
        "tuned is better than base: accuracy 71.2 % against 64.0 %, "
        "+7.2 points (95 % interval [+3.1, +11.3], "
        "p = 0.0010; better on 30, equal on 150, worse on 20 of 200 rows)."
    )


def test_worse_is_not_better() -> None:
    said = verdict(comparison(-0.072, 0.041, p=0.00001))
    assert said.kind == "not better"
    assert said.sentence == (
        "tuned is not better than base, it is worse: accuracy -7.2 points "
        "(95 % interval [-11.3, -3.1], p < 0.0001; "
        "better on 30, equal on 150, worse on 20 of 200 rows)."
    )


def test_an_interval_below_zero_alone_is_not_worse() -> None:
    said = verdict(comparison(-0.072, 0.041, p=0.0625), margin=0.01)
    assert said.kind == "not better"
    assert "it is worse" not in said.sentence
    assert said.sentence.endswith("; a gain of 1.0 points or more is ruled out.")


def test_no_gain_with_a_wide_interval_cannot_be_told() -> None:
    said = verdict(comparison(-0.01, 0.041), margin=0.01)
    assert said.kind == "cannot tell"
    assert "rows would" not in said.sentence  # no number of rows makes a loss a gain
    lost_one = comparison(-1 / 30, 0.07, wins=0, ties=29, losses=1, n=30, clusters=30, p=1.0)
    assert verdict(lost_one, margin=0.01).kind == "cannot tell"


def test_an_interval_below_the_margin_is_not_better_whatever_its_sign() -> None:
    near = comparison(0.001, 0.004, p=0.6)
    assert verdict(near, margin=0.01).kind == "not better"
    assert verdict(near, margin=0.004).kind == "cannot tell"
    small = verdict(comparison(0.005, 0.004, p=0.001), margin=0.01)
    assert small.kind == "not better"
    assert small.sentence.startswith("tuned is better than base by less than the margin of 1.0 p")


def test_the_default_margin_is_a_point_or_a_tenth_of_the_error() -> None:
    assert default_margin("accuracy", 0.6) == 0.01
    assert default_margin("accuracy", 0.99) == pytest.approx(0.001)
    assert default_margin("accuracy", 1.0) == 0.0
    assert default_margin("bleu", 20.0) == 1.0
    assert default_margin("ter", 5.0) == pytest.approx(0.5)  # TER is an error: lower is better
    assert default_margin("mae", 2.0) == pytest.approx(0.2)
    assert default_margin("pearson", 0.3) == 0.01


def test_too_few_groups_for_any_p_are_said_and_how_many_are_missing() -> None:
    assert [fewest_units(c) for c in (0.9, 0.95, 0.99)] == [5, 6, 8]  # 2/2^C below 1 - c
    said = verdict(comparison(0.3, 0.1, n=72, clusters=5, p=0.0625))
    assert said.sentence == (
        "Cannot tell with 72 rows in 5 groups: with fewer than 6 groups no difference, however "
        "large, has a p below 0.05; 1 more group at least are needed."
    )
    two = verdict(comparison(-1.0, 0.0, n=2, clusters=2, p=0.5))
    assert two.kind == "cannot tell"
    assert "4 more rows" in two.sentence


def test_a_gain_within_the_noise_cannot_be_told_and_says_how_many_rows_would_do() -> None:
    said = verdict(comparison(0.02, 0.05))
    # (1.96 + 0.84)^2 * 0.25 / 0.02^2 = 4906 if the gain is +2 points, and 401 if it is +7; exact
    # McNemar needs a few more
    assert said.kind == "cannot tell"
    assert said.sentence.startswith(
        "Cannot tell with 200 rows whether tuned is better than base; "
        "at least about 430 rows are needed if the gain is as large as the interval allows (+7.0 "
        "points), about 5,000 if it is the one seen (+2.0 points), and more if it is smaller: "
        "accuracy +2.0 points"
    )


def test_interval_and_test_must_both_say_better() -> None:
    assert verdict(comparison(0.072, 0.041, p=0.0625)).kind == "cannot tell"
    adjusted = verdict(comparison(0.072, 0.041), p=0.06)
    assert adjusted.kind == "cannot tell"
    assert "p = 0.0600 after Holm" in adjusted.sentence
    assert verdict(comparison(0.072, 0.041, p=0.02), confidence=0.99).kind == "cannot tell"


def test_what_is_barely_uncertain_asks_for_twice_the_rows() -> None:
    found = rows_to_tell(comparison(0.072, 0.041, p=0.0625))
    assert found is not None
    assert (found.rows, found.least) == (200, 200)
    assert found.seen is not None
    assert 400 <= found.seen < 450
    assert found.words(str).startswith(f"about {found.seen} to {found.most:,} rows would")


def test_without_an_interval_it_cannot_tell_and_says_why() -> None:
    said = verdict(comparison(0.1, 0.05, ci=(math.nan, math.nan), note="too few rows of a class"))
    assert (said.kind, said.sentence) == (
        "cannot tell",
        "Cannot tell with 200 rows: too few rows of a class.",
    )


def test_numbers_that_are_no_percentages_are_shown_as_they_are() -> None:
    said = verdict(
        comparison(-0.5, 0.2, metric="mae"),
        estimates=(Estimate(1.5, 9, 0, (0, 0)), Estimate(1, 9, 0, (0, 0))),
    )
    assert said.sentence.startswith(
        "tuned is better than base: mae 1.000 against 1.500, -0.500 (95 % interval [-0.700, -0.300]"
    )
    said = verdict(
        comparison(5.0, 2.0, metric="bleu"),
        estimates=(Estimate(20, 9, 0, (0, 0)), Estimate(25, 9, 0, (0, 0))),
    )
    assert said.sentence.startswith(
        "tuned is better than base: bleu 25.0 against 20.0, +5.0 points (95 % interval [+3.0, +7.0]"
    )


def test_a_comparison_is_json_without_nan() -> None:
    found = compare(right_and_wrong("a", "0"), right_and_wrong("b", "1"), "accuracy")
    values = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert values["difference"] == 1.0
    assert values["se"] is None
    assert values["ci"] == [None, None]
    assert verdict(found).kind == "cannot tell"
