"""Options that several commands share, the recipe that they make, and what commands print."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tunesmith.errors import InputError, RecipeError
from tunesmith.inert import inert, inert_json
from tunesmith.recipe import Recipe, build_recipe, load_recipe

SLOT_OPTIONS = ("text", "label", "target", "question", "context")
"""Slots of the task families with an option of their name; others are given with --column."""

RecipeArgument = Annotated[
    Path, typer.Argument(help="A recipe file (yaml), or a data file with --task and columns.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="key=value overrides, e.g. train.learning_rate=1e-5")
]
RunArgument = Annotated[Path, typer.Argument(help="A run folder.")]
TaskOption = Annotated[
    str | None, typer.Option(help="A task family: classify, summarise, answer, ...")
]
TemplateOption = Annotated[
    str | None, typer.Option(help="A wording, a template file, or 'inline {{text}} ||| {{label}}'.")
]
TextOption = Annotated[str | None, typer.Option(help="The column with the text.")]
LabelOption = Annotated[str | None, typer.Option(help="The column with the label.")]
TargetOption = Annotated[str | None, typer.Option(help="The column with the wanted answer.")]
QuestionOption = Annotated[str | None, typer.Option(help="The column with the question.")]
ContextOption = Annotated[str | None, typer.Option(help="The column with the context.")]
ColumnOption = Annotated[
    list[str] | None, typer.Option("--column", help="Any slot=column; can be repeated.")
]
ModelOption = Annotated[
    str | None, typer.Option(help="A model folder or hub id; default: the built-in base model.")
]
OutputOption = Annotated[str | None, typer.Option("--output-dir", help="The run folder.")]
RowsOption = Annotated[int, typer.Option("--rows", min=1, help="How many rows to show.")]
HtmlOption = Annotated[
    Path | None, typer.Option("--html", help="Write a page to this file as well.")
]
BrokenOption = Annotated[
    float | None,
    typer.Option(
        "--fail-if-broken-over",
        min=0,
        max=1,
        help="Exit with 4 unless it is shown that at most this share of the test rows was right "
        "before and is wrong now.",
    ),
]
AllTables = Annotated[
    bool, typer.Option("--all", help="Show every table of the report on the terminal.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def is_recipe(path: Path) -> bool:
    """Whether a file is a recipe; any other is taken for data."""
    return path.suffix.lower() in (".yaml", ".yml")


def slot_columns(options: Sequence[str] | None) -> dict[str, str]:
    """The `slot=column` of each --column; InputError for one that is not of that form."""
    columns = {}
    for text in options or ():
        slot, equals, column = text.partition("=")
        if not equals:
            raise InputError(
                f"--column {text!r} is not slot=column", hint="for example --column text=review"
            )
        columns[slot] = column
    return columns


def read_recipe(
    path: Path,
    overrides: Sequence[str] | None,
    column: Sequence[str] | None = None,
    **options: str | None,
) -> Recipe:
    """The recipe in a yaml file, or one made from a data file and the command's options.

    `options` are task, template, model, output_dir and SLOT_OPTIONS. Raises RecipeError for options
    beside a recipe file, which says the same itself. Notes go to stderr.
    """
    if is_recipe(path):
        given = sorted(name for name, value in {**options, "column": column}.items() if value)
        if given:
            raise RecipeError(
                f"{path} is a recipe: --{given[0]} belongs to it", hint="set it in the recipe"
            )
        recipe, notes = load_recipe(path, overrides or ())
    else:
        slots = {slot: column_name for slot in SLOT_OPTIONS if (column_name := options.get(slot))}
        values: dict[str, object] = {
            "data": {
                "source": str(path),
                "task": options.get("task"),
                "template": options.get("template"),
                "columns": slot_columns(column) | slots,
            },
            "model": options.get("model"),
            "output_dir": options.get("output_dir") or f"runs/{path.stem}",
        }
        values = {key: value for key, value in values.items() if value is not None}
        recipe, notes = build_recipe(values, overrides or (), where="command line")
    for text in notes:
        note(text)
    return recipe


def recipe_with_rows(
    path: Path,
    overrides: Sequence[str] | None,
    column: Sequence[str] | None = None,
    **options: str | None,
) -> Recipe:
    """As `read_recipe`, for commands that read rows; DataError where their file is not there."""
    from tunesmith.data.sources.members import check_sources  # noqa: PLC0415 - pyarrow

    recipe = read_recipe(path, overrides, column, **options)
    check_sources(recipe.data)
    return recipe


def note(text: str) -> None:
    """A line on stderr: stdout has the result alone."""
    print(f"note: {inert(text)}", file=sys.stderr)


def print_json(value: object) -> None:
    """Any JSON value, indented, on stdout."""
    print(inert_json(json.dumps(value, indent=2, ensure_ascii=False)))
