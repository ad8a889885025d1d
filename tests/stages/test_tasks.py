"""A whole run on a mixture of two trained tasks and a held-out one, with a tiny random model."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import write_rows

import tunesmith
from tunesmith import pipeline, stages
from tunesmith.data.plan import build_index, plan_sources
from tunesmith.data.sources.members import SourceRows
from tunesmith.data.sources.stored import StoredRows
from tunesmith.data.store import read_examples
from tunesmith.evaluate.parse import parse
from tunesmith.evaluate.predictions import read_predictions
from tunesmith.evaluate.tasks import stand_ins
from tunesmith.recipe import Recipe, build_recipe
from tunesmith.records import SPLITS
from tunesmith.run_files import FewShotByTask, read_manifest, read_record
from tunesmith.rundir import RunDir, read_json

SPLIT = {"train": 0.5, "validation": 0.2, "test": 0.3}


def write_fields(path: Path, n: int = 40) -> Path:
    """Texts whose only field is a number from 0 to 2."""
    rows = [{"text": f"call {i} now", "target": json.dumps({"n": i % 3})} for i in range(n)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_signs(path: Path, n: int = 20) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [
            (f"{'up' if i % 2 else 'down'} {i}", "plus" if i % 2 else "minus") for i in range(n)
        ]
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def mixture(folder: Path, model: Path, **evaluation: Any) -> Recipe:
    members = [
        {"source": str(write_rows(folder / "mood.csv")), "task": "classify/terse"},
        {"source": str(write_fields(folder / "b.jsonl")), "task": "extract", "name": "fields"},
        {"source": str(write_signs(folder / "sign.csv")), "task": "classify/terse",
         "held_out": True},
    ]  # fmt: skip
    values = {
        "model": str(model),
        "data": {"source": members, "split": SPLIT},
        "train": {"num_train_epochs": 2, "learning_rate": 5e-3, "train_batch_size": 8},
        "evaluation": {"few_shot": 2, "resamples": 200, "dtype": "float32"} | evaluation,
        "output_dir": str(folder / "run"),
    }
    return build_recipe(values)[0]


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path
) -> tuple[RunDir, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("mixture")
    (folder / "panel").mkdir()
    panel = mixture(folder / "panel", tiny_model_dir)
    (folder / "panel.yaml").write_text(json.dumps(panel.model_dump(mode="json")))
    recipe = mixture(folder, tiny_model_dir, panel=[str(folder / "panel.yaml")])
    return RunDir(folder / "run"), pipeline.run(recipe)


def hits(run: RunDir, system: str, task: str) -> list[bool]:
    """Which answers of a classification task are right, read here once more."""
    examples = {e.id: e for e in read_examples(run.examples("test")) if e.task == task}
    return [
        parse(p.text, "choice", examples[p.example_id].choices) == examples[p.example_id].completion
        for p in read_predictions(run, system, "test")
        if p.example_id in examples
    ]


def test_every_row_of_a_held_out_task_is_tested_and_none_is_trained(
    finished: tuple[RunDir, dict[str, Any]],
) -> None:
    run, _ = finished
    of_task = {
        split: [e.row_id for e in read_examples(run.examples(split)) if e.task == "sign"]
        for split in SPLITS
    }
    assert (of_task["train"], of_task["validation"]) == ([], [])
    assert sorted(of_task["test"]) == sorted(f"3:{i}" for i in range(1, 21))
    trained = [e.row_id for e in read_examples(run.examples("train"))]
    assert not any(row_id.startswith("3:") for row_id in trained)


def test_from_python_each_answer_stands_in_its_row_and_none_where_none_was_asked_for(
    finished: tuple[RunDir, dict[str, Any]],
) -> None:
    run, _ = finished
    found = tunesmith.Run(run.path).predictions
    for system in ("base", "base_few_shot", "tuned"):
        stored = {p.example_id: p.text for p in read_predictions(run, system, "test")}
        assert [row[system] for row in found] == [stored.get(row["id"]) for row in found]
    assert any(row["base_few_shot"] is None for row in found)  # a held-out task has no exemplars


def test_the_rows_of_a_held_out_task_are_answered_as_they_were_in_the_test(
    finished: tuple[RunDir, dict[str, Any]], tmp_path: Path
) -> None:
    run, _ = finished
    texts = {row.id: row.values["text"] for row in StoredRows(run.rows).read(2)}
    examples = {e.id: e for e in read_examples(run.examples("test")) if e.task == "sign"}
    stored = [p for p in read_predictions(run, "tuned", "test") if p.example_id in examples]
    lines = [json.dumps({"text": texts[examples[p.example_id].row_id]}) for p in stored]
    (tmp_path / "new.jsonl").write_text("\n".join(lines))
    stages.predict.predict(run, tmp_path / "new.jsonl", tmp_path / "out.jsonl", "sign")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for row, prediction in zip(rows, stored, strict=True):
        logprobs = prediction.choice_logprobs
        choices = examples[prediction.example_id].choices
        assert row["answer"] == choices[logprobs.index(max(logprobs))]


def test_every_task_has_its_own_verdict_with_its_own_numbers(
    finished: tuple[RunDir, dict[str, Any]],
) -> None:
    run, report = finished
    verdicts = {found["task"]: found for found in report["tasks"]["verdicts"]}
    assert {task: (v["metric"], v["held_out"], v["n"]) for task, v in verdicts.items()} == {
        "mood": ("accuracy", False, 18),
        "fields": ("json_f1", False, 12),
        "sign": ("accuracy", True, 20),
    }
    for task in ("mood", "sign"):
        for system, found in verdicts[task]["estimates"].items():
            right = hits(run, system, task)
            assert found["mean"] == pytest.approx(sum(right) / len(right))
    assert set(verdicts["mood"]["estimates"]) == {
        "base", "base_few_shot", "base_likeliest", "base_few_shot_likeliest", "majority",
        "tfidf_linear", "tuned",
    }  # fmt: skip
    assert set(verdicts["fields"]["estimates"]) == {"base", "base_few_shot", "constant", "tuned"}
    assert set(verdicts["sign"]["estimates"]) == {"base", "base_likeliest", "tuned"}


def test_the_verdict_over_all_is_the_mean_gain_over_the_trained_tasks(
    finished: tuple[RunDir, dict[str, Any]],
) -> None:
    run, report = finished
    trained = report["tasks"]["trained"]
    assert report["verdict"]["metric"] == "task_mean"
    assert report["comparison"] == trained["these"]
    a = report["comparison"]["a"]
    verdicts = [v for v in report["tasks"]["verdicts"] if not v["held_out"]]

    def level(system: str) -> float:
        found = [
            next(v["estimates"][name] for name in stand_ins(system) if name in v["estimates"])
            for v in verdicts
        ]
        return sum(estimate["mean"] for estimate in found) / 2

    assert report["comparison"]["difference"] == pytest.approx(level("tuned") - level(a))
    assert report["comparison"]["n"] == 30
    assert set(report["evaluations"]) == {
        "base", "base_few_shot", "base_likeliest", "base_few_shot_likeliest", "constant", "tuned",
    }  # fmt: skip
    held_out = report["tasks"]["held_out"]
    assert held_out["these"]["n"] == 20
    assert held_out["others"]["ci"] == [None, None]  # one task says nothing of others
    assert held_out["these"]["a"] in ("base", "base_likeliest")
    on_validation = read_json(run.opponents)["scores"]["task_mean"]
    assert on_validation[a] == max(on_validation.values())


def test_exemplars_are_of_the_same_task_and_held_out_tasks_have_none(
    finished: tuple[RunDir, dict[str, Any]],
) -> None:
    run, _ = finished
    prefixes = {"mood": "1:", "fields": "2:"}
    found = read_record(run.few_shot_by_task, FewShotByTask).tasks
    assert found.keys() == prefixes.keys()
    for task, own in found.items():
        assert own.exemplars
        assert all(row_id.startswith(prefixes[task]) for row_id in own.exemplars)
    task_of = {e.id: e.task for e in read_examples(run.examples("test"))}
    asked = [task_of[p.example_id] for p in read_predictions(run, "base_few_shot", "test")]
    assert set(asked) == {"mood", "fields"}


def test_the_checkpoint_is_chosen_by_the_mean_over_tasks(
    finished: tuple[RunDir, dict[str, Any]],
) -> None:
    logged = [entry for entry in finished[1]["history"] if "validation_task_mean" in entry]
    assert len(logged) == 2
    assert all(0 <= entry["validation_task_mean"] <= 1 for entry in logged)


def test_answers_are_decoded_as_their_own_task_needs(
    finished: tuple[RunDir, dict[str, Any]],
) -> None:
    run, _ = finished
    task_of = {e.id: e.task for e in read_examples(run.examples("test"))}
    ranked = {
        task: {bool(p.choice_logprobs) for p in read_predictions(run, "tuned", "test")
               if task_of[p.example_id] == task}
        for task in ("mood", "fields", "sign")
    }  # fmt: skip
    assert ranked == {"mood": {True}, "fields": {False}, "sign": {True}}
    most = {
        task: max(p.num_tokens for p in read_predictions(run, "base", "test")
                  if task_of[p.example_id] == task)
        for task in ("mood", "sign")
    }  # fmt: skip
    assert most["mood"] <= len(" yes") + 1 + 2
    assert most["sign"] <= len(" minus") + 1 + 2


def test_the_page_shows_trained_and_held_out_tasks_apart(
    finished: tuple[RunDir, dict[str, Any]],
) -> None:
    text = finished[0].report_md.read_text(encoding="utf-8")
    section = text.partition("## By task\n")[2].partition("\n## ")[0]
    trained, held_out = section.partition("### Held-out tasks")[::2]
    assert "| mood | Accuracy | 18 |" in trained
    assert "| fields | Field F1 | 12 |" in trained
    assert "| **Mean over 2** |" in trained
    assert "| sign | Accuracy | 20 |" in held_out
    assert "sign" not in trained.partition("### Trained tasks")[2]


def test_a_mixture_in_the_panel_is_measured_by_its_mean(
    finished: tuple[RunDir, dict[str, Any]],
) -> None:
    (row,) = finished[1]["forgetting"]
    assert (row["name"], row["metric"], row["n"]) == ("panel", "task_mean", 30)


def test_a_mixture_is_compared_with_another_run_over_its_tasks(
    finished: tuple[RunDir, dict[str, Any]], tmp_path: Path
) -> None:
    run, _ = finished
    shutil.copytree(run.path, tmp_path / "other")
    found = stages.compare.compare_runs(run, RunDir(tmp_path / "other"))["comparison"]
    assert (found["metric"], found["difference"], found["n"]) == ("task_mean", 0, 30)


def test_a_second_evaluation_gives_the_same_report(
    finished: tuple[RunDir, dict[str, Any]], tmp_path: Path
) -> None:
    run = RunDir(tmp_path / "again")
    shutil.copytree(finished[0].path, run.path)
    stages.evaluate.answer_tuned(run)
    before, after = (
        {p.example_id: p.text for p in read_predictions(r, "tuned", "test")}
        for r in (finished[0], run)
    )
    assert before == after


def test_a_run_from_before_there_were_tasks_opens(
    finished: tuple[RunDir, dict[str, Any]], tmp_path: Path
) -> None:
    values = read_json(finished[0].manifest)
    values["task"] = {"family": "classify", "parser": "choice", "metrics": ["accuracy"]}
    run = RunDir(tmp_path)
    run.manifest.write_text(json.dumps(values))
    task = read_manifest(run).task
    assert (task.tasks, task.held_out, task.judged) == ({}, False, {"": task})


TEXTS = st.lists(st.sampled_from(["red", "blue", "green", "grey"]), min_size=4, max_size=12)


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(trained=TEXTS, unseen=TEXTS, replayed=st.booleans())
def test_whatever_the_rows_share_held_out_ones_are_tested_and_change_no_training_row(
    tmp_path: Path, trained: list[str], unseen: list[str], replayed: bool
) -> None:
    def source(name: str, texts: list[str], **more: object) -> dict[str, object]:
        path = tmp_path / f"{name}.jsonl"
        rows = [{"text": f"{text} {i // 3}", "label": "yn"[i % 2]} for i, text in enumerate(texts)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return {"source": str(path), **more}

    def index(*members: dict[str, object]) -> Any:
        recipe = build_recipe({"data": {"source": list(members), "task": "classify"}})[0]
        rows = SourceRows(recipe.data)
        return build_index(plan_sources(recipe.data, rows), recipe.data, rows, tmp_path)

    members = [source("trained", trained), *([source("r", trained, replay=True)] * replayed)]
    alone = index(*members)
    found = index(*members, source("unseen", unseen, held_out=True))
    n = sum(alone.num_rows)
    assert (found.splits[n:] == SPLITS.index("test")).all()
    assert not (found.leaked | found.not_drawn)[n:].any()
    own = slice(len(trained))
    assert (found.dropped[own] == alone.dropped[own]).all()
    assert (found.splits[own] != alone.splits[own]).sum() == 0
    assert not found.leaked[:n].any()
