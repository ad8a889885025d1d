from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tunesmith.report.console import show
from tunesmith.report.content import Report


def test_the_verdict_comes_last_where_the_eye_is(report: Report) -> None:
    assert _shown(report).rstrip().endswith(report.verdict)


def test_systems_differences_and_losses_are_shown(report: Report) -> None:
    text = _shown(report)
    assert "Tuned model            0.923 [0.86, 0.98]" in text
    assert "+0.244 [+0.12, +0.36]" in text
    assert "Encyclopedia entries" in text


def test_brackets_in_a_text_are_no_markup(report: Report) -> None:
    text = _shown(replace(report, verdict="Better [red]than[/red] [base", notes=["[/nothing]"]))
    assert "Better [red]than[/red] [base" in text
    assert "note: [/nothing]" in text


def test_results_go_to_stderr_by_default(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    show(report)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Tuned model" in captured.err


def _shown(report: Report) -> str:
    file = io.StringIO()
    show(report, Console(file=file, width=200, color_system=None))
    return file.getvalue()
