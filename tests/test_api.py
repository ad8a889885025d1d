"""From Python: a table in, a run as an object out, with what the command line would give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import tunesmith
from tunesmith.errors import InputError, RecipeError
from tunesmith.evaluate.score_file import score_file
from tunesmith.rundir import read_json

ROWS = [
    {"text": f"{'good' if i % 2 else 'bad'} thing {i}", "label": "<b>yes" if i % 2 else "no"}
    for i in range(60)
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> tunesmith.Run:
    return tunesmith.run(
        pd.DataFrame(ROWS),
        task="classify/terse",
        model=tiny_model_dir,
        output_dir=tmp_path_factory.mktemp("api") / "run",
        data={"split": {"train": 0.5, "validation": 0.2, "test": 0.3}},
        train={"num_train_epochs": 1, "learning_rate": 5e-3},
        evaluation={"few_shot": 0, "resamples": 200, "dtype": "float32"},
    )


def test_a_run_has_its_report_comparison_and_predictions(finished: tunesmith.Run) -> None:
    report = read_json(finished.folder / "report.json")
    assert finished.report == report
    assert finished.comparison == report["comparison"]
    assert finished.verdict == report["verdict"]["sentence"]
    assert len(finished.predictions) == report["evaluations"]["tuned"]["accuracy"]["n"]
    first = finished.predictions[0]
    assert first["reference"] in ("<b>yes", "no")
    assert {"id", "source", "prompt", "base", "tuned", "majority"} <= first.keys()
    right = [row["tuned"] == row["reference"] for row in finished.predictions]
    mean = report["evaluations"]["tuned"]["accuracy"]["mean"]
    assert sum(right) / len(right) == pytest.approx(mean)


def test_the_rows_of_a_table_are_kept_beside_the_run(finished: tunesmith.Run) -> None:
    rows = finished.folder.with_name("run.rows.parquet")
    assert pd.read_parquet(rows).to_dict("records") == ROWS
    with pytest.raises(RecipeError, match="output_dir"):
        tunesmith.run(ROWS[:2], task="classify", output_dir=finished.folder)
    assert pd.read_parquet(rows).to_dict("records") == ROWS


def test_a_run_answers_tables(finished: tunesmith.Run) -> None:
    found = finished.predict([{"text": "good thing"}, {"text": "bad thing"}])
    assert [row["text"] for row in found] == ["good thing", "bad thing"]
    assert {row["answer"] for row in found} <= {"<b>yes", "no"}


def test_a_notebook_shows_the_three_questions_and_no_markup_of_the_rows(
    finished: tunesmith.Run,
) -> None:
    page = finished._repr_html_()
    assert page.count("<tr>") == len(finished.report["verdict"]["questions"]) == 3
    assert "<b>yes" not in page
    assert repr(finished).startswith(f"Run('{finished.folder}'): ")


def test_score_takes_tables_and_gives_what_the_command_gives(tmp_path: Path) -> None:
    frame = pd.DataFrame({"gold": ["a", "b"] * 20, "x": ["a"] * 40, "y": ["a", "b"] * 20})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    systems = {"first": "x", "second": "y"}
    found = tunesmith.score(frame, "gold", systems, ["accuracy"], resamples=200)
    wanted = score_file(tmp_path / "rows.csv", "gold", systems, ["accuracy"], resamples=200)
    assert found["metrics"] == wanted["metrics"]
    assert found["metrics"]["second"]["accuracy"]["mean"] == 1.0


def test_what_is_no_table_is_an_error_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="int is no table"):
        tunesmith.run(3, output_dir=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_importing_tunesmith_loads_no_torch_and_dir_names_what_there_is() -> None:
    code = "import sys, tunesmith; print('torch' in sys.modules, *dir(tunesmith))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "Run", "__version__", "resume", "run", "score"]
