"""The JSON Schema of a recipe: it takes what a recipe takes, and marks what a recipe refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from tunesmith.cli import app
from tunesmith.errors import RecipeError
from tunesmith.recipe import ALIASES, Recipe, build_recipe
from tunesmith.recipe_schema import recipe_schema

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "recipe.schema.json"
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
PAGE = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
ON_THE_PAGE = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


def wrong(recipe: object) -> list[str]:
    """Where a recipe is not as the schema says."""
    validator = jsonschema.Draft202012Validator(recipe_schema())
    return [error.json_path for error in validator.iter_errors(recipe)]


def refused(recipe: dict[str, Any]) -> bool:
    try:
        build_recipe(recipe)
    except RecipeError:
        return True
    return False


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(recipe_schema())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_as_it_says_and_names_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert wrong(yaml.safe_load(text)) == []
    named = re.findall(r"^# yaml-language-server: \$schema=(\S+)$", text, re.MULTILINE)
    assert [(path.parent / name).resolve() for name in named] == [FILE]


def test_the_recipes_of_the_reference_are_as_it_says() -> None:
    assert [wrong(yaml.safe_load(text)) for text in ON_THE_PAGE] == [[] for _ in ON_THE_PAGE]
    assert ON_THE_PAGE


def test_a_recipe_with_every_default_filled_in_is_as_it_says() -> None:
    assert wrong(Recipe().model_dump(mode="json")) == []


@pytest.mark.parametrize(
    ("recipe", "places"),
    [
        ({"data": {"sauce": "a.csv"}}, ["$.data"]),
        ({"train": {"num_train_epochs": 0}}, ["$.train.num_train_epochs"]),
        ({"train": {"learning_rate": "fast"}}, ["$.train.learning_rate"]),
        ({"train": {"seed": True}}, ["$.train.seed"]),
        ({"train": {"report_to": ["carrier_pigeon"]}}, ["$.train.report_to[0]"]),
        ({"data": {"labels": [False, True]}}, ["$.data.labels"]),
        ({"trust_remote_code": 1}, ["$.trust_remote_code"]),
        ({"train": None}, ["$.train"]),
        # numbers are taken where a text is asked for
        ({"data": {"labels": [0, 1], "columns": {"text": 3}}}, []),
        ({"data": {"source": [{"source": "a.csv", "labels": {"0": 5}}, "b.csv"]}}, []),
        ({"chat_template_kwargs": {"anything": [1, {"a": None}]}}, []),
    ],
)
def test_it_marks_what_a_recipe_refuses(recipe: dict[str, Any], places: list[str]) -> None:
    assert wrong(recipe) == places
    assert refused(recipe) == bool(places)


def test_another_tools_name_is_taken_and_marked_as_deprecated() -> None:
    recipe = {"base_model": "some/model", "train": {"lr": 1e-4}}
    assert not refused(recipe)
    assert wrong(recipe) == []
    assert wrong({"train": {"lr": "fast"}}) == ["$.train.lr"]
    train = recipe_schema()["$defs"]["TrainConfig"]["properties"]
    assert (train["lr"]["deprecated"], train["lr"]["deprecationMessage"]) == (
        True,
        "Called learning_rate here.",
    )
    assert "deprecated" not in train["learning_rate"]


def test_every_other_name_is_in_it() -> None:
    values = {"model": "m", "output_dir": "o"}
    marked = 0
    for ours, others in ALIASES.items():
        section, _, name = ours.rpartition(".")
        value = values.get(ours, build_recipe({})[0].model_dump()[section or ours])
        value = value[name] if isinstance(value, dict) else value
        for other in others:
            asked = {other: value}
            assert wrong({section: asked} if section else asked) == []
            marked += 1
    assert marked == sum(map(len, ALIASES.values()))


def test_the_command_prints_what_is_in_the_docs() -> None:
    printed = CliRunner().invoke(app, ["schema"]).output
    assert json.loads(printed) == recipe_schema()
    assert FILE.read_text(encoding="utf-8") == printed, "tunesmith schema > docs/recipe.schema.json"
