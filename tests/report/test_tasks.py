"""The section on a mixture's tasks: its numbers, its words, and names that are shown inert."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tunesmith.records import Comparison, Estimate, OverTasks, TaskReport, TaskVerdict
from tunesmith.report.content import Report, to_json
from tunesmith.report.html import render_html
from tunesmith.report.plots import plots_of
from tunesmith.report.sections import sections_of
from tunesmith.report.tasks import task_notes, task_tables, tasks_chart

THESE = Comparison(
    a="base", b="tuned", metric="task_mean", difference=0.25, se=0.05, se_clustered=0.05,
    ci=(0.15, 0.35), p=0.0021, wins=9, ties=10, losses=1, n=20, clusters=20,
    smallest_detectable=0.14,
)  # fmt: skip
OTHERS = replace(THESE, ci=(-0.05, 0.55), p=0.08, clusters=2)
UNKNOWN = replace(THESE, ci=(math.nan, math.nan), p=math.nan, clusters=1)


def level(mean: float) -> Estimate:
    return Estimate(mean, 20, 0.05, (mean - 0.1, mean + 0.1))


def verdict(task: str, held_out: bool = False) -> TaskVerdict:
    found = replace(THESE, metric="exact_match")
    estimates = {"base": level(0.25), "tuned": level(0.5)}
    return TaskVerdict(task, held_out, "exact_match", 20, estimates, found, 0.0042, "better")


def over(held_out: bool, others: Comparison = OTHERS, left_out: tuple[str, ...] = ()) -> OverTasks:
    means = {"base": level(0.25), "tuned": level(0.5)}
    return OverTasks(held_out, ("sum", "rhymes"), left_out, means, THESE, others)


TASKS = TaskReport(
    (verdict("sum"), verdict("rhymes"), verdict("negation", held_out=True)),
    over(held_out=False, left_out=("age",)),
    over(held_out=True),
)


def test_trained_and_held_out_tasks_have_a_table_each_with_their_mean() -> None:
    trained, held_out = task_tables(TASKS)
    assert (trained.title, held_out.title) == ("Trained tasks", "Held-out tasks")
    assert trained.columns == (
        "Task", "Metric", "n", "Base model", "Tuned model", "Gain", "against", "Holm's p",
        "Verdict",
    )  # fmt: skip
    assert [row.label for row in trained.rows] == ["sum", "rhymes", "Mean over 2"]
    assert trained.rows[0].cells == (
        "Exact match", "20", "0.250", "0.500", "+0.250 [+0.15, +0.35]", "base model", "0.0042",
        "better",
    )  # fmt: skip
    assert trained.rows[2].cells[4:] == ("+0.250 [+0.15, +0.35]", "base model", "p 0.0021", "")
    assert trained.note.endswith("Not in the mean: age.")
    assert [row.label for row in held_out.rows] == ["negation", "Mean over 2"]
    assert held_out.rows[1].cells[4].startswith("+0.250 [−0.05, +0.55]")


def test_the_notes_say_which_question_each_interval_answers() -> None:
    trained, held_out, _ = task_notes(TASKS, 0.95)
    assert trained == (
        "On the trained tasks (2) the tuned model gains +0.250 over base model (95 % interval "
        "[+0.15, +0.35], p 0.0021): the interval is for new rows of the same tasks. For other "
        "tasks like these it is [−0.05, +0.55]."
    )
    assert held_out == (
        "On the tasks that training never saw (2), where every model is asked without exemplars, "
        "the tuned model gains +0.250 over base model (95 % interval [−0.05, +0.55], p 0.080): "
        "the interval takes them as a sample of the tasks that could have been asked. For new rows "
        "of the same tasks it is [+0.15, +0.35]."
    )


def test_one_held_out_task_says_nothing_of_other_tasks() -> None:
    found = replace(TASKS, held_out=over(held_out=True, others=UNKNOWN))
    note = task_notes(found, 0.95)[1]
    assert "(95 % interval [+0.15, +0.35], p 0.0021): the interval is for new rows" in note
    assert note.endswith("is not known: it takes two tasks whose gains differ.")


def test_the_chart_has_every_task_and_both_means() -> None:
    chart = tasks_chart(TASKS)
    assert chart is not None
    assert [(row.label, row.marked) for row in chart.rows] == [
        ("sum", False),
        ("rhymes", False),
        ("negation", False),
        ("mean, trained tasks", True),
        ("mean, held-out tasks", True),
    ]


def test_a_report_of_a_mixture_has_the_section_and_others_have_not(report: Report) -> None:
    mixture = replace(report, tasks=TASKS)
    assert [s.id for s in sections_of(mixture)].count("tasks") == 1
    assert "tasks" not in [s.id for s in sections_of(report)]
    assert to_json(report)["tasks"] is None
    found = to_json(mixture)["tasks"]["trained"]
    assert found["these"]["difference"] == pytest.approx(0.25)


def test_a_tasks_name_is_shown_as_text(report: Report) -> None:
    named = replace(TASKS, verdicts=(verdict("<script>alert(1)</script>"),))
    mixture = replace(report, tasks=named)
    page = render_html(mixture, plots_of(mixture))
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
