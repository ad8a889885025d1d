"""model/README.md: a Hugging Face model card with the verdict, a usage example and the limits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from tunesmith.evaluate.system_table import TUNED
from tunesmith.records import Estimate
from tunesmith.report import tables
from tunesmith.report.calibration import threshold_note, threshold_sentence
from tunesmith.report.content import Report
from tunesmith.report.format import is_auxiliary, metric_name, percent
from tunesmith.report.markdown import (
    facts,
    line,
    markdown_table,
    questions,
    steps,
    strip,
    titled,
)
from tunesmith.report.sections import Section, sections_of
from tunesmith.report.usage import about_table, base_name, is_local, snippet

UNKNOWN = "unknown"
"""The hub's identifier where the base model names no licence."""


def render_card(report: Report, sections: Sequence[Section] | None = None) -> str:
    """The card: front matter for the hub, then text for people. `sections` are the report's, where
    they are known already.
    """
    base = line(base_name(report.base_model))
    front = card_data(report).to_yaml()
    parts = [
        f"# {line(report.name)}",
        f"An instruct model, fine-tuned with tunesmith from {base}.",
        "## Is it better than its base?",
        line(" ".join(filter(None, [report.heading and f"{report.heading}.", report.verdict]))),
        questions(report),
        *strip(report),
        *steps(report),
        *_findings(sections or sections_of(report)),
        *_threshold(report),
        "## How to use it",
        "Prompt the model in the format it was trained on:",
        f"```python\n{snippet(report)}\n```",
        facts(about_table(report)),
        "## Training data",
        _sources(report),
        "## Limits",
        _limits(report),
    ]
    return f"---\n{front}\n---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def _findings(sections: Sequence[Section]) -> list[str]:
    """The tables that every section shows everywhere, with their titles."""
    return [
        titled(table.title or section.title, markdown_table(table))
        for section in sections
        for table in section.tables
    ]


def _threshold(report: Report) -> list[str]:
    """When the model may answer by itself, for tasks with choices."""
    found = report.calibration
    if found is None:
        return []
    text = f"{threshold_sentence(found)} {threshold_note(found)}"
    return ["## When may it answer by itself?", line(text)]


def card_data(report: Report) -> ModelCardData:
    """The metadata of the card in the form that the hub accepts; the model index carries the task's
    metrics on the test split, the verdict's first.
    """
    licence = report.licence or UNKNOWN
    return ModelCardData(
        base_model=hub_id(base_name(report.base_model)),
        base_model_relation="finetune",
        datasets=_hub_datasets(report) or None,
        library_name="transformers",
        license=licence,
        license_name="as-its-base-model" if licence == "other" else None,
        model_name=report.name,
        pipeline_tag="text-generation",
        tags=["tunesmith", "text-generation", "instruct", "fine-tuned"],
        eval_results=_results(report) or None,
    )


def _results(report: Report) -> list[EvalResult]:
    tuned = report.system(TUNED)
    found = tuned.estimates if tuned else {}
    names = [report.primary_metric, *(m for m in found if m != report.primary_metric)]
    source = ", ".join(Path(name).name for name in _source_names(report)) or report.name
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=hub_id(source),
            dataset_name=source,
            dataset_split="test",
            metric_type=metric,
            metric_value=round(found[metric].mean, 4),
            metric_name=_metric_name(report, metric, found[metric]),
        )
        for metric in names
        if metric in found and not is_auxiliary(metric) and math.isfinite(found[metric].mean)
    ]


def _metric_name(report: Report, metric: str, found: Estimate) -> str:
    ends = (
        f"no interval{f': {found.note}' if found.note else ''}"
        if math.isnan(found.ci[0])
        else f"{percent(report.confidence)} interval {found.ci[0]:.4f} to {found.ci[1]:.4f}"
    )
    return f"{metric_name(metric)}, n = {found.n}, {ends}"


def hub_id(name: str) -> str:
    """A name as the hub takes it for a repository: `org/name` or `name`, of letters, digits, `-`,
    `_` and `.`; other characters become `-`.
    """
    parts = [re.sub(r"[^\w.-]+", "-", part, flags=re.ASCII) for part in name.split("/")]
    plain = re.sub(r"-{2,}|\.{2,}", "-", "/".join(parts[-2:])).strip("-./")
    try:
        validate_repo_id(plain)
    except HFValidationError:
        return "unnamed"
    return plain


def _hub_datasets(report: Report) -> list[str]:
    """The sources that are data sets of the hub: `org/name:split` without the split."""
    names = [name.partition(":")[0] for name in _source_names(report) if not is_local(name)]
    return [name for name in names if name and hub_id(name) == name]


def _source_names(report: Report) -> list[str]:
    data = report.recipe.get("data")
    source = data.get("source") if isinstance(data, Mapping) else None
    listed = source if isinstance(source, list) else [source] if source else []
    return [str(item.get("source", "")) if isinstance(item, dict) else str(item) for item in listed]


def _sources(report: Report) -> str:
    names = ", ".join(Path(name).name if is_local(name) else name for name in _source_names(report))
    intro = f"Rows from {line(names)}." if names else ""
    return "\n\n".join(filter(None, [intro, markdown_table(tables.ledger_table(report.data))]))


def _limits(report: Report) -> str:
    lines = [
        "It was evaluated on test rows from the same source as its training rows; "
        "on other text it may do worse."
    ]
    if report.smallest_detectable is not None:
        lines.append(
            f"The test split can show a difference of {report.smallest_detectable:.3f} or more "
            "(80 % power); smaller effects, good or bad, would have gone unnoticed."
        )
    lines.append(
        "What it lost on other tasks was measured: see the table above."
        if report.retention
        else "What it lost on other tasks was not measured."
    )
    lines.append("It knows the prompt formats of its training rows; others were not tested.")
    return "\n".join(f"- {text}" for text in (*lines, *map(line, report.remarks)))
