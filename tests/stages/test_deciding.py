"""Slices, gates and the threshold of a whole run of the built-in model, and what is refused before
any work.
"""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.special
from support import as_older, exit_code_of, list_again, write_rows

from tunesmith import pipeline, stages
from tunesmith.data.store import read_examples
from tunesmith.errors import RecipeError
from tunesmith.evaluate.decisions import Threshold
from tunesmith.evaluate.predictions import read_predictions
from tunesmith.models.load import fingerprint
from tunesmith.recipe import build_recipe, dump_recipe
from tunesmith.records import Example, Prediction
from tunesmith.run_files import read_record
from tunesmith.rundir import RunDir
from tunesmith.seal import read_seal
from tunesmith.stages.threshold import store_base_confidence

KINDS = ("short", "tall", "wide")
Finished = tuple[RunDir, dict[str, Any]]


def write_kinds(path: Path, n: int = 120) -> Path:
    """Rows with a kind, and a price that a quarter of them lacks."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "kind", "price"])
        for i in range(n):
            text = f"{'good' if i % 2 else 'bad'} thing number {i}" + " indeed" * (i % 7)
            writer.writerow([text, "yes" if i % 2 else "no", KINDS[i % 3], i if i % 4 else ""])
    return path


def values(folder: Path, rows: Path, **evaluation: Any) -> dict[str, Any]:
    return {
        "data": {
            "source": str(rows),
            "task": "classify/terse",
            "split": {"train": 0.4, "validation": 0.3, "test": 0.3},
        },
        "train": {"num_train_epochs": 1, "report_to": []},
        "evaluation": {"few_shot": 0, "resamples": 200, "dtype": "float32", **evaluation},
        "output_dir": str(folder / "run"),
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("deciding")
    asked = {
        "slices": ["kind", "price"],
        "gates": {"least_gain": 0.99, "largest_broken_share": 1.0},
        "answer_at_accuracy": 0.3,  # two steps of training teach little
    }
    recipe = build_recipe(values(folder, write_kinds(folder / "rows.csv"), **asked))[0]
    return RunDir(folder / "run"), pipeline.run(recipe)


def test_test_rows_are_divided_by_columns_label_and_length(finished: Finished) -> None:
    run, report = finished
    found: dict[str, dict[str, int]] = {}
    for row in report["slices"]:
        found.setdefault(row["slicing"], {})[row["value"]] = row["comparison"]["n"]
    assert set(found) == {"kind", "price", "label", "prompt length"}
    test = read_examples(run.examples("test"))
    numbers = [int(example.source.rpartition(":")[2]) - 2 for example in test]
    assert found["kind"] == {kind: sum(KINDS[i % 3] == kind for i in numbers) for kind in KINDS}
    assert found["price"]["(missing)"] == sum(i % 4 == 0 for i in numbers)
    assert len(found["price"]) == 5
    assert all(sum(of.values()) == len(test) for of in found.values())


def test_gates_are_in_the_report_and_one_that_is_not_passed_gives_exit_code_4(
    finished: Finished, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, report = finished
    assert [(gate["name"], gate["result"]) for gate in report["gates"]] == [
        ("least_gain", "failed"),
        ("largest_broken_share", "passed"),
    ]
    assert exit_code_of(monkeypatch, "report", str(run.path)) == 4
    assert "gate not passed: least_gain: failed" in capsys.readouterr().err


def test_a_share_of_broken_rows_on_the_command_line_needs_no_gate_in_the_recipe(
    finished: Finished,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = RunDir(tmp_path / "copy")
    shutil.copytree(finished[0].path, run.path)
    plain = values(tmp_path, tmp_path / "rows.csv")
    run.recipe.write_text(dump_recipe(build_recipe(plain)[0]))
    list_again(run)
    assert exit_code_of(monkeypatch, "report", str(run.path)) == 0
    assert exit_code_of(monkeypatch, "report", str(run.path), "--fail-if-broken-over", "1") == 0
    assert exit_code_of(monkeypatch, "report", str(run.path), "--fail-if-broken-over", "0") == 4
    assert "broken rows: " in capsys.readouterr().err


def test_the_base_itself_as_the_tuned_model_passes_no_gate(
    finished: Finished, tmp_path: Path
) -> None:
    run = RunDir(tmp_path / "copy")
    shutil.copytree(finished[0].path, run.path)
    shutil.copytree(run.predictions("base", "test").parent, run.path / "was_base")
    shutil.rmtree(run.predictions("tuned", "test").parent)
    (run.path / "was_base").rename(run.predictions("tuned", "test").parent)
    list_again(run)
    gates = stages.report.report(run)["gates"]
    assert {gate["result"] for gate in gates} == {"failed"}


def test_the_base_model_ranks_no_validation_row_twice(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that it has answered, to choose its strongest form by, are stored as they came out."""
    run = RunDir(tmp_path / "copy")
    shutil.copytree(finished[0].path, run.path)
    stored = read_predictions(run, "base", "validation")
    ranked: list[str] = []

    def rank(model: Any, chat: Any, rows: list[Example], how: Any) -> list[Prediction]:
        ranked.extend(example.id for example in rows)
        return [p for p in stored if p.example_id in ranked]

    monkeypatch.setattr("tunesmith.stages.threshold.rank", rank)
    answered = {p.example_id: replace(p, text="written", num_tokens=3) for p in stored[1:6]}
    how: Any = SimpleNamespace(rank_choices=True)
    nothing: Any = None
    store_base_confidence(run, nothing, nothing, how, answered)
    assert ranked == [p.example_id for p in stored if p.example_id not in answered]
    assert read_predictions(run, "base", "validation") == stored


def test_the_threshold_is_saved_with_the_model_and_gives_the_test_rows_that_are_answered(
    finished: Finished,
) -> None:
    run, report = finished
    threshold = read_record(run.model / "tunesmith_threshold.json", Threshold)
    assert threshold.choices == ("no", "yes")
    assert threshold.rows == len(read_examples(run.examples("validation")))
    logprobs = np.array([p.choice_logprobs for p in read_predictions(run, "tuned", "test")])
    confidence = scipy.special.softmax(logprobs / threshold.temperature, axis=1).max(axis=1)
    assert threshold.threshold is not None
    share = float((confidence >= threshold.threshold).mean())
    assert report["calibration"]["coverage"]["mean"] == pytest.approx(share)
    tuned = report["calibration"]["systems"][1]
    # the likeliest whole answer, its stop token included: choice_acc leaves the stop token out
    test = read_examples(run.examples("test"))
    right = [e.choices[i] == e.completion for e, i in zip(test, logprobs.argmax(1), strict=True)]
    assert tuned["accuracy"]["mean"] == pytest.approx(np.mean(right))
    assert "It answers " in run.report_md.read_text()
    assert "When may it answer by itself?" in (run.model / "README.md").read_text()


def test_it_was_fitted_before_a_test_row_was_answered(
    finished: Finished, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = RunDir(tmp_path / "copy")
    shutil.copytree(finished[0].path, run.path)
    before = len(read_seal(run).uses)

    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    monkeypatch.setattr(stages.evaluate, "_answer", stop)  # of test rows
    run.threshold.unlink()
    with pytest.raises(Stop):
        stages.evaluate.evaluate(run)
    assert run.threshold.exists()
    assert len(read_seal(run).uses) == before


def test_the_likelihoods_that_it_was_fitted_on_are_stored(finished: Finished) -> None:
    run = finished[0]
    validation = read_examples(run.examples("validation"))
    for system in ("base", "tuned"):
        stored = read_predictions(run, system, "validation")
        assert [p.example_id for p in stored] == [e.id for e in validation]
        for prediction, example in zip(stored, validation, strict=True):
            best = int(np.argmax(prediction.choice_logprobs))
            assert prediction.text == example.choices[best]


def test_an_exported_model_keeps_its_threshold(finished: Finished, tmp_path: Path) -> None:
    stages.export.export(finished[0], tmp_path / "out", "bfloat16")
    written = (tmp_path / "out" / "tunesmith_threshold.json").read_text()
    assert json.loads(written) == json.loads(finished[0].threshold.read_text())


def test_a_run_without_a_threshold_still_has_a_report(finished: Finished, tmp_path: Path) -> None:
    """As the folder of an older tunesmith, whose rows may be gone too."""
    run = RunDir(tmp_path / "copy")
    shutil.copytree(finished[0].path, run.path)
    as_older(run)
    run.threshold.unlink()
    run.rows.unlink()
    report = stages.report.report(run)
    assert report["calibration"] is None
    assert {row["slicing"] for row in report["slices"]} == {"label", "prompt length"}
    assert "When may it answer" not in run.report_md.read_text()


def test_free_text_has_no_threshold(tmp_path: Path, tiny_model_dir: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"say {i}", "completion": f"it is {i % 5}"} for i in range(40)]
    rows.write_text("\n".join(map(json.dumps, lines)))
    asked = values(tmp_path, rows)
    asked["data"].pop("task")
    report = pipeline.run(build_recipe({**asked, "model": str(tiny_model_dir)})[0])
    run = RunDir(tmp_path / "run")
    assert report["calibration"] is None
    assert not run.threshold.exists()
    assert not run.predictions("tuned", "validation").exists()


# ---- refused before any work


@pytest.mark.parametrize(
    "evaluation, message",
    [
        (
            {"slices": ["text", "knd"]},
            r"evaluation\.slices: there is no column 'knd' in the rows that are tested on\n"
            r"hint: did you mean 'kind'\?",
        ),
        (
            {"gates": {"largest_retention_loss": 0.1}},
            r"largest_retention_loss: nothing is measured.*\nhint: set evaluation.retention=true",
        ),
        (
            {"gates": {"largest_broken_share": 0.1}, "metrics": ["rougeL"]},
            r"largest_broken_share: no answer is right or wrong by rougeL\nhint: add exact_match",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused_and_leaves_nothing(
    tmp_path: Path, tiny_model_dir: Path, evaluation: dict[str, Any], message: str
) -> None:
    asked = values(tmp_path, write_kinds(tmp_path / "rows.csv"), **evaluation)
    with pytest.raises(RecipeError, match=message):
        stages.prepare.prepare(build_recipe({**asked, "model": str(tiny_model_dir)})[0])
    assert not (tmp_path / "run").exists()


def test_a_column_need_not_be_in_the_first_row(tmp_path: Path, tiny_model_dir: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    lines = [
        {"prompt": f"say {i}", "completion": f"it is {i % 5}"} | ({"who": "me"} if i > 20 else {})
        for i in range(40)
    ]
    rows.write_text("\n".join(map(json.dumps, lines)))
    asked = values(tmp_path, rows, slices=["who"])
    asked["data"].pop("task")
    stages.prepare.prepare(build_recipe({**asked, "model": str(tiny_model_dir)})[0])


def test_a_column_of_the_training_file_alone_is_none_of_the_test_file(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    asked = values(tmp_path, write_kinds(tmp_path / "rows.csv"), slices=["kind"])
    asked["data"]["test_source"] = str(write_rows(tmp_path / "test.csv"))
    with pytest.raises(RecipeError, match="no column 'kind'"):
        stages.prepare.prepare(build_recipe({**asked, "model": str(tiny_model_dir)})[0])


@pytest.mark.parametrize(
    "evaluation, key",
    [
        ({"gates": {"least_gain": -0.1}}, "evaluation.gates.least_gain = -0.1"),
        ({"gates": {"largest_broken_share": 2}}, "evaluation.gates.largest_broken_share = 2"),
        ({"answer_at_accuracy": 1.0}, "evaluation.answer_at_accuracy = 1.0"),
    ],
)
def test_a_limit_out_of_its_range_is_an_error(evaluation: dict[str, Any], key: str) -> None:
    with pytest.raises(RecipeError, match=key.replace(".", r"\.")):
        build_recipe({"evaluation": evaluation})


def test_a_mistyped_gate_is_named() -> None:
    with pytest.raises(RecipeError, match=r"did you mean 'least_gain'"):
        build_recipe({"evaluation": {"gates": {"least_gian": 0.1}}})


def test_a_threshold_does_not_make_a_model_another_one(finished: Finished, tmp_path: Path) -> None:
    """A run that starts from this model goes on after it was evaluated again."""
    shutil.copytree(finished[0].model, tmp_path / "model")
    before = fingerprint(str(tmp_path / "model"))
    (tmp_path / "model" / "tunesmith_threshold.json").unlink()
    assert fingerprint(str(tmp_path / "model")) == before
