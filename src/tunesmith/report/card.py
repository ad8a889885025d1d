"""model/README.md: a Hugging Face model card with the verdict, a usage example and the limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from tunesmith.evaluate.system_table import TUNED
from tunesmith.recipe import BUILT_IN_MODEL
from tunesmith.records import Estimate
from tunesmith.report import tables
from tunesmith.report.calibration import threshold_note, threshold_sentence
from tunesmith.report.cases import prompt_of
from tunesmith.report.content import Report
from tunesmith.report.format import metric_name, percent
from tunesmith.report.markdown import line, markdown_table, questions, titled
from tunesmith.report.sections import sections_of

DATA_ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow")


def render_card(report: Report) -> str:
    """The card: front matter for the hub, then text for people."""
    base = line(_base_name(report.base_model))
    front = yaml.safe_dump(front_matter(report), sort_keys=False, allow_unicode=True)
    parts = [
        f"# {line(report.name)}",
        f"An instruct model, fine-tuned with tunesmith from {base}.",
        "## Is it better than its base?",
        line(" ".join(filter(None, [report.heading and f"{report.heading}.", report.verdict]))),
        questions(report),
        *_findings(report),
        *_threshold(report),
        "## How to use it",
        "Prompt the model in the format it was trained on:",
        _snippet(report),
        "## Training data",
        _sources(report),
        "## Limits",
        _limits(report),
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def _findings(report: Report) -> list[str]:
    """The tables that every section shows everywhere, with their titles."""
    return [
        titled(table.title or section.title, markdown_table(table))
        for section in sections_of(report)
        for table in section.tables
    ]


def _threshold(report: Report) -> list[str]:
    """When the model may answer by itself, for tasks with choices."""
    found = report.calibration
    if found is None:
        return []
    text = f"{threshold_sentence(found)} {threshold_note(found)}"
    return ["## When may it answer by itself?", line(text)]


def front_matter(report: Report) -> dict[str, object]:
    """The metadata of the card; `model-index` carries the primary metric on the test split."""
    tuned = report.system(TUNED)
    found = tuned.estimates.get(report.primary_metric) if tuned else None
    hub_sources = [source for source in _source_names(report) if not _is_local(source)]
    front: dict[str, object] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": _base_name(report.base_model),
        "tags": ["tunesmith", "text-generation", "instruct", "fine-tuned"],
        "datasets": hub_sources,
        "model-index": [_result(report, found)] if found else [],
    }
    return {key: value for key, value in front.items() if value}


def _result(report: Report, found: Estimate) -> dict[str, object]:
    dataset = ", ".join(Path(name).name for name in _source_names(report)) or report.name
    metric = {
        "type": report.primary_metric,
        "value": round(found.mean, 4),
        "name": f"{metric_name(report.primary_metric)}, n = {found.n}, "
        + (
            f"no interval: {found.note}"
            if found.note
            else f"{percent(report.confidence)} interval {found.ci[0]:.4f} to {found.ci[1]:.4f}"
        ),
    }
    return {
        "name": report.name,
        "results": [
            {
                "task": {"type": "text-generation"},
                "dataset": {"name": dataset, "type": dataset, "split": "test"},
                "metrics": [metric],
            }
        ],
    }


def _base_name(model: str) -> str:
    """A hub id as it is, a local folder by its name alone: a card must not reveal local paths."""
    if not model or model == BUILT_IN_MODEL:
        return "tunesmith-built-in"
    return Path(model).name if _is_local(model) else model


def _is_local(name: str) -> bool:
    """Whether a model or source is a path: exists, looks like one or has a data file's suffix."""
    return (
        name.startswith((".", "/", "~"))
        or "\\" in name
        or name.endswith(DATA_ENDINGS)
        or Path(name).exists()
    )


def _source_names(report: Report) -> list[str]:
    data = report.recipe.get("data")
    source = data.get("source") if isinstance(data, Mapping) else None
    listed = source if isinstance(source, list) else [source] if source else []
    return [str(item.get("source", "")) if isinstance(item, dict) else str(item) for item in listed]


def _snippet(report: Report) -> str:
    """A transformers pipeline call, with the prompt as Python literals, one per line.

    As literals, no prompt can end the code block: a line never begins with a fence.
    """
    prompt = report.prompt_layout or next(
        (prompt_of(example) for example in report.examples.values()), ""
    )
    said = report.recipe.get("system")
    system = (
        f'{{"role": "system", "content": {json.dumps(said, ensure_ascii=False)}}}, ' if said else ""
    )
    literals = [
        f"    {json.dumps(text, ensure_ascii=False)}" for text in prompt.splitlines(keepends=True)
    ]
    return "\n".join(
        [
            "```python",
            "from transformers import pipeline",
            "",
            'generate = pipeline("text-generation", "path/to/this/model")',
            "prompt = (",
            *(literals or ['    ""']),
            ').replace("{text}", "your text")' if report.prompt_layout else ")",
            f"messages = [{system}" + '{"role": "user", "content": prompt}]',
            "answers = generate(messages, do_sample=False, return_full_text=False)",
            'print(answers[0]["generated_text"])',
            "```",
        ]
    )


def _sources(report: Report) -> str:
    names = ", ".join(
        Path(name).name if _is_local(name) else name for name in _source_names(report)
    )
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
