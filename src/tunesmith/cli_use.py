"""What comes after a run: `tunesmith predict`, `runs` and `serve`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from tunesmith import stages
from tunesmith.cli_options import Json, RunArgument, note, print_json
from tunesmith.data.table_writer import check_new_table
from tunesmith.progress import InertConsole


def predict(
    run_folder: RunArgument,
    file: Annotated[
        Path, typer.Argument(help="Rows with the columns of the run's prompt; labels are not read.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write: .csv or .jsonl.")
    ],
    task: Annotated[
        str | None, typer.Option(help="Of a run with several tasks, the one that the rows are of.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer the rows of a file with the tuned model of a run.

    The rows are written with an answer each. Of a closed task they also get the probability of each
    label, and whether the model is sure enough to answer by itself (docs/deciding.md).

    Example: tunesmith predict runs/reviews new.csv -o answered.csv
    """
    check_new_table(output)
    found = stages.predict.predict(stages.common.open_run(run_folder), file, output, task)
    if found.abstained is not None:
        note(
            f"{found.abstained:,} of {found.rows:,} rows go to a person (abstain is true)"
            if found.has_threshold
            else "all rows go to a person (abstain is true): on validation no threshold was shown "
            "to reach evaluation.answer_at_accuracy"
        )
    if found.not_answered:
        verb = "has" if found.not_answered == 1 else "have"
        note(
            f"{found.not_answered:,} of {found.rows:,} rows {verb} no answer; the column "
            "not_answered says why"
        )
    print_json(asdict(found)) if as_json else print(output)


def runs(
    folder: Annotated[Path, typer.Argument(help="The folder that the runs are in.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """List the runs in a folder, each with its verdict.

    Example: tunesmith runs runs
    """
    found = stages.runs.runs(folder)
    if as_json:
        print_json([asdict(row) for row in found])
        return
    table = Table("run", "created", "state", "metric", "before", "after", "verdict", box=box.SIMPLE)
    for row in found:
        name, levels = Path(row.folder).relative_to(folder), (row.before, row.after)
        shown = ("" if level is None else f"{level:.3f}" for level in levels)
        day = row.created[:10]
        table.add_row(str(name), day, row.state, row.metric or "", *shown, row.verdict or "")
    InertConsole(highlight=False, markup=False).print(table)


def serve(
    run_folder: RunArgument,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in.")] = "localhost",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
) -> None:
    """Serve the tuned model of a run with an OpenAI-compatible API.

    By vLLM where it is installed, else by transformers (pip install 'tunesmith[serve]'). Ctrl-C
    ends it.

    Example: tunesmith serve runs/reviews --port 8000
    """
    run = stages.common.open_run(run_folder)
    command = stages.serve.server_command(run, host, port)
    note(f"the address is http://{host}:{port}/v1, and /v1/models gives the model's name")
    layout = stages.serve.example_prompt(run)
    if layout:
        note(f"the model was trained on messages like this:\n{layout}")
    stages.serve.start(command)
