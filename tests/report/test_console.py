from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tunesmith.progress import note, showing
from tunesmith.records import Question
from tunesmith.report.console import brief_table, show
from tunesmith.report.content import Report


def test_the_verdict_comes_first(report: Report) -> None:
    said = replace(report, heading="Better than its base", questions=[question()])
    lines = _shown(said).strip().splitlines()
    assert lines[0].strip() == "Better than its base."
    assert lines[1].strip() == report.verdict
    assert lines[2].strip() == "Right on the task: yes. It is better."


def test_one_metric_is_shown_of_every_system_with_the_difference(report: Report) -> None:
    text = _shown(report)
    assert "Linear model (TF-IDF)" in text
    assert "0.923 [0.86, 0.98]" in text
    assert "+0.244 [+0.12, +0.36]" in text
    assert "Macro F1" not in text
    assert "Encyclopedia entries" not in text


def test_the_reference_is_first_and_the_tuned_model_last(report: Report) -> None:
    names = [row.label for row in brief_table(report).rows]
    assert names[0] == "Linear model (TF-IDF)"
    assert names[-1] == "Tuned model"
    assert len(names) == len(report.evaluations)


def test_without_a_comparison_there_is_no_table(report: Report) -> None:
    assert brief_table(replace(report, comparisons=[])).rows == ()


def test_all_tables_are_shown_where_asked(report: Report) -> None:
    text = _shown(report, show_all=True)
    assert "Macro F1" in text
    assert "Encyclopedia entries" in text
    assert text.index(report.verdict) < text.index("How the systems compare")


@pytest.mark.parametrize("width", [80, 120])
def test_the_brief_report_fits_its_width_and_cuts_no_number(report: Report, width: int) -> None:
    text = _shown(replace(report, questions=[question()]), width=width)
    assert max(map(len, text.splitlines())) <= width
    numbers = [cell for row in brief_table(report).rows for cell in row.cells]
    assert all(cell in text for cell in numbers)


def test_the_longest_name_of_a_system_leaves_room_for_the_numbers(report: Report) -> None:
    few_shot = next(e for e in report.evaluations if e.system == "base_few_shot")
    renamed = replace(few_shot, system="base_few_shot_likeliest")
    compared = next(c for c in report.comparisons if c.a == "base_few_shot")
    shown = replace(
        report,
        evaluations=[*report.evaluations, renamed],
        comparisons=[replace(compared, a=renamed.system, difference=-0.244, ci=(-0.36, -0.12))],
    )
    text = _shown(shown, width=80)
    assert "−0.244 [−0.36, −0.12]" in text


def test_brackets_in_a_text_are_no_markup(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = replace(report, verdict="Better [red]than[/red] [base", notes=["[/nothing]"])
    assert "Better [red]than[/red] [base" in _shown(shown)
    assert "note: [/nothing]" in capsys.readouterr().err


def test_a_note_that_was_said_during_the_run_is_not_repeated(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    with showing():
        note("the tokenizer had no chat template")
        show(replace(report, notes=["the tokenizer had no chat template", "computed in bfloat16"]))
    said = capsys.readouterr().err
    assert said.count("the tokenizer had no chat template") == 1
    assert said.count("computed in bfloat16") == 1


def test_results_go_to_stderr_by_default(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    show(report)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Tuned model" in captured.err


def question() -> Question:
    return Question("task", "Right on the task", "yes", "It is better.")


def _shown(report: Report, show_all: bool = False, width: int = 200) -> str:
    file = io.StringIO()
    show(report, show_all, Console(file=file, width=width, color_system=None))
    return file.getvalue()
