"""The command line: parse, call the pipeline, print. No torch is imported until a command needs it.

Results go to stdout, progress and notes to stderr. Exit codes: 0 success; 1 a run failed; 2 bad
usage, recipe or data, found before any work; 3 the verdict is not "better" and --fail-if-not-better
was given; 4 a gate of the recipe or --fail-if-broken-over was not passed; 130, 143 and 138 stopped
by Ctrl-C, SIGTERM and SIGUSR1.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import tunesmith
from tunesmith import stages
from tunesmith.cli_boundary import guarded, of_a_destructor
from tunesmith.cli_init import init
from tunesmith.cli_judges import judge, review
from tunesmith.cli_options import (
    AllTables,
    BrokenOption,
    DeviceOption,
    Given,
    HtmlOption,
    Json,
    MemoryOption,
    ModelOption,
    ProcessesOption,
    RowsOption,
    RunArgument,
    note,
    print_json,
    takes_table,
)
from tunesmith.cli_panels import InOrder, into_panels
from tunesmith.cli_templates import preview_recipe, print_preview, templates_app
from tunesmith.cli_tune import tune
from tunesmith.cli_use import chat, export, predict, runs, serve
from tunesmith.errors import InputError
from tunesmith.inert import inert
from tunesmith.recipe import BUILT_IN_MODEL, metric_options
from tunesmith.recipe_schema import recipe_schema
from tunesmith.signals import Interrupted

app = typer.Typer(
    name="tunesmith",
    help="Labelled rows in, an instruct model that is shown to be better out.",
    cls=InOrder,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(templates_app, name="templates")
app.command()(review)
app.command()(judge)
app.command()(init)
app.command()(tune)
app.command()(predict)
app.command()(export)
app.command()(chat)
app.command()(runs)
app.command()(serve)


def main() -> None:
    """Run a command; every error is one message with its hint, and an exit code."""
    sys.unraisablehook = of_a_destructor
    # the name in usage lines and in the completion, by whichever way it was started
    sys.exit(guarded(lambda: app(prog_name="tunesmith")))


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tunesmith {tunesmith.__version__}")
        raise typer.Exit


@app.callback()
def before_commands(
    version: Annotated[
        bool,
        # eager: answered before click asks for a command
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options that stand before a command."""


def _systems(predictions: list[str]) -> dict[str, str]:
    """The column of each system that `score` is given."""
    systems: dict[str, str] = {}
    for text in predictions:
        name, _, column = text.partition("=")
        if not name or not column:
            raise InputError(
                f"--prediction {text!r} is not name=column",
                hint="for example --prediction tuned=answer",
            )
        if name in systems:
            raise InputError(
                f"--prediction {name} is given twice, for {systems[name]!r} and {column!r}",
                hint="name one differently",
            )
        systems[name] = column
    return systems


@app.command()
def demo(
    output_dir: Annotated[
        Path | None, typer.Option(help="The run folder; default: the next free runs/demo.")
    ] = None,
    model: ModelOption = None,
    all_tables: AllTables = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a model on the built-in reviews and show whether it helped.

    The built-in model, which is the default, works offline.

    Example: tunesmith demo --model SmolLM2-135M-Instruct.Q4_1.gguf --output-dir runs/demo --json
    """
    from tunesmith import pipeline  # noqa: PLC0415 - torch

    folder = output_dir or stages.demo.next_free(Path("runs/demo"))
    report = pipeline.run(
        stages.demo.demo_recipe(folder, model or BUILT_IN_MODEL), show_all=all_tables
    )
    _finish(report, as_json)
    command = Path(sys.argv[0]) if Path(sys.argv[0]).name == "tunesmith" else Path("tunesmith")
    shown = shlex.quote(str(folder))
    for text in (
        f'chat {shown} --once "Broke after a day."',
        f"verify {shown}",
        f"resume {shown}",
    ):
        print(f"  {shlex.quote(str(command))} {text}", file=sys.stderr)


@app.command()
@takes_table()
def run(
    given: Given,
    fail_if_not_better: Annotated[
        bool,
        typer.Option(
            help="Exit with 3 unless the answer to every question of the headline that was "
            "measured is yes; names those that are not."
        ),
    ] = False,
    fail_if_broken_over: BrokenOption = None,
    all_tables: AllTables = False,
    as_json: Json = False,
) -> None:
    """Prepare, train, evaluate and report.

    Examples: tunesmith run recipe.yaml train.num_train_epochs=5

    tunesmith run reviews.csv --task classify --text review --label sentiment --model ./some-model
    """
    wanted = given.recipe()
    from tunesmith import pipeline  # noqa: PLC0415 - torch

    report = pipeline.run(wanted, show_all=all_tables)
    _finish(report, as_json)
    if fail_if_not_better and report["verdict"]["kind"] != "better":
        for asked in report["verdict"]["questions"]:
            if asked["answer"] in ("no", "cannot tell"):
                print(f"not better: {asked['title']}: {asked['answer']}", file=sys.stderr)
        raise typer.Exit(3)
    _check_gates(report, fail_if_broken_over)


def _check_gates(report: Mapping[str, object], broken_over: float | None = None) -> None:
    """Exit with 4 where a gate is not passed, each with a line on stderr."""
    from tunesmith.evaluate.gates import failed_gates  # noqa: PLC0415 - scipy

    failed = failed_gates(report, broken_over)
    for text in failed:
        note(f"gate not passed: {text}")
    if failed:
        raise typer.Exit(4)


def _finish(report: Mapping[str, object], as_json: bool) -> None:
    """Print the parts of a report that a script would read."""
    if as_json:
        print_json({key: report[key] for key in ("verdict", "comparison", "evaluations", "run")})


@app.command()
def resume(
    run_folder: RunArgument,
    fail_if_broken_over: BrokenOption = None,
    all_tables: AllTables = False,
    as_json: Json = False,
) -> None:
    """Continue a run that was stopped, exactly where it was.

    Example: tunesmith resume runs/reviews
    """
    from tunesmith import pipeline  # noqa: PLC0415 - torch

    found = pipeline.resume(run_folder, all_tables)
    _finish(found, as_json)
    _check_gates(found, fail_if_broken_over)


@app.command()
@takes_table()
def prepare(given: Given, as_json: Json = False) -> None:
    """Read, split, render, tokenise and check the rows, and show what became of each.

    Example: tunesmith prepare recipe.yaml, or tunesmith prepare reviews.csv --task classify
    --text review --label sentiment
    """
    wanted = given.recipe()
    ledger = stages.prepare.prepare(wanted)
    if as_json:
        print_json(asdict(ledger))


@app.command()
@takes_table()
def preview(
    given: Given,
    rows: RowsOption = 3,
    html: HtmlOption = None,
    as_json: Json = False,
) -> None:
    """Show rendered rows token by token: trained ones green, masked ones dim, special ones visible.

    Example: tunesmith preview recipe.yaml --rows 5 --html preview.html
    """
    print_preview(preview_recipe(given.recipe(), rows), html, as_json)


@app.command()
@takes_table()
def plan(
    given: Given,
    device: DeviceOption = None,
    memory: MemoryOption = None,
    processes: ProcessesOption = 1,
    as_json: Json = False,
) -> None:
    """Show what a recipe would do: rows, steps, memory, the smallest gain its test rows can show.

    Example: tunesmith plan recipe.yaml --device H100 --processes 8
    """
    wanted = given.recipe()
    found = stages.dry_run.plan(wanted, device, memory, processes)
    print_json(asdict(found)) if as_json else print(found.as_text)


@app.command()
@takes_table()
def check(given: Given, as_json: Json = False) -> None:
    """Train briefly on the recipe's rows to see whether the real training can work; under a minute.

    Example: tunesmith check recipe.yaml
    """
    wanted = given.recipe()
    results = stages.dry_run.check(wanted)
    if as_json:
        print_json([asdict(result) for result in results])
    else:
        for result in results:
            print(inert(f"{'ok  ' if result.ok else 'FAIL'} {result.name}: {result.detail}"))
    if not all(result.ok for result in results):
        raise typer.Exit(1)


@app.command()
@takes_table()
def limit(given: Given, as_json: Json = False) -> None:
    """Show the least computation and time that training on these rows can take on this machine.

    Example: tunesmith limit recipe.yaml
    """
    wanted = given.recipe()
    found = stages.dry_run.roofline(wanted)
    least, machine = found.least, found.machine
    if as_json:
        print_json(asdict(least) | asdict(machine) | {"dtype": found.dtype})
        return
    print(
        f"at least {least.seconds:.1f} s: {least.flops / 1e12:.3g} TFLOP at a measured "
        f"{machine.flops_per_second / 1e9:.3g} GFLOP/s in {found.dtype}, "
        f"{least.bytes / 1e9:.3g} GB at "
        f"{machine.bytes_per_second / 1e9:.3g} GB/s; {least.unique_tokens:,.0f} unique of "
        f"{least.raw_tokens:,} tokens"
    )


@app.command()
def train(run_folder: RunArgument) -> None:
    """Train on a prepared run folder.

    Example: tunesmith train runs/reviews
    """
    found = stages.common.open_run(run_folder)
    stages.common.check_unchanged(found)
    stages.train.train(found)


@app.command()
def evaluate(run_folder: RunArgument) -> None:
    """Evaluate base, few-shot base and tuned model on the sealed test split; the use is recorded.

    Example: tunesmith evaluate runs/reviews
    """
    stages.evaluate.evaluate(stages.common.open_run(run_folder))


@app.command()
def verify(run_folder: RunArgument, as_json: Json = False) -> None:
    """Check every file of a run, and compare what its model answers with what is stored.

    Each file has to have the hash that it was made with. The saved model is then loaded in a fresh
    process: prompt tokens, answers and stops are compared. Exits with 1 if any differ.

    Example: tunesmith verify runs/reviews
    """
    run = stages.common.open_run(run_folder)
    stages.reproduce.check_whole(run)
    found = stages.verify.verify(run)
    note(found.sentence)
    if as_json:
        print_json(asdict(found))
    if found.differences:
        raise typer.Exit(1)


@app.command()
def report(
    run_folder: RunArgument,
    fail_if_broken_over: BrokenOption = None,
    all_tables: AllTables = False,
    as_json: Json = False,
) -> None:
    """Rewrite report.html, report.md and report.json from a run's evaluations.

    Example: tunesmith report runs/reviews
    """
    found = stages.report.report(stages.common.open_run(run_folder), all_tables)
    _finish(found, as_json)
    _check_gates(found, fail_if_broken_over)


@app.command()
def watch(run_folder: RunArgument) -> None:
    """Show a run's report in the browser while it grows, on this machine only; Ctrl-C ends it.

    Example: tunesmith watch runs/reviews
    """
    server = stages.watch.server_for(run_folder)
    print(server.url, flush=True)
    note("open it in a browser on this machine; Ctrl-C ends it")
    with server, suppress(Interrupted, KeyboardInterrupt):
        server.serve_forever()


@app.command()
def reproduce(
    run_folder: RunArgument,
    output_dir: Annotated[
        Path | None,
        typer.Option(help="The folder of the second run; default: RUN-again, beside the first."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a finished run again from its rows, and compare rows, weights, answers and scores.

    Nothing is taken from the first run. Exits with 1 if anything differs.

    Example: tunesmith reproduce runs/reviews
    """
    from tunesmith import pipeline  # noqa: PLC0415 - torch

    found = pipeline.reproduce(run_folder, output_dir)
    note(found.sentence)
    for text in found.differences:
        note(text)
    if as_json:
        print_json(asdict(found))
    if found.differences:
        raise typer.Exit(1)


@app.command()
@takes_table()
def curve(
    given: Given,
    fractions: Annotated[
        str, typer.Option(help="Parts of the training rows, comma-separated.")
    ] = "0.25,0.5,1",
    as_json: Json = False,
) -> None:
    """Train on growing parts of the rows and estimate what twice the labels would bring.

    Example: tunesmith curve recipe.yaml --fractions 0.25,0.5,1
    """
    try:
        parts = [float(text) for text in fractions.split(",")]
    except ValueError as error:
        raise InputError(
            f"--fractions {fractions}: not numbers", hint="for example 0.25,0.5,1"
        ) from error
    wanted = given.recipe()
    result = stages.learning_curve.curve(wanted, parts)
    as_text = result.forecast.sentence
    print_json(stages.learning_curve.to_json(result)) if as_json else print(as_text)


@app.command()
def compare(
    run_a: Annotated[Path, typer.Argument(help="A run folder.")],
    run_b: Annotated[Path, typer.Argument(help="Another run on the same test rows.")],
    metric: Annotated[
        str | None, typer.Option(help="Default: the first run's primary metric.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the tuned models of two runs, paired by test row: the second minus the first.

    Example: tunesmith compare runs/small runs/large
    """
    a, b = (stages.common.open_run(folder) for folder in (run_a, run_b))
    result = stages.compare.compare_runs(a, b, metric)
    print_json(result) if as_json else print(inert(result["verdict"]["sentence"]))


@app.command()
def score(
    file: Annotated[
        Path, typer.Argument(help="csv, tsv, json, jsonl, parquet or arrow, one answer a row.")
    ],
    reference: Annotated[
        list[str],
        typer.Option(help="The column with the right answer; can be repeated: each one counts."),
    ],
    prediction: Annotated[
        list[str], typer.Option(help="name=column of a system's answers; can be repeated.")
    ],
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric; can be repeated. Default: by the answers.")
    ] = None,
    cluster_by: Annotated[
        str | None, typer.Option(help="Rows with the same value here are one cluster.")
    ] = None,
    references_are: Annotated[
        str | None,
        typer.Option(
            help="What a list of references is: alternatives (any one is right) or a set (all are "
            "right together). Default: by the metrics, else by how the lists look; the output says."
        ),
    ] = None,
    stemmer: Annotated[
        bool, typer.Option("--stemmer", help="ROUGE counts words by their stems.")
    ] = False,
    tokenize: Annotated[
        str, typer.Option(help="What BLEU counts as words: 13a, intl, zh, ja-mecab, char ...")
    ] = "13a",
    embedding_model: Annotated[
        str, typer.Option(help="The model of semantic_similarity: a folder or a hub id.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Score the outputs of any tool, with intervals, and compare them.

    Example: tunesmith score out.csv --reference gold --prediction base=a --prediction tuned=b
    """
    from tunesmith.evaluate import score_file as score_module  # noqa: PLC0415 - scipy

    options = metric_options(
        {
            "rouge": {"stemmer": stemmer},
            "bleu": {"tokenize": tokenize},
            "semantic_similarity": {"model": embedding_model},
        }
    )
    result = score_module.score_file(
        file,
        reference,
        _systems(prediction),
        metric,
        cluster_by,
        references_are=score_module.meaning(references_are),
        metric_options=options,
    )
    for text in result["warnings"]:
        note(text)
    print_json(result) if as_json else print(inert(score_module.render(result)))


@app.command()
def schema() -> None:
    """Print the JSON Schema of a recipe, by which an editor completes keys and marks mistakes.

    With the YAML extension of VS Code, or any editor with yaml-language-server, the recipe names it
    in a comment: # yaml-language-server: $schema=recipe.schema.json

    Example: tunesmith schema > recipe.schema.json
    """
    print_json(recipe_schema())


into_panels(app)  # knows only the commands above it

if __name__ == "__main__":
    main()
