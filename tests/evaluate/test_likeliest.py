"""The likeliest choice as an answer."""

from __future__ import annotations

import pytest

from tunesmith.errors import DataError
from tunesmith.evaluate.likeliest import RANKINGS, can_rank, likeliest_predictions
from tunesmith.records import Estimate, Evaluation, Example, Prediction
from tunesmith.run_files import Opponents, Task
from tunesmith.stages.opponents import likeliest_by_task, opponents_by_task, strongest

EXAMPLE = Example("e", "r", "t", "Prompt", "sports", ("sports",), ("no", "sports"))
# as answers that end "no" is likelier, as text that may go on "sports"; by byte -3/2 and -2/6
RANKED = Prediction("e", "?", True, 1, (-4.0, -5.0), choice_logprobs_without_stop=(-3.0, -2.0))


def test_each_ranking_takes_its_own_likeliest_choice() -> None:
    picked = {
        ranking: likeliest_predictions([EXAMPLE], [RANKED], ranking)[0].text for ranking in RANKINGS
    }
    assert picked == {"whole": "no", "without stop": "sports", "per byte": "sports"}


def test_the_ranking_is_the_one_that_does_best_on_validation() -> None:
    task = Task(metrics=("accuracy",), parser="choice")
    found = opponents_by_task(
        task, [EXAMPLE], {"base": {"e": RANKED}, "base_likeliest": {"e": RANKED}}
    )
    assert found.likeliest == {"base": "without stop"}


def test_what_has_no_likelihoods_is_not_ranked() -> None:
    bare = Prediction("e", "no", True, 1)
    assert not can_rank([RANKED, bare])
    task = Task(metrics=("accuracy",), parser="choice")
    assert likeliest_by_task(task, [EXAMPLE], [], {"base": {"e": bare}}) == {}


def test_the_opponent_is_chosen_on_validation_and_by_the_test_only_among_equals() -> None:
    def evaluated(system: str, accuracy: float) -> Evaluation:
        estimate = Estimate(accuracy, 9, 0.0, (0.0, 1.0))
        return Evaluation(system, "test", [], [], [], {}, {"accuracy": estimate})

    systems = [evaluated("base", 0.7), evaluated("base_few_shot", 0.5), evaluated("tuned", 0.9)]
    fewer = Opponents(48, {"accuracy": {"base": 0.4, "base_few_shot": 0.6}})
    equal = Opponents(48, {"accuracy": {"base": 0.6, "base_few_shot": 0.6}})
    assert strongest(systems, "accuracy", fewer).system == "base_few_shot"
    assert strongest(systems, "accuracy", equal).system == "base"
    assert strongest(systems, "accuracy", None).system == "base"
    with pytest.raises(DataError, match="no baseline"):
        strongest([systems[-1]], "accuracy", None)


def test_of_errors_the_lowest_is_the_strongest_and_one_without_a_score_comes_last() -> None:
    low, high = (
        Evaluation(system, "test", [], [], [], {}, {"mae": Estimate(mae, 9, 0.0, (0.0, 9.0))})
        for system, mae in (("majority", 1.0), ("base", 7.0))
    )
    assert strongest([high, low], "mae", None).system == "majority"
    known = Opponents(48, {"mae": {"base": 7.0}})
    assert strongest([high, low], "mae", known).system == "base"  # no score is not an error of 0
