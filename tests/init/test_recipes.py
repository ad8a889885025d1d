"""The recipe that `init` writes can be prepared as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import exit_code_of, write_rows
from tool_modules import tool_module

from tunesmith import cli_init, stages
from tunesmith.recipe import load_recipe

CASES = {case.name: case for case in tool_module("init_cases").cases()}


@pytest.mark.parametrize("name", CASES)
def test_the_written_recipe_prepares(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Path
) -> None:
    monkeypatch.setattr(cli_init, "_cost", lambda recipe, rows: "")  # it would prepare them as well
    source = tool_module("init_cases").write_case(CASES[name], tmp_path)
    monkeypatch.chdir(tmp_path)
    args = ["init", str(source.relative_to(tmp_path)), "--model", str(tiny_model_dir), "--yes"]
    assert exit_code_of(monkeypatch, *args) == 0
    written = next(tmp_path.glob("*.yaml"))
    recipe, notes = load_recipe(written)
    assert notes == []
    facts = stages.prepare.prepare(recipe)
    assert all(facts.splits[split].rows > 0 for split in ("train", "validation", "test"))


@pytest.mark.sweep  # probes the machine and trains for some steps
def test_the_cost_is_told_and_the_written_recipe_passes_check(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_model_dir: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.csv")
    args = ("init", "rows.csv", "--yes", "--model", str(tiny_model_dir))
    assert exit_code_of(monkeypatch, *args) == 0
    printed = capsys.readouterr().out
    assert "9 steps over 48 training rows" in printed
    assert "of training on this machine" in printed
    assert exit_code_of(monkeypatch, "check", "rows.yaml") == 0
