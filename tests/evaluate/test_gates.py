"""A gate is passed where the interval shows it, and by no model that answers as its base does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from tunesmith.evaluate.compare import compare, evaluate
from tunesmith.evaluate.gates import (
    broken_gate,
    broken_rows,
    failed_gates,
    gain_gate,
    not_measured,
    retention_gates,
    right_or_wrong,
)
from tunesmith.evaluate.statistics import wilson_interval
from tunesmith.records import Comparison, Evaluation, Example, Prediction, RetentionRow


def evaluated(
    name: str, right: Sequence[bool], metric: str = "accuracy", groups: int = 0
) -> Evaluation:
    rows = [f"r{i % groups if groups else i}" for i in range(len(right))]
    examples = [
        Example(f"e{i}", row, "t", f"t{i}", "yes", ("yes",), ("no", "yes"))
        for i, row in enumerate(rows)
    ]
    answers = [
        Prediction(e.id, "yes" if is_right else "no", True, 1)
        for e, is_right in zip(examples, right, strict=True)
    ]
    return evaluate(name, "test", examples, answers, [metric], "choice")


def gained(low: float, high: float, metric: str = "accuracy") -> Comparison:
    middle = (low + high) / 2
    return Comparison(
        "base", "tuned", metric, middle, 0.01, 0.01, (low, high), 0.01, 9, 5, 1, 15, 15, 0.1
    )


def lost(name: str, metric: str, difference: float, ci: tuple[float, float]) -> RetentionRow:
    return RetentionRow(name, metric, 1.0, 1.0 + difference, difference, ci, 0.01, 100)


BEFORE = [True] * 80 + [False] * 20
AFTER = [True] * 77 + [False] * 3 + [True] * 15 + [False] * 5


def test_a_gain_passes_only_where_the_whole_interval_is_at_the_limit_or_above() -> None:
    assert gain_gate(0.02, gained(0.021, 0.2), False).result == "passed"
    assert gain_gate(0.02, gained(0.019, 0.2), False).result == "cannot tell"
    assert gain_gate(0.02, gained(-0.1, 0.019), False).result == "failed"


def test_a_least_gain_of_zero_asks_for_a_gain_all_the_same() -> None:
    assert gain_gate(0.0, gained(0.0, 0.0), False).result == "failed"
    assert gain_gate(0.0, gained(0.0, 0.1), False).result == "cannot tell"
    assert gain_gate(0.0, gained(0.001, 0.1), False).result == "passed"


def test_a_gain_where_lower_is_better_is_a_fall() -> None:
    gate = gain_gate(0.5, gained(-2.0, -0.6, "mae"), False)
    assert (gate.result, gate.value, gate.ci) == ("passed", 1.3, (0.6, 2.0))


def test_a_share_is_that_many_points_of_a_metric_up_to_a_hundred() -> None:
    gate = gain_gate(0.02, gained(1.5, 4.0, "bleu"), False)
    assert (gate.limit, gate.result) == (2.0, "cannot tell")


def test_an_interval_that_is_not_known_passes_nothing() -> None:
    assert gain_gate(0.0, gained(math.nan, math.nan), False).result == "cannot tell"
    changes = [lost("text", "bits_per_byte", 0.0, (math.nan, math.nan))]
    assert retention_gates(0.05, changes, False)[0].result == "cannot tell"
    assert not_measured("largest_retention_loss", 0.05).result == "cannot tell"


def test_rows_that_broke_are_a_share_of_all_rows_with_wilsons_interval() -> None:
    found = broken_rows(evaluated("base", BEFORE), evaluated("tuned", AFTER), "accuracy")
    assert (found.broken, found.fixed, found.n) == (3, 15, 100)
    assert found.share.mean == 0.03
    assert found.share.ci == pytest.approx(wilson_interval(3, 100))


def test_the_interval_of_broken_rows_counts_groups_not_rows() -> None:
    """Ten wordings of twenty rows, right or wrong together, are twenty rows."""
    before, after = [True] * 200, [i % 2 > 0 for i in range(200)]
    pairs = [
        broken_rows(
            evaluated("base", before, groups=g), evaluated("tuned", after, groups=g), "accuracy"
        )
        for g in (0, 20)
    ]
    widths = [pair.share.ci[1] - pair.share.ci[0] for pair in pairs]
    assert widths[1] > 2 * widths[0]


def test_no_broken_row_of_a_hundred_does_not_show_that_fewer_than_one_in_a_hundred_break() -> None:
    """The interval's upper end is z^2 / (n + z^2) = 3.84 / 103.84 = 3.7 %."""
    found = broken_rows(evaluated("base", BEFORE), evaluated("tuned", [True] * 100), "accuracy")
    assert found.broken == 0
    assert found.share.ci[1] == pytest.approx(3.8415 / 103.8415, abs=1e-4)
    assert broken_gate(0.01, found).result == "cannot tell"
    assert broken_gate(0.037, found).result == "passed"


@pytest.mark.parametrize("n, result", [(380, "cannot tell"), (381, "passed")])
def test_a_limit_of_one_in_a_hundred_takes_381_rows_of_which_none_breaks(
    n: int, result: str
) -> None:
    base, tuned = evaluated("base", [True] * (n - 1) + [False]), evaluated("tuned", [True] * n)
    assert broken_gate(0.01, broken_rows(base, tuned, "accuracy")).result == result


def test_a_broken_share_that_is_shown_to_be_larger_fails() -> None:
    found = broken_rows(evaluated("base", [True] * 100), evaluated("tuned", AFTER), "accuracy")
    assert found.broken == 8
    assert broken_gate(0.01, found).result == "failed"


def test_rows_break_by_accuracy_where_the_metric_is_by_class() -> None:
    pair = (evaluated("base", BEFORE, "macro_f1"), evaluated("tuned", AFTER, "macro_f1"))
    found = broken_rows(*pair, "macro_f1")
    assert (found.metric, found.broken) == ("accuracy", 3)


def test_the_first_metric_that_says_right_or_wrong_is_taken() -> None:
    assert right_or_wrong(["token_f1", "squad_em"]) == "squad_em"
    assert right_or_wrong(["macro_f1", "accuracy"]) == "macro_f1"
    assert right_or_wrong(["rougeL", "bleu"]) is None


def test_a_loss_elsewhere_is_judged_by_its_upper_end_in_the_direction_of_its_metric() -> None:
    changes = [
        lost("text", "bits_per_byte", 0.02, (0.01, 0.03)),
        lost("worse text", "bits_per_byte", 0.04, (0.02, 0.06)),
        lost("task", "accuracy", -0.10, (-0.14, -0.06)),
        lost("gain", "accuracy", 0.10, (0.06, 0.14)),
    ]
    gates = retention_gates(0.05, changes, False)
    assert [gate.result for gate in gates] == ["passed", "cannot tell", "failed", "passed"]
    assert gates[2].ci == (0.06, 0.14)
    assert gates[3].ci == (-0.14, -0.06)


def test_an_identical_model_passes_nothing() -> None:
    base, tuned = evaluated("base", BEFORE), evaluated("tuned", BEFORE)
    found = broken_rows(base, tuned, "accuracy")
    assert found.unchanged
    gates = [
        gain_gate(0.0, compare(base, tuned, "accuracy", resamples=200), found.unchanged),
        broken_gate(1.0, found),
        *retention_gates(1.0, [lost("text", "bits_per_byte", 0.0, (0.0, 0.0))], True),
    ]
    assert {gate.result for gate in gates} == {"failed"}
    assert all("the same answer to every test row" in gate.why for gate in gates)


# ---- for the command line


def as_json(before: Sequence[bool], after: Sequence[bool], **more: Any) -> dict[str, Any]:
    found = broken_rows(evaluated("base", before), evaluated("tuned", after), "accuracy")
    share = {"mean": found.share.mean, "n": found.n, "se": 0.0, "ci": list(found.share.ci)}
    return {
        "broken": {
            "before": "base", "metric": "accuracy", "n": found.n, "broken": found.broken,
            "fixed": found.fixed, "share": share, "unchanged": found.unchanged,
        },
        **more,
    }  # fmt: skip


def test_a_share_on_the_command_line_is_judged_as_a_gate_is() -> None:
    assert failed_gates(as_json(BEFORE, AFTER), 0.2) == []
    [said] = failed_gates(as_json(BEFORE, AFTER), 0.03)
    assert "3 of 100" in said
    assert "cannot tell" in said
    [identical] = failed_gates(as_json(BEFORE, BEFORE), 1.0)
    assert "failed" in identical
    assert failed_gates(as_json(BEFORE, AFTER)) == []


def test_an_interval_that_json_cannot_hold_passes_nothing() -> None:
    found = as_json(BEFORE, AFTER)
    found["broken"]["share"]["ci"] = [None, None]
    [said] = failed_gates(found, 1.0)
    assert "cannot tell" in said


def test_rows_that_cannot_be_counted_do_not_pass() -> None:
    [said] = failed_gates({"broken": None}, 1.0)
    assert "no answer is right or wrong" in said
    assert failed_gates({"broken": None}) == []


def test_every_gate_of_the_recipe_that_is_not_passed_is_named() -> None:
    gate = {"name": "least_gain", "what": "gain", "why": "low", "limit": 0.02}
    found = failed_gates(
        {"gates": [{**gate, "result": r} for r in ("passed", "failed", "cannot tell")]}
    )
    assert [text.split(": ")[1] for text in found] == ["failed", "cannot tell"]


def test_a_report_of_an_older_run_has_no_gates() -> None:
    assert failed_gates({}) == []
