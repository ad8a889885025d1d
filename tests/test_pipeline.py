"""Whole runs on a tiny random model: every file is there, the answers are the saved model's, and
bits repeat.
"""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support
import torch
from scipy.special import softmax
from support import exit_code_of, list_again, write_rows
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import pipeline as hf_pipeline

from tunesmith import cli, pipeline, stages
from tunesmith.data.sources.stored import StoredRows
from tunesmith.data.store import read_examples
from tunesmith.errors import DataError, InputError, RecipeError
from tunesmith.evaluate.predictions import read_predictions
from tunesmith.evaluate.retention import TextScore
from tunesmith.evaluate.statistics import holm
from tunesmith.machine import Machine
from tunesmith.models.load import load_model
from tunesmith.packages import installed
from tunesmith.recipe import Recipe, build_recipe, dump_recipe
from tunesmith.records import Prediction
from tunesmith.run_files import read_manifest
from tunesmith.rundir import RunDir, file_sha256, read_json
from tunesmith.stages import dry_run as rehearse
from tunesmith.stages import serve as serving
from tunesmith.stages.seeds import copy_of
from tunesmith.stages.train import validation_rows

TEXT_SCORES = [TextScore(100.0 + i, 50) for i in range(4)]


def recipe_for(
    folder: Path, model: Path, output: str = "run", **sections: dict[str, Any]
) -> Recipe:
    values = {
        "model": str(model),
        "data": {
            "source": str(write_rows(folder / "rows.csv")),
            "task": "classify/terse",
            "split": {"train": 0.5, "validation": 0.2, "test": 0.3},
        }
        | sections.get("data", {}),
        "train": {"num_train_epochs": 2, "learning_rate": 5e-3, "train_batch_size": 8}
        | sections.get("train", {}),
        "evaluation": {"few_shot": 2, "resamples": 200, "dtype": "float32"}
        | sections.get("evaluation", {}),
        "output_dir": str(folder / output),
    }
    return build_recipe(values)[0]


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path
) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "panel.txt").write_text(
        "\n\n".join(f"{i} " + "some general words " * 30 for i in range(4))
    )
    other = {
        "data": {"source": str(write_rows(folder / "other.csv", 40)), "task": "classify/question"}
    }
    (folder / "other.yaml").write_text(json.dumps(other))
    panel = [str(folder / "panel.txt"), str(folder / "other.yaml")]
    recipe = recipe_for(folder, tiny_model_dir, evaluation={"panel": panel})
    with pytest.MonkeyPatch.context() as patch, (folder / "said.txt").open("w") as said:
        patch.setattr("tunesmith.progress.SHORT", 0.0)  # nothing is too short to be told
        with redirect_stderr(said):
            return folder, pipeline.run(recipe)


def test_every_stage_tells_what_it_does(finished: tuple[Path, dict[str, Any]]) -> None:
    said = (finished[0] / "said.txt").read_text()
    for text in (
        "preparation: reading rows: 60 rows in ",
        "preparation: splitting, and looking for duplicates: ",
        "preparation: rendering and tokenising rows: 60 rows in ",
        "training: epoch 1 of ",
        "training: steps: ",
        "evaluation: few-shot base: trying ",
        "evaluation: Base model: ",
        "evaluation: Base model, few-shot: ",
        "evaluation: Tuned model: ",
        "evaluation: retention: panel.txt: 8 texts in ",
        "evaluation: retention: other: ",
        "verification: a fresh process loads the saved model and answers: ",
        "the report: scoring the answers and resampling: ",
        "the report: drawing and writing the page: ",
    ):
        assert any(line.startswith(text) for line in said.splitlines()), text


def test_all_tables_are_shown_where_asked(
    finished: tuple[Path, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = str(finished[0] / "run")
    for asked, shown in (([], False), (["--all"], True)):
        assert exit_code_of(monkeypatch, "report", run, *asked) == 0
        said = capsys.readouterr().err
        assert ("How the systems compare" in said) == shown
        assert ("all tables: tunesmith report" in said) != shown


def test_notes_are_said_once_and_the_verdict_before_the_table(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    said = (finished[0] / "said.txt").read_text()
    notes = [line for line in said.splitlines() if line.startswith("note: ")]
    assert len(notes) > 2
    assert len(notes) == len(set(notes))
    landmarks = ("Right on the task: ", "Tuned model, difference", "all tables: ")
    order = [said.index(text) for text in landmarks]
    assert order == sorted(order)
    brief = said[order[0] : order[2]].splitlines()
    assert max(len(line) for line in brief if not line.startswith("note: ")) <= 80


def test_a_run_folder_holds_everything_that_was_promised(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    run = finished[0] / "run"
    names = """
        recipe.yaml manifest.json ledger.json data/train.parquet data/validation.parquet
        data/test.parquet data/test.seal.json metrics.jsonl model/config.json
        model/model.safetensors model/README.md report.html report.md report.json
        evaluation/base/test.parquet evaluation/base_few_shot/test.parquet
        evaluation/tuned/test.parquet evaluation/majority/test.parquet
        evaluation/tfidf_linear/test.parquet
    """
    missing = [name for name in names.split() if not (run / name).exists()]
    assert missing == []
    assert list((run / "tensorboard").iterdir())
    assert not list(run.rglob("*.bin")) + list(run.rglob("*.pt")) + list(run.rglob("*.pkl"))


def test_predictions_are_the_answers_of_the_evaluation(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir(finished[0] / "run")
    rows = {row.id: row.values["text"] for row in StoredRows(run.rows).read(0)}
    test, stored = read_examples(run.examples("test")), read_predictions(run, "tuned", "test")
    texts = [rows[example.row_id] for example in test]
    lines = [*(json.dumps({"text": text}) for text in texts), '{"text": " "}']
    (tmp_path / "new.jsonl").write_text("\n".join(lines))
    out = tmp_path / "out.jsonl"
    cli.app(
        ["predict", str(run.path), str(tmp_path / "new.jsonl"), "-o", str(out)],
        standalone_mode=False,
    )
    *found, empty = [json.loads(line) for line in out.read_text().splitlines()]
    temperature = read_json(run.threshold)["temperature"]
    assert [row["text"] for row in found] == texts
    for row, example, prediction in zip(found, test, stored, strict=True):
        shares = softmax(np.array(prediction.choice_logprobs) / temperature)
        assert row["answer"] == example.choices[int(shares.argmax())]
        assert row["confidence"] == pytest.approx(shares.max(), abs=1e-6)
        for choice, share in zip(example.choices, shares, strict=True):
            assert row[f"probability_{choice}"] == pytest.approx(share, abs=1e-6)
    assert empty["answer"] is None
    assert empty["not_answered"] == "the slot 'text' is empty"
    assert "1 of 19 rows has no answer" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"out\.jsonl: exists already"):
        cli.app(["predict", str(run.path), str(out), "-o", str(out)], standalone_mode=False)
    with pytest.raises(DataError, match="has a column 'answer', which answers are written to"):
        stages.predict.predict(run, out, tmp_path / "again.csv")
    assert not (tmp_path / "again.csv").exists()


@pytest.mark.skipif(not all(map(installed, serving.NEEDED)), reason="no server is installed")
def test_the_openai_client_gets_the_answers_of_the_report(
    finished: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    openai = pytest.importorskip("openai")
    run = RunDir(finished[0] / "run")
    test, stored = read_examples(run.examples("test")), read_predictions(run, "tuned", "test")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    # other tests put a vllm of their own into this process, which the server's would not find
    monkeypatch.setattr(serving, "installed", lambda name: name != "vllm" and installed(name))
    with subprocess.Popen(serving.server_command(run, "localhost", port)) as server:
        try:
            with openai.OpenAI(
                base_url=f"http://localhost:{port}/v1", api_key="none", max_retries=12
            ) as client:
                served = client.models.list().data[0].id
                for example, prediction in list(zip(test, stored, strict=True))[:4]:
                    found = client.chat.completions.create(
                        model=served,
                        messages=[{"role": "user", "content": example.prompt}],
                        temperature=0,
                        max_tokens=prediction.num_tokens + 1,
                    )
                    assert found.choices[0].message.content.strip() == prediction.text
        finally:
            server.terminate()


def test_without_a_server_serve_says_what_is_missing(
    finished: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir(finished[0] / "run")
    monkeypatch.setattr(serving, "installed", lambda name: name == "openai")
    with pytest.raises(InputError) as caught:
        serving.server_command(run, "localhost", 8000)
    assert str(caught.value) == (
        "no server is installed: transformers' needs fastapi, uvicorn\n"
        "hint: pip install 'tunesmith[serve]', or vllm on a GPU"
    )
    monkeypatch.setattr(serving, "installed", lambda name: True)
    command = serving.server_command(run, "0.0.0.0", 80)
    assert command[1:5] == ["-m", "vllm.entrypoints.cli.main", "serve", str(run.model)]


def test_runs_lists_each_run_with_its_verdict_and_no_run_stops_the_list(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    for name in ("b", "deeper/a"):
        shutil.copytree(finished[0] / "run", tmp_path / name)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "manifest.json").write_text("{")
    found = stages.runs.runs(tmp_path)
    places = [str(Path(row.folder).relative_to(tmp_path)) for row in found]
    assert places == ["c", "b", "deeper/a"]  # the newest last
    assert [row.state for row in found] == ["cannot be read", "evaluated", "evaluated"]
    verdict, asked = finished[1]["verdict"], finished[1]["verdict"]["questions"][0]
    row = found[1]
    assert (row.metric, row.verdict) == ("accuracy", verdict["heading"])
    assert (row.before, row.after) == (asked["before"], asked["after"])
    with pytest.raises(InputError, match="no such folder"):
        stages.runs.runs(tmp_path / "none")


def test_the_report_compares_tuned_with_the_best_baseline(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    report = finished[1]
    comparison = report["comparison"]
    opponents = read_json(RunDir(finished[0] / "run").opponents)
    on_validation = opponents["scores"]["accuracy"]
    assert set(on_validation) == {
        "base", "base_few_shot", "base_likeliest", "base_few_shot_likeliest", "majority"
    }  # fmt: skip
    assert opponents["rows"] == 12  # the whole validation split
    assert on_validation[comparison["a"]] == max(on_validation.values())
    baselines = {name: report["evaluations"][name]["accuracy"]["mean"] for name in on_validation}
    assert (comparison["b"], comparison["n"]) == ("tuned", 18)
    tuned = report["evaluations"]["tuned"]["accuracy"]["mean"]
    assert comparison["difference"] == pytest.approx(tuned - baselines[comparison["a"]])
    assert comparison["wins"] + comparison["ties"] + comparison["losses"] == 18
    assert "choice_acc" in report["evaluations"]["tuned"]
    assert [(row["name"], row["metric"]) for row in report["forgetting"]] == [
        ("panel.txt", "bits_per_byte"),
        ("other", "accuracy"),
    ]
    assert json.loads((finished[0] / "run" / "report.json").read_text()) == report


def test_no_note_is_empty(finished: tuple[Path, dict[str, Any]]) -> None:
    notes = finished[1]["run"]["notes"]
    assert any("fresh process" in note for note in notes)
    assert all(note.strip() for note in notes)


def test_the_headline_answers_three_questions(finished: tuple[Path, dict[str, Any]]) -> None:
    said = finished[1]["verdict"]
    questions = {question["name"]: question for question in said["questions"]}
    assert list(questions) == ["task", "cheaper", "kept"]
    assert questions["cheaper"]["against"] == "tfidf_linear"
    assert questions["kept"]["against"] in ("panel.txt", "other")
    answers = [question["answer"] for question in questions.values()]
    assert said["kind"] == "better" or {"no", "cannot tell"} & set(answers)
    assert 0 < len(said["heading"].split()) <= 10


def test_a_run_that_is_not_better_fails_on_request_and_names_the_questions(
    finished: tuple[Path, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    questions = [
        {"title": "Right on the task", "answer": "yes"},
        {"title": "Beats the cheap alternative", "answer": "no"},
        {"title": "Kept its general language", "answer": "not measured"},
    ]
    said = finished[1] | {"verdict": {"kind": "not better", "questions": questions}}
    monkeypatch.setattr(pipeline, "run", lambda recipe, show_all: said)
    recipe = str(finished[0] / "run" / "recipe.yaml")
    with pytest.raises(SystemExit) as caught:
        cli.app(["run", recipe, "--fail-if-not-better"])
    assert caught.value.code == 3
    assert "not better: Beats the cheap alternative: no" in capsys.readouterr().err.splitlines()


def test_the_test_split_was_opened_once(finished: tuple[Path, dict[str, Any]]) -> None:
    assert len(read_json(RunDir(finished[0] / "run").seal)["uses"]) == 1


def test_pipeline_and_from_pretrained_answer_as_the_report_does(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    run = RunDir(finished[0] / "run")
    example = read_examples(run.examples("test"))[0]
    predictions = read_predictions(run, "tuned", "test")
    tokenizer, model = (
        AutoTokenizer.from_pretrained(run.model),
        AutoModelForCausalLM.from_pretrained(run.model),
    )
    ids = tokenizer(example.prompt, return_tensors="pt").input_ids
    answer = model.generate(ids)[0, ids.shape[1] :]
    assert tokenizer.decode(answer, skip_special_tokens=True).strip() == predictions[0].text
    generate = hf_pipeline("text-generation", model=str(run.model), device="cpu")
    assert (
        generate(example.prompt, return_full_text=False)[0]["generated_text"].strip()
        == predictions[0].text
    )
    chat = generate([{"role": "user", "content": example.prompt}])[0]["generated_text"]
    assert chat[-1]["content"].strip() == predictions[0].text


def test_the_same_recipe_gives_the_same_weights_bit_for_bit(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, tiny_model_dir: Path
) -> None:
    again = RunDir(tmp_path / "run")
    stages.prepare.prepare(recipe_for(tmp_path, tiny_model_dir))
    stages.train.train(again)
    weights = file_sha256(finished[0] / "run" / "model" / "model.safetensors")
    assert file_sha256(again.model / "model.safetensors") == weights


def test_resume_does_only_what_is_missing(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    run = RunDir(tmp_path / "copy")
    shutil.copytree(finished[0] / "run", run.path)
    weights = (run.model / "model.safetensors").stat().st_mtime_ns
    run.report_html.unlink()
    report = pipeline.resume(run.path)
    assert run.report_html.exists()
    assert (run.model / "model.safetensors").stat().st_mtime_ns == weights
    assert report["run"]["test_uses"] == 1


def _no_longer_a_plain_file(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


CHANGES = {
    "rows.csv": lambda folder: _no_longer_a_plain_file(folder / "rows.csv"),
    "template mine/short": lambda folder: (folder / "mine.yaml").write_text(
        (folder / "mine.yaml").read_text().replace("Answer", "Say")
    ),
    "tokenizer.json": lambda folder: _no_longer_a_plain_file(folder / "model" / "tokenizer.json"),
    "model.safetensors": lambda folder: _no_longer_a_plain_file(
        folder / "model" / "model.safetensors"
    ),
    "recipe.yaml": lambda folder: (folder / "run" / "recipe.yaml").write_text(
        (folder / "run" / "recipe.yaml")
        .read_text()
        .replace("learning_rate: 0.005", "learning_rate: 0.05")
    ),
    "train.parquet": lambda folder: _no_longer_a_plain_file(
        folder / "run" / "data" / "train.parquet"
    ),
}
FAMILY = """
family: mine
about: yes or no
slots: {text: {type: text}, label: {type: label}}
metrics: [exact_match]
parser: text
wordings:
  - {name: short, template: "{{text}}\nAnswer: ||| {{label}}"}
"""


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_whose_data_template_tokenizer_or_recipe_changed_is_not_resumed(
    tmp_path: Path, tiny_model_dir: Path, name: str
) -> None:
    shutil.copytree(tiny_model_dir, tmp_path / "model")
    (tmp_path / "mine.yaml").write_text(FAMILY)
    recipe = recipe_for(
        tmp_path, tmp_path / "model", data={"task": None, "template": str(tmp_path / "mine.yaml")}
    )
    stages.prepare.prepare(recipe)
    stages.common.check_unchanged(stages.common.open_run(tmp_path / "run"))
    CHANGES[name](tmp_path)
    changed = rf"{name}:? changed since (the run was prepared|it was made): sha256 \w{{12}}, "
    with pytest.raises(DataError, match=changed + r"(was|made as) \w{12}\nhint: .*start a new run"):
        pipeline.resume(tmp_path / "run")


def test_a_run_goes_on_where_the_rows_it_was_prepared_from_are_gone(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    stages.prepare.prepare(recipe_for(tmp_path, tiny_model_dir))
    (tmp_path / "rows.csv").unlink()
    stages.common.check_unchanged(stages.common.open_run(tmp_path / "run"))


def test_an_evaluation_that_was_cut_off_is_done_again(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    run = RunDir(tmp_path / "copy")
    shutil.copytree(finished[0] / "run", run.path)
    run.evaluated.unlink()
    run.panel.unlink()
    shutil.rmtree(run.evaluation / "majority")
    report = pipeline.resume(run.path)
    assert "majority" in report["evaluations"]
    assert report["run"]["test_uses"] == 2


def test_an_evaluation_that_was_interrupted_told_nobody_anything_and_is_not_counted(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir(tmp_path / "copy")
    shutil.copytree(finished[0] / "run", run.path)
    shutil.rmtree(run.evaluation)
    seal = read_json(run.seal)
    run.seal.write_text(json.dumps(seal | {"uses": [], "own_sha256": ""}))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stages.evaluate, "measure_retention", killed)
        with pytest.raises(KeyboardInterrupt):
            stages.evaluate.evaluate(run)
    assert read_json(run.seal)["uses"] == []
    stages.evaluate.evaluate(run)
    assert stages.report.report(run)["run"]["test_uses"] == 1


def test_a_second_evaluation_is_counted_and_shown(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    run = RunDir(tmp_path / "copy")
    shutil.copytree(finished[0] / "run", run.path)
    stages.evaluate.evaluate(run)
    assert stages.report.report(run)["run"]["test_uses"] == 2


def test_stages_say_which_one_comes_first(tmp_path: Path, tiny_model_dir: Path) -> None:
    stages.prepare.prepare(recipe_for(tmp_path, tiny_model_dir))
    run = RunDir(tmp_path / "run")
    with pytest.raises(DataError, match=r"no tuned model yet\nhint: `tunesmith train"):
        stages.evaluate.evaluate(run)
    with pytest.raises(DataError, match="not evaluated yet"):
        stages.report.report(run)
    with pytest.raises(DataError, match="not a run folder"):
        stages.common.open_run(tmp_path / "nowhere")


def test_metrics_that_the_recipe_names_are_judged_together_and_the_first_gives_the_verdict(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    assert finished[1]["judged"] == [], "one metric needs no adjustment"
    run = RunDir(tmp_path / "copy")
    shutil.copytree(finished[0] / "run", run.path)
    values = json.loads(json.dumps(stages.common.run_recipe(run).model_dump(mode="json")))
    values["evaluation"]["metrics"] = ["accuracy", "macro_f1"]
    run.recipe.write_text(dump_recipe(build_recipe(values)[0]))
    list_again(run)
    report = stages.report.report(run)
    judged = report["judged"]
    assert [found["comparison"]["metric"] for found in judged] == ["accuracy", "macro_f1"]
    assert [found["p_holm"] for found in judged] == holm(
        [found["comparison"]["p"] for found in judged]
    )
    assert judged[0]["comparison"] == report["comparison"]
    assert "after Holm" in report["verdict"]["questions"][0]["sentence"]
    assert "Holm's p is adjusted for 2 metrics" in run.report_md.read_text()


def test_the_report_says_in_which_wording_the_few_shot_base_was_asked(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    run = RunDir(finished[0] / "run")
    found = read_json(run.few_shot)
    assert (found["rows"], found["metric"], len(found["scores"])) == (12, "accuracy", 5)
    assert found["scores"][found["wording"]] == max(found["scores"].values())
    assert len(found["exemplars"]) == 2
    notes = [
        note for note in finished[1]["run"]["notes"] if note.startswith("the few-shot base saw")
    ]
    assert len(notes) == 1
    assert f"in the wording {found['wording']}, the best of 5 on 12 validation rows" in notes[0]


def test_wordings_seen_and_never_seen_in_training_are_reported_apart(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    recipe = recipe_for(
        tmp_path,
        tiny_model_dir,
        data={"task": "classify", "wordings": 2},
        train={"num_train_epochs": 1},
    )
    report, run = pipeline.run(recipe), RunDir(tmp_path / "run")
    held_out = set(read_manifest(run).task.held_out_wordings)
    assert held_out
    assert not held_out & {example.template for example in read_examples(run.examples("train"))}
    test = read_examples(run.examples("test"))
    never_seen = sum(example.template in held_out for example in test)
    counts = {
        name: systems["tuned"]["accuracy"]["n"] for name, systems in report["wordings"].items()
    }
    assert counts == {
        "Wordings seen in training": len(test) - never_seen,
        "Wordings never seen": never_seen,
    }
    assert never_seen == len(held_out) * len({example.row_id for example in test})


def test_the_likelihood_of_the_right_answers_stands_beside_the_metrics(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    evaluations = finished[1]["evaluations"]
    assert all(
        evaluations[name]["perplexity"]["mean"] > 1 for name in ("base", "base_few_shot", "tuned")
    )
    assert evaluations["tuned"]["perplexity"]["mean"] < evaluations["base"]["perplexity"]["mean"]
    assert "perplexity" not in evaluations["majority"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_labels_that_were_shuffled_are_never_found_better(
    tmp_path: Path, tiny_model_dir: Path, seed: int
) -> None:
    recipe = recipe_for(tmp_path, tiny_model_dir)
    header, *lines = (tmp_path / "rows.csv").read_text().splitlines()
    texts, labels = zip(*(line.rsplit(",", 1) for line in lines), strict=True)
    shuffled = random.Random(seed).sample(labels, len(labels))
    rows = [f"{text},{label}" for text, label in zip(texts, shuffled, strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join([header, *rows]))
    assert pipeline.run(recipe)["verdict"]["kind"] in ("not better", "cannot tell")


@pytest.mark.parametrize(
    "evaluation, message",
    [
        ({"metrics": ["acuracy"]}, "unknown metric 'acuracy'"),
        ({"metrics": ["choice_acc"]}, "a metric of likelihoods"),
        ({"panel": ["nowhere.txt"]}, "nowhere.txt"),
        ({"backend": "vllm"}, "vllm, which is not installed"),
    ],
)
def test_what_training_does_not_need_is_checked_before_it_too(
    tmp_path: Path,
    tiny_model_dir: Path,
    evaluation: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(InputError, match=message):
        stages.prepare.prepare(recipe_for(tmp_path, tiny_model_dir, evaluation=evaluation))
    assert not (tmp_path / "run").exists()


def test_lora_is_trained_by_the_same_loop_and_merged(tmp_path: Path, tiny_model_dir: Path) -> None:
    pytest.importorskip("peft")
    stages.prepare.prepare(
        recipe_for(tmp_path, tiny_model_dir, train={"lora": {"r": 4}, "num_train_epochs": 1})
    )
    run = RunDir(tmp_path / "run")
    stages.train.train(run)
    tuned, base = load_model(str(run.model)), load_model(str(tiny_model_dir))
    assert {n for n, _ in tuned.named_parameters()} == {n for n, _ in base.named_parameters()}
    changed = [n for n, p in tuned.named_parameters() if not p.equal(base.get_parameter(n))]
    assert changed
    assert all("proj" in name for name in changed)


def test_export_writes_the_model_in_another_format(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    stages.export.export(RunDir(finished[0] / "run"), tmp_path / "small", "bfloat16")
    assert str(load_model(str(tmp_path / "small"), "bfloat16").dtype) == "torch.bfloat16"
    with pytest.raises(RecipeError, match="exists already"):
        stages.export.export(RunDir(finished[0] / "run"), tmp_path / "small", "bfloat16")


def test_two_runs_on_the_same_rows_can_be_compared(finished: tuple[Path, dict[str, Any]]) -> None:
    run = RunDir(finished[0] / "run")
    result = stages.compare.compare_runs(run, run)
    assert result["comparison"]["difference"] == 0
    assert result["verdict"]["kind"] == "cannot tell"


def test_what_answers_are_computed_in_is_decided_once_and_said(
    finished: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before, run = RunDir(finished[0] / "run"), RunDir(tmp_path / "again")
    shutil.copytree(before.path, run.path)
    shutil.rmtree(run.evaluation)
    recipe = stages.common.run_recipe(run)
    auto = recipe.model_copy(
        update={"evaluation": recipe.evaluation.model_copy(update={"dtype": "auto"})}
    )
    monkeypatch.setattr("tunesmith.stages.common.fastest_dtype", lambda device: "bfloat16")
    assert stages.common.answered_in(run, auto) == "bfloat16"
    monkeypatch.setattr("tunesmith.stages.common.fastest_dtype", lambda device: "float32")
    assert stages.common.answered_in(run, auto) == "bfloat16", "whatever a later probe would say"
    copy = copy_of(run, tmp_path / "seed", recipe)
    assert stages.common.answered_in(copy, auto) == "bfloat16"
    asked = []
    monkeypatch.setattr(
        "tunesmith.stages.retention.bits_per_byte",
        lambda model, *_, **__: asked.append(model.dtype) or TEXT_SCORES,
    )
    stages.evaluate.evaluate(run)
    assert asked == [torch.bfloat16] * 2
    stages.report.report(run)
    assert "all models were computed in bfloat16" in run.report_md.read_text(encoding="utf-8")
    assert "all models were computed in" not in before.report_md.read_text(encoding="utf-8")
    stages.compare.compare_runs(before, run)
    assert "was answered in float32" in " ".join(capsys.readouterr().err.split())


def test_fewer_validation_rows_are_answered_where_they_would_take_more_than_a_fifth_of_an_epoch(
    tmp_path: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_for(
        tmp_path, tiny_model_dir, data={"split": {"train": 0.3, "validation": 0.5, "test": 0.2}}
    )
    stages.prepare.prepare(recipe)
    run = RunDir(tmp_path / "run")
    data, validation = (
        stages.common.training_data(run, split) for split in ("train", "validation")
    )
    examples = read_examples(run.examples("validation"))
    found = validation_rows(data, validation, examples, recipe, ranked=True)
    assert 16 <= found < len(examples) == 30
    said = " ".join(capsys.readouterr().err.split())
    assert f"{found} of 30 validation rows are answered after each epoch" in said


def test_plan_check_and_limit_leave_nothing_behind(tmp_path: Path, tiny_model_dir: Path) -> None:
    recipe = recipe_for(tmp_path, tiny_model_dir)
    found = rehearse.plan(recipe)
    assert (found.rows, found.steps) == ({"train": 30, "validation": 12, "test": 18}, 8)
    # if all 18 rows are groups of their own and half of them are answered "yes" most often
    assert (found.metric, found.assumed_discordant) == ("accuracy", 0.5)
    assert found.smallest_detectable == found.gains[0].gain
    assert [gain.discordant for gain in found.gains] == [0.5, 0.3, 0.1]
    assert found.test_groups == 18
    assert rehearse.roofline(recipe).least.raw_tokens == found.tokens
    assert {result.name: result.ok for result in rehearse.check(recipe)}[
        "gradients reach every weight"
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.csv"]


def test_the_plan_of_a_graded_metric_gives_the_gain_in_standard_deviations(
    tmp_path: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_for(tmp_path, tiny_model_dir, evaluation={"metrics": ["rougeL"]})
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    cli.app(["plan", str(tmp_path / "recipe.yaml")], standalone_mode=False)
    # Student's t with 17 degrees of freedom; (1.95996 + 0.84162) / sqrt(18) would be 0.66
    assert (
        "18 test rows can show a gain in rougeL of 0.70 standard deviations"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_limit_is_that_of_the_numbers_the_training_computes_in(
    tmp_path: Path, tiny_model_dir: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {torch.float32: 1e9, torch.bfloat16: 2e9}
    monkeypatch.setattr(
        rehearse, "probe_machine", lambda device, dtype: Machine(rates[dtype], 1e15)
    )
    found = rehearse.roofline(recipe_for(tmp_path, tiny_model_dir, train={"dtype": dtype}))
    assert found.dtype == dtype
    least = found.least
    assert least.seconds == pytest.approx(least.flops / rates[getattr(torch, dtype)])


def test_a_run_reports_its_speed_memory_and_distance_to_the_limit(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    training = finished[1]["run"]["training"]
    assert 0 < training["fraction_of_limit"] < 1.5
    assert training["dtype"] in ("float32", "bfloat16")
    assert training["rows_per_second"] > 0
    assert training["peak_memory_bytes"] > 1e6


def test_a_rehearsal_lists_no_rows_in_a_folder_that_is_gone(
    tmp_path: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_for(tmp_path, tiny_model_dir)
    with (tmp_path / "rows.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"</s> row {i},yes\n" for i in range(20))
    with pytest.raises(DataError, match="rejected"):
        rehearse.plan(recipe)
    assert "are listed in" not in capsys.readouterr().err
    with pytest.raises(DataError, match="rejected"):
        stages.prepare.prepare(recipe)
    assert "are listed in" in capsys.readouterr().err
    assert (tmp_path / "run.rejected.jsonl").exists()


def test_validation_answers_are_shown_without_what_all_prompts_begin_with() -> None:
    texts = ("Label the text: good one", "Label the text: bad one", "Label the text: good two")
    rows = [
        support.example(i, prompt=text, completion="yes")
        for i, text in enumerate((*texts, "a fourth one"))
    ]
    answers = [Prediction(row.id, "no", True, 1) for row in rows]
    shown = stages.train._shown(rows, answers)
    assert [one.prompt for one in shown] == ["good one0", "bad one1", "good two2"]
    assert {(one.answer, one.right) for one in shown} == {("no", "yes")}
    assert [one.prompt for one in stages.train._shown(rows[:1], answers[:1])] == [rows[0].prompt]
