"""Run the commands of docs/walks.md again, and tell what is seen otherwise now.

    python tools/walks.py                 # compares; exit code 1 where something differs
    python tools/walks.py --write         # writes what is seen now into the document

All commands run in one temporary folder, in which lies the table that the analyst has. What depends
on the machine is not compared: times, rates and numbers with decimals. Lines that come by the clock
are left out.
"""

from __future__ import annotations

import argparse
import csv
import difflib
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "walks.md"
BLOCK = re.compile(r"```console\n(.*?)```\n", re.DOTALL)
BY_THE_CLOCK = re.compile(r"( left| so far|: [\d,]+ \w+ in [\d:]+.*|: \d+:\d\d)$")
MACHINE = re.compile(
    r"[+\u2212-]?\d[\d,]*\.\d+|\b\d+:\d\d(:\d\d)?\b|[\d,]+ (ms|s|min|h|rows/s)\b"
    r"|(better|equal|worse)( on)? [\d,]+|loss \S+|accuracy \S+|127\.0\.0\.1:\d+"
)
MESSAGES = {
    "billing": ("I was charged twice for {}", "The invoice for {} has the wrong amount",
                "Please refund what I paid for {}", "My card was declined when I paid for {}"),
    "delivery": ("The parcel with {} has not arrived", "The courier left {} at the wrong door",
                 "Tracking for {} has not moved in days", "The box with {} arrived crushed"),
    "technical": ("The app crashes when I open {}", "I cannot log in to register {}",
                  "The screen of {} stays black", "The update for {} stops half way"),
}  # fmt: skip
THINGS = (
    "the blue lamp", "a coffee grinder", "my new headphones", "the garden hose", "two chairs",
    "the winter tent", "a kitchen scale", "the desk fan", "my running watch", "the bread tin",
    "a travel kettle", "the bicycle pump", "three cushions", "the label printer",
)  # fmt: skip
ENDS = (
    "can you look into it?", "this is the second time.", "what should I do now?", "please hurry.",
    "I have photos if you need them.", "my order is from last week.", "thanks for any help.",
    "nobody answers the phone.", "it was a present for my sister.", "I am a bit annoyed.",
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A command and what was seen of it, stdout and stderr together."""

    command: str
    seen: str


def write_tickets(path: Path, n: int = 240) -> None:
    """A table as an analyst exports it: a number, the message, and the team that answered."""
    rng = random.Random(0)
    combinations = [
        (f"{start.format(thing)}, {end}", team)
        for team, starts in MESSAGES.items()
        for start in starts
        for thing in THINGS
        for end in ENDS
    ]
    rows = rng.sample(combinations, n)
    with path.open("w", encoding="utf-8", newline="") as file:
        numbered = [(4000 + i, *row) for i, row in enumerate(rows)]
        csv.writer(file).writerows([("ticket", "message", "team"), *numbered])


def steps_of(block: str) -> list[Step]:
    """The commands of one block; a command's line begins with `$ `, its continuations with `> `."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    found = []
    for part in parts:
        lines = part.splitlines(keepends=True)
        end = next((i for i, x in enumerate(lines[1:], 1) if not x.startswith("> ")), len(lines))
        command = "".join([lines[0], *(x.removeprefix("> ") for x in lines[1:end])])
        found.append(Step(command.rstrip("\n"), "".join(lines[end:])))
    return found


def without_clock(text: str) -> str:
    """Without the lines that say how far something is, which come every 20 seconds."""
    lines = [line.rstrip() for line in text.splitlines()]
    return "".join(f"{line}\n" for line in lines if not BY_THE_CLOCK.search(line))


def stable(text: str) -> list[str]:
    """The lines to compare, with ~ for what another machine may compute otherwise. How lines are
    broken depends on such numbers, and so do the dots and spaces of a table: words are compared.
    """
    paragraphs = re.split(r"\n(?=\S+: |\n)", without_clock(text))
    return [
        " ".join(MACHINE.sub("~", " ".join(p.split())).split()) for p in paragraphs if p.strip()
    ]


def differences(before: Step, now: str) -> list[str]:
    """What is seen otherwise, as lines of a diff."""
    old, new = stable(before.seen), stable(now)
    changed = list(difflib.unified_diff(old, new, "written down", "seen now", lineterm="", n=0))
    return [f"$ {before.command}", *changed] if changed else []


def run(command: str, folder: Path) -> str:
    """What a person would see, with the folder's own path left out."""
    paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join(paths),
        "PYTHONPATH": str(ROOT / "src"),
        "COLUMNS": "80",
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return without_clock(done.stdout.replace(f"{folder}/", ""))


def walk(document: str, folder: Path) -> Iterator[tuple[Step, str]]:
    """Each step with what is seen of it now."""
    for block in BLOCK.findall(document):
        for step in steps_of(block):
            yield step, run(step.command, folder)


def written(document: str, found: Sequence[tuple[Step, str]]) -> str:
    """The document with what is seen now."""
    seen = iter(found)

    def block(match: re.Match[str]) -> str:
        parts = []
        for step in steps_of(match[1]):
            _, now = next(seen)
            command = step.command.replace("\n", "\n> ")
            parts.append(f"$ {command}\n{now}")
        return f"```console\n{''.join(parts)}```\n"

    return BLOCK.sub(block, document)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    document = DOCUMENT.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="tunesmith-walks-") as name:
        folder = Path(name).resolve()
        write_tickets(folder / "tickets.csv")
        found = []
        for step, now in walk(document, folder):
            print(f"$ {step.command}", flush=True)
            found.append((step, now))
    if args.write:
        DOCUMENT.write_text(written(document, found), encoding="utf-8")
        return 0
    changed = [line for step, now in found for line in differences(step, now)]
    print(*changed, sep="\n")
    return int(bool(changed))


if __name__ == "__main__":
    sys.exit(main())
