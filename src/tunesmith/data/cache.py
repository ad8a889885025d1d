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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith.chat.format import ChatFormat
from tunesmith.data.ledger import LedgerFacts
from tunesmith.data.plan import Source
from tunesmith.data.sources.members import members
from tunesmith.data.sources.stored import files_in, source_hash
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
    sources: Sequence[Source],
    hashes: Mapping[str, str],
    data: DataConfig,
    chat: ChatFormat,
    max_length: int,
) -> str | None:
    """The hash of all that the splits depend on; None where a source is no file (a hub id).

    `hashes` are those of the sources by path, taken while they were read. The paths are part of the
    key as well, since each example names its file and line.
    """
    if any(source.path not in hashes for source in sources):
        return None
    tokenizer = chat.tokenizer
    code = [file for name in CODE for file in files_in(PACKAGE / name)]
    parts = {
        "rows": [[source.path, hashes[source.path]] for source in sources],
        "sources": [repr(source) for source in sources],
        "data": data.model_dump(mode="json"),
        "tokenizer": [
            tokenizer.backend_tokenizer.to_str(),
            tokenizer.chat_template,
            tokenizer.special_tokens_map,
        ],
        "system": chat.system,
        "max_length": max_length,
        "code": [[str(file.relative_to(PACKAGE)), file_sha256(file)] for file in code],
        "versions": versions(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def input_hashes(data: DataConfig, hashes: Mapping[str, str] | None = None) -> dict[str, str]:
    """The hash of each source and of each template that a recipe names, by its name.

    Hub ids and known formats have none. `hashes` are those of the sources where they have just been
    read; without them the files are hashed as they are now.
    """
    found = {}
    for member in members(data):
        sha256 = source_hash(member.path) if hashes is None else hashes.get(member.path)
        if sha256 is not None:
            found[str(Path(member.path).resolve())] = sha256
    for member in members(data):
        config = member.data
        if not member.is_own_file and (config.task is not None or config.template is not None):
            for template in resolve_templates(config):
                text = repr(template).encode()
                found[f"template {template.name}"] = hashlib.sha256(text).hexdigest()
    return found


def store(key: str, run: RunDir, facts: LedgerFacts) -> None:
    """Keep a run's prepared files, and the facts that `restore` gives back.

    A cache that cannot be written, on a full disk say, does not stop the run.
    """
    files = _prepared_files(run)
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
    """Put an entry's files into the run, in place of what is there, and return its facts.

    None where there is no entry, or where one of its files has changed; such an entry is removed.
    """
    entry = folder() / key
    try:
        stored = read_record(entry / FACTS, Entry)
        files = _prepared_files(run)
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


def _prepared_files(run: RunDir) -> list[Path]:
    return [run.rows, *(run.examples(split) for split in SPLITS), run.twins, run.rejected]


def _link(source: Path, target: Path) -> None:
    """A hard link costs no space; a copy where the file system has none.

    A target that is there is removed and not written over: it may be mapped into memory.
    """
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
