"""The JSON files of a run: what is written is read back, and an older run folder opens."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tunesmith.errors import DataError
from tunesmith.recipe import metric_options
from tunesmith.records import RetentionRow
from tunesmith.run_files import (
    Evaluated,
    FewShot,
    Manifest,
    Task,
    new_manifest,
    read_evaluated,
    read_manifest,
    read_record,
    run_state,
    write_record,
)
from tunesmith.rundir import RunDir, read_json, write_json

TASK = Task("classify", "choice", ("accuracy", "macro_f1"), "Label {text}", ("classify/a",))
WITH_OPTIONS = replace(TASK, options=metric_options({"bleu": {"tokenize": "zh"}}))


def test_a_number_that_is_not_finite_is_read_as_it_was_written(tmp_path: Path) -> None:
    row = RetentionRow("t", "bits_per_byte", 1.0, 1.0, 0.0, (math.nan, math.inf), math.nan, 3)
    write_record(tmp_path / "panel.json", (row,))
    text = (tmp_path / "panel.json").read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name))  # strict JSON
    (found,) = read_record(tmp_path / "panel.json", tuple[RetentionRow, ...])
    assert (math.isnan(found.ci[0]), found.ci[1], math.isnan(found.detectable)) == (
        True, math.inf, True
    )  # fmt: skip


def test_a_manifest_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    written = new_manifest(TASK, {"recipe.yaml": "ab"}, {"rows.csv": "cd"}, {"m": "ef"}, ("note",))
    write_record(run.manifest, written)
    assert read_manifest(run) == written
    assert written.task.primary == "accuracy"


def test_the_metrics_settings_are_read_back_and_are_the_defaults_in_an_older_run(
    tmp_path: Path,
) -> None:
    run = RunDir(tmp_path)
    write_record(run.manifest, new_manifest(WITH_OPTIONS, {}, {}, {}, ()))
    assert read_manifest(run).task == WITH_OPTIONS
    values = read_json(run.manifest)
    del values["task"]["options"]
    write_json(run.manifest, values)
    assert read_manifest(run).task == TASK


def test_a_manifest_of_the_first_format_opens(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    old = {
        "created": "2026-11-01",
        "versions": {"tunesmith": "0.1.0"},
        "model_files": {},
        "inputs": {},
        "files": {},
        "max_length": 256,
        "family": "classify",
        "parser": "choice",
        "metrics": ["accuracy", "macro_f1"],
        "held_out_wordings": ["classify/a"],
        "prompt_layout": "Label {text}",
        "notes": [],
    }
    write_json(run.manifest, old)
    assert read_manifest(run).task == TASK


def test_a_manifest_of_a_newer_format_says_what_to_do(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_json(run.manifest, {"format": 99})
    with pytest.raises(DataError, match=r"format 99, this tunesmith reads up to 2\nhint: upgrade"):
        read_manifest(run)


def test_a_file_that_was_changed_by_hand_is_named_with_its_key(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_record(run.manifest, Manifest(TASK, {}, {}, {}, {}))
    values = json.loads(run.manifest.read_text())
    values["task"]["metrics"] = 3
    write_json(run.manifest, values)
    with pytest.raises(DataError, match=r"manifest.json: task.metrics: "):
        read_manifest(run)


def test_a_score_that_is_no_number_survives(tmp_path: Path) -> None:
    path = tmp_path / "few_shot.json"
    write_record(path, FewShot("w", "m", 3, {"w": float("nan")}, ("a",), 1.5))
    assert str(read_record(path, FewShot).scores["w"]) == "nan"


def test_evaluation_is_done_when_its_last_file_is_there(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.predictions("base", "test").parent.mkdir(parents=True)
    run.predictions("base", "test").touch()
    assert not run_state(run).evaluated
    write_record(run.evaluated, Evaluated(("base", "tuned")))
    assert run_state(run).evaluated
    assert read_evaluated(run, ("tuned",)) == ("base", "tuned")
    run.evaluated.unlink()
    write_json(run.panel, [])  # all that an older run has
    assert run_state(run).evaluated
    assert read_evaluated(run, ("base", "tuned")) == ("base",)
