"""Everything that a report shows, as data; report.json is written from it.

`report/sections.py` arranges it for the page, report.md, the model card and the terminal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from tunesmith.evaluate.decisions import Broken, Calibration, Gate, SliceRow
from tunesmith.evaluate.preference import Preference
from tunesmith.records import (
    Comparison,
    Estimate,
    Evaluation,
    Example,
    Question,
    RetentionRow,
    TaskReport,
    TwinScores,
    Unreadable,
)

VerdictClass = Literal["good", "bad", "open"]


class SplitCounts(TypedDict, total=False):
    """What one split holds, from ledger.json."""

    rows: int
    rejected: int
    examples: int
    tokens: int
    trained_tokens: int


class LedgerCounts(TypedDict, total=False):
    """ledger.json: the fate of every raw row (`rows`) and what each split holds (`splits`).

    `rejected` counts by reason; `shortened` counts examples by the field that was cut.
    """

    rows: Mapping[str, int]
    rejected: Mapping[str, int]
    dropped_examples_of_kept_rows: Mapping[str, int]
    conflicting_rows: int
    near_duplicate_clusters: int
    shortened: Mapping[str, Mapping[str, int]]
    splits: Mapping[str, SplitCounts]
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class JudgedMetric:
    """One of several metrics against the verdict's reference system.

    `p_holm` is the p-value adjusted for all of them (Holm's method).
    """

    comparison: Comparison
    p_holm: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The primary metric after training on `rows` rows, a `fraction` of the training split."""

    fraction: float
    rows: int
    estimate: Estimate


@dataclass(frozen=True)
class Report:
    """What a run found.

    `verdict_kind` is "better", "not better" or "cannot tell"; `heading` says it in ten words,
    `verdict` with the levels, and `questions` are the three that it is made of, with all numbers.
    `reference_note` says how the reference system was chosen. `unreadable` are the systems of which
    many answers could not be read; `twins` are the scores without the test rows that have a
    near-twin in training, None where these were not searched.

    `comparisons[0]` is the one the verdict rests on. `judged` holds every metric the
    recipe names if there are several, the primary one first; the verdict then rests on its adjusted
    p. `evaluations` are the systems on the test split as `evaluate.compare` returns them;
    `wordings` holds the same for subsets of the test split, such as "Wordings seen in training".
    `history` is metrics.jsonl: step, loss and, at validation steps, validation_loss and
    validation_METRIC. In `training`, `seconds` and keys that end in `_bytes` are shown with their
    units. `data` is ledger.json. `prompt_layout` is the prompt template for the model card with
    `{text}` for the input; without one the card shows a test prompt.

    `held_out` are the systems on the test rows of tasks that were never trained. `slice_of` is the
    part of each test example, by the way of dividing and the example's id. `prepared` and `tested`
    are ISO times; `licence` is the base model's, empty where it is not known.
    """

    name: str
    verdict_kind: str
    verdict: str
    primary_metric: str
    evaluations: Sequence[Evaluation]
    comparisons: Sequence[Comparison]
    examples: Mapping[str, Example]
    judged: Sequence[JudgedMetric] = ()
    history: Sequence[Mapping[str, float | None]] = ()
    best_step: int | None = None
    training: Mapping[str, object] = field(default_factory=dict)
    data: LedgerCounts = field(default_factory=LedgerCounts)
    recipe: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()
    heading: str = ""
    questions: Sequence[Question] = ()
    reference_note: str = ""
    test_uses: int = 1
    retention: Sequence[RetentionRow] = ()
    wordings: Mapping[str, Sequence[Evaluation]] = field(default_factory=dict)
    learning_curve: Sequence[CurvePoint] = ()
    command: str = ""
    prompt_layout: str = ""
    confidence: float = 0.95
    tasks: TaskReport | None = None
    slices: Sequence[SliceRow] = ()
    twins: TwinScores | None = None
    broken: Broken | None = None
    gates: Sequence[Gate] = ()
    calibration: Calibration | None = None
    unreadable: Sequence[Unreadable] = ()
    preferences: Sequence[Preference] = ()
    held_out: Sequence[Evaluation] = ()
    slice_of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    prepared: str = ""
    tested: str = ""
    licence: str = ""

    @property
    def verdict_line(self) -> str:
        """The verdict in few words; of the headline's questions, how many are answered with yes."""
        measured = [q for q in self.questions if q.answer != "not measured"]
        if not measured:
            return f"Verdict: {self.verdict_kind.replace('_', ' ')}"
        yes = sum(question.answer == "yes" for question in measured)
        return f"Verdict: yes to {yes} of {len(measured)} questions"

    @property
    def comparison(self) -> Comparison | None:
        """The comparison that the verdict rests on; None without a baseline."""
        return self.comparisons[0] if self.comparisons else None

    @property
    def smallest_detectable(self) -> float | None:
        """The smallest difference that the test split can show with 80 % power; None if none."""
        found = self.comparison.smallest_detectable if self.comparison else math.nan
        return None if math.isnan(found) else found

    @property
    def remarks(self) -> list[str]:
        """The notes and the metrics' warnings, without duplicates."""
        warnings = [
            text
            for evaluation in self.evaluations
            for text in evaluation.details.get("warnings") or ()
        ]
        return list(dict.fromkeys([*self.notes, *warnings]))

    @property
    def training_facts(self) -> dict[str, object]:
        """`training` without what the report shows elsewhere."""
        return {
            key: value
            for key, value in self.training.items()
            if key not in ("history", "best_step", "notes")
        }

    @property
    def base_model(self) -> str:
        """The recipe's `model`: a hub id or a path; empty if unknown."""
        return str(self.recipe.get("model", ""))

    def system(self, name: str) -> Evaluation | None:
        """The evaluation of one system (`base`, `tuned` ...); None if it was not evaluated."""
        return next(
            (evaluation for evaluation in self.evaluations if evaluation.system == name), None
        )


def verdict_class(kind: str) -> VerdictClass:
    """Whether a verdict is good news, bad news or open; decides its colour."""
    plain = kind.lower().replace("_", " ").replace("-", " ")
    if plain == "better":
        return "good"
    return "bad" if plain in ("not better", "worse") else "open"


def to_json(report: Report) -> dict[str, Any]:
    """The contents of report.json: plain values only; NaN and infinity become null."""
    value = {
        "verdict": {
            "kind": report.verdict_kind,
            "heading": report.heading,
            "sentence": report.verdict,
            "questions": report.questions,
            "metric": report.primary_metric,
            "confidence": report.confidence,
        },
        "comparison": report.comparison,
        "comparisons": report.comparisons,
        "judged": report.judged,
        "evaluations": _estimates(report.evaluations),
        "run": {
            "name": report.name,
            "base_model": report.base_model,
            "licence": report.licence,
            "prepared": report.prepared,
            "tested": report.tested,
            "best_step": report.best_step,
            "test_uses": report.test_uses,
            "smallest_detectable": report.smallest_detectable,
            "training": report.training_facts,
            "versions": report.versions,
            "notes": report.remarks,
            "command": report.command,
        },
        "wordings": {name: _estimates(found) for name, found in report.wordings.items()},
        "details": {evaluation.system: evaluation.details for evaluation in report.evaluations},
        "forgetting": report.retention,
        "slices": report.slices,
        "twins": report.twins,
        "broken": report.broken,
        "gates": report.gates,
        "calibration": report.calibration,
        "learning_curve": report.learning_curve,
        "tasks": report.tasks,
        "unreadable": report.unreadable,
        "preferences": report.preferences,
        "history": report.history,
        "data": report.data,
        "recipe": report.recipe,
    }
    return {key: _plain(inner) for key, inner in value.items()}


def _estimates(evaluations: Sequence[Evaluation]) -> dict[str, Mapping[str, Estimate]]:
    """`{system: {metric: {mean, n, se, ci}}}`."""
    return {evaluation.system: evaluation.estimates for evaluation in evaluations}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {name.name: _plain(getattr(value, name.name)) for name in fields(value)}
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
