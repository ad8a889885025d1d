"""Record the first ten minutes: an asciicast of `init`, `run`, `report` and `predict`, and a still.

python tools/record_first_minutes.py docs/images

The commands run under a pseudo-terminal in an empty folder, on the built-in reviews and with the
built-in model. `asciinema play docs/images/first_minutes.cast` shows it; pauses are cut to a
second. The still has the report alone, as it is written into a pipe, which has no live view.
"""

from __future__ import annotations

import codecs
import fcntl
import io
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

REVIEWS = Path(__file__).parents[1] / "src" / "tunesmith" / "assets" / "reviews.csv"
COLUMNS, LINES = 100, 32
LONGEST_PAUSE = 1.0
COMMANDS = (
    "tunesmith init reviews.csv --yes",
    "tunesmith run reviews.yaml",
    "tunesmith report runs/reviews",
    "tunesmith predict runs/reviews new.csv -o answered.csv",
)
STILL = COMMANDS[2]
NEW_ROWS = "product,review\nlamp,Broke after a day.\nradio,Clear sound and easy to use.\n"
PROMPT = "\x1b[1;32m$\x1b[0m "
FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


@dataclass(frozen=True)
class Seen:
    """What a terminal showed, and at which second since the beginning of its command."""

    seconds: float
    text: str


def run_in_terminal(command: str, folder: Path) -> Iterator[Seen]:
    """What a command writes to a terminal of COLUMNS by LINES; RuntimeError where it fails."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    began = time.monotonic()
    streams = {"stdin": follower, "stdout": follower, "stderr": follower}
    with subprocess.Popen(
        program(command), cwd=folder, env=environment(folder), **streams
    ) as process:
        os.close(follower)
        decode = codecs.getincrementaldecoder("utf-8")("replace")
        while found := read(leader):
            yield Seen(time.monotonic() - began, decode.decode(found))
    os.close(leader)
    if process.returncode:
        raise RuntimeError(f"{command}: exit code {process.returncode}")


def run_in_pipe(command: str, folder: Path) -> str:
    """All that a command writes where no terminal is."""
    found = subprocess.run(
        program(command), cwd=folder, env=environment(folder), check=True, encoding="utf-8",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return found.stdout


def program(command: str) -> list[str]:
    """What is started for a command that is typed: this Python's tunesmith."""
    words = command.split()
    return [sys.executable, "-m", *words] if words[0] == "tunesmith" else words


def environment(folder: Path) -> dict[str, str]:
    """Little of the user's own: no name, no settings, no cache."""
    kept = ("PATH", "PYTHONPATH", "OMP_NUM_THREADS")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "HOME": str(folder),
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "COLUMNS": str(COLUMNS),
        "TUNESMITH_CACHE": str(folder / ".cache"),
    }


def read(leader: int) -> bytes:
    """What there is to read; nothing at the end, which Linux tells by an error."""
    try:
        return os.read(leader, 65536)
    except OSError:
        return b""


def recorded(folder: Path) -> list[tuple[str, list[Seen]]]:
    """Every command with what it showed, run one after the other in a folder with two tables."""
    shutil.copy(REVIEWS, folder)
    (folder / "new.csv").write_text(NEW_ROWS, encoding="utf-8")
    return [(command, list(run_in_terminal(command, folder))) for command in COMMANDS]


def asciicast(commands: list[tuple[str, list[Seen]]]) -> str:
    """The recording as asciicast v2: a header, then one event a line."""
    header = {"version": 2, "width": COLUMNS, "height": LINES, "title": "tunesmith"}
    events: list[tuple[float, str, str]] = []
    now = 0.0
    for command, seen in commands:
        events.append((now, "o", f"{PROMPT}{command}\r\n"))
        before = 0.0
        for one in seen:
            now += min(one.seconds - before, LONGEST_PAUSE)
            before = one.seconds
            events.append((round(now, 3), "o", one.text))
        now = round(now + LONGEST_PAUSE, 3)
    events.append((now, "o", PROMPT))
    lines = [header, *events]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def still(shown: str) -> str:
    """The command STILL with what it wrote, as SVG."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(f"{PROMPT}{STILL}"))
    console.print(Text(shown.rstrip("\n")))
    svg = console.export_svg(title="tunesmith", unique_id="first-minutes")
    return "\n".join(line.rstrip() for line in FONTS.sub("", svg).splitlines()) + "\n"


def main(output: Path) -> None:
    """Write first_minutes.cast and first_minutes.svg."""
    with tempfile.TemporaryDirectory() as folder:
        found = recorded(Path(folder))
        again = run_in_pipe(STILL, Path(folder))
        written = {"cast": asciicast(found), "svg": still(again)}
        for ending, text in written.items():
            if folder in text:
                raise RuntimeError(f"the {ending} names the folder {folder}")
            (output / f"first_minutes.{ending}").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
