"""The seal on a run's test split: which rows it has, and every use of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tunesmith.errors import DataError
from tunesmith.run_files import now, read_record, write_record
from tunesmith.rundir import RunDir


@dataclass(frozen=True)
class Use:
    """One time that the test split was answered."""

    purpose: str
    at: str


@dataclass(frozen=True)
class Seal:
    """`sha256` is of the ids of the test examples in order, `n` their number."""

    sha256: str
    n: int
    uses: tuple[Use, ...] = ()


def write_seal(run: RunDir, test_ids: Iterable[str]) -> None:
    """Seal the test split; it has not been used."""
    ids = list(test_ids)
    write_record(run.seal, Seal(_sha256(ids), len(ids)))


def read_seal(run: RunDir) -> Seal:
    """The seal as it is now."""
    return read_record(run.seal, Seal)


def check_seal(run: RunDir, test_ids: Iterable[str]) -> Seal:
    """The seal; DataError where the ids are not the sealed ones."""
    seal, found = read_seal(run), _sha256(test_ids)
    if found != seal.sha256:
        raise DataError(
            f"{run.seal}: the test split is not the sealed one: sha256 {found[:12]}, sealed "
            f"{seal.sha256[:12]}",
            hint="run `tunesmith prepare` again in a new output_dir",
        )
    return seal


def open_seal(run: RunDir, test_ids: Iterable[str], purpose: str) -> int:
    """Record a use and return how many there have been; DataError where the ids are not the sealed
    ones.

    Called when there are results that somebody can see: an evaluation that was interrupted has told
    nobody anything, and going on with it is not a second use.
    """
    seal = check_seal(run, test_ids)
    used = replace(seal, uses=(*seal.uses, Use(purpose, now())))
    write_record(run.seal, used)
    return len(used.uses)


def _sha256(ids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
