"""Prepared splits, kept under the hash of everything they depend on: the bytes of the rows, the
templates, the tokenizer, the data part of the recipe, max_length, and tunesmith's own code and
libraries. Names and times decide nothing: a changed file is another key, however old it says it is.

An entry appears whole, by a rename, and is used only where its files still have the hashes written
when it was made. The folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith.chat.format import ChatFormat
from tunesmith.data.ledger import LedgerFacts
from tunesmith.data.plan import Source, member_configs
from tunesmith.data.templates.resolve import resolve_templates
from tunesmith.errors import DataError
from tunesmith.recipe import DataConfig
from tunesmith.records import SPLITS
from tunesmith.run_files import read_record, write_record
from tunesmith.rundir import RunDir, file_sha256, versions

PACKAGE = Path(__file__).parents[1]
CODE = ("data", "chat", "models", "assets/families", "records.py", "recipe.py")
FACTS = "facts.json"


@dataclass(frozen=True)
class Entry:
    """What a cache entry says of itself: hashes of its files by name, and the ledger."""

    files: Mapping[str, str]
    facts: LedgerFacts


def folder() -> Path:
    """$TUNESMITH_CACHE, else ~/.cache/tunesmith."""
    return (
        Path(os.environ.get("TUNESMITH_CACHE") or Path.home() / ".cache" / "tunesmith") / "prepared"
    )


def cache_key(
    sources: Sequence[Source], data: DataConfig, chat: ChatFormat, max_length: int
) -> str | None:
    """The hash of all that the splits depend on; None where the rows are no files (a hub id).

    The sources' paths are in it as well, since each example says where its row stands.
    """
    paths = [Path(source.path) for source in sources]
    if not all(path.exists() for path in paths):
        return None
    tokenizer = chat.tokenizer
    parts = {
        "rows": [[str(path), *_file_hashes(path)] for path in paths],
        "sources": [repr(source) for source in sources],
        "data": data.model_dump(mode="json"),
        "tokenizer": [
            tokenizer.backend_tokenizer.to_str(),
            tokenizer.chat_template,
            tokenizer.special_tokens_map,
        ],
        "system": chat.system,
        "max_length": max_length,
        "code": [*_file_hashes(*(PACKAGE / name for name in CODE))],
        "versions": versions(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def input_hashes(data: DataConfig) -> dict[str, str]:
    """The hash of each file of rows and of each template a recipe names, by name. Hub ids and
    built-in formats have none.
    """
    members = member_configs(data)
    own = [path for path in (data.validation_source, data.test_source) if path is not None]
    found = {}
    for path in map(Path, [*(str(config.source) for config in members), *own]):
        if path.exists():
            found[str(path.resolve())] = hashlib.sha256(
                "\n".join(_file_hashes(path)).encode()
            ).hexdigest()
    for config in members:
        if config.task is not None or config.template is not None:
            for template in resolve_templates(config):
                found[f"template {template.name}"] = hashlib.sha256(
                    repr(template).encode()
                ).hexdigest()
    return found


def _file_hashes(*paths: Path) -> Iterator[str]:
    """The hash of each file, by its place under the path."""
    for path in paths:
        files = (
            [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        )
        for file in files:
            if "__pycache__" not in file.parts:
                yield f"{file.relative_to(path)} {file_sha256(file)}"


def store(key: str, run: RunDir, facts: LedgerFacts) -> None:
    """Keep a run's prepared files, and the facts that `restore` gives back; a full disk is not the
    run's business.
    """
    files = [*(run.examples(split) for split in SPLITS), run.rejected]
    try:
        folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder(), prefix=".") as temporary:
            entry = Path(temporary) / "entry"
            entry.mkdir()
            for file in files:
                _link(file, entry / file.name)
            hashes = {file.name: file_sha256(file) for file in files}
            write_record(entry / FACTS, Entry(hashes, facts))
            entry.rename(folder() / key)
    except OSError:
        return


def restore(key: str, run: RunDir) -> LedgerFacts | None:
    """Put an entry's files into the run; its facts, or None where there is no entry or a file of it
    has changed.
    """
    entry = folder() / key
    try:
        stored = read_record(entry / FACTS, Entry)
        files = [*(run.examples(split) for split in SPLITS), run.rejected]
        if any(file_sha256(entry / file.name) != stored.files[file.name] for file in files):
            raise ValueError(f"{entry} has changed")
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            _link(entry / file.name, file)
        return stored.facts
    except (
        OSError,
        ValueError,
        KeyError,
        DataError,
    ):  # none there, or a changed or half deleted one
        shutil.rmtree(entry, ignore_errors=True)
        return None


def _link(source: Path, target: Path) -> None:
    """A hard link costs no space; a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
