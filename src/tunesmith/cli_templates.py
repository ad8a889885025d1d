"""`tunesmith templates`: the library of prompt templates on the command line, and previews.

Results go to stdout. `lint` exits with 2 if a finding is an error: the run would stop, or could not
learn the task. What may be intended (an unused column, a literal next to a slot) is a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from tunesmith import stages
from tunesmith.cli_options import (
    Given,
    HtmlOption,
    Json,
    RowsOption,
    note,
    print_json,
    print_shown,
    takes_table,
)
from tunesmith.data.templates.families import Family, family_names, load_family
from tunesmith.data.templates.promptsource import import_folder, library
from tunesmith.data.templates.resolve import PromptTemplate, find_templates, is_whole
from tunesmith.errors import InputError
from tunesmith.inert import inert
from tunesmith.recipe import Recipe
from tunesmith.records import Finding
from tunesmith.rundir import write_atomic

if TYPE_CHECKING:
    from tunesmith.data.preview import Preview

FLAGS = ("options", "held_out", "inverted")

templates_app = typer.Typer(help="The prompt template library.", no_args_is_help=True)


# ---- list and show


@templates_app.command("list")
def list_templates(
    family: Annotated[str | None, typer.Option(help="All wordings of this family.")] = None,
    as_json: Json = False,
) -> None:
    """List the task families, or the wordings of one with their flags.

    Example: tunesmith templates list --family classify
    """
    families = [load_family(name) for name in ([family] if family else family_names())]
    if as_json:
        print_json([one.model_dump(mode="json") for one in families])
    elif family:
        print_shown(_wordings_table(families[0]))
    else:
        print_shown(_families_table(families))
        print(
            "`tunesmith templates list --family NAME` lists a family's wordings, "
            "`show NAME` prints them"
        )


def _families_table(families: Sequence[Family]) -> Table:
    table = Table(Column("family", no_wrap=True), "what it is", "slots", "wordings", "answers")
    for one in families:
        slots = ", ".join(name + ("" if slot.required else "?") for name, slot in one.slots.items())
        table.add_row(one.family, one.about, slots, str(len(one.wordings)), one.parser)
    return table


def _wordings_table(family: Family) -> Table:
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
        help="A family, family/wording, promptsource:..., or a template file (mine.yaml, "
        "mine.yaml/one)."
    ),
]


@templates_app.command()
def show(name: TemplateName, as_json: Json = False) -> None:
    """Show a template's text and slots, how its answers are read, and its metrics.

    Example: tunesmith templates show classify/terse
    """
    found = find_templates(name)
    if as_json:
        print_json([_plain(template) for template in found])
    else:
        print(inert("\n\n".join(template.describe() for template in found)))


def _plain(template: PromptTemplate) -> dict[str, object]:
    return asdict(template) | {
        "slots": {name: slot.model_dump(mode="json") for name, slot in template.slots}
    }


# ---- lint


@templates_app.command()
@takes_table(optional=True)
def lint(
    given: Given,
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
    """Find mistakes in templates before anything is trained; exits with 2 if one is an error.

    Examples: tunesmith templates lint recipe.yaml

    tunesmith templates lint --promptsource my_templates --file rows.csv --json
    """
    if (given.path is None) == (promptsource is None):
        raise InputError(
            "give a recipe or --promptsource",
            hint="for example tunesmith templates lint recipe.yaml",
        )
    from tunesmith.data.lint.run import lint_folder, lint_recipe  # noqa: PLC0415 - scipy

    if given.path is not None:
        findings = lint_recipe(given.recipe().data, rows)
    else:
        findings = lint_folder(Path(str(promptsource)), file, rows)
    num_errors = sum(finding.severity == "error" for finding in findings)
    if as_json:
        plain = [asdict(finding) for finding in findings]
        print_json(
            {"errors": num_errors, "warnings": len(findings) - num_errors, "findings": plain}
        )
    else:
        if findings:
            print_shown(_findings_table(findings))
        print(f"{num_errors} errors, {len(findings) - num_errors} warnings")
    if num_errors:
        raise typer.Exit(2)


def _findings_table(findings: Sequence[Finding]) -> Table:
    table = Table(
        "", Column("rule", no_wrap=True), Column("template", overflow="fold"), "row", "what"
    )
    for finding in sorted(findings, key=lambda f: (f.severity, f.template)):
        table.add_row(
            *map(
                inert,
                (
                    finding.severity,
                    finding.name,
                    finding.template,
                    ", ".join(finding.rows),
                    finding.message,
                ),
            )
        )
    return table


# ---- preview


@templates_app.command("preview")
@takes_table(without=("task", "template", "output_dir"))
def preview_template(
    name: TemplateName,
    given: Given,
    rows: RowsOption = 3,
    html: HtmlOption = None,
    as_json: Json = False,
) -> None:
    """Preview your own rows in any template, as they would be trained.

    Example: tunesmith templates preview classify/terse reviews.csv --text review --label sentiment
    """
    # a recipe's own columns may be given anew here: another template may need others
    model = {name: value for name, value in given.options.items() if name == "model"}
    recipe = replace(given, options=model, column=()).recipe()
    whole = is_whole(name)
    changes = {"task": None, "template": name} if whole else {"task": name, "template": None}
    columns = recipe.data.columns | given.columns()
    data = recipe.data.model_copy(update={**changes, "columns": columns, "wordings": 1})
    print_preview(preview_recipe(recipe.model_copy(update={"data": data}), rows), html, as_json)


def preview_recipe(recipe: Recipe, num_rows: int) -> Preview:
    """Rows of the recipe's data; loads its tokenizer and context length, not its weights."""
    from tunesmith.chat.format import chat_format, complete_tokenizer  # noqa: PLC0415 - transformers
    from tunesmith.data.preview import preview  # noqa: PLC0415 - scipy
    from tunesmith.models.load import load_tokenizer  # noqa: PLC0415 - transformers

    tokenizer = load_tokenizer(recipe.model, recipe.trust_remote_code)
    complete_tokenizer(tokenizer, stages.common.chat_settings(recipe))
    max_length = stages.prepare.usable_length(recipe)
    return preview(recipe.data, chat_format(tokenizer, recipe.system or ""), max_length, num_rows)


def print_preview(found: Preview, html: Path | None, as_json: bool) -> None:
    """On the terminal, as JSON, and as a page where `html` names one."""
    from tunesmith.data.preview import as_json as plain  # noqa: PLC0415 - scipy
    from tunesmith.data.preview_page import PreviewScreen, as_html  # noqa: PLC0415 - scipy

    if html is not None:
        write_atomic(html, as_html(found))
        note(f"written to {html}")
    if as_json:
        print_json(plain(found))
    else:
        print_shown(PreviewScreen(found))


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
    target = library()
    count = import_folder(folder, target)
    if as_json:
        print_json({"templates": count, "folder": str(target)})
    else:
        print(f"{count:,} templates are in {target}")
