"""What comes after a run: `tunesmith predict`, `export`, `chat`, `runs` and `serve`."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from tunesmith import stages
from tunesmith.cli_options import Json, RunArgument, note, print_json, print_shown
from tunesmith.data.table_writer import check_new_table
from tunesmith.errors import InputError


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


class Target(StrEnum):
    """What a model can be exported to."""

    FOLDER = "folder"
    HUB = "hub"
    GGUF = "gguf"


def export(
    run_folder: RunArgument,
    dest: Annotated[
        Path, typer.Argument(help="The new model folder, .gguf file, or repository (owner/name).")
    ],
    to: Annotated[
        Target, typer.Option(help="A Hugging Face folder, the hub, or a file for llama.cpp.")
    ] = Target.FOLDER,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "bfloat16",
    public: Annotated[
        bool, typer.Option("--public", help="On the hub, let everyone see it; default: private.")
    ] = False,
) -> None:
    """Write the tuned model elsewhere, in a number format of your choice.

    A .gguf file is read back and compared with the model before it stays.

    Example: tunesmith export runs/reviews ./reviews-model --dtype bfloat16
    """
    if dtype not in ("float32", "bfloat16", "float16"):
        raise InputError(f"--dtype {dtype}: unknown", hint="float32, bfloat16 or float16")
    if public and to != Target.HUB:
        raise InputError("--public is for the hub only", hint="add --to hub, or leave it out")
    run = stages.common.open_run(run_folder)
    if to == Target.HUB:
        print(stages.export.export_to_hub(run, dest.as_posix(), dtype, public))
        return
    write = stages.export.export_file if to == Target.GGUF else stages.export.export
    write(run, dest, dtype)
    print(dest)


def chat(
    run_folder: RunArgument,
    once: Annotated[str | None, typer.Option(help="Answer this one text and exit.")] = None,
    plain: Annotated[
        bool, typer.Option(help="Send the text as it is, not in the task's prompt template.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show the base model's answer beside it.")
    ] = False,
) -> None:
    """Talk to the tuned model of a run.

    Example: tunesmith chat runs/reviews --once "Broke after a day."
    """
    stages.chat.chat(run_folder, once=once, plain=plain, compare=compare)


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
    print_shown(table)


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
