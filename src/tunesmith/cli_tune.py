"""`tunesmith tune`: a small search over learning rates, on validation rows."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from tunesmith import stages
from tunesmith.cli_options import Given, Json, print_json, print_shown, takes_table

if TYPE_CHECKING:
    from tunesmith.stages.tune import Trial, Tuning


@takes_table()
def tune(
    given: Given,
    trials: Annotated[int, typer.Option(min=1, max=1000, help="How many trainings.")] = 6,
    time_limit: Annotated[
        float | None,
        typer.Option(min=0, help="After so many minutes no further training is begun."),
    ] = None,
    max_epochs: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Also try numbers of epochs, from 1 to this one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Search for a learning rate on validation rows; the test split stays sealed.

    Needs pip install 'tunesmith[tune]'. Writes the best recipe. The same command goes on with a
    search that was stopped, or adds to it with more trials.

    Example: tunesmith tune recipe.yaml --trials 6 --time-limit 60
    """
    wanted = given.recipe()
    found = stages.tune.tune(wanted, trials, time_limit, max_epochs)
    if as_json:
        print_json(found.to_json())
        return
    print_shown(_table(found))
    print_shown(found.sentence)
    print_shown(f"next: tunesmith run {shlex.quote(found.recipe)}")


def _table(found: Tuning) -> Table:
    columns = ("trial", "learning rate", "epochs", f"validation {found.metric}", "seconds", "")
    table = Table(*columns, box=box.SIMPLE)
    for trial in found.trials:
        table.add_row(
            str(trial.number),
            f"{trial.learning_rate:g}",
            str(trial.num_train_epochs),
            _level(trial),
            f"{trial.seconds:,.1f}" if trial.estimate else "",
            _mark(trial, found),
        )
    return table


def _level(trial: Trial) -> str:
    from tunesmith.report.format import estimate  # noqa: PLC0415 - scipy

    return estimate(trial.estimate) if trial.estimate else f"failed: {trial.failed}"


def _mark(trial: Trial, found: Tuning) -> str:
    marks = ["best"] if trial.number == found.best else []
    marks += ["not told from it"] if trial.as_good_as_best and not marks else []
    return ", ".join([*marks, *(["taken"] if trial.number == found.chosen else [])])
