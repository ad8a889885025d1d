"""What the JSON files of a run hold: one record each, with one writer and one reader.

Stages hand records to each other through these files, so that each stage can run alone. Fields that
a reader does not know are ignored and fields with a default may be missing: a run folder of an
older tunesmith opens. One of a newer format is refused with what to do.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from tunesmith.errors import DataError
from tunesmith.recipe import DEFAULT_METRIC_OPTIONS, MetricOptions
from tunesmith.records import SPLITS
from tunesmith.rundir import RunDir, read_json, versions, write_json

FORMAT = 2
"""Of manifest.json. 1 had the task's keys beside the others, and no `format`."""
TASK_KEYS = ("family", "parser", "metrics", "prompt_layout", "held_out_wordings")
Record = TypeVar("Record")


@dataclass(frozen=True)
class Task:
    """What the rows ask of a model.

    `parser` says how answers are read (choice, number, json, text); `metrics[0]` is the primary
    one, which picks the checkpoint and carries the verdict. `prompt_layout` is the prompt with
    `{text}` where its only text goes, None where it takes more than one text. Training never sees a
    row in one of the `held_out_wordings`, nor any row of a task that is `held_out`.
    `options` are the metrics' settings.

    Of a mixture of several tasks, `tasks` holds each under its name (Example.task); the task itself
    then stands for all of them, and its metric is their mean (evaluate/tasks.py).
    """

    family: str = "free"
    parser: str = "text"
    metrics: tuple[str, ...] = ("exact_match", "token_f1", "rougeL")
    prompt_layout: str | None = None
    held_out_wordings: tuple[str, ...] = ()
    options: MetricOptions = DEFAULT_METRIC_OPTIONS
    held_out: bool = False
    tasks: Mapping[str, Task] = field(default_factory=dict)

    @property
    def primary(self) -> str:
        """The metric that decides."""
        return self.metrics[0]

    @property
    def judged(self) -> Mapping[str, Task]:
        """Every task that has answers to read and to score: its members, or itself alone under an
        empty name.
        """
        return self.tasks or {"": self}


@dataclass(frozen=True)
class Manifest:
    """What a run was prepared from. `files` are sha256 sums of the run's own files, `inputs` of the
    sources and templates, `model_files` of the base model's files, each by name.

    `artefacts`: whether the run lists in artefacts.json all that its stages make; those of an older
    tunesmith do not. `licence`: the base model's, as its own card or file names it; empty where it
    names none.
    """

    task: Task
    files: Mapping[str, str]
    inputs: Mapping[str, str]
    model_files: Mapping[str, str]
    versions: Mapping[str, str]
    notes: tuple[str, ...] = ()
    created: str = ""
    format: int = FORMAT
    artefacts: bool = False
    licence: str = ""


@dataclass(frozen=True)
class Artefact:
    """A file that a stage of the run has made: its sha256, and those of what it was made from, by
    name: a path below the run folder, a source's path, or `base model/` and a file's name.
    """

    sha256: str
    made_from: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Artefacts:
    """What artefacts.json holds: each file by its path below the run folder. `sha256` is of the
    list itself, so that a damaged list is not taken for damage to what it lists.
    """

    files: Mapping[str, Artefact]
    sha256: str


@dataclass(frozen=True)
class TrainingFacts:
    """What came of a training: train.loop's TrainResult, and how fast it was.

    `least_seconds` is the lower bound of train.roofline for this machine, `fraction_of_limit` how
    near the training came to it; `peak_memory_bytes` is of the whole process, on a GPU of the
    tensors there, and `planned_memory_bytes` what was planned for it before the training (0: not
    planned).
    """

    best_step: int
    steps: int
    history: tuple[Mapping[str, float], ...]
    seconds: float
    notes: tuple[str, ...] = ()
    trained_tokens: int = 0
    raw_tokens: int = 0
    forward_tokens: int = 0
    dtype: str = "float32"
    parameters: int = 0
    rows_per_second: float = 0.0
    least_seconds: float = 0.0
    fraction_of_limit: float = 0.0
    peak_memory_bytes: int = 0
    planned_memory_bytes: int = 0

    def shown(self) -> dict[str, int | float | str]:
        """What the report lists; history and notes stand elsewhere in it."""
        left_out = {"history", "notes"}
        if not self.planned_memory_bytes:
            left_out.add("planned_memory_bytes")
        return {k: v for k, v in asdict(self).items() if k not in left_out}


@dataclass(frozen=True)
class FewShot:
    """How the few-shot base was asked: row ids of the exemplars, how many of them an example had
    room for on average, and the wordings' scores on `rows` validation rows (empty: none was tried).
    """

    wording: str
    metric: str
    rows: int
    scores: Mapping[str, float]
    exemplars: tuple[str, ...]
    mean_shown: float


@dataclass(frozen=True)
class FewShotByTask:
    """How the few-shot base was asked in each trained task of a mixture."""

    tasks: Mapping[str, FewShot]


@dataclass(frozen=True)
class Twins:
    """Row ids of the test rows that have a near-twin (data/dedup) among the training rows, and how
    many validation rows do.

    `searched` is False where the recipe turns the search off, or there were too many rows for it.
    """

    searched: bool
    test: tuple[str, ...] = ()
    validation: int = 0


@dataclass(frozen=True)
class Opponents:
    """What the systems that the tuned model may have to beat scored on `rows` validation rows:
    `scores[metric][system]`. `likeliest` says by which likelihoods choices were ranked.
    Of a mixture, `tasks` holds the same for each trained task, and the scores are their means.
    """

    rows: int
    scores: Mapping[str, Mapping[str, float]]
    likeliest: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, Opponents] = field(default_factory=dict)


@dataclass(frozen=True)
class AnsweredIn:
    """The number format that a run's answers and likelihoods are computed in."""

    dtype: str


@dataclass(frozen=True)
class Evaluated:
    """The systems whose answers are stored, in the report's order. Evaluation writes it last, and
    one without systems first: so a stopped evaluation is told from one of an older version, which
    wrote none.
    """

    systems: tuple[str, ...]


@dataclass(frozen=True)
class RunState:
    """Which stages of a run are done. A stage's last act is to list the file that says so."""

    prepared: bool
    trained: bool
    evaluated: bool
    verified: bool


def run_state(run: RunDir) -> RunState:
    """What is done in a run folder; nothing where it is none. DataError where its list of
    artefacts is damaged.
    """
    made = _made(run)
    return RunState(
        prepared=run.manifest.exists(),
        trained=run.model.is_dir() and made(run.model / "config.json"),
        evaluated=_is_evaluated(run, made),
        verified=made(run.verification),
    )


def _is_evaluated(run: RunDir, made: Callable[[Path], bool]) -> bool:
    if run.evaluated.exists():  # without systems while an evaluation is at work
        return made(run.evaluated) and bool(read_record(run.evaluated, Evaluated).systems)
    return run.panel.exists() and not keeps_artefacts(run)  # an older run folder


def keeps_artefacts(run: RunDir) -> bool:
    """Whether the run lists all that its stages make; an older run folder does not."""
    return run.manifest.exists() and read_manifest(run).artefacts


def is_made(run: RunDir, path: Path) -> bool:
    """Whether a file is there and the stage that makes it has finished it."""
    return path.exists() and _made(run)(path)


def _made(run: RunDir) -> Callable[[Path], bool]:
    """`is_made` for many files of a run, whose list is read once."""
    if not keeps_artefacts(run):
        return Path.exists
    listed = read_artefacts(run)
    return lambda path: path.exists() and path.relative_to(run.path).as_posix() in listed


def read_artefacts(run: RunDir) -> dict[str, Artefact]:
    """The files that the run's stages have made, by their paths below it; of an older run folder,
    those that its preparation made. DataError where the list is gone or damaged.
    """
    older = {}
    if run.manifest.exists():
        manifest = read_manifest(run)
        older = {} if manifest.artefacts else {n: Artefact(s) for n, s in manifest.files.items()}
        if manifest.artefacts and not run.artefacts.exists():
            raise DataError(
                f"{run.artefacts}: gone; without it nothing in this run can be checked",
                hint="put it back, or start a new run in another output_dir",
            )
    if not run.artefacts.exists():
        return older
    found = read_record(run.artefacts, Artefacts)
    sha256 = _sha256_of(found.files)
    if found.sha256 != sha256:
        raise DataError(
            f"{run.artefacts}: changed since it was written: its list has the sha256 "
            f"{sha256[:12]}, written as {found.sha256[:12]}",
            hint="put it back as it was, or start a new run in another output_dir",
        )
    return {**older, **found.files}


def write_artefacts(run: RunDir, files: Mapping[str, Artefact]) -> None:
    """Replace the list, atomically."""
    in_order = {name: files[name] for name in sorted(files)}
    write_record(run.artefacts, Artefacts(in_order, _sha256_of(in_order)))


def _sha256_of(files: Mapping[str, Artefact]) -> str:
    values = {name: asdict(artefact) for name, artefact in files.items()}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def new_manifest(
    task: Task,
    files: Mapping[str, str],
    inputs: Mapping[str, str],
    model_files: Mapping[str, str],
    notes: tuple[str, ...],
    licence: str = "",
) -> Manifest:
    """The manifest of a run that is prepared now, by these versions."""
    return Manifest(
        task,
        files,
        inputs,
        model_files,
        versions(),
        notes,
        now(),
        artefacts=True,
        licence=licence,
    )


def read_manifest(run: RunDir) -> Manifest:
    """DataError where the file is not one, or is of a newer format."""
    values = _read(run.manifest)
    if not isinstance(values, dict):
        return _checked(values, Manifest, run.manifest)
    found = values.get("format", 1)
    if isinstance(found, int) and found > FORMAT:
        raise DataError(
            f"{run.manifest}: format {found}, this tunesmith reads up to {FORMAT}",
            hint="upgrade tunesmith, or prepare the run again in a new output_dir",
        )
    if found == 1:
        values["task"] = {key: values[key] for key in TASK_KEYS if key in values}
    return _checked(values, Manifest, run.manifest)


def read_record(path: Path, kind: type[Record]) -> Record:
    """The record that a file holds; DataError where it holds something else."""
    return _checked(_read(path), kind, path)


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except ValueError as error:  # not JSON, or not UTF-8
        raise DataError(
            f"{path}: not readable as JSON: {error}",
            hint="the file was changed or damaged: put it back, or prepare the run again in a new "
            "output_dir",
        ) from error


def write_record(path: Path, record: object) -> None:
    """As JSON, atomically. What is not finite becomes "NaN" or "Infinity", which `read_record`
    takes for the number that it is; null would be none.
    """
    kind: Any = type(record)
    write_json(path, _finite(_adapter(kind).dump_python(record)))


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    return value


def read_evaluated(run: RunDir, known: tuple[str, ...]) -> tuple[str, ...]:
    """The systems whose answers are stored; `known` is where to look in an older run folder."""
    if run.evaluated.exists():
        return read_record(run.evaluated, Evaluated).systems
    return tuple(name for name in known if run.predictions(name, SPLITS[-1]).exists())


def _checked(values: object, kind: type[Record], path: Path) -> Record:
    try:
        wanted: Any = kind
        return cast(Record, _adapter(wanted).validate_python(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path}: {where}: {first['msg']}",
            hint="the file was changed, or written by another version: prepare the run again",
        ) from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
