"""Whether a run, run again from its rows, comes out as it did: rows, weights, answers and scores.

On the same machine, with the same versions and number of threads, all of it is the same bit for
bit. What differs is told with how much, and with the versions that have changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from tunesmith.artefacts import SHOWN, check, model_files
from tunesmith.errors import DataError
from tunesmith.evaluate.predictions import read_predictions
from tunesmith.evaluate.system_table import SYSTEMS
from tunesmith.recipe import Recipe
from tunesmith.records import SPLITS
from tunesmith.run_files import read_artefacts, read_evaluated, read_manifest
from tunesmith.rundir import JsonObject, RunDir, file_sha256, read_json
from tunesmith.seal import read_seal
from tunesmith.stages.common import judged_by_others, prepared_files, run_recipe
from tunesmith.stages.seeds import seed_folders


@dataclass(frozen=True)
class Reproduction:
    """How many things were compared between a run and the same recipe run again in `folder`, and in
    words what differs; `versions` are those of packages that have changed.
    """

    folder: str
    splits: int
    tensors: int
    answers: int
    scores: int
    differences: tuple[str, ...]
    versions: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """What was found."""
        what = (
            f"{self.splits} splits, {self.tensors} tensors, {self.answers} answers and "
            f"{self.scores} scores"
        )
        if not self.differences:
            return f"{self.folder}: the same {what}, bit for bit"
        changed = f"; other versions: {', '.join(self.versions)}" if self.versions else ""
        return f"{self.folder}: not the same: compared were {what}{changed}"


def check_whole(run: RunDir) -> None:
    """DataError for the first file of a run that is not as its stage made it, report and trainings
    with other seeds included; checkpoints are not looked at.
    """
    check(run, prepared_files(run))  # before the recipe is read
    for each in (run, *seed_folders(run, run_recipe(run))):
        if each.manifest.exists():
            read_seal(each)
            listed = [each.path / name for name in read_artefacts(each)]
            # a file of votes may be deleted
            check(
                each, [path for path in listed if path.exists() or each.reviews not in path.parents]
            )
            check(each, [*model_files(each), *judged_by_others(each)])


def recipe_again(run: RunDir, folder: Path | None) -> Recipe:
    """The run's recipe for another folder, by default RUN-again beside it; DataError where there is
    no result to compare with.
    """
    if not run.report_json.exists():
        raise DataError(
            f"{run.path}: not finished: there is no report to compare with",
            hint=f"`tunesmith resume {run.path}` goes on",
        )
    again = folder or run.path.with_name(f"{run.path.resolve().name}-again")
    return run_recipe(run).model_copy(update={"output_dir": str(again)})


def compare_with(first: RunDir, again: RunDir) -> Reproduction:
    """What two runs of one recipe have in common, bit by bit."""
    trainings = [first, *seed_folders(first, run_recipe(first))]
    pairs = [(one, RunDir(again.path / one.path.relative_to(first.path))) for one in trainings]
    rows = [_rows(first, again, split) for split in SPLITS]
    weights = [found for pair in pairs for found in _weights(*pair)]
    answers = [found for pair in pairs for found in _answers(*pair)]
    scores = list(_scores(read_json(first.report_json), read_json(again.report_json)))
    compared = [*rows, *weights, *answers, *scores]
    return Reproduction(
        str(again.path),
        len(rows),
        len(weights),
        len(answers),
        len(scores),
        tuple(text for text in compared if text),
        tuple(_versions(first, again)),
    )


# ---- each gives one text for a thing that was compared: what differs, or nothing


def _rows(first: RunDir, again: RunDir, split: str) -> str:
    before, now = (file_sha256(run.examples(split)) for run in (first, again))
    same = before == now
    return "" if same else f"{split} rows: sha256 {before[:SHOWN]} then, {now[:SHOWN]} now"


def _weights(first: RunDir, again: RunDir) -> Iterator[str]:
    before, now = _tensor_files(first), _tensor_files(again)
    for name in sorted({*before, *now}):
        if name not in before or name not in now:
            yield f"{again.model}: {name} is {'new' if name in now else 'gone'}"
        else:
            yield _tensor(name, _read(before[name], name), _read(now[name], name), again)


def _tensor(name: str, before: torch.Tensor, now: torch.Tensor, again: RunDir) -> str:
    if before.shape != now.shape or before.dtype != now.dtype:
        return f"{again.model}: {name} has another shape or number format"
    if before.equal(now):
        return ""
    largest = (before.float() - now.float()).abs().max().item()
    return f"{again.model}: {name} differs by at most {largest:.2g}"


def _tensor_files(run: RunDir) -> dict[str, Path]:
    """In which file of the model each tensor is."""
    found: dict[str, Path] = {}
    for path in sorted(run.model.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found |= dict.fromkeys(file.keys(), path)
    return found


def _read(path: Path, name: str) -> torch.Tensor:
    with safe_open(path, framework="pt") as file:
        tensor: torch.Tensor = file.get_tensor(name)
    return tensor


def _answers(first: RunDir, again: RunDir) -> Iterator[str]:
    """One for each row and system."""
    for system in read_evaluated(first, tuple(SYSTEMS)):
        before = read_predictions(first, system, "test")
        now = {p.example_id: p.text for p in read_predictions(again, system, "test")}
        for prediction in before:
            answer = now.get(prediction.example_id)
            yield (
                ""
                if answer == prediction.text
                else f"{again.path}: {system} answers row {prediction.example_id} with {answer!r}, "
                f"then {prediction.text!r}"
            )


def _scores(before: JsonObject, now: JsonObject) -> Iterator[str]:
    """The means of report.json, and its verdict."""
    then, new = _means(before), _means(now)
    for name in sorted({*then, *new}):
        same = then.get(name) == new.get(name)
        yield "" if same else f"{name}: {then.get(name)} then, {new.get(name)} now"


def _means(report: JsonObject) -> dict[str, object]:
    means: dict[str, object] = {
        f"{system} {metric}": estimate["mean"]
        for system, metrics in report["evaluations"].items()
        for metric, estimate in metrics.items()
    }
    return means | {"verdict": report["verdict"]["kind"]}


def _versions(first: RunDir, again: RunDir) -> Iterator[str]:
    before, now = (read_manifest(run).versions for run in (first, again))
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            yield f"{name} {before.get(name, '(none)')} then, {now.get(name, '(none)')} now"
