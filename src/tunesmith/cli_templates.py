"""`tunesmith templates`: the prompt template library on the command line, and how a preview is
printed.

Results go to stdout. `lint` exits with 2 where a finding is an error: the run would stop, or could
not learn what is asked. What may be meant so (an unused column, a literal at a slot) is a warning.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunesmith import stages
from tunesmith.errors import InputError

if TYPE_CHECKING:
    from tunesmith.data.lint.findings import Finding
    from tunesmith.data.preview import Preview
    from tunesmith.data.templates.resolve import PromptTemplate
    from tunesmith.recipe import Recipe

FLAGS = ("options", "held_out", "inverted")

templates_app = typer.Typer(help="The prompt template library.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
NumRows = Annotated[int, typer.Option("--rows", min=1, help="How many rows to show.")]
HtmlFile = Annotated[Path | None, typer.Option("--html", help="Write a page to this file as well.")]
Column = Annotated[
    list[str] | None, typer.Option("--column", help="slot=column of a data file; can be repeated.")
]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _print(item: Any) -> None:
    """To the terminal, or 160 columns wide to a file or pipe."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 160
    Console(highlight=False, soft_wrap=True, width=width).print(item, markup=False)


# ---- list and show


@templates_app.command("list")
def list_templates(
    family: Annotated[str | None, typer.Option(help="All wordings of this family.")] = None,
    as_json: Json = False,
) -> None:
    """The task families, or the wordings of one with their flags.

    Example: tunesmith templates list --family classify
    """
    from tunesmith.data.templates.families import family_names, load_family

    families = [load_family(name) for name in ([family] if family else family_names())]
    if as_json:
        print_json([one.model_dump(mode="json") for one in families])
    elif family:
        _print(_wordings_table(families[0]))
    else:
        _print(_families_table(families))
        print(
            "`tunesmith templates list --family NAME` lists a family's wordings, `show NAME` prints them"
        )


def _families_table(families: Sequence[Any]) -> Any:
    from rich.table import Column, Table

    table = Table(Column("family", no_wrap=True), "what it is", "slots", "wordings", "answers")
    for one in families:
        slots = ", ".join(name + ("" if slot.required else "?") for name, slot in one.slots.items())
        table.add_row(one.family, one.about, slots, str(len(one.wordings)), one.parser)
    return table


def _wordings_table(family: Any) -> Any:
    from rich.table import Column, Table

    table = Table(
        Column("wording", no_wrap=True),
        *(flag.replace("_", " ") for flag in FLAGS),
        "begins with",
        title=family.about,
    )
    for wording in family.wordings:
        flags = ("yes" if getattr(wording, flag) else "" for flag in FLAGS)
        table.add_row(
            f"{family.family}/{wording.name}", *flags, wording.template.strip().splitlines()[0][:60]
        )
    return table


TemplateName = Annotated[
    str,
    typer.Argument(
        help="A family, family/wording, promptsource:..., or a template file (mine.yaml, mine.yaml/one)."
    ),
]


@templates_app.command()
def show(name: TemplateName, as_json: Json = False) -> None:
    """The text of a template, with its slots, how answers are read and the metrics.

    Example: tunesmith templates show classify/terse
    """
    from tunesmith.data.templates.resolve import find_templates

    found = find_templates(name)
    if as_json:
        print_json([_plain(template) for template in found])
    else:
        print("\n\n".join(template.describe() for template in found))


def _plain(template: PromptTemplate) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(template) | {
        "slots": {name: slot.model_dump(mode="json") for name, slot in template.slots}
    }


# ---- lint


@templates_app.command()
def lint(
    recipe: Annotated[
        Path | None, typer.Argument(help="A recipe: its templates on its rows.")
    ] = None,
    promptsource: Annotated[
        Path | None,
        typer.Option(
            help="A folder of PromptSource files instead, on the rows of --file or made-up ones."
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A data file for --promptsource.")] = None,
    rows: Annotated[int, typer.Option(min=2, help="Rows to try, from all over the table.")] = 200,
    as_json: Json = False,
) -> None:
    """What is wrong with templates, before anything is trained. Exits with 2 where a finding is an
    error.

    Examples: tunesmith templates lint recipe.yaml

    tunesmith templates lint --promptsource my_templates --file rows.csv --json
    """
    if (recipe is None) == (promptsource is None):
        raise InputError(
            "give a recipe or --promptsource",
            hint="for example tunesmith templates lint recipe.yaml",
        )
    from tunesmith.data.lint.run import ERRORS, lint_folder, lint_recipe
    from tunesmith.recipe import load_recipe

    if recipe is not None:
        findings = lint_recipe(load_recipe(recipe)[0].data, rows)
    else:
        findings = lint_folder(Path(str(promptsource)), file, rows)
    num_errors = sum(finding.rule in ERRORS for finding in findings)
    if as_json:
        plain = [{"severity": _severity(f), **vars(f)} for f in findings]
        print_json(
            {"errors": num_errors, "warnings": len(findings) - num_errors, "findings": plain}
        )
    else:
        if findings:
            _print(_findings_table(findings))
        print(f"{num_errors} errors, {len(findings) - num_errors} warnings")
    if num_errors:
        raise typer.Exit(2)


def _severity(finding: Finding) -> str:
    from tunesmith.data.lint.run import ERRORS

    return "error" if finding.rule in ERRORS else "warning"


def _findings_table(findings: Sequence[Finding]) -> Any:
    from rich.table import Column, Table

    table = Table(
        "", Column("rule", no_wrap=True), Column("template", overflow="fold"), "row", "what"
    )
    for finding in sorted(findings, key=lambda f: (_severity(f), f.template)):
        table.add_row(
            _severity(finding), finding.rule, finding.template, finding.row_id, finding.message
        )
    return table


# ---- preview


@templates_app.command("preview")
def preview_template(
    name: TemplateName,
    table: Annotated[Path, typer.Argument(help="A recipe, or a data file.")],
    rows: NumRows = 3,
    column: Column = None,
    html: HtmlFile = None,
    as_json: Json = False,
) -> None:
    """A template on your own rows, as they would be trained, whatever template the recipe names.

    Example: tunesmith templates preview classify/terse reviews.csv --column text=review --column
    label=sentiment
    """
    from tunesmith.data.templates.environment import SEPARATOR
    from tunesmith.data.templates.promptsource import PREFIX
    from tunesmith.recipe import build_recipe, load_recipe

    if table.suffix.lower() in (".yaml", ".yml"):
        recipe = load_recipe(table)[0]
    else:
        recipe = build_recipe({"data": {"source": str(table), "task": name}}, where="command line")[
            0
        ]
    whole = name.startswith(PREFIX) or SEPARATOR in name or ".yaml" in name or ".yml" in name
    changes = {"task": None, "template": name} if whole else {"task": name, "template": None}
    columns = recipe.data.columns | dict(_slot_column(text) for text in column or [])
    data = recipe.data.model_copy(update={**changes, "columns": columns, "wordings": 1})
    print_preview(preview_recipe(recipe.model_copy(update={"data": data}), rows), html, as_json)


def _slot_column(text: str) -> tuple[str, str]:
    slot, equals, column = text.partition("=")
    if not equals:
        raise InputError(
            f"--column {text!r} is not slot=column", hint="for example --column text=review"
        )
    return slot, column


def preview_recipe(recipe: Recipe, num_rows: int) -> Preview:
    """Needs the recipe's tokenizer and the size of its context, not its weights."""
    from tunesmith.chat.format import chat_format, complete_tokenizer
    from tunesmith.data.preview import preview
    from tunesmith.models.load import load_tokenizer

    tokenizer = load_tokenizer(recipe.model, recipe.trust_remote_code)
    complete_tokenizer(tokenizer, stages.common.chat_settings(recipe))
    max_length = stages.prepare.usable_length(recipe)
    return preview(recipe.data, chat_format(tokenizer, recipe.system or ""), max_length, num_rows)


def print_preview(found: Preview, html: Path | None, as_json: bool) -> None:
    from tunesmith.data.preview import as_json as plain
    from tunesmith.data.preview_page import PreviewScreen, as_html
    from tunesmith.rundir import write_atomic

    if html is not None:
        write_atomic(html, as_html(found))
        print(f"note: written to {html}", file=sys.stderr)
    if as_json:
        print_json(plain(found))
    else:
        _print(PreviewScreen(found))


# ---- import


@templates_app.command("import")
def import_templates(
    folder: Annotated[
        Path, typer.Argument(help="A folder with PromptSource's templates.yaml files in it.")
    ],
    as_json: Json = False,
) -> None:
    """Copy PromptSource templates to where recipes find them (promptsource:dataset/name).

    Example: tunesmith templates import promptsource/promptsource/templates
    """
    from tunesmith.data.templates.promptsource import import_folder, library

    target = library()
    count = import_folder(folder, target)
    if as_json:
        print_json({"templates": count, "folder": str(target)})
    else:
        print(f"{count:,} templates are in {target}")
