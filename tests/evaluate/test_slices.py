"""Each part of the test split is judged by itself, and what a few rows cannot show is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.stats

from tunesmith.evaluate.compare import compare, evaluate
from tunesmith.evaluate.power import smallest_detectable_effect
from tunesmith.evaluate.slices import (
    Slicing,
    by_length,
    by_source,
    by_value,
    estimate_of,
    judge_slices,
    least_clusters,
    row_by_row,
    slicings,
    subset,
)
from tunesmith.evaluate.statistics import holm
from tunesmith.records import Comparison, Estimate, Evaluation, Example, Prediction, Turn

quick_pair = partial(compare, resamples=200)


def quick(a: Evaluation, trainings: Sequence[Evaluation], metric: str) -> Comparison:
    (tuned,) = trainings
    return quick_pair(a, tuned, metric)


def level_of(trainings: Sequence[Evaluation], metric: str) -> Estimate:
    (tuned,) = trainings
    return estimate_of(tuned, metric, 0.95)


def examples(n: int, choices: tuple[str, ...] = ("no", "yes")) -> list[Example]:
    return [Example(f"e{i}", f"r{i}", "t", f"text {i}", "yes", ("yes",), choices) for i in range(n)]


def evaluated(
    name: str, right: Sequence[bool], metrics: Sequence[str] = ("accuracy",)
) -> Evaluation:
    found = examples(len(right))
    answers = [
        Prediction(e.id, "yes" if is_right else "no", True, 1)
        for e, is_right in zip(found, right, strict=True)
    ]
    return evaluate(name, "test", found, answers, metrics, "choice")


def judged(before: Sequence[bool], after: Sequence[bool], values: Sequence[str]) -> list[Any]:
    ways = [Slicing("kind", tuple(values))]
    systems = (evaluated("base", before), evaluated("tuned", after))
    return judge_slices(systems[0], systems[1:], ways, "accuracy", quick, level_of, 0.95)


# ---- how the split is divided


@pytest.mark.parametrize("cell", [int, float, str])
def test_numbers_are_cut_at_their_quartiles_also_as_text(cell: Any) -> None:
    # of 1 to 12 the quartiles are 3, 6 and 9
    assert by_value([cell(i) for i in range(1, 13)]) == (
        *["up to 3"] * 3,
        *["over 3, up to 6"] * 3,
        *["over 6, up to 9"] * 3,
        *["over 9"] * 3,
    )


def test_a_few_different_numbers_are_taken_as_they_are() -> None:
    assert by_value([1, 2.0, 3, 5, 1]) == ("1", "2", "3", "5", "1")


def test_numbers_with_a_gap_and_many_equal_values_are_cut_where_they_differ() -> None:
    found = by_value([0] * 40 + list(range(1, 21)) + [None, float("nan"), " "])
    assert found[:40] == ("up to 0",) * 40
    assert set(found[40:60]) == {"over 0, up to 5", "over 5"}
    assert found[60:] == ("(missing)",) * 3


def test_of_many_values_the_most_frequent_stay() -> None:
    cells = [f"v{i:02}" for i in range(25) for _ in range(25 - i)]
    found = by_value(cells)
    assert set(found) == {*(f"v{i:02}" for i in range(19)), "(other)"}
    assert found.count("(other)") == 6 + 5 + 4 + 3 + 2 + 1


def test_words_among_numbers_make_a_column_of_words() -> None:
    cells = [*map(str, range(15)), "n/a"]
    assert by_value(cells) == tuple(cells)


def test_booleans_lists_and_line_ends_are_shown_on_one_line() -> None:
    assert by_value([True, ["a", 1], "x\n y"]) == ("True", '["a", 1]', "x y")


def test_lengths_are_cut_at_the_terciles() -> None:
    assert by_length([10, 20, 30, 40, 50, 60]) == (
        "short (to 20)",
        "short (to 20)",
        "medium (to 40)",
        "medium (to 40)",
        "long (over 40)",
        "long (over 40)",
    )
    assert len(set(by_length([7] * 9))) == 1


def test_the_history_of_a_conversation_is_part_of_the_length() -> None:
    short, *others = examples(3)
    long = replace(short, id="long", history=(Turn("system", "x" * 500),))
    [way] = [w for w in slicings([short, *others, long], []) if w.name == "prompt length"]
    assert way.values[-1].startswith("long")


def test_sources_are_files_and_those_of_one_name_keep_their_path() -> None:
    assert by_source(["d/a.csv:1", "d/a.csv:2", "e/b.csv:1"]) == ("a.csv", "a.csv", "b.csv")
    assert by_source(["d/a.csv:1", "e/a.csv:1"]) == ("d/a.csv", "e/a.csv")


def test_rows_are_divided_by_label_only_where_all_have_the_same_choices() -> None:
    same = [replace(e, completion="no" if i % 2 else "yes") for i, e in enumerate(examples(4))]
    own = [replace(e, choices=("yes", f"not {i}")) for i, e in enumerate(same)]
    assert "label" in [way.name for way in slicings(same, [])]
    assert "label" not in [way.name for way in slicings(own, [])]
    assert "label" not in [way.name for way in slicings([replace(e, choices=()) for e in same], [])]


def test_a_column_that_divides_as_the_label_does_is_judged_once() -> None:
    same = [replace(e, completion="no" if i % 2 else "yes") for i, e in enumerate(examples(4))]
    ways = slicings(same, [("stars", [5, 1, 5, 1]), ("all alike", ["x"] * 4)])
    assert [way.name for way in ways] == ["stars"]


# ---- how each part is judged


def test_the_worst_slice_comes_first_with_its_own_numbers() -> None:
    """Of 100 rows in a, 40 break; of 100 in b, 30 are fixed; over all nothing of it is seen."""
    before = [True] * 100 + [False] * 30 + [True] * 70
    after = [True] * 60 + [False] * 40 + [True] * 100
    rows = judged(before, after, ["a"] * 100 + ["b"] * 100)
    assert [(row.value, row.finding) for row in rows] == [("a", "worse"), ("b", "better")]
    worst = rows[0]
    assert (worst.reference.mean, worst.tuned.mean) == (1.0, 0.6)
    assert worst.comparison.difference == pytest.approx(-0.4)
    assert (worst.comparison.n, worst.comparison.losses) == (100, 40)
    exact = [scipy.stats.binomtest(0, n, 0.5).pvalue for n in (40, 30)]
    assert [row.p_holm for row in rows] == pytest.approx(holm(exact))


def test_p_is_adjusted_for_all_slices() -> None:
    """7 of 7 rows broken is p = 2 / 128 = 0.016 alone, and 0.31 as one of twenty slices."""
    values = ["a"] * 40 + [f"b{i}" for i in range(19) for _ in range(40)]
    before, after = [True] * 800, [False] * 7 + [True] * 793
    row = next(row for row in judged(before, after, values) if row.value == "a")
    assert row.comparison.p == pytest.approx(2 / 2**7)
    assert row.p_holm == pytest.approx(20 * 2 / 2**7)
    assert row.finding != "worse"


def test_so_many_rows_are_needed_that_a_result_could_be_significant() -> None:
    # 2 / 2^6 = 0.031 is below 0.05, 2 / 2^5 = 0.063 is not; times 20 it takes ten rows
    assert least_clusters(1, 0.95) == 6
    assert least_clusters(20, 0.95) == 10


def test_a_handful_of_rows_is_too_small_and_comes_last_however_bad_it_looks() -> None:
    before, after = [True] * 405, [True] * 400 + [False] * 5
    rows = judged(before, after, ["large"] * 400 + ["tiny"] * 5)
    assert [(row.value, row.finding, row.comparison.difference) for row in rows] == [
        ("large", "no difference shown", 0.0),
        ("tiny", "too small to judge", -1.0),
    ]


def test_a_few_rows_without_a_change_do_not_show_that_nothing_changes() -> None:
    before = [True] * 200 + [False] * 200 + [True] * 12
    after = [True] * 100 + [False] * 100 + [True] * 200 + [True] * 12
    row = next(row for row in judged(before, after, ["a"] * 400 + ["b"] * 12) if row.value == "b")
    assert row.comparison.wins == row.comparison.losses == 0
    assert row.finding == "too small to judge"
    # the variance of the whole split counts as ten rows: 300 of 412 rows change
    whole = quick_pair(evaluated("base", before), evaluated("tuned", after), "accuracy")
    variance = whole.se_clustered**2 * 412 * 10 / 22
    assert row.detectable == smallest_detectable_effect(12, math.sqrt(variance)) > 0.4


def test_a_single_row_gives_no_number_that_is_not_there() -> None:
    rows = judged([True] * 30 + [False], [True] * 31, ["a"] * 30 + ["b"])
    lone = next(row for row in rows if row.value == "b")
    assert lone.finding == "too small to judge"
    assert math.isfinite(lone.p_holm)
    assert math.isnan(lone.detectable)  # one row cannot show any difference


def test_the_same_answers_are_better_or_worse_nowhere() -> None:
    right = [i % 3 > 0 for i in range(300)]
    rows = judged(right, right, [f"s{i % 4}" for i in range(300)])
    assert {row.finding for row in rows} == {"no difference shown"}


def test_lower_is_better_for_an_error() -> None:
    numbers = [Example(f"e{i}", f"r{i}", "t", f"t{i}", "10", ("10",)) for i in range(60)]

    def told(name: str, off: Sequence[int]) -> Evaluation:
        answers = [
            Prediction(e.id, str(10 + o), True, 1) for e, o in zip(numbers, off, strict=True)
        ]
        return evaluate(name, "test", numbers, answers, ["mae"], "number")

    base, tuned = told("base", [1] * 60), told("tuned", [3] * 30 + [0] * 30)
    ways = [Slicing("half", ("first",) * 30 + ("second",) * 30)]
    rows = judge_slices(base, [tuned], ways, "mae", quick, level_of, 0.95)
    assert [(row.value, row.finding) for row in rows] == [("first", "worse"), ("second", "better")]


def test_a_metric_by_class_gives_way_to_accuracy() -> None:
    """A slice of one label has no macro F1 that means anything."""
    whole = evaluated("base", [True, False, True], ["macro_f1"])
    found, metric = row_by_row(whole, "macro_f1")
    assert metric == "accuracy"
    assert found.scores["accuracy"] == [1.0, 0.0, 1.0]
    assert row_by_row(evaluated("base", [True], ["accuracy"]), "accuracy")[1] == "accuracy"


def test_a_corpus_metric_is_computed_again_on_the_rows_of_a_slice() -> None:
    found = [
        Example(f"e{i}", f"r{i}", "t", "p", "the cat sat on the mat", ("the cat sat on the mat",))
        for i in range(40)
    ]
    texts = ["the cat sat on the mat"] * 20 + ["a dog ran in a park"] * 20
    answers = [Prediction(e.id, text, True, 1) for e, text in zip(found, texts, strict=True)]
    base = evaluate("base", "test", found, answers, ["bleu"], "text")
    ways = [Slicing("half", ("first",) * 20 + ("second",) * 20)]
    rows = judge_slices(base, [base], ways, "bleu", quick, level_of, 0.95)
    assert {row.value: round(row.reference.mean) for row in rows} == {"first": 100, "second": 0}


def test_a_subset_takes_rows_scores_and_clusters_as_they_are() -> None:
    whole = evaluated("base", [True, False, True])
    part = subset(whole, [False, True, True])
    assert (list(part.example_ids), list(part.clusters)) == (["e1", "e2"], ["r1", "r2"])
    assert part.scores["accuracy"] == [0.0, 1.0]
    assert part.rows["accuracy"][:, 0].tolist() == [0.0, 1.0]
    assert [p.example_id for p in part.predictions] == ["e1", "e2"]


def test_without_slices_there_is_nothing_to_judge() -> None:
    base = evaluated("base", [True])
    assert judge_slices(base, [base], [], "accuracy", quick, level_of, 0.95) == []


def test_systems_that_are_as_good_everywhere_differ_in_no_slice_in_95_of_100_runs() -> None:
    """Five slices, of which one would be found in a run of five by chance without Holm."""
    rng = np.random.default_rng(0)
    values = [f"s{i % 5}" for i in range(300)]
    found = 0
    for _ in range(60):
        before, after = (rng.random(300) < 0.7 for _ in range(2))
        findings = {row.finding for row in judged(before.tolist(), after.tolist(), values)}
        found += bool(findings & {"worse", "better"})
    assert found <= 3
