"""Findings in a whole preparation: errors stop it, what is allowed goes on, and all is recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import prepare_source

from tunesmith.errors import DataError, RecipeError
from tunesmith.rundir import RunDir, read_json

LEAKED = [
    (f"thing number {i} ({'yes' if i % 2 else 'no'})", "yes" if i % 2 else "no") for i in range(40)
]


def prepare(tmp_path: Path, model: Path, rows: list[tuple[str, str]], **data: Any) -> RunDir:
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    source = tmp_path / "rows.jsonl"
    source.write_text("\n".join(lines), encoding="utf-8")
    return prepare_source(tmp_path, model, source, **data)


def test_an_error_stops_the_preparation_and_leaves_nothing(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, tiny_model_dir, LEAKED)
    assert caught.value.message.startswith(
        "target_in_prompt: the prompt names its own label, and no other as often, in 32 of 32 rows"
    )
    assert caught.value.hint == (
        "take the answer out of the columns of the input; where this is meant so, "
        "data.allow: [target_in_prompt] goes on"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_what_is_allowed_goes_on_unsaid_and_stays_in_the_record(
    tmp_path: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = prepare(tmp_path, tiny_model_dir, LEAKED, allow=["target_in_prompt"])
    assert "target_in_prompt" not in capsys.readouterr().err
    (finding,) = read_json(run.ledger)["findings"]
    assert (finding["name"], finding["severity"]) == ("target_in_prompt", "error")
    assert any(note.startswith("target_in_prompt: ") for note in read_json(run.manifest)["notes"])


def test_a_warning_is_said_once_also_where_rows_come_from_the_cache(
    tmp_path: Path,
    tiny_model_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    rows = [(f"item {i} is {'fine' if i % 2 else 'poor'}", str(i % 2)) for i in range(40)]
    for _ in range(2):
        run = prepare(tmp_path, tiny_model_dir, rows)
        said = capsys.readouterr().err
        assert said.count("warning: number_labels: the labels in 'label' are 0 and 1") == 1
        run.path.rename(tmp_path / f"run-{len(list(tmp_path.iterdir()))}")
    assert "taken from the cache" in " ".join(said.split())


def test_an_unknown_name_to_allow_stops_before_anything_is_read(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    with pytest.raises(RecipeError, match="no finding is called 'conflicting_label'"):
        prepare(tmp_path, tiny_model_dir, LEAKED, allow=["conflicting_label"])


def test_one_answer_in_all_rows_can_be_allowed(tmp_path: Path, tiny_model_dir: Path) -> None:
    rows = [(f"item {i} of the list", "yes") for i in range(40)]
    with pytest.raises(
        DataError, match=r"^constant_target: every training row has the same answer"
    ):
        prepare(tmp_path, tiny_model_dir, rows)
    prepare(tmp_path, tiny_model_dir, rows, allow=["constant_target"])


def test_text_in_the_wrong_encoding_is_a_warning_of_the_second_pass(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    rows = [
        (f"caf\u00c3\u00a9 {i} is {'fine' if i % 2 else 'poor'}", "ab"[i % 2]) for i in range(40)
    ]
    (finding,) = read_json(prepare(tmp_path, tiny_model_dir, rows).ledger)["findings"]
    assert finding["name"] == "mojibake"
    assert finding["message"].startswith("40 of 40 examples have text that was decoded")


def test_a_templates_finding_names_the_template_and_a_row(
    tmp_path: Path, tiny_model_dir: Path
) -> None:
    rows = [(f"item {i} is {'fine' if i % 2 else 'poor'}", "ab"[i % 2]) for i in range(40)]
    template = "{{ label }} is said of {{ text }} ||| {{ label }}"
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, tiny_model_dir, rows[:10], task=None, template=template)
    assert caught.value.message == (
        f"target_in_prompt: the template inline, for example {tmp_path / 'rows.jsonl'}:1: "
        "the column 'label' is in the prompt and in the target"
    )
