"""Whole runs on several processes: the same files, weights and answers as those of one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers_on_ranks import run_sharded
from on_ranks import on_ranks
from support import write_rows
from transformers import AutoModelForCausalLM

import tunesmith
from tunesmith import pipeline
from tunesmith.distributed.leading import _telling_torchrun
from tunesmith.errors import DataError
from tunesmith.evaluate.predictions import read_predictions
from tunesmith.recipe import Recipe, build_recipe, dump_recipe
from tunesmith.run_files import TrainingFacts, read_record
from tunesmith.rundir import RunDir
from tunesmith.stages.reproduce import check_whole
from tunesmith.train.trackers import read_metrics


def recipe_for(folder: Path, model: Path, output: str, **train: Any) -> Recipe:
    values = {
        "model": str(model),
        "data": {
            "source": str(write_rows(folder / "rows.csv")),
            "task": "classify/terse",
            "split": {"train": 0.5, "validation": 0.2, "test": 0.3},
        },
        "train": {
            "num_train_epochs": 2,
            "learning_rate": 5e-3,
            "train_batch_size": 8,
            "adam_epsilon": 1e-3,
            "dtype": "float32",
            "report_to": [],
        }
        | train,
        "evaluation": {"few_shot": 2, "resamples": 200, "dtype": "float32", "retention": False},
        "output_dir": str(folder / output),
    }
    return build_recipe(values)[0]


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in read_metrics(run / "metrics.jsonl")]


@pytest.mark.parametrize(
    ("train", "run"),
    [
        ({}, run_sharded),
        pytest.param({}, pipeline.run, marks=pytest.mark.sweep),
        pytest.param({"lora": {"r": 4}}, run_sharded, marks=pytest.mark.sweep),
        pytest.param({"lora": {"r": 4}}, pipeline.run, marks=pytest.mark.sweep),
    ],
    ids=["sharded", "whole copies", "lora, sharded", "lora, whole copies"],
)
def test_a_run_of_two_processes_is_that_of_one(
    tmp_path: Path, tiny_model_dir: Path, train: dict[str, Any], run: Callable[..., Any]
) -> None:
    one = pipeline.run(recipe_for(tmp_path, tiny_model_dir, "one", **train))
    recipe = recipe_for(tmp_path, tiny_model_dir, "two", **train)
    two, helper = on_ranks(2, run, recipe, joined=False)
    assert helper is None
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    assert two["comparison"] == one["comparison"]
    runs = [RunDir(tmp_path / name) for name in ("one", "two")]
    for system in ("base", "base_few_shot", "tuned"):
        answers = [
            [(p.example_id, p.text) for p in read_predictions(run, system, "test")] for run in runs
        ]
        assert answers[0] == answers[1]
        assert len(answers[1]) == 18
    models = [AutoModelForCausalLM.from_pretrained(run.model) for run in runs]
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert float((a - b).detach().abs().max()) < 1e-5
    for name in ("config.json", "generation_config.json"):
        assert (runs[1].model / name).read_text() == (runs[0].model / name).read_text()
    assert all(read_record(run.training, TrainingFacts).planned_memory_bytes > 0 for run in runs)
    check_whole(runs[1])
    assert any("18 of 18 stored answers" in note for note in two["run"]["notes"])
    assert not [*tmp_path.glob(".*")]  # no lock and no half-written folder is left


def test_torchruns_summary_has_the_traceback_of_an_unexpected_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(told))
    with pytest.raises(DataError), _telling_torchrun():
        raise DataError("said in a sentence of its own")
    assert not told.exists()
    with pytest.raises(ZeroDivisionError), _telling_torchrun():
        print(1 / 0)
    assert "print(1 / 0)" in json.loads(told.read_text())["message"]["extraInfo"]["py_callstack"]


def process_of_rank(number: int, launcher: int) -> int | None:
    """The process id of a rank that torchrun has started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            told = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == launcher and f"RANK={number}".encode() in told:
            return int(folder.name)
    return None


@pytest.mark.sweep
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux")
@pytest.mark.parametrize("restarts", [0, 1])
def test_kill_9_of_one_rank_ends_the_run_soon_and_a_restart_goes_on(
    tmp_path: Path, tiny_model_dir: Path, restarts: int
) -> None:
    steps = {"num_train_epochs": 12, "save_steps": 3}
    recipe = recipe_for(tmp_path, tiny_model_dir, "run", **steps)
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "--max-restarts", str(restarts)]
    command += ["-m", "tunesmith", "run", str(tmp_path / "recipe.yaml")]
    source = str(Path(tunesmith.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    with (tmp_path / "said.txt").open("w") as said:
        launcher = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 8:
        assert launcher.poll() is None, (tmp_path / "said.txt").read_text()[-3000:]
        time.sleep(0.05)
    victim = process_of_rank(1, launcher.pid)
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    code = launcher.wait(timeout=400)
    words = (tmp_path / "said.txt").read_text()
    if not restarts:
        assert time.monotonic() - killed < 60
        assert code != 0
        assert "Signal 9 (SIGKILL)" in words
        assert "rank: 1" in words.replace(" " * 6, " ")
        return
    assert code == 0, words[-3000:]
    one = pipeline.run(recipe_for(tmp_path, tiny_model_dir, "one", **steps))
    assert one["run"]
    assert [r["step"] for r in read_metrics(metrics)] == [*range(1, 49)]
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "one"), abs=1e-5)
    assert (tmp_path / "run" / "report.json").exists()
