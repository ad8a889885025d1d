"""The folders of a recipe that is trained with several seeds, and of parts of its rows."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from tunesmith.recipe import Recipe, dump_recipe
from tunesmith.records import SPLITS
from tunesmith.run_files import read_manifest, write_record
from tunesmith.rundir import RunDir, file_sha256, write_atomic
from tunesmith.stages.common import check_prepared, list_prepared


def copy_of(whole: RunDir, folder: Path, recipe: Recipe) -> RunDir:
    """A run folder with the same prepared rows and another recipe (seed, output_dir ...). It
    appears when all is there. DataError where the rows are not those that were prepared.
    """
    check_prepared(whole)
    part = RunDir(folder.with_name(f".{folder.name}.copying"))
    shutil.rmtree(part.path, ignore_errors=True)
    part.examples("train").parent.mkdir(parents=True)
    for split in SPLITS:
        shutil.copy(whole.examples(split), part.examples(split))
    for path in (
        whole.seal,
        whole.ledger,
        whole.chat_template,
        whole.original_chat_template,
        whole.answered_in,
    ):
        if path.exists():
            (part.path / path.relative_to(whole.path)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, part.path / path.relative_to(whole.path))
    write_atomic(part.recipe, dump_recipe(recipe.model_copy(update={"output_dir": str(folder)})))
    seal_files(whole, part)
    part.path.rename(folder)
    return RunDir(folder)


def seal_files(whole: RunDir, part: RunDir) -> None:
    """Write the part's manifest, which is the whole's with the hashes of the part's own files, and
    its list of artefacts.
    """
    manifest = read_manifest(whole)
    own = {name: file_sha256(part.path / name) for name in manifest.files}
    write_record(part.manifest, replace(manifest, files=own, artefacts=True))
    list_prepared(part)


def seed_folders(run: RunDir, recipe: Recipe) -> list[RunDir]:
    """Where the second and later trainings live; none for `train.seeds: 1`."""
    first = recipe.train.seed
    return [
        RunDir(run.path / "seeds" / str(seed))
        for seed in range(first + 1, first + recipe.train.seeds)
    ]
