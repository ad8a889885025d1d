"""Write the reference of all commands into a page, from what `--help` shows.

python tools/command_reference.py docs/commands.md

What comes before the first mark is written by hand.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_origin

import typer

from tunesmith.cli import app

START, END = "<!-- commands: tools/command_reference.py -->", "<!-- end of commands -->"
KINDS = {str: "text", Path: "path", int: "whole number", float: "number"}
EXAMPLE = re.compile(r"(?:Examples?: )?(?=tunesmith )")


def commands(command: Any, name: str = "tunesmith") -> Iterator[tuple[str, Any]]:
    """Each command that does something, with what is typed for it; sorted by that."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for word in sorted(inner):
        yield from commands(inner[word], f"{name} {word}")


def reference() -> str:
    """The section of every command."""
    found = commands(typer.main.get_command(app))
    return "\n".join(line for name, command in found for line in section(name, command))


def section(name: str, command: Any) -> list[str]:
    """A heading, what the command does, its examples, its arguments and options."""
    words, examples = told(command.help or "")
    rows = [row(one) for one in command.params if not one.hidden]
    table = ["| | type | default | meaning |", "|---|---|---|---|", *rows, ""]
    shown = ["```sh", *examples, "```", ""] if examples else []
    return [f"## {name}", "", *words, *shown, *(table if rows else [])]


def told(text: str) -> tuple[list[str], list[str]]:
    """A help text as paragraphs, each with a blank line after it, and the commands typed in it.

    >>> told("Do it.\\n\\nExample: tunesmith a, or tunesmith b\\n--c")
    (['Do it.', ''], ['tunesmith a', 'tunesmith b --c'])
    """
    words: list[str] = []
    examples: list[str] = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        line = " ".join(paragraph.split())
        start = EXAMPLE.match(line)
        if start:
            examples += re.split(r", or (?=tunesmith )", line[start.end() :])
        elif line:
            words += [plain(line), ""]
    return words, examples


def row(one: Any) -> str:
    """One argument or option."""
    is_option = one.param_type_name == "option"
    names = [*one.opts, *one.secondary_opts] if is_option else [one.name.upper()]
    return (
        f"| {', '.join(f'`{name}`' for name in names)} | {kind_of(one)} | {default_of(one)} "
        f"| {plain(getattr(one, 'help', '') or '')} |"
    )


def kind_of(one: Any) -> str:
    """The type in a word with its limits; nothing for a flag."""
    if getattr(one, "is_flag", False):
        return ""
    annotation = one.type_descriptor.annotation
    inner = get_args(annotation)[0] if get_origin(annotation) is list else annotation
    low = f", at least {one.min}" if one.min is not None else ""
    high = f", at most {one.max}" if one.max is not None else ""
    many = ", any number of them" if inner is not annotation else ""
    kind = ", ".join(f"`{one}`" for one in inner) if issubclass(inner, StrEnum) else KINDS[inner]
    return f"{kind}{low}{high}{many}"


def default_of(one: Any) -> str:
    """The default as it would be typed; nothing for a flag and for none."""
    if one.required:
        return "required"
    value = one.default
    if callable(value) or value in (None, False, "", [], ()):
        return ""
    return f"`{value}`"


def plain(text: str) -> str:
    """A text that is no markup in a table of Markdown."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def write(page: Path) -> None:
    """Replace what is between the two comments of the page."""
    before, rest = page.read_text(encoding="utf-8").split(START)
    after = rest.split(END)[1]
    page.write_text(f"{before}{START}\n\n{reference()}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
