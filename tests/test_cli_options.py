"""What commands share: a recipe made from options, and the version."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import tunesmith
from tunesmith.cli import app
from tunesmith.cli_options import TABLE_OPTIONS, Given, read_recipe, slot_columns, takes_table
from tunesmith.errors import InputError, RecipeError

ROOT = Path(__file__).parents[1]


def test_a_data_file_and_options_make_a_recipe() -> None:
    recipe = read_recipe(
        Path("some/reviews.csv"),
        ["train.seed=3"],
        column=["text=comment", "label=mood=1"],
        task="classify",
        text="review",
        label=None,
        model="./base",
    )
    assert (recipe.data.source, recipe.data.task) == ("some/reviews.csv", "classify")
    # an option of the slot's name wins over --column
    assert recipe.data.columns == {"text": "review", "label": "mood=1"}
    assert (recipe.model, recipe.output_dir, recipe.train.seed) == ("./base", "runs/reviews", 3)


def test_the_built_in_model_is_the_default_beside_a_data_file() -> None:
    assert read_recipe(Path("rows.csv"), None, model=None).model == "built-in"


@pytest.mark.parametrize(
    ("column", "task", "named"), [(["text=a"], "classify", "column"), (None, "classify", "task")]
)
def test_options_beside_a_recipe_file_are_refused(
    column: list[str] | None, task: str, named: str
) -> None:
    with pytest.raises(RecipeError, match=f"recipe.YML is a recipe: --{named} belongs to it"):
        read_recipe(Path("recipe.YML"), None, column, task=task)


def commands_with(option: str) -> set[str]:
    """The commands that have an option, those of `templates` with it before their name."""
    root: Any = typer.main.get_command(app)
    groups = {"": root, "templates ": root.commands["templates"]}
    return {
        prefix + name
        for prefix, group in groups.items()
        for name, command in group.commands.items()
        if any(option in parameter.opts for parameter in command.params)
    }


TAKE_A_TABLE = {
    *("run", "prepare", "preview", "plan", "check", "limit", "curve", "tune", "init"),
    *("templates lint", "templates preview"),
}


@pytest.mark.parametrize("name", TABLE_OPTIONS)
def test_every_command_that_takes_a_data_file_has_the_same_options(name: str) -> None:
    by_its_name = name in ("task", "template", "output_dir")
    named_elsewhere = {"templates preview"} if by_its_name else set[str]()
    found = commands_with(f"--{name.replace('_', '-')}")
    assert found >= TAKE_A_TABLE - named_elsewhere
    assert not found & named_elsewhere


def test_a_commands_table_is_given_with_its_options() -> None:
    seen: list[tuple[Given, int]] = []
    own = typer.Typer()

    @own.command()
    @takes_table(without=("task",))
    def command(given: Given, times: int = 1) -> None:
        """Look."""
        seen.append((given, times))

    args = ["a.csv", "train.seed=3", "--text", "t", "--column", "x=y", "--times", "2"]
    assert CliRunner().invoke(own, args).exit_code == 0
    given, times = seen[0]
    assert given == Given(Path("a.csv"), ("train.seed=3",), {"text": "t"}, ("x=y",))
    assert (given.columns(), times) == ({"x": "y", "text": "t"}, 2)
    assert CliRunner().invoke(own, ["a.csv", "--task", "classify"]).exit_code == 2
    assert CliRunner().invoke(own, []).exit_code == 2


def test_an_option_beside_a_recipe_names_its_key() -> None:
    for name, key in (("text", "data.columns.text"), ("output_dir", "output_dir")):
        with pytest.raises(RecipeError) as error:
            read_recipe(Path("r.yaml"), None, **{name: "x"})
        assert f"--{name.replace('_', '-')} belongs to it" in error.value.message
        assert error.value.hint == f"set {key} in the recipe, or give it as KEY=VALUE"


def test_another_tools_name_is_noted_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    read_recipe(Path("rows.csv"), ["train.lr=1e-3"])
    printed = capsys.readouterr()
    assert printed.err == "note: train.lr is called train.learning_rate here\n"
    assert printed.out == ""


def test_a_column_without_a_slot_is_refused() -> None:
    assert slot_columns(None) == {}
    with pytest.raises(InputError, match="--column 'review' is not slot=column"):
        slot_columns(["text=a", "review"])


def test_the_version_is_that_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert tunesmith.__version__ == project["version"]
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"tunesmith {project['version']}\n")
