"""How the tuned model is used, and what it is: the same on the page, in report.md and the card."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from tunesmith.recipe import BUILT_IN_MODEL
from tunesmith.report.cases import prompt_of
from tunesmith.report.content import Report
from tunesmith.report.tables import Table, TableRow

DATA_ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow")


def snippet(report: Report) -> str:
    """A transformers pipeline call, with the prompt as Python literals, one per line.

    As literals, no prompt can end a Markdown code block: a line never begins with a fence.
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
            "from transformers import pipeline",
            "",
            'generate = pipeline("text-generation", "path/to/this/model")',
            "prompt = (",
            *(literals or ['    ""']),
            ').replace("{text}", "your text")' if report.prompt_layout else ")",
            f"messages = [{system}" + '{"role": "user", "content": prompt}]',
            "answers = generate(messages, do_sample=False, return_full_text=False)",
            'print(answers[0]["generated_text"])',
        ]
    )


def about_table(report: Report) -> Table:
    """Base model, size, dates and licence, of those that are known."""
    splits = report.data.get("splits", {})
    trained = splits.get("train", {}).get("rows", 0)
    facts = {
        "Base model": base_name(report.base_model) if report.base_model else "",
        "Size": parameters(report),
        "Trained on": f"{trained:,} rows" if trained else "",
        "Prepared": day(report.prepared),
        "Tested": day(report.tested),
        "Licence of the base model": report.licence,
    }
    rows = tuple(TableRow(name, (text,)) for name, text in facts.items() if text)
    return Table(("Fact", "Value"), rows)


def parameters(report: Report) -> str:
    """`135 million parameters`; empty where it is not known."""
    found = report.training.get("parameters")
    if not isinstance(found, int) or found <= 0:
        return ""
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if found >= size:
            return f"{found / size:.3g} {word} parameters"
    return f"{found:,} parameters"


def day(time: str) -> str:
    """`2026-11-28` of an ISO time; empty where it is none."""
    try:
        return datetime.fromisoformat(time).date().isoformat()
    except ValueError:
        return ""


def base_name(model: str) -> str:
    """A hub id as it is, a local folder by its name alone: nobody's paths are told."""
    if not model or model == BUILT_IN_MODEL:
        return "tunesmith-built-in"
    return Path(model).name if is_local(model) else model


def is_local(name: str) -> bool:
    """Whether a model or source is a path: exists, looks like one or has a data file's suffix."""
    return (
        name.startswith((".", "/", "~"))
        or "\\" in name
        or name.endswith(DATA_ENDINGS)
        or Path(name).exists()
    )
