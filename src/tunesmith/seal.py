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
    """`sha256` is of the ids of the test examples in order, `n` their number. `own_sha256` is of
    all this, so that no use is lost unseen; empty in an older run folder.
    """

    sha256: str
    n: int
    uses: tuple[Use, ...] = ()
    own_sha256: str = ""


def write_seal(run: RunDir, test_ids: Iterable[str]) -> None:
    """Seal the test split; it has not been used."""
    ids = list(test_ids)
    _write(run, Seal(_sha256(ids), len(ids)))


def read_seal(run: RunDir) -> Seal:
    """The seal as it is now; DataError where it is not as it was written."""
    seal = read_record(run.seal, Seal)
    found = _own_sha256(seal)
    if seal.own_sha256 not in ("", found):
        raise DataError(
            f"{run.seal}: changed since it was written: its contents have the sha256 {found[:12]}, "
            f"written as {seal.own_sha256[:12]}",
            hint="put it back as it was, or start a new run in another output_dir",
        )
    return seal


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
    _write(run, used)
    return len(used.uses)


def _write(run: RunDir, seal: Seal) -> None:
    write_record(run.seal, replace(seal, own_sha256=_own_sha256(seal)))


def _own_sha256(seal: Seal) -> str:
    return _sha256([seal.sha256, str(seal.n), *(f"{use.at} {use.purpose}" for use in seal.uses)])


def _sha256(ids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()
