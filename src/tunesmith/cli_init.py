"""`tunesmith init`: a recipe proposed from a table, or translated from another tool's file.

In a terminal it asks, with the proposal as the default of each question. Without one, or with
--yes, the proposal is taken as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.prompt import Confirm, Prompt
from rich.text import Text

from tunesmith import stages
from tunesmith.cli_options import Given, Json, note, print_json, takes_table
from tunesmith.cli_templates import preview_recipe
from tunesmith.data.templates.families import family_names, load_family
from tunesmith.data.templates.resolve import is_whole
from tunesmith.errors import InputError, TunesmithError
from tunesmith.inert import inert
from tunesmith.progress import console, say
from tunesmith.recipe import Recipe, build_recipe, is_recipe, run_folder_of
from tunesmith.rundir import write_atomic

if TYPE_CHECKING:
    from tunesmith.data.preview import Preview, ShownRow
    from tunesmith.init.facts import ColumnFacts
    from tunesmith.init.proposal import Proposal
    from tunesmith.init.read import Seen

ROWS_SHOWN = 3
PROMPT_SHOWN = 600
MOST_COSTED = 20_000
"""Rows on which the cost is computed; of a longer table it is scaled up."""

RecipeOption = Annotated[
    Path | None,
    typer.Option("--recipe", help="The recipe to write; default: FILE's name with .yaml, here."),
]
FromOption = Annotated[
    Path | None,
    typer.Option("--from", help="A configuration of Axolotl, LLaMA-Factory or TRL instead."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Take the proposal; ask nothing.")]


@takes_table(optional=True)
def init(
    given: Given,
    recipe_file: RecipeOption = None,
    peer: FromOption = None,
    yes: YesOption = False,
    as_json: Json = False,
) -> None:
    """Look at a data file, propose a task, columns, split and metric, and write a commented recipe.

    A yaml name, or none, is the recipe to write, to start from. An existing file is never written
    over.

    Examples: tunesmith init reviews.csv

    tunesmith init tickets.xlsx --label team --yes --recipe tickets.yaml

    tunesmith init --from axolotl.yml
    """
    if peer is not None:
        _from_peer(peer, given, recipe_file, as_json)
    elif given.path is None or is_recipe(given.path):
        _starter(recipe_file or given.path or Path("recipe.yaml"), given)
    else:
        _from_table(given, given.path, recipe_file, yes, as_json)


def _check_new(path: Path) -> Path:
    """InputError for a name that is taken, found before any work."""
    if path.exists() or path.is_symlink():
        raise InputError(f"{path}: exists already", hint="name another file: --recipe NAME.yaml")
    if not is_recipe(path):
        raise InputError(f"{path}: a recipe ends in .yaml", hint=f"--recipe {path}.yaml")
    return path


# ---- a recipe to start from


def _starter(path: Path, given: Given) -> None:
    if given.options or given.column:
        raise InputError("options without a data file", hint="tunesmith init FILE --task ...")
    _check_new(path)
    write_atomic(
        path, (Path(__file__).parent / "assets" / "recipe.yaml").read_text(encoding="utf-8")
    )
    print(path)


# ---- from a table


def _from_table(
    given: Given, source: Path, recipe_file: Path | None, yes: bool, as_json: bool
) -> None:
    from tunesmith.init.read import read_table  # noqa: PLC0415 - pyarrow

    path = _check_new(recipe_file or Path(f"{_stem(source)}.yaml"))
    template = given.options.get("template")
    seen = read_table(given.recipe().data, given.columns(), _task(given))
    found = _with_template(seen.proposal, template, given) if template else seen.proposal
    _show_proposal(seen, found)
    is_asked = not yes and not as_json and sys.stdin.isatty() and sys.stderr.isatty()
    if is_asked:
        found = _asked(found, seen)
    elif not yes:
        note("not a terminal: the proposal is taken as with --yes")
    recipe = _recipe(found, given, path)
    recipe, found, shown = _fitted(recipe, found, given, path)
    if shown is not None and not as_json:
        print("\n".join(inert(text) for row in shown.rows for text in _rendered(row)))
        print(inert(shown.summary()))
    cost = _cost(recipe, seen.rows)
    if is_asked and not Confirm.ask(Text(f"Write {path}?"), console=console(), default=True):
        raise typer.Exit(1)
    _write(path, recipe, found, f"Proposed by `tunesmith init {source}` for {seen.rows:,} rows.")
    if as_json:
        print_json(_as_json(found, recipe, path, seen, cost))
    else:
        if cost:
            print(inert(cost))
        print(path)
        say(f"next: tunesmith check {path}, then tunesmith run {path}")


def _task(given: Given) -> str | None:
    """The task that was named, by itself or as the family of a wording."""
    task, template = given.options.get("task"), given.options.get("template") or ""
    if _names_no_wording(template):
        return task
    return f"{task}/{template}" if task and "/" not in template else template


def _names_no_wording(template: str) -> bool:
    """Whether there is no template, or one that is more than the name of a wording."""
    return not template or is_whole(template)


def _with_template(found: Proposal, template: str, given: Given) -> Proposal:
    """The proposal with a template of the user's, whose variables are columns unless they say
    otherwise.
    """
    reasons = {key: why for key, why in found.reasons.items() if key != "evaluation.metrics"}
    if not _names_no_wording(template):
        return replace(found, template=None)
    task = given.options.get("task")
    columns = given.columns() if task is None else found.columns
    reasons["data.task"] = "you gave the template"
    return replace(
        found,
        task=task,
        template=template,
        columns=columns,
        metrics=(),
        labels=None,
        reasons=reasons,
    )


def _stem(source: Path) -> str:
    """reviews of reviews.csv and of reviews.csv.gz; a folder's or hub id's last part."""
    name = source.resolve().name if source.exists() else source.name
    return name.split(".")[0].split(":")[0] or "recipe"


def _show_proposal(seen: Seen, found: Proposal) -> None:
    say(f"{seen.source}: {seen.rows:,} rows")
    for text in seen.notes:
        note(text)
    for column, role in seen.columns:
        say(f"  {column.name}: {role}, {_described(column)}")
    say(f"task: {found.task or 'none needed'} ({found.reasons['data.task']})")
    for slot, name in found.columns.items():
        say(f"  {slot}: {name}")
    for key, reason in found.reasons.items():
        if key != "data.task":
            say(f"{key}: {reason}")
    for text in found.doubts:
        say(f"warning: {text}")


def _described(column: ColumnFacts) -> str:
    from tunesmith.init.read import described  # noqa: PLC0415 - pyarrow

    return described(column)


def _recipe(found: Proposal, given: Given, path: Path) -> Recipe:
    """The proposal with the command's overrides, checked."""
    from tunesmith.init.write import values_of  # noqa: PLC0415 - pyarrow

    output_dir = given.options.get("output_dir") or run_folder_of(path)
    values = values_of(found, str(given.path), output_dir)
    values["model"] = given.options.get("model") or "built-in"
    recipe, notes = build_recipe(values, given.overrides, where="command line")
    for text in notes:
        note(text)
    return recipe


def _fitted(
    recipe: Recipe, found: Proposal, given: Given, path: Path
) -> tuple[Recipe, Proposal, Preview | None]:
    """The recipe with a field that may be shortened, where too many rows are too long for the
    model, and the rows to show; None where no row can be shown.
    """
    from tunesmith.init.proposal import with_fit  # noqa: PLC0415 - pyarrow

    try:
        shown = preview_recipe(recipe, ROWS_SHOWN)
        if shown.num_too_long > recipe.data.max_rejected * shown.num_examples / 2:
            found = with_fit(found)
            recipe = _recipe(found, given, path)
            shown = preview_recipe(recipe, ROWS_SHOWN)
    except TunesmithError as error:
        say(f"warning: {error}")
        return recipe, found, None
    return recipe, found, shown


def _rendered(row: ShownRow) -> list[str]:
    """A row as it will be trained, without special tokens; a long prompt without its middle."""
    if row.problem:
        return [f"row {row.id}, {row.source}: {row.problem}", ""]
    plain = [token for token in row.tokens if not token.special]
    prompt = "".join(token.text for token in plain if not token.trained)
    answer = "".join(token.text for token in plain if token.trained)
    if len(prompt) > PROMPT_SHOWN:
        half, cut = PROMPT_SHOWN // 2, len(prompt) - PROMPT_SHOWN
        prompt = f"{prompt[:half]} [{cut:,} characters more] {prompt[-half:]}"
    return [f"row {row.id}, {row.source}", f"{prompt} ==>{answer}", ""]


def _cost(recipe: Recipe, rows: int) -> str:
    """What the run would cost on this machine; "" where the rows cannot be prepared as they are,
    which a warning says.
    """
    costed = recipe
    if rows > MOST_COSTED:
        data = recipe.data.model_copy(update={"max_rows": MOST_COSTED})
        costed = recipe.model_copy(update={"data": data})
    try:
        plan = stages.dry_run.plan(costed)
    except TunesmithError as error:
        say(f"warning: the recipe cannot be run as it is: {error}")
        return ""
    if rows <= MOST_COSTED:
        return plan.as_text
    seconds = plan.least_seconds * rows / MOST_COSTED
    return (
        f"{plan.as_text}\nof the first {MOST_COSTED:,} rows; all would take about {seconds:.0f} s"
    )


def _write(path: Path, recipe: Recipe, found: Proposal | None, head: str) -> None:
    from tunesmith.init.write import commented_recipe  # noqa: PLC0415 - pyarrow

    write_atomic(path, commented_recipe(recipe, found, head))


def _as_json(
    found: Proposal, recipe: Recipe, path: Path, seen: Seen, cost: str
) -> Mapping[str, object]:
    return {
        "recipe_file": str(path),
        "recipe": recipe.model_dump(mode="json", exclude_unset=True),
        "reasons": dict(found.reasons),
        "warnings": list(found.doubts),
        "rows": seen.rows,
        "cost": cost,
    }


# ---- questions


def _asked(found: Proposal, seen: Seen) -> Proposal:
    """The proposal as a person corrects it; an empty answer keeps what is proposed."""
    from tunesmith.init.read import proposed_for  # noqa: PLC0415 - pyarrow

    asking = console()
    if found.task is None:
        return found
    task = Prompt.ask("Task", console=asking, choices=family_names(), default=found.task)
    if task != found.task:
        found = proposed_for(seen, task, {})
    names = [column.name for column, _ in seen.columns]
    columns = {
        slot: Prompt.ask(f"Column for {slot}", console=asking, choices=names, default=name)
        for slot, name in found.columns.items()
    }
    if columns != dict(found.columns):
        found = proposed_for(seen, task, columns)
    if found.unnamed:
        labels = {
            value: Prompt.ask(Text(f"Name of the label {value}"), console=asking, default=value)
            for value in found.unnamed
        }
        if any(name != value for value, name in labels.items()):
            found = replace(found, labels=labels, unnamed=())
    metrics = tuple(dict.fromkeys((found.decides, *load_family(task.partition("/")[0]).metrics)))
    metric = Prompt.ask(
        "Metric that decides", console=asking, choices=list(metrics), default=metrics[0]
    )
    return replace(found, metrics=(metric,)) if metric != found.decides else found


# ---- from another tool's configuration


def _from_peer(peer: Path, given: Given, recipe_file: Path | None, as_json: bool) -> None:
    from tunesmith.init.peers import translate  # noqa: PLC0415 - pyarrow

    if given.path is not None:
        raise InputError("--from and a data file", hint="give one of the two")
    path = _check_new(recipe_file or Path(f"{peer.stem}-tunesmith.yaml"))
    found = translate(peer)
    recipe, notes = build_recipe(found.values, given.overrides, where=str(peer))
    for text in notes:
        note(text)
    for key, reason in found.left.items():
        say(f"not translated: {key}: {reason}")
    head = f"Translated from {found.tool}'s {peer.name}."
    left = "\n".join(f"{key}: {reason}" for key, reason in found.left.items())
    _write(path, recipe, None, head if not left else f"{head} Not translated:\n{left}")
    if as_json:
        print_json(
            {
                "recipe_file": str(path),
                "tool": found.tool,
                "recipe": recipe.model_dump(mode="json", exclude_unset=True),
                "not_translated": dict(found.left),
            }
        )
    else:
        print(path)
