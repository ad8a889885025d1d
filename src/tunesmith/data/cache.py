"""Prepared splits, kept under the hash of everything they depend on: the bytes of the rows, the
templates, the tokenizer, the data part of the recipe, max_length, and tunesmith's own code and
libraries. Names and times decide nothing: a changed file is another key, however old it says it is.

An entry appears whole, by a rename. Its files are copies, never links: a run whose file is written
over must not change the cache, and through it every other run. What is used is checked: the copy in
the run has to have the hash that was written when the entry was made. The folder may be deleted at
any time.
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
from tunesmith.progress import note
from tunesmith.recipe import DataConfig
from tunesmith.records import SPLITS
from tunesmith.run_files import read_record, write_record
from tunesmith.rundir import RunDir, cache_folder, file_sha256, sync, sync_tree, versions

PACKAGE = Path(__file__).parents[1]
CODE = ("data", "chat", "models", "assets/families", "records.py", "recipe.py")
FACTS = "facts.json"


@dataclass(frozen=True)
class Entry:
    """What a cache entry says of itself: hashes of its files by name, and the ledger."""

    files: Mapping[str, str]
    facts: LedgerFacts


def folder() -> Path:
    """In the cache folder."""
    return cache_folder() / "prepared"


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
                _copy(file, entry / file.name)
            hashes = {file.name: file_sha256(file) for file in files}
            write_record(entry / FACTS, Entry(hashes, facts))
            sync_tree(entry)
            entry.rename(folder() / key)
            sync(folder())
    except OSError:
        return


def restore(key: str, run: RunDir) -> LedgerFacts | None:
    """Put an entry's files into the run, in place of what is there, and return its facts.

    None where there is no entry, or where one of its files has changed; such an entry is removed,
    and that is said.
    """
    entry = folder() / key
    if not entry.is_dir():
        return None
    try:
        stored = read_record(entry / FACTS, Entry)
        run.rows.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=run.rows.parent, prefix=".") as temporary:
            copies = {file: Path(temporary) / file.name for file in _prepared_files(run)}
            for file, copy in copies.items():
                _copy(entry / file.name, copy)
            for copy in copies.values():
                found, kept = file_sha256(copy), stored.files[copy.name]
                if found != kept:
                    raise ValueError(
                        f"{entry / copy.name} has the sha256 {found[:12]}, written as {kept[:12]}"
                    )
            for file, copy in copies.items():
                # a rename: a file that is replaced may be mapped into memory
                copy.replace(file)
        return stored.facts
    except (OSError, ValueError, KeyError, DataError) as error:  # changed, or half deleted
        what = error.message if isinstance(error, DataError) else str(error)
        note(f"removed a damaged entry of the cache, the rows are prepared anew: {what}")
        shutil.rmtree(entry, ignore_errors=True)
        return None


def _prepared_files(run: RunDir) -> list[Path]:
    return [run.rows, *(run.examples(split) for split in SPLITS), run.twins, run.rejected]


def _copy(source: Path, target: Path) -> None:
    """Of the bytes; where the file system can (Btrfs, XFS), the copy shares them until one of the
    two is written to, and takes no space.
    """
    with source.open("rb") as read, target.open("wb") as written:
        left = os.fstat(read.fileno()).st_size
        try:
            while left and (n := os.copy_file_range(read.fileno(), written.fileno(), left)):
                left -= n
        except (OSError, AttributeError):  # not on this file system, or not on this machine
            left = -1
    if left:
        shutil.copyfile(source, target)
