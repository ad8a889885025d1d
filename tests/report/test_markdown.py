from __future__ import annotations

from dataclasses import replace

from tunesmith.report.content import Report
from tunesmith.report.markdown import fence, line, markdown_table, render_markdown
from tunesmith.report.plots import plots_of
from tunesmith.report.tables import Table, TableRow


def test_the_verdict_is_the_title(report: Report) -> None:
    assert render_markdown(report).splitlines()[:3] == [f"# {report.heading}", "", report.verdict]


def test_a_table_keeps_its_shape_whatever_a_cell_holds() -> None:
    table = Table(
        ("Class", "Answer", "Rows"),
        (TableRow("a|b\nc", ("<b>*x*", "1"), marked=True),),
        "n = 1.",
        (1,),
    )
    assert markdown_table(table).splitlines() == [
        "| Class | Answer | Rows |",
        "| --- | --- | ---: |",
        r"| **a\|b c** | **\<b>\*x\*** | **1** |",
        "",
        "n = 1.",
    ]


def test_intervals_and_smaller_than_signs_stay_readable() -> None:
    assert (
        line("0.812 [0.77, 0.85], p < 0.001, C# and a_b")
        == r"0.812 [0.77, 0.85], p < 0.001, C# and a\_b"
    )


def test_a_link_in_a_text_is_no_link() -> None:
    assert line("![see](http://x.test)") == r"![see\](http://x.test)"


def test_a_fence_is_longer_than_any_run_of_backticks_in_it() -> None:
    assert fence("```\ncode\n````", "sh") == "`````sh\n```\ncode\n````\n`````"
    assert fence("plain") == "```\nplain\n```"


def test_each_plot_is_linked_with_its_words(report: Report) -> None:
    plots = plots_of(report)
    text = render_markdown(report, plots)
    assert all(f"](plots/{plot.name}.png)" in text for plot in plots)


def test_the_same_numbers_stand_in_markdown(report: Report) -> None:
    text = render_markdown(report)
    assert "| **Tuned model** | **0.923 [0.86, 0.98]** |" in text
    assert "| - duplicates |  |  |  | 3 |" in text
    assert "### Fixed (10 of 23)" in text
    assert "+0.022 [+0.015, +0.029]" in text


def test_a_graded_report_says_improved_and_that_forgetting_was_not_measured(
    graded_report: Report,
) -> None:
    text = render_markdown(graded_report)
    assert "### Most improved (10 of " in text
    assert "Forgetting was not measured" in text


def test_a_bare_report_has_no_empty_parts() -> None:
    text = render_markdown(Report("r", "cannot tell", "Cannot tell.", "accuracy", (), (), {}))
    assert "\n\n\n" not in text


def test_notes_are_listed(report: Report) -> None:
    assert "\n- one *note*".replace("*", r"\*") in render_markdown(
        replace(report, notes=["one *note*"])
    )
