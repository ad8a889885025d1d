"""What the fuzz tests feed with bytes: data files, recipes, model folders and the files of a run.

Each target takes bytes and a folder of its own. It lets through what a user may read, a
TunesmithError or an error of the operating system, and nothing else.
"""

from __future__ import annotations

import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from support import byte_tokenizer, tiny_llama

from tunesmith.data.plan import plan_sources
from tunesmith.data.sources.stored import StoredRows, store_rows
from tunesmith.errors import TunesmithError
from tunesmith.evaluate.predictions import read_predictions
from tunesmith.models.load import check_weights, load_model, load_tokenizer
from tunesmith.recipe import DataConfig, load_recipe
from tunesmith.run_files import read_manifest, run_state
from tunesmith.rundir import RunDir
from tunesmith.train.trackers import read_metrics

SECONDS, BYTES = 60, 1 << 30
"""What one input may take: time, and growth of the process."""
SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow", ".txt", ".yaml", "")
MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
SEEDS = {
    "data": [
        b"\x00text,label\ngood thing,yes\nbad thing,no\n",
        b'\x00text,label\n"a ""quoted""\nline",yes\n',
        b"\x01text\tlabel\ngood\tyes\n",
        b'\x02[{"text": "a", "label": 1}, {"text": null, "label": "b"}]',
        b'\x03{"messages": [{"role": "user", "content": "hi"}]}\n{"messages": []}\n',
        b'\x03{"prompt": "a", "completion": "b"}\n',
        b"\x04PAR1\x15\x04\x15\x20\x15\x24PAR1",
        b"\x05ARROW1\x00\x00\xff\xff\xff\xff",
    ],
    "recipe": [
        b"model: x\ndata: {source: a.csv, task: classify, columns: {text: t}}\n",
        b"train: {learning_rate: 1e-5, num_train_epochs: 3, lora: {r: 8}}\n",
        b"evaluation: {metrics: [accuracy], gates: {least_gain: 0.1}}\noutput_dir: runs/a\n",
        b"data: {sources: [{path: a, weight: 2}]}\nchat_template_kwargs: {a: [1, {b: c}]}\n",
    ],
    "run": [
        b'\x00{"format": 2, "task": {}, "files": {}, "inputs": {}, "model_files": {}}',
        b'\x01{"step": 1, "loss": 2.5}\n{"step": 2, "loss": NaN}\n',
        b"\x02PAR1\x15\x04\x15\x20PAR1",
        b'\x03{"systems": ["base", "tuned"]}',
    ],
    "model": [bytes([file, 0, 0, 0, 40]) + b"\xff" * 8 for file in range(4)]
    + [bytes([0, 1, 0, 0, 0]) + b'{"model_type": "llama", "hidden_size": -1}'],
}


def fuzz_data(data: bytes, folder: Path) -> None:
    """The first byte chooses the file's ending."""
    path = folder / f"rows{SUFFIXES[data[0] % len(SUFFIXES)] if data else ''}"
    path.write_bytes(data[1:])
    config = DataConfig.model_validate({"source": str(path), "max_rejected": 1.0})
    store_rows(config, folder / "stored.arrow")
    plan_sources(config, StoredRows(folder / "stored.arrow"))


def fuzz_recipe(data: bytes, folder: Path) -> None:
    (folder / "recipe.yaml").write_bytes(data)
    load_recipe(folder / "recipe.yaml")


def fuzz_run(data: bytes, folder: Path) -> None:
    """The first byte chooses the file of a run that holds the others."""
    run = RunDir(folder / "run")
    answers = run.predictions("tuned", "test")
    path = (run.manifest, run.metrics, answers, run.evaluated)[data[0] % 4 if data else 0]
    path.parent.mkdir(parents=True)
    path.write_bytes(data[1:])
    for read in (
        lambda: read_manifest(run),
        lambda: read_metrics(run.metrics),
        lambda: read_predictions(run, "tuned", "test"),
        lambda: run_state(run),
    ):
        with suppress(TunesmithError):
            read()


def fuzz_model(data: bytes, folder: Path) -> None:
    """A whole folder, in one of whose files (byte 0) a piece is replaced. Byte 1: all of the file,
    or from the place in the next two bytes on, as much as the fifth says.
    """
    whole = model_files()
    head, piece = data[:5].ljust(5, b"\0"), data[5:]
    name = MODEL_FILES[head[0] % len(MODEL_FILES)]
    place = int.from_bytes(head[2:4], "big")
    for file, content in whole.items():
        if file == name:
            content = (
                piece if head[1] % 2 else (content[:place] + piece + content[place + head[4] :])
            )
        (folder / file).write_bytes(content)
    check_weights(str(folder))
    load_tokenizer(str(folder))
    load_model(str(folder))


@cache
def model_files() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        tiny_llama().save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


TARGETS: dict[str, Callable[[bytes, Path], None]] = {
    "data": fuzz_data,
    "recipe": fuzz_recipe,
    "run": fuzz_run,
    "model": fuzz_model,
}


def feed(target: str, data: bytes, folder: Path) -> None:
    """One input in an empty folder; raises for whatever a user must not see."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with within_bounds(), suppress(TunesmithError, OSError):
        TARGETS[target](data, folder)


class TooMuch(BaseException):
    """An input took too long; no `except Exception` takes this for an error of a library."""


@contextmanager
def within_bounds() -> Iterator[None]:
    def too_long(*_: object) -> None:
        raise TooMuch(f"more than {SECONDS} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    earlier = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < BYTES, f"the process grew by {grown:,} bytes"
