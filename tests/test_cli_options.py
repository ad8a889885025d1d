"""What commands share: a recipe made from options, and the version."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tunesmith
from tunesmith.cli import app
from tunesmith.cli_options import read_recipe, slot_columns
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
