"""What was checked is what is used: one byte of any file of a run is missed by no command that
reads it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import as_older, exit_code_of, list_again, write_rows

from tunesmith import artefacts, pipeline, stages
from tunesmith.data.store import read_examples
from tunesmith.errors import DataError
from tunesmith.evaluate.predictions import read_predictions, write_predictions
from tunesmith.recipe import build_recipe
from tunesmith.run_files import (
    read_artefacts,
    read_manifest,
    run_state,
    write_artefacts,
    write_record,
)
from tunesmith.rundir import RunDir, file_sha256, read_json, write_json
from tunesmith.stages.reproduce import check_whole, compare_with

HASH = r"[0-9a-f]{12}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> RunDir:
    folder = tmp_path_factory.mktemp("artefacts")
    (folder / "panel.txt").write_text("\n\n".join(f"{i} " + "plain words " * 30 for i in range(4)))
    values = {
        "model": str(tiny_model_dir),
        "data": {
            "source": str(write_rows(folder / "rows.csv")),
            "task": "classify/terse",
            "split": {"train": 0.5, "validation": 0.2, "test": 0.3},
        },
        "train": {"num_train_epochs": 2, "learning_rate": 5e-3, "train_batch_size": 8},
        "evaluation": {
            "few_shot": 1,
            "resamples": 100,
            "dtype": "float32",
            "panel": [str(folder / "panel.txt")],
            "answer_at_accuracy": 0.01,
        },
        "output_dir": str(folder / "run"),
    }
    pipeline.run(build_recipe(values)[0])
    return RunDir(folder / "run")


@pytest.fixture
def run(finished: RunDir, tmp_path: Path) -> RunDir:
    """A copy that a test may damage."""
    shutil.copytree(finished.path, tmp_path / "run")
    return RunDir(tmp_path / "run")


def flip(path: Path) -> None:
    """One bit in the middle; size and time stay."""
    stat, found = path.stat(), bytearray(path.read_bytes())
    found[len(found) // 2] ^= 1
    path.write_bytes(found)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def put(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(before) >= 1
    path.write_text(text.replace(before, after, 1), encoding="utf-8")


COMMANDS: dict[str, Callable[[RunDir], object]] = {
    "train": lambda run: stages.train.train(run),
    "evaluate": lambda run: stages.evaluate.evaluate(run),
    "verify": lambda run: stages.verify.verify(run),
    "report": lambda run: stages.report.report(run),
    "compare": lambda run: stages.compare.compare_runs(run, run),
    "chat": lambda run: stages.chat.chat(run.path, once="good thing"),
    "export": lambda run: stages.export.export(run, run.path.with_name("exported"), "float32"),
    "resume": lambda run: pipeline.resume(run.path),
    "reproduce": lambda run: pipeline.reproduce(run.path),
}
ALL = tuple(COMMANDS)
OF_RESULTS = ("report", "compare", "resume", "reproduce")
ANEW, AGAIN, TRAIN = "start a new run", "`tunesmith evaluate", "`tunesmith train"
READ_BY: dict[str, tuple[tuple[str, ...], str]] = {
    "recipe.yaml": (ALL, ANEW),
    "chat_template.jinja": (("train", "evaluate", *OF_RESULTS), ANEW),
    "ledger.json": (("train", "evaluate", *OF_RESULTS), ANEW),
    "data/twins.json": (("train", "evaluate", *OF_RESULTS), ANEW),
    "data/train.parquet": (("train", "evaluate", "resume", "reproduce"), ANEW),
    "data/validation.parquet": (("train", "evaluate", "resume", "reproduce"), ANEW),
    "data/test.parquet": (("evaluate", "verify", *OF_RESULTS), ANEW),
    "data/rows.arrow": (("evaluate", "resume"), ANEW),
    "training.json": (OF_RESULTS, TRAIN),
    "metrics.jsonl": (OF_RESULTS, ANEW),
    "model/model.safetensors": (("evaluate", "verify", "chat", "export", "resume"), TRAIN),
    "model/config.json": (("evaluate", "verify", "chat", "export", "resume"), TRAIN),
    "model/generation_config.json": (("evaluate", "verify", "chat", "export"), TRAIN),
    "model/tokenizer.json": (("evaluate", "verify", "chat", "export"), TRAIN),
    "model/chat_template.jinja": (("evaluate", "verify", "chat", "export"), TRAIN),
    "model/tunesmith_threshold.json": (("export", *OF_RESULTS), AGAIN),
    "evaluation/tuned/test.parquet": (("verify", *OF_RESULTS), AGAIN),
    "evaluation/base/test.parquet": (OF_RESULTS, AGAIN),
    "evaluation/majority/test.parquet": (OF_RESULTS, AGAIN),
    "evaluation/evaluated.json": (OF_RESULTS, AGAIN),
    "evaluation/answered_in.json": (OF_RESULTS, AGAIN),
    "evaluation/opponents.json": (OF_RESULTS, AGAIN),
    "evaluation/few_shot.json": (OF_RESULTS, AGAIN),
    "evaluation/panel.json": (OF_RESULTS, AGAIN),
    "evaluation/verify.json": (("report", "resume"), "`tunesmith verify"),
    "report.html": (("reproduce",), "`tunesmith report"),
    "report.json": (("reproduce",), "`tunesmith report"),
}


@pytest.mark.parametrize("name", READ_BY)
def test_one_flipped_bit_is_noticed_by_every_command_that_reads_the_file(
    run: RunDir, name: str
) -> None:
    path, (commands, remedy) = run.path / name, READ_BY[name]
    made = file_sha256(path)
    flip(path)
    found = file_sha256(path)
    for command in commands:
        with pytest.raises(DataError) as caught:
            COMMANDS[command](run)
        expected = f"{path}: changed since it was made: sha256 {found[:12]}, made as {made[:12]}"
        assert caught.value.message == expected, command
        assert remedy in caught.value.hint


def test_a_flipped_bit_in_any_file_of_a_run_is_noticed_by_verify(run: RunDir) -> None:
    names = list(read_artefacts(run))
    assert len(names) > 25
    for name in names:
        # the manifest is read first, see below; no row was rejected
        if name not in ("manifest.json", "data/rejected.jsonl"):
            flip(run.path / name)
            with pytest.raises(DataError, match=re.escape(f"{run.path / name}: changed since")):
                check_whole(run)
            flip(run.path / name)
    check_whole(run)


def test_what_is_not_listed_has_checksums_of_its_own_or_is_never_read(finished: RunDir) -> None:
    listed = read_artefacts(finished)
    files = [path.relative_to(finished.path) for path in finished.path.rglob("*")]
    others = {path.parts[0] for path in files if path.as_posix() not in listed} - {
        "data", "model", "evaluation", "plots"  # folders themselves
    }  # fmt: skip
    assert others == {"artefacts.json", "checkpoints", "tensorboard"}
    inside = {
        path.as_posix()
        for path in files
        if (finished.path / path).is_file()
        and path.parts[0] in ("data", "model", "evaluation", "plots")
        and path.as_posix() not in listed
    }
    assert inside == {"data/test.seal.json", "model/README.md"}


@pytest.mark.parametrize("command", ["report", "chat", "train", "evaluate", "verify", "resume"])
def test_a_changed_manifest_is_noticed(run: RunDir, command: str) -> None:
    put(run.manifest, '"created": "20', '"created": "21')
    with pytest.raises(DataError, match=rf"manifest.json: changed .*{HASH}, made as {HASH}\nhint"):
        COMMANDS[command](run)


def test_a_changed_seal_is_noticed_so_that_no_use_of_the_test_split_is_lost(run: RunDir) -> None:
    put(run.seal, "base, few-shot base and tuned", "nothing much")
    with pytest.raises(
        DataError, match=rf"test.seal.json: changed .*sha256 {HASH}, written as {HASH}\nhint: put"
    ):
        stages.report.report(run)


def test_a_changed_list_of_artefacts_is_not_taken_for_damage_to_what_it_lists(run: RunDir) -> None:
    sha256 = read_artefacts(run)["model/model.safetensors"].sha256
    put(run.artefacts, sha256, "0" * 64)
    with pytest.raises(
        DataError, match=rf"artefacts.json: changed .*sha256 {HASH}, written as {HASH}\nhint: put"
    ):
        stages.chat.chat(run.path, once="good")
    run.artefacts.unlink()
    with pytest.raises(DataError, match=r"artefacts.json: gone; without it nothing .*\nhint: put"):
        stages.report.report(run)


@pytest.mark.parametrize("name", ["manifest", "artefacts", "seal"])
def test_a_cut_off_file_at_the_root_is_one_error(run: RunDir, name: str) -> None:
    path: Path = getattr(run, name)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=re.escape(f"{path}: not readable as JSON")):
        stages.report.report(run)


# ---- what passed silently


def test_answers_replaced_by_the_right_ones_make_no_report(run: RunDir) -> None:
    path = run.predictions("tuned", "test")
    table = pq.read_table(path)
    number = table.column_names.index("text")
    pq.write_table(table.set_column(number, "text", pa.array(table["reference"])), path)
    for command in ("report", "resume", "compare", "verify"):
        with pytest.raises(DataError, match=r"tuned/test.parquet: changed since it was made"):
            COMMANDS[command](run)


def test_a_damaged_model_is_saved_again_from_the_best_checkpoint(run: RunDir) -> None:
    weights, card = run.model / "model.safetensors", run.report_json.read_bytes()
    made = file_sha256(weights)
    flip(weights)
    with pytest.raises(DataError, match=r"hint: `tunesmith train"):
        pipeline.resume(run.path)
    stages.train.train(run)
    assert file_sha256(weights) == made
    pipeline.resume(run.path)  # the answers were this model's: none is asked for again
    assert read_json(run.seal)["uses"] == json.loads(run.seal.read_text())["uses"]
    before, now = json.loads(card), read_json(run.report_json)
    assert now["evaluations"] == before["evaluations"]
    assert now["run"]["test_uses"] == 1
    check_whole(run)


def test_a_file_that_came_into_the_model_folder_later_is_refused(run: RunDir) -> None:
    (run.model / "adapter_config.json").write_text("{}")
    with pytest.raises(
        DataError, match=rf"adapter_config.json: sha256 {HASH}, but no finished stage"
    ):
        stages.chat.chat(run.path, once="good")


def test_a_card_that_people_edited_stops_nothing(run: RunDir, tmp_path: Path) -> None:
    (run.model / "README.md").write_text("my own words")
    check_whole(run)
    stages.export.export(run, tmp_path / "exported", "float32")
    assert (tmp_path / "exported" / "README.md").read_text() == "my own words"


def test_a_lost_file_is_named_with_the_hash_that_it_had(run: RunDir) -> None:
    (run.model / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=rf"tokenizer.json: gone since it was made, .*{HASH}\nhint"):
        stages.chat.chat(run.path, once="good")


def test_answers_of_another_model_make_no_report(run: RunDir) -> None:
    """The model was trained again, and differently; its answers are those of the one before."""
    flip(run.model / "model.safetensors")
    artefacts.record(run, [run.model / "model.safetensors"])
    with pytest.raises(
        DataError,
        match=rf"tuned/test.parquet: made from another model/model.safetensors: sha256 {HASH} "
        rf"then, {HASH} now\nhint: `tunesmith evaluate",
    ):
        stages.report.report(run)


def test_a_report_of_earlier_answers_is_noticed(run: RunDir) -> None:
    other = [replace(p, text="no") for p in read_predictions(run, "tuned", "test")]
    write_predictions(run, "tuned", read_examples(run.examples("test")), other)
    artefacts.record(run, [run.predictions("tuned", "test")])
    with pytest.raises(DataError, match=r"(made from another) evaluation/tuned/test.parquet"):
        check_whole(run)


# ---- what was interrupted


def test_a_model_that_was_saved_and_not_listed_is_saved_again(run: RunDir) -> None:
    made = file_sha256(run.model / "model.safetensors")
    artefacts.forget(run, [*artefacts.model_files(run), run.training, run.metrics])
    flip(run.model / "model.safetensors")
    assert not run_state(run).trained
    with pytest.raises(DataError, match="no tuned model in this run"):
        stages.chat.chat(run.path, once="good")
    pipeline.resume(run.path)
    assert file_sha256(run.model / "model.safetensors") == made


def test_an_evaluation_whose_end_was_not_listed_is_done_again(run: RunDir) -> None:
    artefacts.forget(run, [run.evaluated])
    assert not run_state(run).evaluated
    report = pipeline.resume(run.path)
    assert report["run"]["test_uses"] == 2
    check_whole(run)


# ---- older run folders


def test_an_older_run_folder_opens_with_one_note(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    as_older(run)
    stages.report.report(run)
    stages.chat.chat(run.path, once="good thing")
    pipeline.resume(run.path)
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("was made by an older tunesmith, which kept no hashes") == 1
    flip(run.examples("test"))
    with pytest.raises(DataError, match=rf"test.parquet: changed .*{HASH}, made as {HASH}"):
        stages.report.report(run)


# ---- reproduce


def test_the_verify_command_checks_the_report_too(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(run.report_md, "#", "Better. #")
    assert exit_code_of(monkeypatch, "verify", str(run.path)) == 2
    said = capsys.readouterr().err
    assert re.search(rf"^error: .*report.md: changed .*{HASH}, made as {HASH}$", said, re.M)
    assert "hint: `tunesmith report" in said


def test_a_run_is_reproduced_bit_for_bit_and_nothing_comes_from_the_cache(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stages.prepare, "restore", lambda *_: pytest.fail("the cache was read"))
    assert exit_code_of(monkeypatch, "reproduce", str(run.path), "--json") == 0
    again = RunDir(run.path.with_name("run-again"))
    assert file_sha256(again.model / "model.safetensors") == file_sha256(
        run.model / "model.safetensors"
    )
    found = json.loads(capsys.readouterr().out)
    assert (found["splits"], found["differences"], found["versions"]) == (3, [], [])
    assert found["answers"] >= 18 * 5
    assert found["tensors"] > 10
    assert found["scores"] > 10


def test_what_does_not_come_out_the_same_is_told_with_how_much(
    finished: RunDir, run: RunDir
) -> None:
    import torch  # noqa: PLC0415 - with safetensors, for this test alone
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    weights = load_file(run.model / "model.safetensors")
    name = min(weights)
    weights[name] = (
        weights[name]
        + torch.nn.functional.one_hot(torch.tensor(0), weights[name].numel()).reshape(
            weights[name].shape
        )
        * 0.25
    )
    save_file(weights, run.model / "model.safetensors")
    answers = read_predictions(run, "tuned", "test")
    answers[0] = replace(answers[0], text="neither")
    write_predictions(run, "tuned", read_examples(run.examples("test")), answers)
    values = read_json(run.report_json)
    values["evaluations"]["tuned"]["accuracy"]["mean"] = 0.125
    write_json(run.report_json, values)
    manifest = read_manifest(run)
    write_record(run.manifest, replace(manifest, versions={**manifest.versions, "torch": "0.1"}))
    found = compare_with(finished, run)
    before = read_json(finished.report_json)["evaluations"]["tuned"]["accuracy"]["mean"]
    stored = read_predictions(finished, "tuned", "test")[0]
    assert found.differences == (
        f"{run.model}: {name} differs by at most 0.25",
        f"{run.path}: tuned answers row {stored.example_id} with 'neither', then {stored.text!r}",
        f"tuned accuracy: {before} then, 0.125 now",
    )
    assert found.versions == (f"torch {manifest.versions['torch']} then, 0.1 now",)
    assert "not the same" in found.sentence


def test_a_run_that_is_not_finished_is_not_reproduced(run: RunDir) -> None:
    run.report_json.unlink()
    artefacts.forget(run, [run.report_json])
    with pytest.raises(DataError, match=r"not finished: .*\nhint: `tunesmith resume"):
        pipeline.reproduce(run.path)


def test_the_list_says_what_each_file_was_made_from(finished: RunDir) -> None:
    listed = read_artefacts(finished)
    answers = listed["evaluation/tuned/test.parquet"].made_from
    assert answers["model/model.safetensors"] == listed["model/model.safetensors"].sha256
    assert answers["data/test.parquet"] == file_sha256(finished.examples("test"))
    model = listed["model/model.safetensors"].made_from
    assert model["data/train.parquet"] == file_sha256(finished.examples("train"))
    best = stages.train.TrainingFacts
    step = stages.report.read_record(finished.training, best).best_step
    checkpoint = finished.checkpoints / f"step-{step:06d}"
    assert model[f"checkpoints/{checkpoint.name} weights"] == file_sha256(
        checkpoint / "model.safetensors"
    )
    prepared: dict[str, Any] = dict(listed["data/train.parquet"].made_from)
    manifest = read_manifest(finished)
    assert prepared.items() >= manifest.inputs.items()
    assert prepared["base model/model.safetensors"] == manifest.model_files["model.safetensors"]


def test_many_writes_leave_a_list_that_is_read_back(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for i in range(5):
        (tmp_path / f"{i}").write_text(str(i))
        artefacts.record(run, [tmp_path / f"{i}"], {"rows": "ab"})
    listed = read_artefacts(run)
    assert list(listed) == ["0", "1", "2", "3", "4"]
    artefacts.forget(run, [tmp_path / "3"])
    assert list(read_artefacts(run)) == ["0", "1", "2", "4"]
    write_artefacts(run, {})
    list_again(run)
    assert read_artefacts(run) == {}
