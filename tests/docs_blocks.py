"""The fenced blocks of README.md and docs/, and the programs that their shell lines start."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
FENCE = re.compile(r"^(\s*)```(\w*)\s*$")
SHELL = ("sh", "bash", "shell", "console")
PROGRAMS = {"tunesmith", "torchrun", "make", "python", "pip", "cd", "export", "cp", "head", "open"}
ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")


@dataclass(frozen=True)
class Block:
    """One fenced block; `reason` is that of a `<!-- not run: ... -->` on the line above it."""

    page: str
    line: int
    language: str
    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_shell(self) -> bool:
        """Whether it is typed: by its language, or without one by the program it starts with."""
        if self.language:
            return self.language in SHELL
        first = next(iter(commands(self)), [""])
        return first[0] in PROGRAMS


def blocks_of(page: str, text: str) -> Iterator[Block]:
    """The blocks of a page; ValueError for a fence that is never closed."""
    lines = text.splitlines()
    start: int | None = None
    language = ""
    for number, line in enumerate(lines):
        fence = FENCE.match(line)
        if start is None and fence:
            start, language = number, fence[2]
        elif start is not None and line.strip() == "```":
            marker = NOT_RUN.match(lines[start - 1].strip()) if start else None
            inner = "\n".join(lines[start + 1 : number]) + "\n"
            yield Block(page, start + 1, language, inner, marker[1] if marker else "")
            start = None
    if start is not None:
        raise ValueError(f"{page}:{start + 1}: the block is never closed")


def commands(block: Block) -> list[list[str]]:
    """The words of each command; of a console what stands after `$`, never what was seen."""
    lines = re.sub(r"\\\n>?\s*", " ", block.text).splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    found = []
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # no closing quote: a diagram or an error message, no command
            words = [line]
        if ">" in words:  # where the output goes
            words = words[: words.index(">")]
        while words and ASSIGNMENT.fullmatch(words[0]):
            words = words[1:]
        if words:
            found.append([words[0].removeprefix(".venv/bin/"), *words[1:]])
    return found


def of_tunesmith(words: list[str]) -> list[str] | None:
    """The arguments of tunesmith in a command, also of one that torchrun or python starts."""
    if words[0] == "tunesmith":
        return words[1:]
    if "-m" in words and words[words.index("-m") + 1] == "tunesmith":
        return words[words.index("-m") + 2 :]
    return None


ALL = [
    block
    for path in PAGES
    for block in blocks_of(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
]
