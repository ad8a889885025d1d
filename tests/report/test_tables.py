from __future__ import annotations

from dataclasses import replace

from tunesmith.records import Comparison, Estimate
from tunesmith.report.content import JudgedMetric, Report
from tunesmith.report.tables import (
    auxiliary_table,
    class_table,
    comparison_table,
    confusion_matrix,
    difference_table,
    facts_table,
    judged_table,
    ledger_table,
    mistakes_table,
)


def test_the_tuned_row_and_no_other_is_marked(report: Report) -> None:
    assert [row.label for row in comparison_table(report).rows if row.marked] == ["Tuned model"]


def test_the_primary_metric_stands_first(report: Report) -> None:
    assert comparison_table(replace(report, primary_metric="macro_f1")).columns == (
        "System",
        "Macro F1",
        "Accuracy",
    )


def test_equal_n_is_said_once(report: Report) -> None:
    table = comparison_table(report)
    assert table.note == "n = 78 test examples. Mean with 95 % interval."
    assert not any("n =" in cell for row in table.rows for cell in row.cells)


def test_unequal_n_is_said_in_every_cell(report: Report) -> None:
    fewer = replace(
        report.evaluations[0], estimates={"accuracy": Estimate(0.5, 40, 0.08, (0.35, 0.65))}
    )
    table = comparison_table(replace(report, evaluations=[fewer, *report.evaluations[1:]]))
    assert table.rows[0].cells == ("0.500 [0.35, 0.65] (n = 40)", "")
    assert all("(n = 78)" in cell for row in table.rows[1:] for cell in row.cells)


def test_what_stands_beside_the_metrics_has_a_table_of_its_own(report: Report) -> None:
    assert "Stopped by itself" not in comparison_table(report).columns
    found = auxiliary_table(report)
    assert found.columns == (
        "System",
        "Valid format",
        "Stopped by itself",
        "Empty",
        "Accuracy of valid answers",
    )
    assert found.rows[0].cells[-1].endswith("(n = 70)")
    assert "Lower is better: empty." in found.note


def test_translation_signatures_are_printed(report: Report) -> None:
    tuned = report.evaluations[-1]
    scored = replace(
        tuned,
        estimates={"bleu": Estimate(31.4, 78, 1.0, (29.5, 33.4))},
        details={"signatures": {"bleu": "nrefs:1|tok:13a", "ter": "unused"}},
    )
    table = comparison_table(replace(report, evaluations=[scored], primary_metric="bleu"))
    assert table.rows[0].cells == ("31.4 [29.5, 33.4]",)
    assert table.note.endswith("BLEU: nrefs:1|tok:13a.")


def test_the_difference_is_shown_with_sign_interval_and_counts() -> None:
    compared = Comparison(
        "base",
        "tuned",
        "accuracy",
        0.2,
        0.1,
        0.1,
        (0.04, 0.36),
        0.0004,
        9,
        5,
        1,
        15,
        12,
        0.28,
        "exact McNemar",
    )
    table = difference_table(_with(comparisons=[compared]))
    assert table.columns[0] == "Tuned model against"
    assert table.rows[0].label == "Base model"
    assert table.rows[0].cells == ("+0.200 [+0.04, +0.36]", "< 0.001", "9 / 5 / 1", "0.280")
    assert table.note.startswith(
        "Accuracy. Paired by example, n = 15 in 12 clusters. p: exact McNemar."
    )


def test_several_metrics_get_a_column() -> None:
    one = Comparison(
        "base", "tuned", "accuracy", 0.2, 0.1, 0.1, (0.0, 0.4), 0.5, 9, 5, 1, 15, 15, 0.28
    )
    table = difference_table(
        _with(comparisons=[one, replace(one, metric="macro_f1", a="tuned", b="other")])
    )
    assert table.columns[:2] == ("Comparison", "Metric")
    assert [row.label for row in table.rows] == [
        "Tuned model against base model",
        "other against tuned model",
    ]


def test_metrics_that_are_judged_together_show_holms_p_and_the_first_one_is_the_verdicts() -> None:
    one = Comparison(
        "base", "tuned", "accuracy", 0.2, 0.1, 0.1, (0.04, 0.36), 0.03, 9, 5, 1, 15, 15, 0.28
    )
    other = replace(one, metric="mae", difference=-1.5, ci=(-2.0, -1.0), p=0.0004)
    table = judged_table(_with(judged=[JudgedMetric(one, 0.03), JudgedMetric(other, 0.0008)]))
    assert [(row.label, row.marked) for row in table.rows] == [
        ("Accuracy", True),
        ("Mean absolute error", False),
    ]
    assert table.rows[0].cells == ("+0.200 [+0.04, +0.36]", "0.030", "0.030", "9 / 5 / 1", "0.280")
    assert table.rows[1].cells[1:3] == ("< 0.001", "< 0.001")
    assert table.note == (
        "Against base model. Holm's p is adjusted for 2 metrics; "
        "the verdict rests on the first one's. Lower is better: mean absolute error."
    )
    assert judged_table(_with()).rows == ()


def test_the_worst_thirty_of_many_classes_are_shown_and_it_is_said() -> None:
    classes = [
        {"label": f"c{i:02}", "precision": 0.5, "recall": 0.5, "f1": i / 77, "n": 4}
        for i in range(77)
    ][::-1]
    table = class_table({"per_class": classes})
    assert table is not None
    assert [row.label for row in table.rows] == [f"c{i:02}" for i in range(30)]
    assert table.note == "The 30 classes with the lowest F1 of 77; all are in report.json."
    assert class_table({}) is None


def test_answers_that_name_no_class_get_a_column_where_there_are_any() -> None:
    with_none = confusion_matrix(
        {"confusion": {"labels": ["a", "b"], "counts": [[3, 0, 1], [1, 1, 0]]}}
    )
    without = confusion_matrix(
        {"confusion": {"labels": ["a", "b"], "counts": [[3, 1, 0], [1, 1, 0]]}}
    )
    assert with_none is not None
    assert without is not None
    assert with_none.columns == ("a", "b", "(none)")
    assert with_none.shares == ((0.75, 0.0, 0.25), (0.5, 0.5, 0.0))
    assert without.columns == ("a", "b")


def test_the_commonest_mistakes_come_first_and_right_answers_are_none() -> None:
    matrix = confusion_matrix(
        {"confusion": {"labels": ["a", "b"], "counts": [[30, 2, 0], [5, 40, 1]]}}
    )
    assert matrix is not None
    rows = mistakes_table(matrix).rows
    assert [(row.label, *row.cells) for row in rows] == [
        ("b", "a", "5"),
        ("a", "b", "2"),
        ("b", "(none)", "1"),
    ]


def test_the_ledger_table_accounts_for_every_raw_row(report: Report) -> None:
    rows = {row.label: row for row in ledger_table(report.data).rows}
    assert rows["Raw rows"].cells == ("", "", "", "780")
    assert (rows["duplicates"].cells[-1], rows["rejected"].cells[-1]) == ("3", "1")
    assert rows["Rows kept"].cells == ("621", "77", "78", "776")
    assert "leaked" not in rows  # none of them


def test_the_ledger_table_says_when_nothing_was_left_out() -> None:
    table = ledger_table(
        {"rows": {"raw": 2, "duplicates": 0, "kept": 2}, "splits": {"train": {"rows": 2}}}
    )
    assert table.note == "No row was left out."
    assert ledger_table({}).rows == ()


def test_nested_facts_are_indented_below_their_name() -> None:
    rows = facts_table(
        "Training", {"peak_memory_bytes": 5e6, "limits": {"flops": 2, "left": {}}}
    ).rows
    assert [(row.label, row.cells[0], row.depth) for row in rows] == [
        ("Peak memory", "5 MB", 0),
        ("Limits", "", 0),
        ("flops", "2", 1),
        ("left", "none", 1),
    ]


def _with(**values: object) -> Report:
    given = {"evaluations": (), "comparisons": (), "examples": {}, **values}
    return Report(name="r", verdict_kind="better", verdict="v", primary_metric="accuracy", **given)  # type: ignore[arg-type]
