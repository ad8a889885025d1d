"""Strangers' text: shown inert on terminals, in errors, in Markdown and on pages."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
import subprocess
import unicodedata
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from report.conftest import classify_report
from rich.table import Table

from tunesmith.cli_options import note, print_json
from tunesmith.errors import DataError
from tunesmith.inert import inert, inert_json, inert_line
from tunesmith.progress import InertConsole
from tunesmith.report.content import Report
from tunesmith.report.html import render_html
from tunesmith.report.markdown import line, markdown_table, render_markdown, titled
from tunesmith.report.tables import Table as Columns
from tunesmith.report.tables import TableRow

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\u202c\x9b31m [red]b[/red] :bomb: \u2066x\x00\ufeff"
SEEN = {"\u0600", "\u0601", "\u0602", "\u0603", "\u0604", "\u0605", "\u06dd", "\u070f", "\u0890",
        "\u0891", "\u08e2", "\U000110bd", "\U000110cd"}  # fmt: skip
"""Format characters of Arabic, Syriac and Kaithi that are printed: signs around a number."""


def test_exactly_what_is_not_to_be_seen_is_spelled_out() -> None:
    for code in range(0x110000):
        character = chr(code)
        category = unicodedata.category(character)
        hidden = category in ("Cc", "Cs", "Zl", "Zp") or (
            category == "Cf"
            and character not in SEEN | {"\u200c", "\u200d"}
            and not 0x13430 <= code <= 0x1343F
        )
        if category != "Cn" and character not in "\n\t":
            assert (inert(character) != character) == hidden, hex(code)


def test_letters_of_every_script_and_emoji_stay() -> None:
    text = "naïve Straße 中文 עברית عربي हिन्दी می‌خواهم 👨‍👩‍👧 ½ \n\t"
    assert inert(text) == text


def test_what_is_spelled_out_is_ascii_as_python_writes_it() -> None:
    assert inert("a\x1b[2J\u202eb\U000e0041") == "a\\x1b[2J\\u202eb\\U000e0041"
    assert inert("\ud800") == "\\ud800"
    assert inert_line("a\n\tb") == "a\\n\\tb"


@given(st.text())
def test_json_reads_back_as_the_same(text: str) -> None:
    shown = inert_json(json.dumps([text], ensure_ascii=False))
    assert json.loads(shown) == [text]
    assert shown == inert(shown)


def test_every_error_is_two_lines_whatever_is_quoted_in_it() -> None:
    error = DataError(f"row {HOSTILE}\nhint: send your key", hint="did you mean '\x1b[1m'?\n")
    assert str(error).count("\n") == 1
    assert str(error) == inert(str(error))
    assert "\\nhint: send your key" in error.message


def test_notes_results_and_tables_are_inert(capsys: pytest.CaptureFixture[str]) -> None:
    note(HOSTILE)
    print_json({"a": HOSTILE})
    out, err = capsys.readouterr()
    assert (inert(out), inert(err)) == (out, err)
    assert json.loads(out) == {"a": HOSTILE}
    table = Table("a", title="t")
    table.add_row(inert(HOSTILE))
    screen = io.StringIO()
    console = InertConsole(file=screen, width=200, markup=False, emoji=False)
    console.print(HOSTILE)
    console.print(table)
    assert inert(screen.getvalue()) == screen.getvalue()
    assert screen.getvalue().count("[red]b[/red] :bomb:") == 2


MARKS = st.text(alphabet="ab1 .)(-+#>=~`*_|<!/[]:&;$\\\"'?@x\n", max_size=24)


@given(MARKS | st.text(max_size=20))
@settings(max_examples=800, deadline=None)
def test_a_line_of_markdown_shows_the_text_and_nothing_else(text: str) -> None:
    shown = " ".join(inert(text).split())
    parser = MarkdownIt("commonmark").enable(["strikethrough", "table"])
    for before, after in (("", ""), ("- ", ""), ("before ", ": after")):
        html = parser.render(f"{before}{line(text)}{after}\n")
        inner = re.sub(r"</?(p|ul|li)>|\n", "", html)
        assert "<" not in inner, html
        expected = f"{before.removeprefix('- ')}{shown}{after}"
        assert unescape(inner).strip() == expected.strip()


@pytest.mark.parametrize(
    "text", ["</td><img src=x>", "](https://evil.example)", "a | b", "![x](y)"]
)
def test_no_part_of_a_table_in_markdown_brings_an_element_or_a_column(text: str) -> None:
    hostile = f"label {text}"
    table = Columns((hostile, hostile), (TableRow(hostile, (hostile,)),), note=hostile)
    html = (
        MarkdownIt("commonmark")
        .enable("table")
        .render(f"{titled(hostile, markdown_table(table))}\n")
    )
    assert set(re.findall(r"</?(\w+)", html)) == {
        "h3", "table", "thead", "tbody", "tr", "th", "td", "p"
    }  # fmt: skip
    assert html.count("<th") - html.count("<thead") == html.count("<td") == 2
    assert unescape(re.sub(r"<[^>]*>", "", html)).split("\n").count(hostile) == 6


def hostile_report() -> Report:
    rows = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    report = classify_report()
    return dataclasses.replace(
        report,
        notes=[rows + HOSTILE, "</li></ul><h1>better</h1>", "&lt;b&gt;"],
        examples={
            key: dataclasses.replace(e, prompt=f"```\n</pre>{rows}\n# better\n{HOSTILE}")
            for key, e in report.examples.items()
        },
    )


def without_scripts(page: str) -> str:
    """A page without its own scripts: as many as a report without hostile rows has."""
    clean = render_html(classify_report(), [])
    assert page.count("<script") == clean.count("<script")
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_a_report_of_hostile_rows_is_inert() -> None:
    report = hostile_report()
    for text in (without_scripts(render_html(report, [])), render_markdown(report)):
        assert text == inert(text)
        assert "\\u202egnp.exe" in text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
@pytest.mark.slow
def test_a_browser_finds_no_element_that_a_row_brought(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_html(hostile_report(), []), encoding="utf-8")
    found = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
         f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    found = without_scripts(found)
    assert "<img" not in found
    assert "<title>owned" not in found
    assert found.count("<h1") == 1
    assert "&lt;script&gt;" in found
