from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np

from tunesmith.records import Comparison, Estimate
from tunesmith.report.content import Report, to_json


def test_report_json_has_the_promised_top_level(report: Report) -> None:
    found = to_json(report)
    assert {"verdict", "comparison", "comparisons", "evaluations", "run"} <= set(found)
    assert found["verdict"]["kind"] == "better"
    assert found["verdict"]["sentence"] == report.verdict
    assert found["comparison"] == found["comparisons"][0]
    assert set(found["evaluations"]) == {
        "base",
        "base_few_shot",
        "majority",
        "tfidf_linear",
        "tuned",
    }


def test_a_comparison_in_json_has_its_interval_as_a_list() -> None:
    comparison = Comparison(
        "base",
        "tuned",
        "accuracy",
        0.2,
        0.05,
        0.06,
        (0.1, 0.3),
        0.01,
        9,
        5,
        1,
        15,
        14,
        0.14,
        "exact",
    )
    found = to_json(_empty(comparisons=[comparison]))["comparison"]
    assert found == {
        "a": "base", "b": "tuned", "metric": "accuracy", "difference": 0.2, "se": 0.05,
        "se_clustered": 0.06, "ci": [0.1, 0.3], "p": 0.01, "wins": 9, "ties": 5, "losses": 1,
        "n": 15, "clusters": 14, "smallest_detectable": 0.14, "test": "exact", "note": "",
        "runs": 1, "se_runs": 0.0,
    }  # fmt: skip


def test_an_evaluation_in_json_is_metric_by_system(report: Report) -> None:
    tuned = to_json(report)["evaluations"]["tuned"]["accuracy"]
    estimate = report.evaluations[-1].estimates["accuracy"]
    assert tuned == {
        "mean": estimate.mean, "n": 78, "se": estimate.se, "ci": list(estimate.ci), "note": "",
    }  # fmt: skip


def test_json_is_strict_where_numbers_are_not_finite() -> None:
    found = to_json(_empty(history=[{"step": 1, "loss": math.nan, "norm": math.inf}]))
    assert found["history"] == [{"step": 1, "loss": None, "norm": None}]
    json.dumps(found, allow_nan=False)


def test_numpy_numbers_become_plain_ones() -> None:
    found = to_json(_empty(training={"steps": np.int64(3), "losses": np.array([0.5, 0.25])}))
    assert found["run"]["training"] == {"steps": 3, "losses": [0.5, 0.25]}


def test_the_arrays_that_compare_needs_stay_out_of_the_json(report: Report) -> None:
    written = to_json(report)
    assert report.evaluations[-1].rows
    assert written["evaluations"]["tuned"].keys() == report.evaluations[-1].estimates.keys()
    assert "rows" not in written["details"]["tuned"]
    assert written["details"]["tuned"]["given_valid"]["accuracy"]["n"] == 70


def test_history_is_written_once() -> None:
    found = to_json(
        _empty(training={"seconds": 2.0, "history": [{"step": 1}], "best_step": 1, "notes": ["x"]})
    )
    assert found["run"]["training"] == {"seconds": 2.0}


def test_warnings_of_metrics_join_the_notes_once(report: Report) -> None:
    warned = [replace(e, details={"warnings": ["no Latin letters"]}) for e in report.evaluations]
    found = replace(report, evaluations=warned, notes=["a note"])
    assert found.remarks == ["a note", "no Latin letters"]


def test_a_run_without_comparisons_has_a_null_comparison() -> None:
    assert to_json(_empty())["comparison"] is None
    assert _empty().smallest_detectable is None


def test_estimates_of_the_learning_curve_are_kept(report: Report) -> None:
    point = to_json(report)["learning_curve"][0]
    assert point == {
        "fraction": 0.25,
        "rows": 155,
        "estimate": {"mean": 0.628, "n": 78, "se": 0.055, "ci": [0.517, 0.727], "note": ""},
    }
    assert report.learning_curve[0].estimate == Estimate(0.628, 78, 0.055, (0.517, 0.727))


def _empty(**values: object) -> Report:
    given = {"comparisons": (), "evaluations": (), "examples": {}, **values}
    return Report(
        name="r", verdict_kind="cannot tell", verdict="v", primary_metric="accuracy", **given
    )  # type: ignore[arg-type]
