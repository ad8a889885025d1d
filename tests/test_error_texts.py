"""Every class of errors is raised in a case below that compares its whole text: message, hint, and
the exit code with which a command ends.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import tunesmith
from tunesmith.cli_boundary import guarded
from tunesmith.data.ledger import _check_sum
from tunesmith.data.sources.rows import read_rows
from tunesmith.data.templates.families import load_family
from tunesmith.errors import TunesmithError
from tunesmith.models.load import resolve_model
from tunesmith.recipe import build_recipe, load_recipe
from tunesmith.rundir import RunDir, read_json
from tunesmith.stages.working import at_work
from tunesmith.train.bad_loss import bad_loss
from tunesmith.train.state import checkpoint_to_resume


def base_classes(folder: Path) -> None:
    """As a caller of ours may raise it: neither a message nor a hint acts on a terminal."""
    raise TunesmithError("row \x1b[2J1: odd\nnews", hint="look\nthere")


def an_output_of_export(folder: Path) -> None:
    from tunesmith.cli_use import export  # noqa: PLC0415 - a command; the others need none

    export(folder, folder / "out", dtype="float8")


def a_recipe_that_is_not_there(folder: Path) -> None:
    load_recipe(folder / "gone.yaml")


def a_key_with_a_typing_error(folder: Path) -> None:
    build_recipe({"train": {"learning_rte": 1}}, where="r.yaml")


def an_override_without_a_value(folder: Path) -> None:
    build_recipe({}, ["train.seed"])


def a_quote_that_never_closes(folder: Path) -> None:
    (folder / "a.csv").write_text('text,label\n"one,good\n' + "two,bad\nthree,good\n" * 4)
    list(read_rows(folder / "a.csv"))


def a_file_of_a_run_that_is_cut_off(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"format": ')
    read_json(folder / "manifest.json")


def a_family_with_a_typing_error(folder: Path) -> None:
    load_family("clasify")


def a_template_without_an_answer(folder: Path) -> None:
    (folder / "a.csv").write_text("text,label\none,good\n")
    from tunesmith.data.plan import plan_sources  # noqa: PLC0415 - one case
    from tunesmith.data.sources.members import SourceRows  # noqa: PLC0415 - one case

    data = {"source": str(folder / "a.csv"), "template": "{{text}}"}
    config = build_recipe({"data": data})[0].data
    plan_sources(config, SourceRows(config))


def a_folder_without_a_model(folder: Path) -> None:
    resolve_model(str(folder))


def a_ledger_that_does_not_add_up(folder: Path) -> None:
    _check_sum({"raw": 4, "kept": 2, "rejected": 1})


def a_loss_that_is_not_a_number(folder: Path) -> None:
    raise bad_loss(3, "the loss is nan", ["r1", "r2"], 1e-3, [("w", torch.ones(1))])


def checkpoints_of_which_none_is_whole(folder: Path) -> None:
    (folder / "checkpoints" / "step-000002").mkdir(parents=True)
    checkpoint_to_resume(RunDir(folder), resume=True)


def stopped_by(number: int) -> Callable[[Path], None]:
    def command(folder: Path) -> None:
        with at_work(folder / "run", "training", f"tunesmith resume {folder / 'run'}"):
            os.kill(os.getpid(), number)

    return command


CASES: list[tuple[str, Callable[[Path], None], int, str]] = [
    (
        "TunesmithError",
        base_classes,
        1,
        "row \\x1b[2J1: odd\\nnews\nhint: look\\nthere",
    ),
    (
        "InputError",
        an_output_of_export,
        2,
        "--dtype float8: unknown\nhint: float32, bfloat16 or float16",
    ),
    (
        "RecipeError",
        a_recipe_that_is_not_there,
        2,
        "FOLDER/gone.yaml: no such recipe\nhint: `tunesmith init` writes one",
    ),
    (
        "RecipeError",
        a_key_with_a_typing_error,
        2,
        "r.yaml: unknown key 'train.learning_rte'\nhint: did you mean 'learning_rate'?",
    ),
    (
        "RecipeError",
        an_override_without_a_value,
        2,
        "'train.seed' is not key=value\nhint: for example train.learning_rate=1e-5",
    ),
    (
        "DataError",
        a_quote_that_never_closes,
        2,
        "FOLDER/a.csv:2: a quote opens in this line, and is not closed before other rows follow\n"
        'hint: close it or delete it; quotes inside a value are doubled: ""',
    ),
    (
        "DataError",
        a_file_of_a_run_that_is_cut_off,
        2,
        "FOLDER/manifest.json: not readable as JSON: Expecting value: line 1 column 12 (char 11)\n"
        "hint: the file was damaged: put it back from a copy, or start a new run in another "
        "output_dir",
    ),
    (
        "TemplateError",
        a_family_with_a_typing_error,
        2,
        "there is no task family 'clasify'\nhint: did you mean 'classify'?",
    ),
    (
        "TemplateError",
        a_template_without_an_answer,
        2,
        "inline: '{{text}}' has no |||, which stands before the answer\n"
        "hint: for example {{text}} ||| {{label}}",
    ),
    (
        "ModelError",
        a_folder_without_a_model,
        2,
        "FOLDER: no config.json in this folder\nhint: give a Hugging Face model folder or a hub id",
    ),
    (
        "RunError",
        a_ledger_that_does_not_add_up,
        1,
        "the ledger does not add up: 4 raw rows, 2 kept + 1 rejected = 3\n"
        "hint: this is a mistake in tunesmith: please report it",
    ),
    (
        "TrainingError",
        checkpoints_of_which_none_is_whole,
        1,
        "FOLDER/checkpoints: no checkpoint is whole; the newest, step-000002: manifest.json: No "
        "such file or directory\nhint: put one back from a copy, or remove the folder: then "
        "`tunesmith resume FOLDER` trains from the first step",
    ),
    (
        "BadLossError",
        a_loss_that_is_not_a_number,
        1,
        "step 3: the loss is nan (peak learning rate 0.001; rows r1, r2)\n"
        "hint: try train.learning_rate=0.0002 or a longer train.warmup_ratio, and look at these "
        "rows",
    ),
    *(
        (
            "InterruptedRun",
            stopped_by(number),
            128 + number,
            f"training was interrupted by {name}; what was finished before it is kept\n"
            "hint: tunesmith resume FOLDER/run",
        )
        for number, name in [
            (signal.SIGINT, "Ctrl-C"),
            (signal.SIGTERM, "SIGTERM"),
            (signal.SIGUSR1, "SIGUSR1"),
        ]
    ),
]


@pytest.mark.parametrize("kind, command, code, text", CASES)
def test_the_whole_text_and_the_exit_code_of_an_error(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    command: Callable[[Path], None],
    code: int,
    text: str,
) -> None:
    raised: list[str] = []

    def noting() -> None:
        try:
            command(tmp_path)
        except TunesmithError as error:
            raised.append(type(error).__name__)
            raise

    assert guarded(noting) == code
    assert capsys.readouterr().err == f"error: {text}\n".replace("FOLDER", str(tmp_path))
    assert raised == [kind]


def classes(base: type[TunesmithError]) -> set[str]:
    found = {base.__name__}
    return found.union(*(classes(kind) for kind in base.__subclasses__()))


def test_every_class_of_errors_has_a_case() -> None:
    for module in pkgutil.walk_packages(tunesmith.__path__, "tunesmith."):
        # a script for another process, and modules of extras that are not installed everywhere
        if module.name != "tunesmith.stages.fresh":
            importlib.import_module(module.name)
    ours = {name for name in classes(TunesmithError) if not name.startswith("_")}
    assert ours == {kind for kind, *_ in CASES}
