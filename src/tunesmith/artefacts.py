"""The files of a run, each with its hash and the hashes of what it was made from: what was checked
is what is used.

A stage lists what it has made (`record`), takes off the list what it is about to make anew
(`forget`), and checks what it reads before it reads it (`check`). A file that is there and not
listed was not finished. Not listed are checkpoints, which have checksums of their own
(train/checkpoint.py), the seal, which its uses change (seal.py), and model/README.md, which is for
people to edit. Reviews and judgements are listed without what they were made from: they hold the
answers themselves, and are left out of the report with a note where these have changed.

The hash is always that of all bytes. Size and time of a file are no proof: they can stay while a
byte changes, and copying a run changes the times of all files. A model is read from the disk anyway
to be loaded, and hashing it is faster than that (docs/artefacts.md).

This finds damage and mix-ups. Whoever can write to the folder can write to the list too; what
stands against that is to run it again (`tunesmith reproduce`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from tunesmith.errors import DataError
from tunesmith.progress import note
from tunesmith.run_files import Artefact, keeps_artefacts, read_artefacts, write_artefacts
from tunesmith.rundir import MODEL_FILE_KINDS, RunDir, file_sha256

SHOWN = 12  # digits of a hash in an error


def record(run: RunDir, made: Iterable[Path], made_from: Mapping[str, str] | None = None) -> None:
    """List files that have just been made. `made_from`: the hashes of what they were made from."""
    paths = list(made)
    hashes = zip(paths, _hashes(paths), strict=True)
    new = {_name(run, path): Artefact(sha256, made_from or {}) for path, sha256 in hashes}
    write_artefacts(run, {**read_artefacts(run), **new})


def forget(run: RunDir, paths: Iterable[Path]) -> None:
    """Take off the list what is about to be made anew: until then it counts as not made."""
    gone = {_name(run, path) for path in paths}
    listed = read_artefacts(run)
    if gone & {*listed}:
        write_artefacts(run, {name: listed[name] for name in listed if name not in gone})


def listed_hashes(run: RunDir, paths: Iterable[Path]) -> dict[str, str]:
    """The hashes of those files that are listed, by name: for the `made_from` of another file."""
    listed, names = read_artefacts(run), (_name(run, path) for path in paths)
    return {name: listed[name].sha256 for name in names if name in listed}


def model_files(run: RunDir) -> list[Path]:
    """What the saved model consists of: what is listed, and what loading would read besides. The
    threshold in its folder belongs to the evaluation.
    """
    listed = [run.path / name for name in read_artefacts(run)]
    there = [path for path in run.model.rglob("*") if path.suffix in MODEL_FILE_KINDS]
    found = {path for path in (*listed, *there) if run.model in path.parents}
    return sorted(found - {run.threshold})


def check(run: RunDir, paths: Iterable[Path]) -> None:
    """DataError for the first file that is not as its stage made it, that no stage has finished, or
    that was made from another version of a file of this run.

    What is neither there nor listed was never made, which is for the caller to judge. Files that
    are not listed are let through with a note in the folder of an older run, which listed only
    what it prepared.
    """
    listed = read_artefacts(run)
    wanted = [path for path in dict.fromkeys(paths) if path.exists() or _name(run, path) in listed]
    there = [path for path in wanted if path.exists()]
    found = dict(zip(there, _hashes(there), strict=True))
    for path in wanted:
        artefact = listed.get(_name(run, path))
        if artefact is not None:
            _check_listed(run, path, artefact, found.get(path))
            _check_origin(run, path, artefact, listed)
        elif keeps_artefacts(run):
            raise DataError(
                f"{path}: sha256 {found[path][:SHOWN]}, but no finished stage of this run has made "
                "it, and none is recorded",
                hint=_remedy(run, path),
            )
        else:
            _note_older(run.path)


def _check_listed(run: RunDir, path: Path, artefact: Artefact, found: str | None) -> None:
    if found is None:
        raise DataError(
            f"{path}: gone since it was made, with the sha256 {artefact.sha256[:SHOWN]}",
            hint=_remedy(run, path),
        )
    if found != artefact.sha256:
        raise DataError(
            f"{path}: changed since it was made: sha256 {found[:SHOWN]}, made as "
            f"{artefact.sha256[:SHOWN]}",
            hint=_remedy(run, path),
        )


def _check_origin(
    run: RunDir, path: Path, artefact: Artefact, listed: Mapping[str, Artefact]
) -> None:
    for source, sha256 in artefact.made_from.items():
        if source in listed and listed[source].sha256 != sha256:
            raise DataError(
                f"{path}: made from another {source}: sha256 {sha256[:SHOWN]} then, "
                f"{listed[source].sha256[:SHOWN]} now",
                hint=_remedy(run, path),
            )


def _remedy(run: RunDir, path: Path) -> str:
    """How the file can be made again."""
    if path == run.training or (run.model in path.parents and path != run.threshold):
        return f"`tunesmith train {run.path}` saves it again from the best checkpoint"
    if path == run.verification:
        return f"`tunesmith verify {run.path}` asks the model again"
    if path == run.threshold or run.evaluation in path.parents:
        return f"`tunesmith evaluate {run.path}` answers the test rows again"
    if {run.reviews, run.judgements} & {*path.parents}:
        return "put it back as it was, or remove it and have it judged again"
    if path in (run.report_html, run.report_md, run.report_json) or run.plots in path.parents:
        return f"`tunesmith report {run.path}` writes it again"
    return "start a new run in another output_dir, or put the file back as it was"


def _hashes(paths: list[Path]) -> list[str]:
    """Several at once: the shards of a large model are read side by side."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(file_sha256, paths))


def _name(run: RunDir, path: Path) -> str:
    return path.relative_to(run.path).as_posix()


@cache  # once for a run folder and command
def _note_older(folder: Path) -> None:
    note(
        f"{folder} was made by an older tunesmith, which kept no hashes of models and "
        "answers: they are not checked"
    )
