"""tunesmith from Python: the commands as functions on files and tables, and a run as an object.

Errors are exceptions of tunesmith.errors, whose text is what the command line prints.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tunesmith import pipeline
from tunesmith.data.sources.rows import read_rows
from tunesmith.data.store import read_examples
from tunesmith.evaluate.predictions import read_predictions
from tunesmith.evaluate.score_file import ScoreResult, score_file
from tunesmith.inert import inert
from tunesmith.recipe import build_recipe, is_recipe, load_recipe, run_folder_of
from tunesmith.rundir import RunDir, read_json
from tunesmith.stages.common import open_run
from tunesmith.stages.predict import predict
from tunesmith.stages.preflight import check_output
from tunesmith.tables import Table, is_path, write_table


@dataclass(frozen=True)
class Run:
    """A finished run; `Run("runs/reviews")` opens one.

    Attributes:
        folder: The run folder. `folder / "model"` loads with `from_pretrained`.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", open_run(Path(self.folder)).path)

    @cached_property
    def report(self) -> dict[str, Any]:
        """What report.json holds."""
        found: dict[str, Any] = read_json(RunDir(self.folder).report_json)
        return found

    @property
    def comparison(self) -> dict[str, Any]:
        """The tuned model against the strongest form of its base: the fields of Comparison."""
        found: dict[str, Any] = self.report["comparison"]
        return found

    @property
    def verdict(self) -> str:
        """The sentences that the report begins with."""
        sentence: str = self.report["verdict"]["sentence"]
        return sentence

    @cached_property
    def predictions(self) -> list[dict[str, Any]]:
        """Each test row: its prompt, the right answer and what each system answered, None where it
        was not asked.
        """
        run = RunDir(self.folder)
        test = read_examples(run.examples("test"))
        answers = {
            name: {found.example_id: found.text for found in read_predictions(run, name, "test")}
            for name in self.report["evaluations"]
            if run.predictions(name, "test").exists()
        }
        return [
            {
                "id": example.id,
                "source": example.source,
                "prompt": example.prompt,
                "reference": example.completion,
                **{name: texts.get(example.id) for name, texts in answers.items()},
            }
            for example in test
        ]

    def predict(self, rows: Table | str | Path, task: str | None = None) -> list[dict[str, Any]]:
        """The rows of a table or a file with their answers, as `tunesmith predict` writes them."""
        with tempfile.TemporaryDirectory() as folder:
            file = _as_file(rows, Path(folder) / "rows")
            answered = Path(folder) / "answered.jsonl"
            predict(RunDir(self.folder), file, answered, task)
            return [dict(row.values) for row in read_rows(answered)]

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}): {inert(self.verdict)}"

    def _repr_html_(self) -> str:
        """The three questions, for notebooks."""
        rows = Markup("").join(
            Markup("<tr><th>{}</th><td>{}</td><td style='text-align:left'>{}</td></tr>").format(
                *(inert(asked[key]) for key in ("title", "answer", "sentence"))
            )
            for asked in self.report["verdict"]["questions"]
        )
        page = RunDir(self.folder).report_html
        return str(
            Markup("<b>{}</b><table>{}</table>report: <code>{}</code>").format(
                inert(self.report["verdict"]["heading"]), rows, inert(str(page))
            )
        )


def run(
    source: Table | str | Path | Mapping[str, Any],
    *,
    task: str | None = None,
    template: str | None = None,
    columns: Mapping[str, str] | None = None,
    model: str | Path | None = None,
    output_dir: str | Path | None = None,
    **sections: Any,
) -> Run:
    """Prepare, train, evaluate and report.

    Args:
        source: A recipe (a yaml file, or a mapping with its keys), a data file, or a table; see
            `tables.write_table`. A table is written beside the run folder, as `NAME.rows.*`.
        task: A task family, as `data.task`.
        template: A wording or an inline template, as `data.template`.
        columns: Slot to column, as `data.columns`.
        model: As in the recipe.
        output_dir: The run folder; default: `runs/` and the name of the file.
        sections: Other parts of the recipe: `train={"num_train_epochs": 5}`.

    Raises:
        TunesmithError: what the command line would print, before any work where it can be known.
    """
    data = {"task": task, "template": template, "columns": columns, **sections.pop("data", {})}
    given = {"data": data, "model": model, "output_dir": output_dir, **sections}
    values, where = _recipe_values(source, output_dir)
    recipe, _ = build_recipe(_merged(values, given), where=where)
    pipeline.run(recipe)
    return Run(Path(recipe.output_dir))


def resume(folder: str | Path) -> Run:
    """Continue a run that was stopped, exactly where it was."""
    pipeline.resume(Path(folder))
    return Run(Path(folder))


def score(
    rows: Table | str | Path,
    reference: str | Sequence[str],
    predictions: Mapping[str, str],
    metrics: Sequence[str] | None = None,
    **options: Any,
) -> ScoreResult:
    """The answers of any systems, with intervals, compared in pairs; see `score_file`.

    `reference` names the column with the right answers, `predictions` each system's column.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = _as_file(rows, Path(folder) / "rows")
        return score_file(file, reference, predictions, metrics, **options)


def _as_file(rows: Table | str | Path, path: Path) -> Path:
    return Path(str(rows)) if is_path(rows) else write_table(rows, path)


def _recipe_values(source: Any, output_dir: str | Path | None) -> tuple[Mapping[str, Any], str]:
    """The recipe that a source stands for, and what errors call it."""
    if isinstance(source, Mapping) and ("data" in source or "model" in source):
        return source, "recipe"
    if is_path(source) and is_recipe(Path(source)):
        recipe, _ = load_recipe(Path(source))
        return recipe.model_dump(exclude_unset=True), str(source)
    if is_path(source):
        folder = run_folder_of(Path(source))
        return {"data": {"source": str(source)}, "output_dir": folder}, "run"
    beside = Path(output_dir or "runs/table")
    check_output(beside)  # else the rows of the run that is there would be written over
    path = write_table(source, beside.with_name(f"{beside.name}.rows"))
    return {"data": {"source": str(path)}, "output_dir": str(beside)}, "run"


def _merged(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with what is given in their place; None is not given."""
    merged = dict(values)
    for key, value in given.items():
        if isinstance(value, Mapping):
            merged[key] = _merged(merged.get(key) or {}, value)
        elif value is not None:
            merged[key] = str(value) if isinstance(value, Path) else value
    return merged
