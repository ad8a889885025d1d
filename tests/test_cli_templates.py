"""The `templates` commands, as a user types them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tunesmith.cli_templates import templates_app
from tunesmith.data.lint.rules import ERRORS, RULES
from tunesmith.data.lint.run import NEED_REAL_ROWS
from tunesmith.data.templates.families import family_names, load_family
from tunesmith.data.templates.promptsource import Template, TemplateCollection, dumps
from tunesmith.errors import InputError, TemplateError

COMMANDS = ("list", "show", "lint", "preview", "import")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(templates_app, list(arguments), terminal_width=200)


def output(*arguments: str, code: int = 0) -> str:
    result = run(*arguments)
    assert result.exit_code == code, result.output
    return str(result.stdout)


def plain(*arguments: str, code: int = 0) -> Any:
    return json.loads(output(*arguments, "--json", code=code))


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """Forty rows, yes and no in turn, with a number and the time they were written."""
    rows = [
        (i, f"review number {i} is {'good' if i % 2 else 'bad'}", "yes" if i % 2 else "no")
        for i in range(40)
    ]
    with (tmp_path / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("number", "review", "good"), *rows])
    return tmp_path / "reviews.csv"


def recipe(reviews: Path, model: Path | None = None, **data: Any) -> str:
    values = {
        "source": str(reviews),
        "task": "classify",
        "columns": {"text": "review", "label": "good"},
        **data,
    }
    path = reviews.with_name("recipe.yaml")
    path.write_text(json.dumps({"data": values} | ({"model": str(model)} if model else {})))
    return str(path)


@pytest.fixture
def promptsource(tmp_path: Path) -> Path:
    good = Template(id="1", name="ask", jinja="{{ review }} Good? ||| {{ good }}", source="shop")
    bad = Template(
        id="2",
        name="glued",
        jinja="{{ review }}nGood? ||| {{ ['a', 'b'] | choice }}",
        source="shop",
    )
    folder = tmp_path / "files" / "shop"
    folder.mkdir(parents=True)
    (folder / "templates.yaml").write_text(dumps(TemplateCollection("shop", (good, bad))))
    return tmp_path / "files"


# ---- list and show


def test_list_names_every_family() -> None:
    text = output("list")
    assert all(name in text for name in family_names())
    assert [family["family"] for family in plain("list")] == family_names()


def test_list_of_a_family_shows_its_wordings_and_flags() -> None:
    [family] = plain("list", "--family", "classify")
    assert len(family["wordings"]) == len(load_family("classify").wordings)
    lines = {
        line.split()[1]: line.split()
        for line in output("list", "--family", "classify").splitlines()
        if "/" in line
    }
    held_out = [wording["name"] for wording in family["wordings"] if wording["held_out"]]
    assert all(f"classify/{name}" in lines for name in held_out)


def test_show_prints_the_text_of_one_wording_or_of_all() -> None:
    assert "{{ text }}\n    Label: ||| {{ label }}" in output("show", "classify/terse")
    [one] = plain("show", "classify/terse")
    assert (one["name"], one["parser"], one["slots"]["label"]["type"]) == (
        "classify/terse",
        "choice",
        "label",
    )
    assert len(plain("show", "classify")) == len(load_family("classify").wordings)


def test_show_finds_a_promptsource_template(
    promptsource: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_PROMPTSOURCE", str(promptsource))
    assert "{{ review }} Good? ||| {{ good }}" in output("show", "promptsource:shop/ask")


def test_an_unknown_name_has_a_suggestion() -> None:
    error = run("show", "clasify").exception
    assert isinstance(error, TemplateError)
    assert error.hint == "did you mean 'classify'?"


# ---- lint


def test_every_rule_of_the_lists_is_a_rule() -> None:
    assert set(RULES) >= ERRORS
    assert set(RULES) >= NEED_REAL_ROWS


def test_the_docs_name_the_rules_that_are_errors() -> None:
    docs = (Path(__file__).resolve().parents[1] / "docs" / "lint.md").read_text(encoding="utf-8")
    sentence = docs.partition("where a finding is an error: ")[2].partition(".")[0]
    assert set(sentence.replace(" or ", ", ").split(", ")) == ERRORS


def test_a_sound_recipe_has_no_errors_and_exit_code_0(reviews: Path) -> None:
    found = plain("lint", recipe(reviews, id="number"))
    assert found == {"errors": 0, "warnings": 0, "findings": []}
    assert output("lint", recipe(reviews, id="number")) == "0 errors, 0 warnings\n"


def test_an_unused_column_is_a_warning_unless_the_recipe_splits_by_it(reviews: Path) -> None:
    found = plain("lint", recipe(reviews))
    assert [(f["severity"], f["name"]) for f in found["findings"]] == [("warning", "unused_column")]
    assert "columns that are not used: number" in output("lint", recipe(reviews))
    assert plain("lint", recipe(reviews, split={"group": "number"}))["findings"] == []


def test_a_template_that_cannot_be_learned_is_an_error_with_exit_code_2(reviews: Path) -> None:
    path = recipe(reviews, task=None, columns={}, template="Good? ||| {{ good }}")
    found = plain("lint", path, code=2)
    errors = {f["name"]: f for f in found["findings"] if f["severity"] == "error"}
    assert set(errors) == {"prompt_without_column"}
    assert (errors["prompt_without_column"]["template"], found["errors"]) == ("inline", 1)


def test_promptsource_files_are_linted_on_made_up_rows_by_rules_that_these_can_tell(
    promptsource: Path,
) -> None:
    found = plain("lint", "--promptsource", str(promptsource), code=2)["findings"]
    assert {(f["name"], f["template"]) for f in found} == {
        ("glued_literal", "shop/glued"),
        ("random_target", "shop/glued"),
    }


def test_promptsource_files_are_linted_on_the_rows_of_a_file(
    promptsource: Path, reviews: Path
) -> None:
    found = plain("lint", "--promptsource", str(promptsource), "--file", str(reviews), code=2)[
        "findings"
    ]
    assert ("unused_column", "shop/ask") in {(f["name"], f["template"]) for f in found}
    assert "missing_column" not in {f["name"] for f in found}


@pytest.mark.parametrize("arguments", [(), ("recipe.yaml", "--promptsource", "folder")])
def test_lint_takes_a_recipe_or_a_folder(arguments: tuple[str, ...]) -> None:
    error = run("lint", *arguments).exception
    assert isinstance(error, InputError)
    assert error.message == "give a recipe or --promptsource"


# ---- preview and import


def test_preview_puts_a_template_on_a_recipes_rows(reviews: Path, tiny_model_dir: Path) -> None:
    rows = plain("preview", "classify/terse", recipe(reviews, tiny_model_dir))
    assert [row["template"] for row in rows] == ["classify/terse"] * 3
    assert (
        "".join(token["text"] for token in rows[0]["tokens"])
        == "<s>review number 6 is bad\nLabel: no</s>"
    )
    text = output(
        "preview",
        "{{ review }}? ||| {{ good }}",
        recipe(reviews, tiny_model_dir, columns={}),
        "--rows",
        "1",
    )
    assert "<s>review number 20 is bad?[ ][n][o][</s>]" in text


def test_preview_writes_a_page_too(reviews: Path, tiny_model_dir: Path) -> None:
    page = reviews.with_name("page.html")
    assert plain("preview", "classify/terse", recipe(reviews, tiny_model_dir), "--html", str(page))
    assert "<!doctype html>" in page.read_text(encoding="utf-8")


def test_a_column_that_is_no_pair_is_refused(reviews: Path) -> None:
    error = run("preview", "classify", str(reviews), "--column", "text").exception
    assert isinstance(error, InputError)
    assert error.message == "--column 'text' is not slot=column"


def test_import_copies_a_folder_to_where_recipes_look(
    promptsource: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_PROMPTSOURCE", str(tmp_path / "mine"))
    assert plain("import", str(promptsource)) == {"templates": 2, "folder": str(tmp_path / "mine")}
    assert "{{ review }} Good? ||| {{ good }}" in output("show", "promptsource:shop/ask")


# ---- all of them


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_json(command: str) -> None:
    text = " ".join(output(command, "--help").split())
    assert f"tunesmith templates {command} " in text
    assert "--json" in text
