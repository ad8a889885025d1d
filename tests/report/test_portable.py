"""A report that is passed on tells nobody's folders."""

from __future__ import annotations

import base64
import re
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from tunesmith.report.content import Report
from tunesmith.report.portable import portable
from tunesmith.report.write import write_report
from tunesmith.rundir import RunDir


def test_paths_are_relative_in_every_file_of_the_report(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunDir(tmp_path / "runs" / "one")
    run.model.mkdir(parents=True)
    recipe = {
        "model": "/home/anna/secret/models/base-1b",
        "data": {"source": [str(tmp_path / "rows.csv"), {"source": "/srv/secret/more.csv"}]},
        "output_dir": str(run.path),
    }
    notes = [
        f"rows of {tmp_path / 'rows.csv'}:4 are odd",
        "the model in /home/anna/secret/models/base-1b",
    ]
    command = f"tunesmith run {run.recipe} output_dir=NEW_FOLDER"
    examples = {
        id: replace(example, source=f"/srv/secret/more.csv:{number}")
        for number, (id, example) in enumerate(report.examples.items(), start=2)
    }
    slice_of = {"source": dict.fromkeys(examples, "/srv/secret/more.csv")}
    report = replace(report, examples=examples, slice_of=slice_of)
    write_report(run, replace(report, recipe=recipe, notes=notes, command=command))
    assert '".../more.csv:2"' in rows_in(run.report_html.read_text(encoding="utf-8"))
    for path in (run.report_json, run.report_md, run.report_html, run.model / "README.md"):
        text = path.read_text(encoding="utf-8")
        assert "secret" not in text, path
        assert str(tmp_path) not in text, path
        assert "secret" not in rows_in(text), path
    found = portable(replace(report, recipe=recipe, notes=notes, command=command), run.path)
    assert found.recipe["data"] == {"source": ["rows.csv", {"source": ".../more.csv"}]}
    assert found.command == "tunesmith run runs/one/recipe.yaml output_dir=NEW_FOLDER"
    assert found.notes == ["rows of rows.csv:4 are odd", "the model in .../base-1b"]


def rows_in(text: str) -> str:
    """The rows that a page holds packed; empty for other files."""
    found = re.search(r'<script id="packed"[^>]*>(.*?)</script>', text)
    return zlib.decompress(base64.b64decode(found[1])).decode() if found else ""


def test_names_of_the_hub_and_relative_paths_stay(report: Report) -> None:
    recipe = {"model": "org/name", "data": {"source": "rows/a.csv"}, "system": "and/or", "x": "/"}
    assert portable(replace(report, recipe=recipe), Path("runs/one")).recipe == recipe
