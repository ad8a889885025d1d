"""The path of every file in a run, and atomic writing of such files."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

JsonObject = dict[str, Any]
"""What a JSON object holds is known to its reader alone."""
THRESHOLD_FILE = "tunesmith_threshold.json"
"""In a model folder; neither weights nor token ids depend on it."""
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


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write to a temporary file beside it, fsync, rename.

    After a crash the file is the old one or the new one, never half of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def sync(path: Path) -> None:
    """Return once a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: object) -> None:
    """Write a JSON value atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Whatever value the file has; `tunesmith.run_files` reads checked records."""
    return json.loads(path.read_text(encoding="utf-8"))


def file_sha256(path: Path) -> str:
    """In hexadecimal, reading a megabyte at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Of Python and those RECORDED_PACKAGES that are installed."""
    found = {"python": platform.python_version()}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
