"""docs/recipe.md: what the tool generates from the code, with recipes that are valid."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import Field
from pydantic.fields import FieldInfo
from tool_modules import tool_module

from tunesmith.data.templates.families import find_wording, load_family
from tunesmith.recipe import ALIASES, Recipe, SourceConfig, build_recipe

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return tool_module("recipe_reference")


def dotted_keys(tool: ModuleType) -> dict[str, FieldInfo]:
    return {
        f"{path}.{name}".removeprefix("."): field
        for path, section in tool.sections()
        for name, field in tool.keys(section).items()
    }


def test_the_tables_are_what_the_tool_generates(tool: ModuleType) -> None:
    tables = PAGE.partition(tool.START)[2].partition(tool.END)[0].lstrip("\n")
    assert tables == tool.reference(), "python tools/recipe_reference.py docs/recipe.md"


def test_writing_replaces_only_what_is_between_the_marks(tool: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{tool.START}\nold\n{tool.END}\nafter\n", encoding="utf-8")
    tool.write(page)
    assert page.read_text(encoding="utf-8") == (
        f"before\n{tool.START}\n{tool.reference()}{tool.END}\nafter\n"
    )


def test_every_key_has_a_meaning_and_every_section_a_sentence(tool: ModuleType) -> None:
    assert [key for key, field in dotted_keys(tool).items() if not field.description] == []
    # without a docstring of its own, a class has its base's in inspect.getdoc
    assert [path for path, section in tool.sections() if not section.__dict__["__doc__"]] == []


def test_every_leaf_of_a_dumped_recipe_is_on_the_page(tool: ModuleType) -> None:
    recipe = Recipe.model_validate(
        {"train": {"lora": {}}, "data": {"source": [{"source": "a.csv"}]}}
    )
    assert leaves(recipe.model_dump()) <= set(dotted_keys(tool))


def leaves(values: dict[str, object], before: str = "") -> set[str]:
    found = set()
    for name, value in values.items():
        if isinstance(value, dict) and value:
            found |= leaves(value, f"{before}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            found |= leaves(value[0], f"{before}{name}[].")
        else:
            found.add(before + name)
    return found


def test_every_alias_is_in_its_key_s_row() -> None:
    for dotted, others in ALIASES.items():
        row = next(
            line
            for line in PAGE.splitlines()
            if line.startswith(f"| `{dotted.rpartition('.')[2]}` |")
        )
        assert row.split("|")[-2].strip() == ", ".join(f"`{name}`" for name in sorted(others))


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Annotated[int, Field(ge=1)] | None, "whole number, at least 1"),
        (Annotated[float, Field(ge=0.0, le=1.0)], "number, 0 to 1"),
        (Annotated[float, Field(gt=0.5, lt=1.0)], "number, above 0.5, below 1"),
        (Literal["auto"] | bool, "`auto`, or true or false"),
        (str | list[str | SourceConfig] | None, "text, or list of text or mapping"),
        (dict[str, str], "mapping of text to text"),
    ],
)
def test_types_are_told_in_words(tool: ModuleType, annotation: object, words: str) -> None:
    assert tool.describe(annotation) == words


def test_there_are_three_worked_recipes() -> None:
    assert len(RECIPES) == 3


@pytest.mark.parametrize("text", RECIPES, ids=["first", "second", "third"])
def test_a_worked_recipe_is_valid_without_a_note(text: str) -> None:
    recipe, notes = build_recipe(yaml.safe_load(text))
    assert notes == []
    split = recipe.data.split
    assert split.train + split.validation + split.test == pytest.approx(1)


def test_worked_recipes_name_families_and_slots_that_exist() -> None:
    members = []
    for text in RECIPES:
        data = yaml.safe_load(text)["data"]
        members += data["source"] if isinstance(data["source"], list) else [data]
    named = [member for member in members if "task" in member]
    assert [member["task"] for member in named] == ["classify", "summarise", "classify"]
    for member in named:
        family = load_family(member["task"])
        assert set(member["columns"]) <= set(family.slots)
        assert find_wording(family, "default", family.family)
