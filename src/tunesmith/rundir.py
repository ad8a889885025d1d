"""The path of every file in a run, and atomic writing of such files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tunesmith.errors import DataError

JsonObject = dict[str, Any]
"""What a JSON object holds is known to its reader alone."""
THRESHOLD_FILE = "tunesmith_threshold.json"
"""In a model folder; neither weights nor token ids depend on it."""
DAMAGED = "the file was damaged: put it back from a copy, or start a new run in another output_dir"
MODEL_FILE_KINDS = (".json", ".safetensors", ".jinja", ".model", ".py")
"""Endings of a model folder's files that decide weights and token ids."""
RECORDED_PACKAGES = (
    "tunesmith",
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "numpy",
    "scipy",
    "scikit-learn",
)


class _Place:
    """A path below the run folder, as an attribute of it."""

    def __init__(self, *parts: str) -> None:
        self.parts = parts

    def __get__(self, run: RunDir, _: type[RunDir]) -> Path:
        return run.path.joinpath(*self.parts)


@dataclass(frozen=True)
class RunDir:
    """A run folder; no other code puts together a path in it."""

    path: Path

    recipe = _Place("recipe.yaml")
    manifest = _Place("manifest.json")
    artefacts = _Place("artefacts.json")
    chat_template = _Place("chat_template.jinja")
    original_chat_template = _Place("chat_template.original.jinja")
    ledger = _Place("ledger.json")
    rows = _Place("data", "rows.arrow")
    twins = _Place("data", "twins.json")
    rejected = _Place("data", "rejected.jsonl")
    seal = _Place("data", "test.seal.json")
    metrics = _Place("metrics.jsonl")
    training = _Place("training.json")
    tensorboard = _Place("tensorboard")
    checkpoints = _Place("checkpoints")
    model = _Place("model")
    evaluation = _Place("evaluation")
    answered_in = _Place("evaluation", "answered_in.json")
    evaluated = _Place("evaluation", "evaluated.json")
    panel = _Place("evaluation", "panel.json")
    verification = _Place("evaluation", "verify.json")
    opponents = _Place("evaluation", "opponents.json")
    few_shot = _Place("evaluation", "few_shot.json")
    few_shot_by_task = _Place("evaluation", "few_shot_by_task.json")
    threshold = _Place("model", THRESHOLD_FILE)
    reviews = _Place("reviews")
    judgements = _Place("judgements")
    plots = _Place("plots")
    report_html = _Place("report.html")
    report_md = _Place("report.md")
    report_json = _Place("report.json")

    def examples(self, split: str) -> Path:
        """Prompts and completions of one split."""
        return self.path / "data" / f"{split}.parquet"

    def review_key(self, review: str) -> Path:
        """Which system stands on which side of a review's page."""
        return self.reviews / review / "key.json"

    def review_page(self, review: str) -> Path:
        """The page that people vote on."""
        return self.reviews / review / "review.html"

    def review_votes(self, review: str) -> Path:
        """The folder with the votes of each person."""
        return self.reviews / review / "votes"

    def judgement(self, name: str) -> Path:
        """What a model as a judge replied."""
        return self.judgements / f"{name}.json"

    def predictions(self, system: str, split: str) -> Path:
        """Answers of one system (base, tuned ...) to one split."""
        return self.path / "evaluation" / system / f"{split}.parquet"


def temporary_name(path: Path, end: str = "tmp") -> Path:
    """A hidden name beside a path that no other process or thread has: `.model.3f2a90c4d1e7.tmp`.

    `leftovers` finds it again, should this process die.
    """
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.{end}")


UNFINISHED = re.compile(r"\..+\.(tmp|old|preparing)")
"""Names of what is being written, replaced or prepared; nothing reads such a file."""


def leftovers(folder: Path) -> list[Path]:
    """Unfinished files and folders in a folder, and beside it those that were to take its name.

    Outermost only. Who asks must have the folder's lock: they may be another process's at work.
    """
    name = re.escape(folder.name)
    own = re.compile(rf"\.{name}\.(preparing|[0-9a-f]{{12}}\.(tmp|old|preparing))")
    above = folder.parent
    found = [
        path for path in (above.iterdir() if above.is_dir() else ()) if own.fullmatch(path.name)
    ]
    for inside, folders, files in os.walk(folder):
        unfinished = [name for name in (*folders, *files) if UNFINISHED.fullmatch(name)]
        found += [Path(inside, name) for name in unfinished]
        folders[:] = [name for name in folders if name not in unfinished]
    return sorted(found)


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write to a temporary file beside it, fsync, rename, fsync the folder.

    After a crash the file is the old one or the new one, never half of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with appearing(path) as temporary, temporary.open("wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A temporary file to write; at the end it is on the disk, and takes the place of `path`.

    It goes where the block fails.
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_tree(folder: Path) -> None:
    """Return once all files and entries in a folder are on the disk."""
    for path in (*folder.rglob("*"), folder):
        sync(path)


def sync(path: Path) -> None:
    """Return once a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some network file systems cannot sync a folder, and need not
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def write_json(path: Path, value: object) -> None:
    """Write a JSON value atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Whatever value the file has; `tunesmith.run_files` reads checked records. DataError where it
    is not JSON, or not there.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: is missing", hint=DAMAGED) from error
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8
        raise DataError(f"{path}: not readable as JSON: {error}", hint=DAMAGED) from error


def home_folder() -> Path:
    """The user's, or a folder for temporary files for a user without one."""
    try:
        return Path.home()
    except RuntimeError:  # no HOME, and no entry in the user database: a container's usual state
        return Path(tempfile.gettempdir()) / f"tunesmith-{os.getuid()}"


def cache_folder() -> Path:
    """$TUNESMITH_CACHE, else ~/.cache/tunesmith."""
    given = os.environ.get("TUNESMITH_CACHE")
    return Path(given) if given else home_folder() / ".cache" / "tunesmith"


def file_sha256(path: Path) -> str:
    """In hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Of Python and those RECORDED_PACKAGES that are installed."""
    found = {"python": platform.python_version()}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
