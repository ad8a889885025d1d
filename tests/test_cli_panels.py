"""The panels of `tunesmith --help`, and what a shell completes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tunesmith.cli import app
from tunesmith.cli_panels import PANELS, InOrder, into_panels


def commands() -> dict[str, Any]:
    root: Any = typer.main.get_command(app)
    return dict(root.commands)


def shown(help_text: str) -> list[str]:
    """The titles of panels, and the commands, in the order in which --help shows them."""
    return re.findall(r"^(?:╭─ ([A-Z][\w ]*?) ─+╮|│ ([a-z]+)  .*│)$", help_text, re.MULTILINE)


def titles_and_names(help_text: str) -> list[str]:
    return ["".join(found) for found in shown(help_text)]


def test_every_command_stands_in_one_panel() -> None:
    names = [name for panel in PANELS.values() for name in panel]
    assert sorted(names) == sorted(commands())


def test_help_shows_the_panels_in_a_newcomers_order() -> None:
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "100"}).output
    expected = [part for panel, names in PANELS.items() for part in (panel, *names)]
    assert titles_and_names(text) == ["Options", *expected]
    assert expected[:5] == ["Start", "demo", "init", "run", "resume"]


def test_a_command_in_no_panel_is_shown_last() -> None:
    own = typer.Typer(cls=InOrder)
    for name in ("zeal", "runs", "demo"):
        own.command(name)(lambda: None)
    into_panels(own)
    text = CliRunner().invoke(own, ["--help"], env={"COLUMNS": "100"}).output
    assert [name for name in titles_and_names(text) if name != "Options"] == [
        *("Start", "demo"),
        *("Use the model", "runs"),
        *("Others", "zeal"),
    ]


# ---- completion


def completed(words: str, shell: str = "bash") -> list[str]:
    """What a shell is offered after `words`, and whether that took torch."""
    code = (
        "import sys, tunesmith.cli as cli\n"
        "try:\n    cli.main()\n"
        "finally:\n    print('torch' in sys.modules, file=sys.stderr)"
    )
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | asked | {"_TUNESMITH_COMPLETE": f"complete_{shell}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "False\n"
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("tunesmith re", ["resume", "report", "review", "reproduce"]),
        ("tunesmith run --fail", ["--fail-if-not-better", "--fail-if-broken-over"]),
        ("tunesmith templates l", ["list", "lint"]),
    ],
)
def test_commands_and_options_are_completed_without_torch(words: str, offered: list[str]) -> None:
    assert completed(words) == offered


def test_completion_is_installed_for_the_command_however_it_was_started(tmp_path: Path) -> None:
    # "; true": a shell that has nothing else to do is replaced by the command, and not found
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m tunesmith --install-completion; true"],
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    script = tmp_path / ".bash_completions" / "tunesmith.sh"
    assert done.stdout.startswith(f"bash completion installed in {script}\n")
    assert f"source '{script}'" in (tmp_path / ".bashrc").read_text(encoding="utf-8")
    assert script.read_text(encoding="utf-8").endswith("_tunesmith_completion tunesmith")
