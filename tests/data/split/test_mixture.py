"""Mixtures: which sources are one task, rates by hand, counts that add up, and draws that do not
depend on the neighbours.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.data.split.mixture import (
    Kind,
    mixture_counts,
    mixture_rates,
    sample_mixture,
    task_names,
)
from tunesmith.errors import DataError

SIZES = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 60), min_size=1).filter(
    lambda s: any(s.values())
)


def test_rates_are_capped_sizes_over_their_sum() -> None:
    """min(500, 3000), min(1500, 3000), min(10000, 3000) = 500, 1500, 3000; their sum is 5000."""
    assert mixture_rates({"a": 500, "b": 1500, "c": 10_000}) == {"a": 0.1, "b": 0.3, "c": 0.6}


def test_a_lower_cap_makes_the_sources_more_equal() -> None:
    assert mixture_rates({"a": 500, "b": 1500, "c": 10_000}, cap=500) == {
        "a": 1 / 3,
        "b": 1 / 3,
        "c": 1 / 3,
    }


def test_without_a_total_each_source_gives_its_rows_up_to_the_cap() -> None:
    assert mixture_counts({"a": 500, "b": 10_000}) == {"a": 500, "b": 3000}


def test_the_examples_left_over_by_rounding_go_to_the_largest_remainders() -> None:
    """Of 10: 10 * 3/7 = 4.29, 10 * 3/7 = 4.29, 10 * 1/7 = 1.43: the tenth goes to c."""
    assert mixture_counts({"a": 3, "b": 3, "c": 1}, total=10) == {"a": 4, "b": 4, "c": 2}


def test_a_source_gives_each_row_before_it_gives_one_twice() -> None:
    drawn = Counter(sample_mixture({"a": 3, "b": 6}, total=12, seed=1))
    assert Counter(name for name, _ in drawn.elements()) == {"a": 4, "b": 8}
    assert sorted(count for (name, _), count in drawn.items() if name == "a") == [1, 1, 2]
    assert sorted(count for (name, _), count in drawn.items() if name == "b") == [1, 1, 1, 1, 2, 2]


def test_a_sources_rows_stay_the_same_when_another_source_changes() -> None:
    first = {i for name, i in sample_mixture({"a": 10, "b": 5}, cap=4, seed=7) if name == "a"}
    second = {i for name, i in sample_mixture({"a": 10, "c": 900}, cap=4, seed=7) if name == "a"}
    assert first == second
    assert first != {
        i for name, i in sample_mixture({"a": 10, "b": 5}, cap=4, seed=8) if name == "a"
    }


def test_the_draw_is_the_same_on_every_machine_and_shuffled() -> None:
    assert sample_mixture({"a": 4, "b": 2}, seed=0) == [
        ("a", 3), ("b", 0), ("a", 1), ("b", 1), ("a", 0), ("a", 2),
    ]  # fmt: skip


def test_a_mixture_without_examples_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        mixture_rates({"a": 0, "b": 0})
    assert (
        str(caught.value)
        == "a mixture of 2 sources without an example\nhint: see rejected.jsonl for why"
    )


@settings(deadline=None, max_examples=60)
@given(sizes=SIZES, cap=st.integers(1, 40), total=st.integers(0, 100))
def test_counts_add_up_stay_within_one_of_the_rate_and_name_rows_that_exist(
    sizes: dict[str, int], cap: int, total: int
) -> None:
    counts, rates = mixture_counts(sizes, cap, total), mixture_rates(sizes, cap)
    assert sum(counts.values()) == total
    assert abs(sum(rates.values()) - 1) < 1e-9
    assert all(abs(counts[name] - rates[name] * total) < 1 for name in sizes)
    drawn = sample_mixture(sizes, cap, total)
    assert Counter(name for name, _ in drawn) == +Counter(counts)
    assert all(0 <= index < sizes[name] for name, index in drawn)
    times = Counter(drawn)
    for name, size in sizes.items():
        seen = [times[name, index] for index in range(size)]
        assert not seen or max(seen) - min(seen) <= 1


CHOICE, TEXT = ("classify", "choice", "accuracy"), ("rewrite", "text", "rougeL")


def test_sources_of_one_form_with_a_common_label_are_one_task_without_a_name() -> None:
    one = Kind("a.csv", CHOICE, ("no", "yes"))
    assert task_names([one, Kind("b.csv", CHOICE, ("maybe", "yes"))]) == ["", ""]
    assert task_names([one]) == [""]
    assert task_names([Kind("a.csv", TEXT), Kind("b.csv", TEXT)]) == ["", ""]


def test_other_labels_other_forms_and_held_out_sources_are_tasks_named_after_their_files() -> None:
    found = task_names(
        [
            Kind("x/reviews.csv", CHOICE, ("no", "yes")),
            Kind("topics.csv", CHOICE, ("art", "sport")),
            Kind("more.csv", CHOICE, ("no", "yes")),
            Kind("y/reviews.csv", TEXT),
            Kind("unseen.csv", CHOICE, ("no", "yes"), held_out=True),
        ]
    )
    assert found == ["reviews", "topics", "reviews", "reviews 2", "unseen"]


def test_a_name_decides_which_sources_are_one_task() -> None:
    found = task_names(
        [
            Kind("a.csv", TEXT, name="sum"),
            Kind("sum.csv", TEXT),
            Kind("c.csv", TEXT, name="sum"),
            Kind("d.csv", TEXT, name="rhymes"),
        ]
    )
    assert found == ["sum", "sum 2", "sum", "rhymes"]
    assert task_names([Kind("a.csv", TEXT, name="sum"), Kind("c.csv", TEXT, name="sum")]) == [
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Kind("b.csv", CHOICE, name="sum"), "they are rewrite text rougeL and classify choice"),
        (Kind("b.csv", TEXT, name="sum", held_out=True), "only one of them is held_out"),
    ],
)
def test_one_name_for_two_tasks_is_refused(other: Kind, message: str) -> None:
    with pytest.raises(DataError, match=f"a.csv and b.csv have the name 'sum', but {message}"):
        task_names([Kind("a.csv", TEXT, name="sum"), other])
