"""The same recipe trained with several seeds, and what the luck of one training adds to the
interval.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats

from tunesmith.recipe import Recipe, dump_recipe
from tunesmith.records import SPLITS, Comparison
from tunesmith.run_files import read_manifest, write_record
from tunesmith.rundir import RunDir, file_sha256, write_atomic


def copy_of(whole: RunDir, folder: Path, recipe: Recipe) -> RunDir:
    """A run folder with the same prepared rows and another recipe (seed, output_dir ...)."""
    part = RunDir(folder)
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
    return part


def seal_files(whole: RunDir, part: RunDir) -> None:
    """Write the part's manifest: the whole's, with the hashes of the part's own files."""
    manifest = read_manifest(whole)
    own = {name: file_sha256(part.path / name) for name in manifest.files}
    write_record(part.manifest, replace(manifest, files=own))


def seed_folders(run: RunDir, recipe: Recipe) -> list[RunDir]:
    """Where the second and later trainings live; none for `train.seeds: 1`."""
    first = recipe.train.seed
    return [
        RunDir(run.path / "seeds" / str(seed))
        for seed in range(first + 1, first + recipe.train.seeds)
    ]


def with_seeds(
    comparison: Comparison, differences: Sequence[float], confidence: float
) -> tuple[Comparison, str]:
    """The comparison for a training of this recipe, not for one lucky run: the mean difference over
    seeds, its variance that of the test rows plus that between runs divided by their number, and
    Student's interval and p.

    The degrees of freedom are Satterthwaite's (1946), because two or three runs say little about
    their own spread. Also a sentence that says so. `differences` are one for each seed, on the same
    test rows.
    """
    k = len(differences)
    between = float(np.std(differences, ddof=1))
    mean = float(np.mean(differences))
    of_rows, of_runs = comparison.se_clustered**2, between**2 / k
    se = math.sqrt(of_rows + of_runs)
    freedom = (
        se**4 / (of_rows**2 / (comparison.clusters - 1) + of_runs**2 / (k - 1)) if se > 0 else 1.0
    )
    z = float(stats.t.ppf((1 + confidence) / 2, freedom))
    p = float(2 * stats.t.sf(abs(mean) / se, freedom)) if se > 0 else 1.0
    note = (
        f"{k} trainings with different seeds: {comparison.metric} differs from {comparison.a} by "
        + ", ".join(f"{difference:+.3f}" for difference in differences)
        + f" (standard deviation between runs {between:.3f}); the verdict's interval includes it"
    )
    changed = replace(
        comparison,
        difference=mean,
        se=se,
        se_clustered=se,
        ci=(mean - z * se, mean + z * se),
        p=p,
        test=f"Student's t, {k} trainings",
    )
    return changed, note
