from __future__ import annotations

import json
from pathlib import Path

from tunesmith.report.content import Report, to_json
from tunesmith.report.write import write_report
from tunesmith.rundir import RunDir


def test_a_report_is_all_its_files(report: Report, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.model.mkdir()
    write_report(run, report)
    names = ["systems", "questions", "differences", "forgetting", "slices", "risk_coverage"]
    names += ["loss", "validation_loss", "metric", "learning_curve"]
    plots = [f"plots/{name}" for name in names]
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {
        "report.html",
        "report.md",
        "report.json",
        "model/README.md",
        *(f"{plot}.{kind}" for plot in plots for kind in ("svg", "png")),
    }
    assert json.loads(run.report_json.read_text()) == to_json(report)


def test_the_same_report_gives_the_same_bytes(report: Report, tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_report(RunDir(tmp_path / name), report)
    first = {
        path.name: path.read_bytes() for path in (tmp_path / "first").rglob("*") if path.is_file()
    }
    second = {
        path.name: path.read_bytes() for path in (tmp_path / "second").rglob("*") if path.is_file()
    }
    assert first == second


def test_no_card_is_written_where_there_is_no_model(graded_report: Report, tmp_path: Path) -> None:
    write_report(RunDir(tmp_path), graded_report)
    assert not (tmp_path / "model").exists()
