"""Everything a report shows, gathered once: what the page, report.md, report.json, the card and the
terminal read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from tunesmith.evaluate.system_table import TUNED
from tunesmith.records import Comparison, Estimate, Evaluation, Example

__all__ = ["TUNED", "CurvePoint", "ForgettingRow", "JudgedMetric", "Report", "to_json"]


@dataclass(frozen=True, slots=True)
class ForgettingRow:
    """One task or text of the panel, before and after training.

    `difference` is after minus before with its paired interval; `detectable` is the smallest change
    that this many rows would have shown at 80 % power.
    """

    name: str
    metric: str
    before: float
    after: float
    difference: float
    ci: tuple[float, float]
    detectable: float
    n: int = 0


@dataclass(frozen=True, slots=True)
class JudgedMetric:
    """One of several metrics against the verdict's reference system.

    `p_holm` is its p adjusted over all of them.
    """

    comparison: Comparison
    p_holm: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The primary metric after training on `rows` rows, which are `fraction` of the training split."""

    fraction: float
    rows: int
    estimate: Estimate


@dataclass(frozen=True)
class Report:
    """What a run found.

    `verdict_kind` is "better", "not better" or "cannot tell"; `verdict` is the sentence with its
    numbers. `comparisons[0]` is the verdict's; `judged` are all metrics that the recipe names,
    where they are several, the primary one first: the verdict rests on its adjusted p.
    `evaluations` are the systems on the test split as evaluate.compare gives them, `wordings` the
    same cut by a label such as "Wordings seen in training". `history` is metrics.jsonl: step, loss
    and, where the model was validated, validation_loss and validation_METRIC. In `training`,
    `seconds` and keys that end in `_bytes` are shown with their units. `data` is ledger.json.
    `prompt_layout` is the prompt template for the card, its text slot as `{text}`; without one the
    card shows a test prompt.
    """

    name: str
    verdict_kind: str
    verdict: str
    primary_metric: str
    evaluations: Sequence[Evaluation]
    comparisons: Sequence[Comparison]
    examples: Mapping[str, Example]
    judged: Sequence[JudgedMetric] = ()
    history: Sequence[Mapping[str, Any]] = ()
    best_step: int | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    test_uses: int = 1
    forgetting: Sequence[ForgettingRow] = ()
    wordings: Mapping[str, Sequence[Evaluation]] = field(default_factory=dict)
    learning_curve: Sequence[CurvePoint] = ()
    command: str = ""
    prompt_layout: str = ""
    confidence: float = 0.95

    @property
    def comparison(self) -> Comparison | None:
        """The comparison that the verdict rests on."""
        return self.comparisons[0] if self.comparisons else None

    @property
    def smallest_detectable(self) -> float | None:
        """The smallest difference of the primary metric that the test split can show at 80 % power."""
        return self.comparison.smallest_detectable if self.comparison else None

    @property
    def remarks(self) -> list[str]:
        """The notes, and what the metrics warned of; each once."""
        warnings = [
            text
            for evaluation in self.evaluations
            for text in evaluation.details.get("warnings") or ()
        ]
        return list(dict.fromkeys([*self.notes, *warnings]))

    @property
    def training_facts(self) -> dict[str, Any]:
        """`training` without what stands elsewhere in the report."""
        return {
            key: value
            for key, value in self.training.items()
            if key not in ("history", "best_step", "notes")
        }

    @property
    def base_model(self) -> str:
        return str(self.recipe.get("model", ""))

    def system(self, name: str) -> Evaluation | None:
        return next(
            (evaluation for evaluation in self.evaluations if evaluation.system == name), None
        )


def to_json(report: Report) -> dict[str, Any]:
    """The contents of report.json, plain values only; numbers that are not finite become null."""
    value = {
        "verdict": {
            "kind": report.verdict_kind,
            "sentence": report.verdict,
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
        "forgetting": report.forgetting,
        "learning_curve": report.learning_curve,
        "history": report.history,
        "data": report.data,
        "recipe": report.recipe,
    }
    plain: dict[str, Any] = _plain(value)
    return plain


def _estimates(evaluations: Sequence[Evaluation]) -> dict[str, Mapping[str, Estimate]]:
    """`{system: {metric: {mean, n, se, ci}}}`."""
    return {evaluation.system: evaluation.estimates for evaluation in evaluations}


def _plain(value: Any) -> Any:
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
