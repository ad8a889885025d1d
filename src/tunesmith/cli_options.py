"""Options that several commands share, the recipe that they make, and what commands print."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from tunesmith.errors import InputError, RecipeError
from tunesmith.inert import inert, inert_json
from tunesmith.progress import InertConsole
from tunesmith.ranks import is_leader
from tunesmith.recipe import (
    SLOT_OPTIONS,
    Recipe,
    build_recipe,
    is_recipe,
    load_recipe,
    run_folder_of,
)

RecipeArgument = Annotated[
    Path, typer.Argument(help="A recipe file (yaml), or a data file with --task and columns.")
]
OptionalRecipeArgument = Annotated[
    Path | None, typer.Argument(help="A recipe file (yaml), or a data file.")
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
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Plan for a GPU that need not be here: H200, H100, A100, L4, T4, RTX4090 or RTX3090.",
    ),
]
MemoryOption = Annotated[
    str | None, typer.Option("--memory", help="Plan for this much memory, as in 24GiB.")
]
ProcessesOption = Annotated[
    int,
    typer.Option(
        "--processes", min=1, help="Plan for each of so many processes, as torchrun starts them."
    ),
]
AllTables = Annotated[
    bool, typer.Option("--all", help="Show every table of the report on the terminal.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]

KEYS = {
    "task": "data.task",
    "template": "data.template",
    "column": "data.columns",
    "model": "model",
    "output_dir": "output_dir",
}
"""The key of the recipe that says the same as an option; a slot's is data.columns.SLOT."""

TABLE_OPTIONS: dict[str, object] = {
    "task": TaskOption,
    "template": TemplateOption,
    "text": TextOption,
    "label": LabelOption,
    "target": TargetOption,
    "question": QuestionOption,
    "context": ContextOption,
    "column": ColumnOption,
    "model": ModelOption,
    "output_dir": OutputOption,
}
"""What every command that takes a data file can be told about it."""


@dataclass(frozen=True)
class Given:
    """A recipe or a data file, with the overrides and the TABLE_OPTIONS that came with it; `path`
    is None where a command can do without, and none was given.
    """

    path: Path | None
    overrides: tuple[str, ...] = ()
    options: Mapping[str, str | None] = field(default_factory=dict)
    column: tuple[str, ...] = ()

    def recipe(self) -> Recipe:
        """The recipe that they make, its data files being there; errors as `recipe_with_rows`."""
        if self.path is None:
            raise InputError("there is no recipe", hint="give a recipe or a data file")
        return recipe_with_rows(self.path, self.overrides, self.column, **self.options)

    def columns(self) -> dict[str, str]:
        """The columns that were named, by slot; InputError as `slot_columns`."""
        return slot_columns(self.column) | named_slots(self.options)


def takes_table(
    optional: bool = False, without: Sequence[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command's parameter `given` becomes the arguments RECIPE and OVERRIDES, and TABLE_OPTIONS
    but for those named in `without`; all commands take a table in one way.
    """
    argument = RecipeArgument if not optional else OptionalRecipeArgument
    default = inspect.Parameter.empty if not optional else None
    options = {name: kind for name, kind in TABLE_OPTIONS.items() if name not in without}
    table = [
        _parameter("recipe", argument, default),
        _parameter("overrides", Overrides),
        *(_parameter(name, kind) for name, kind in options.items()),
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [
            new for old in own for new in (table if old.name == "given" else [_by_keyword(old)])
        ]

        @wraps(command)
        def wrapped(**values: object) -> None:
            command(given=_given(values, options), **values)

        del wrapped.__wrapped__  # typer would read the parameters of the inner function
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
        return wrapped

    return decorate


def _parameter(name: str, kind: object, default: object = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _by_keyword(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _given(values: dict[str, object], options: Mapping[str, object]) -> Given:
    """Takes the table's own out of a command's values."""
    path, overrides = values.pop("recipe"), values.pop("overrides")
    found = {name: values.pop(name) for name in options}
    column = found.pop("column", None)
    return Given(
        path if isinstance(path, Path) else None,
        _texts(overrides),
        {name: str(value) for name, value in found.items() if value is not None},
        _texts(column),
    )


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) else ()


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


def named_slots(options: Mapping[str, str | None]) -> dict[str, str]:
    """The columns that are named by an option of their slot's name, such as --text."""
    return {slot: name for slot in SLOT_OPTIONS if (name := options.get(slot))}


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
                f"{path} is a recipe: --{given[0].replace('_', '-')} belongs to it",
                hint=f"set {KEYS.get(given[0], f'data.columns.{given[0]}')} in the recipe, "
                "or give it as KEY=VALUE",
            )
        recipe, notes = load_recipe(path, overrides or ())
    else:
        values: dict[str, object] = {
            "data": {
                "source": str(path),
                "task": options.get("task"),
                "template": options.get("template"),
                "columns": slot_columns(column) | named_slots(options),
            },
            "model": options.get("model"),
            "output_dir": options.get("output_dir") or run_folder_of(path),
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
    """A line on stderr: stdout has the result alone. Of several processes the leader says it."""
    if is_leader():
        print(f"note: {inert(text)}", file=sys.stderr)


def print_shown(item: RenderableType) -> None:
    """Print to the terminal, or 160 columns wide to a file or pipe."""
    width = None if sys.stdout.isatty() else 160
    console = InertConsole(highlight=False, markup=False, emoji=False, soft_wrap=True, width=width)
    console.print(item)


def print_json(value: object) -> None:
    """Any JSON value, indented, on stdout."""
    print(inert_json(json.dumps(value, indent=2, ensure_ascii=False)))
