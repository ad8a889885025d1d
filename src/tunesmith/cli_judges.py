"""`tunesmith review` and `tunesmith judge`: people and models say which answer they prefer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tunesmith import stages
from tunesmith.cli_options import Json, RunArgument, note, print_json
from tunesmith.errors import InputError
from tunesmith.rundir import RunDir

PairsOption = Annotated[int, typer.Option("--pairs", min=1, help="How many pairs to judge.")]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        help="The system to compare the tuned model with: base_few_shot (the default), base, ..."
    ),
]


def review(
    run_folder: RunArgument,
    pairs: PairsOption = 50,
    against: AgainstOption = None,
    votes: Annotated[
        list[Path] | None,
        typer.Option(help="A file of votes that the page saved; can be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a page on which people compare two systems blind, or take in their votes.

    Each page is a use of the sealed test rows, and recorded as one.

    Examples: tunesmith review runs/notes --pairs 50

    tunesmith review runs/notes --votes votes-ann.json --votes votes-ben.json
    """
    run = stages.common.open_run(run_folder)
    if votes and against:
        raise InputError(
            "--votes and --against do not go together", hint="a file of votes names its review"
        )
    if votes:
        stages.review.add_votes(run, votes)
        _report(run, as_json)
        return
    page = stages.review.create_review(run, pairs, against)
    note(
        f"give people {page.name} alone: {page.parent / 'key.json'} tells the sides. Take their "
        f"files in with `tunesmith review {run_folder} --votes FILE`"
    )
    print_json({"page": str(page)}) if as_json else print(page)


def judge(
    run_folder: RunArgument,
    endpoint: Annotated[
        str, typer.Option(help="An OpenAI-compatible address, such as http://localhost:8000/v1.")
    ],
    model: Annotated[str, typer.Option(help="The judge's name at the endpoint.")],
    pairs: PairsOption = 50,
    against: AgainstOption = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Send the rows to another machine without being asked.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let a language model say which answers it prefers, each pair in both orders.

    The rows and answers of the pairs are sent to the endpoint. A key is read from the environment
    variable TUNESMITH_JUDGE_KEY.

    Example: tunesmith judge runs/notes --endpoint http://localhost:8000/v1 --model some-judge
    """
    from tunesmith.evaluate.endpoint import find_endpoint  # noqa: PLC0415 - keeps --help fast

    found = find_endpoint(endpoint, model)
    run = stages.common.open_run(run_folder)
    other, sample = stages.judge.pairs_to_judge(run, pairs, against)
    what = f"{len(sample.pairs)} test rows with two answers each go to {found.host}"
    note(f"{what}, twice; the use of the test rows is recorded")
    if not found.is_local and not yes:
        _confirm(what)
    stages.judge.judge(run, found, other, sample)
    _report(run, as_json)


def _report(run: RunDir, as_json: bool) -> None:
    """Write the report anew and print its part on preferences."""
    preferences = stages.report.report(run)["preferences"]
    if as_json:
        print_json(preferences)


def _at_terminal() -> bool:
    return sys.stdin.isatty()


def _confirm(what: str) -> None:
    """InputError unless a person at a terminal says yes."""
    if not _at_terminal():
        raise InputError(f"{what}, another machine", hint="--yes allows it")
    if not typer.confirm("Send them?", err=True):
        raise InputError("nothing was sent", hint="--yes sends without asking")
