"""A small job in a folder of its own, and what can go wrong in it."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]
THINGS = ("lamp", "kettle", "chair", "phone", "mug", "desk", "tent", "bike", "coat", "radio")
GOOD = ("works well", "looks lovely", "is worth its price", "arrived early", "feels solid")
BAD = ("broke at once", "looks awful", "is a waste", "arrived late", "smells odd")


@dataclass(frozen=True)
class Said:
    """How a command ended, and all that it wrote on stdout and stderr."""

    code: int
    text: str


@dataclass(frozen=True)
class Job:
    """Where a defect is injected. `finished` is a whole run on good rows, to be copied."""

    folder: Path
    finished: Path
    start: Callable[[Sequence[str]], int]
    """Starts a command that goes on in the background; the number of its process."""

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def csv(self, rows: Sequence[Row], name: str = "rows.csv", **options: Any) -> Path:
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n", **options)
        writer.writeheader()
        writer.writerows(rows)
        return self.write(name, out.getvalue())

    def jsonl(self, rows: Sequence[object], name: str = "rows.jsonl") -> Path:
        return self.write(name, "".join(json.dumps(row) + "\n" for row in rows))

    def prepare(self, source: Path, *overrides: str, task: str = "classify") -> list[str]:
        given = [f"data.task={task}"] if task else []
        return ["prepare", str(source), *given, f"output_dir={self.run}", *overrides]

    def whole_run(self, source: Path, *overrides: str) -> list[str]:
        return [
            "run", str(source), "--task", "classify", "--output-dir", str(self.run), *overrides
        ]  # fmt: skip

    def recipe(self, text: str, *overrides: str) -> list[str]:
        """`prepare` on a recipe of YAML, in which ROWS and RUN stand for paths."""
        rows = self.csv(good_rows())
        text = text.replace("ROWS", str(rows)).replace("RUN", str(self.run))
        return ["prepare", str(self.write("recipe.yaml", text)), *overrides]

    def copy(self) -> Path:
        """A copy of the finished run, to be damaged."""
        shutil.copytree(self.finished, self.run)
        return self.run

    def of_run(self, command: str) -> list[str]:
        """A command on the run folder, with what it needs besides."""
        rest = {"chat": ["--once", "The mug works well."], "export": [str(self.folder / "out")]}
        return [command, str(self.run), *rest.get(command, [])]

    def killed_when(self, found: Callable[[], bool], arguments: Sequence[str]) -> None:
        """Start a command, and kill it with SIGKILL once something is there."""
        process = self.start(arguments)
        wait_for(found)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)

    def ledger(self) -> Any:
        return json.loads((self.run / "ledger.json").read_text())

    def examples(self, split: str) -> list[Row]:
        import pyarrow.parquet as pq

        return list(pq.read_table(self.run / "data" / f"{split}.parquet").to_pylist())

    def answers(self) -> list[str]:
        """The completions of all splits."""
        splits = ("train", "validation", "test")
        return [str(e["completion"]) for split in splits for e in self.examples(split)]


@dataclass(frozen=True)
class Kind:
    """One thing that goes wrong.

    `inject` prepares it and gives the command that a user would call; `words` is a regular
    expression for what that command has to say; `right` holds where the command goes on rightly.
    """

    section: str
    name: str
    inject: Callable[[Job], list[str]]
    words: str = ""
    code: int = 2
    right: Callable[[Job, Said], bool] = field(default=lambda job, said: True)
    meanwhile: Callable[[Job, int], None] | None = None
    """What another process does while the command runs, given the command's process."""
    environment: Mapping[str, str] = field(default_factory=dict)


def good_rows(n: int = 60, seed: int = 0) -> list[Row]:
    """Reviews whose labels follow from their words, in no order."""
    rng = random.Random(seed)
    rows = []
    for number in range(n):
        label = rng.choice(("bad", "good"))
        first, second = rng.sample(GOOD if label == "good" else BAD, 2)
        thing, other = rng.sample(THINGS, 2)
        text = f"Order {number * 7 + 11}: the {thing} {first}, and beside my {other} it {second}."
        rows.append({"text": text, "label": label})
    return rows


def on_a_run(
    command: str, change: Callable[[Path], object] = lambda run: None
) -> Callable[[Job], list[str]]:
    """A command on a copy of the finished run, in which something may have been changed."""

    def inject(job: Job) -> list[str]:
        change(job.copy())
        return job.of_run(command)

    return inject


def keeps(n: int) -> Callable[[Job, Said], bool]:
    """So many rows are kept."""
    return lambda job, _: bool(job.ledger()["rows"]["kept"] == n)


def answers_are(*wanted: str) -> Callable[[Job, Said], bool]:
    """The answers that are trained and tested are these and no others."""
    return lambda job, _: set(job.answers()) == set(wanted)


def wait_for(found: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until something is there."""
    end = time.monotonic() + seconds
    while not found():
        if time.monotonic() > end:
            raise TimeoutError("what was waited for did not come")
        time.sleep(0.002)


def flip(path: Path) -> None:
    """One bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
