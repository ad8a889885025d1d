"""`tunesmith init` as a command: what it writes and never writes over, what it asks and prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support import exit_code_of, write_rows
from tool_modules import tool_module

from tunesmith import cli_init
from tunesmith.recipe import load_recipe

CASES = {case.name: case for case in (*tool_module("init_cases").cases(),)}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a table in it; the cost, which takes seconds, is not computed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli_init, "_cost", lambda recipe, rows: "at least 1 s")
    write_rows(tmp_path / "rows.csv")
    return tmp_path


def say(answers: Iterator[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal, and somebody at it."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda *_: next(answers))


def test_a_table_gives_a_commented_recipe_beside_it(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_model_dir: Path,
) -> None:
    before = (here / "rows.csv").read_bytes()
    assert exit_code_of(monkeypatch, "init", "rows.csv", "--model", str(tiny_model_dir)) == 0
    printed = capsys.readouterr()
    assert (here / "rows.csv").read_bytes() == before
    text = (here / "rows.yaml").read_text(encoding="utf-8")
    recipe, notes = load_recipe(here / "rows.yaml")
    assert notes == []
    assert (recipe.data.source, recipe.data.task) == ("rows.csv", "classify")
    assert (recipe.output_dir, recipe.model) == ("runs/rows", str(tiny_model_dir))
    assert "task: classify  # the 2 values of 'label' come back in other rows" in text
    assert printed.out.count("thing number") == 3
    assert printed.out.count("Label: ==> ") == 3
    assert printed.out.endswith("at least 1 s\nrows.yaml\n")
    assert "text: text, 60 different, 4 words in the median" in printed.err
    assert "label: label, 2 different, no (30), yes (30)" in printed.err
    assert "note: not a terminal: the proposal is taken as with --yes" in printed.err


def test_nothing_is_written_over(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "rows.yaml").write_text("mine", encoding="utf-8")
    assert exit_code_of(monkeypatch, "init", "rows.csv") == 2
    assert capsys.readouterr().err == (
        "error: rows.yaml: exists already\nhint: name another file: --recipe NAME.yaml\n"
    )
    assert (here / "rows.yaml").read_text(encoding="utf-8") == "mine"
    assert exit_code_of(monkeypatch, "init", "rows.csv", "--recipe", "rows.csv") == 2
    assert exit_code_of(monkeypatch, "init", "rows.yaml") == 2
    assert exit_code_of(monkeypatch, "init", "rows.csv", "--recipe", "new.txt") == 2


def test_without_a_data_file_it_writes_a_recipe_to_start_from(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exit_code_of(monkeypatch, "init") == 0
    assert exit_code_of(monkeypatch, "init", "own.yaml") == 0
    assert load_recipe(here / "recipe.yaml")[0] == load_recipe(here / "own.yaml")[0]
    assert exit_code_of(monkeypatch, "init", "third.yaml", "--task", "classify") == 2


def test_options_and_overrides_are_in_the_recipe(
    here: Path, monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Path
) -> None:
    given = ("--task", "free", "--text", "label", "--target", "text", "--output-dir", "out")
    overrides = ("train.num_train_epochs=7", "data.max_rows=50")
    args = ("init", "rows.csv", *overrides, *given, "--model", str(tiny_model_dir), "--yes")
    assert exit_code_of(monkeypatch, *args) == 0
    recipe, _ = load_recipe(here / "rows.yaml")
    assert (recipe.data.task, recipe.data.columns) == ("free", {"text": "label", "target": "text"})
    assert (recipe.train.num_train_epochs, recipe.data.max_rows) == (7, 50)
    assert recipe.output_dir == "out"


@pytest.mark.parametrize(
    ("given", "task", "template"),
    [
        (("--template", "{{text}} ||| {{label}}"), None, "{{text}} ||| {{label}}"),
        (("--template", "classify/terse"), "classify/terse", None),
        (("--task", "classify", "--template", "terse"), "classify/terse", None),
    ],
)
def test_a_template_of_ones_own_is_taken(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_model_dir: Path,
    given: tuple[str, ...],
    task: str | None,
    template: str | None,
) -> None:
    model = ("--model", str(tiny_model_dir))
    assert exit_code_of(monkeypatch, "init", "rows.csv", *given, *model, "--yes") == 0
    recipe, _ = load_recipe(here / "rows.yaml")
    assert (recipe.data.task, recipe.data.template) == (task, template)


def test_as_json(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_model_dir: Path,
) -> None:
    args = ("init", "rows.csv", "--json", "--yes", "--model", str(tiny_model_dir))
    assert exit_code_of(monkeypatch, *args) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recipe"] == yaml.safe_load((here / "rows.yaml").read_text(encoding="utf-8"))
    assert found["warnings"] == ["60 rows are few: the test split can only show a very large gain"]
    assert (found["rows"], found["cost"], found["recipe_file"]) == (60, "at least 1 s", "rows.yaml")


def test_in_a_terminal_it_asks_and_an_empty_answer_keeps_the_proposal(
    here: Path, monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Path
) -> None:
    # task, two columns, metric, write
    say(iter(["", "", "", "macro_f1", "y"]), monkeypatch)
    assert exit_code_of(monkeypatch, "init", "rows.csv", "--model", str(tiny_model_dir)) == 0
    recipe, _ = load_recipe(here / "rows.yaml")
    assert (recipe.data.task, recipe.data.columns) == (
        "classify",
        {"text": "text", "label": "label"},
    )
    assert recipe.evaluation.metrics == ["macro_f1"]


def test_names_of_bare_numbers_are_asked_for(
    here: Path, monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Path
) -> None:
    table = tool_module("init_cases").write_case(CASES["integer_labels"], here)
    say(iter(["", "", "", "low", "mid", "high", "", "y"]), monkeypatch)
    args = ("init", str(table), "--model", str(tiny_model_dir))
    assert exit_code_of(monkeypatch, *args) == 0
    assert load_recipe(here / "notes.yaml")[0].data.labels == {"0": "low", "1": "mid", "2": "high"}


def test_a_wording_is_asked_about_as_its_family_is(
    here: Path, monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Path
) -> None:
    table = tool_module("init_cases").write_case(CASES["integer_labels"], here)
    say(iter(["", "", "", "low", "mid", "high", "", "y"]), monkeypatch)
    args = ("init", str(table), "--template", "classify/terse", "--model", str(tiny_model_dir))
    assert exit_code_of(monkeypatch, *args) == 0
    data = load_recipe(here / "notes.yaml")[0].data
    assert (data.task, data.labels) == ("classify/terse", {"0": "low", "1": "mid", "2": "high"})


@pytest.mark.parametrize("name", ["reviews[final].yaml", "a[/b].yaml"])
def test_the_name_that_is_asked_about_is_no_markup(
    name: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_model_dir: Path,
) -> None:
    (here / name).parent.mkdir(exist_ok=True)
    say(iter(["", "", "", "", "y"]), monkeypatch)
    args = ("init", "rows.csv", "--recipe", name, "--model", str(tiny_model_dir))
    assert exit_code_of(monkeypatch, *args) == 0
    assert f"Write {name}?" in capsys.readouterr().err
    assert (here / name).is_file()


def test_no_at_the_end_writes_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Path
) -> None:
    say(iter(["", "", "", "", "n"]), monkeypatch)
    assert exit_code_of(monkeypatch, "init", "rows.csv", "--model", str(tiny_model_dir)) == 1
    assert not (here / "rows.yaml").exists()


def test_a_field_that_is_too_long_for_the_model_may_be_shortened(
    here: Path, monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Path
) -> None:
    table = tool_module("init_cases").write_case(CASES["long_documents"], here)
    args = ("init", str(table), "--model", str(tiny_model_dir), "--yes")
    assert exit_code_of(monkeypatch, *args) == 0
    assert "{{ text | fit }}" in str(load_recipe(here / "reports.yaml")[0].data.template)


def test_another_tools_configuration_is_written_with_what_was_left(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "axolotl.yml").write_text(
        "base_model: org/base\nsequence_len: 64\nadapter: lora\nsample_packing: true\n", "utf-8"
    )
    assert exit_code_of(monkeypatch, "init", "--from", "axolotl.yml") == 0
    printed = capsys.readouterr()
    assert printed.out == "axolotl-tunesmith.yaml\n"
    left = "sample_packing: tunesmith decides this by itself, for the rows and the machine"
    assert printed.err == f"not translated: {left}\n"
    text = (here / "axolotl-tunesmith.yaml").read_text(encoding="utf-8")
    assert text.startswith(f"# Translated from Axolotl's axolotl.yml. Not translated:\n# {left}\n")
    assert load_recipe(here / "axolotl-tunesmith.yaml")[0].train.max_length == 64
    assert exit_code_of(monkeypatch, "init", "rows.csv", "--from", "axolotl.yml") == 2


def test_the_cost_of_a_long_table_is_scaled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Plan:
        least_seconds, as_text = 10.0, "a plan"

    def plan(recipe: object) -> Plan:
        asked.append(recipe.data.max_rows)  # type: ignore[attr-defined]
        return Plan()

    monkeypatch.setattr("tunesmith.stages.dry_run.plan", plan)
    recipe, _ = cli_init.build_recipe({"data": {"source": "a.csv"}})
    assert cli_init._cost(recipe, 20_000) == "a plan"
    assert cli_init._cost(recipe, 50_000).endswith("all would take about 25 s")
    assert asked == [None, 20_000]
