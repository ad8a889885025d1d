"""A recipe as YAML with comments: what was proposed, why, and what else could be said there."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

import yaml

from tunesmith.inert import inert_line
from tunesmith.init.proposal import Proposal
from tunesmith.recipe import Recipe

WIDTH = 100


def values_of(found: Proposal, source: str, output_dir: str) -> dict[str, object]:
    """The proposal as the plain values of a recipe, without what a recipe has by default."""
    data: dict[str, object] = {
        "source": source,
        "validation_source": found.validation_source,
        "test_source": found.test_source,
        "task": found.task,
        "template": found.template,
        "columns": dict(found.columns),
        "labels": dict(found.labels or {}),
        "label_separator": found.label_separator,
        "id": found.id,
        "split": dict(found.split),
        "allow": list(found.allow),
    }
    values: dict[str, object] = {
        "model": "built-in",
        "data": {key: value for key, value in data.items() if value},
        "train": {"num_train_epochs": 3},
        "output_dir": output_dir,
    }
    if found.metrics:
        values["evaluation"] = {"metrics": list(found.metrics)}
    return values


def commented_recipe(recipe: Recipe, found: Proposal | None = None, head: str = "") -> str:
    """The keys that are set in a recipe, as YAML that reads back as the same recipe.

    `found` gives the reasons and the doubts, `head` is the first comment.
    """
    values = recipe.model_dump(mode="json", exclude_unset=True)
    reasons = (
        {"train.num_train_epochs": "passes over the training rows", **found.reasons}
        if found
        else {}
    )
    hints = _hints(found) if found else {}
    doubts = found.doubts if found else ()
    lines = [
        line
        for text in (*head.splitlines(), *map("! {}".format, doubts))
        for line in _comment(text)
    ]
    order = ("model", "chat_template", "system", "data", "train", "evaluation", "output_dir")
    known = [key for key in order if key in values]
    for key in [*known, *(key for key in values if key not in known)]:
        value = values[key]
        if isinstance(value, Mapping) and key in ("data", "train", "evaluation"):
            lines += ["", f"{key}:", *_section(key, value, reasons, hints), ""]
        else:
            lines += _entry(key, value, ABOUT.get(key, "") if found else "", "")
    if "evaluation" not in values and "evaluation.metrics" in reasons:
        lines[-1:-1] = ["", *_comment(f"evaluation.metrics: {reasons['evaluation.metrics']}")]
    text = "\n".join(lines)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip("\n") + "\n"


ABOUT = {
    "model": "a Hugging Face folder or hub id; built-in is the small one that comes along",
    "output_dir": "the run folder",
}


def _hints(found: Proposal) -> dict[str, list[str]]:
    """What stands commented out after a key."""
    hints: dict[str, list[str]] = {}
    if found.unnamed:
        names = {value: f"NAME OF {value}" for value in found.unnamed[:20]}
        hints["data.columns"] = [
            f"# labels: {flow(names)}",
            "# bare numbers say nothing to a language model: give them their names above",
        ]
    return hints


def _section(
    name: str,
    values: Mapping[str, object],
    reasons: Mapping[str, str],
    hints: Mapping[str, list[str]],
) -> Iterator[str]:
    for key, value in values.items():
        dotted = f"{name}.{key}"
        reason = reasons.get(dotted, "")
        if isinstance(value, str) and "\n" in value:
            yield from (f"  {line}" for line in _comment(reason))
            yield from _entry(key, value, "", "  ")
        else:
            yield from _entry(key, value, reason, "  ")
        yield from (f"  {line}" for line in hints.get(dotted, ()))
    if f"{name}.split" in reasons and "split" not in values:
        yield from (f"  {line}" for line in _comment(reasons[f"{name}.split"]))


def _entry(key: str, value: object, reason: str, indent: str) -> list[str]:
    """A key with its value, and the reason behind it or, where that is long, above it."""
    if isinstance(value, str) and "\n" in value and _is_plain(value):
        block = textwrap.indent(value, indent + "  ")
        return [f"{indent}{key}: |-", *block.splitlines()]
    line = f"{indent}{key}: {flow(value)}"
    reason = inert_line(reason)
    if reason and len(line) + len(reason) + 4 <= WIDTH:
        return [f"{line}  # {reason}"]
    return [*(f"{indent}{text}" for text in _comment(reason)), line]


def _is_plain(text: str) -> bool:
    """Whether YAML's literal block gives a text back as it is."""
    lines = text.splitlines()
    return (
        text == "\n".join(lines)
        and text[:1] not in (" ", "\n")
        and text.replace("\n", "").isprintable()
    )


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(inert_line(text), WIDTH - 6)]


def flow(value: object) -> str:
    """A value as YAML on one line.

    >>> flow({"text": "review", "label": "yes"})
    "{text: review, label: 'yes'}"
    """
    text = yaml.safe_dump(
        {"k": value},
        default_flow_style=True,
        width=1_000_000_000,
        allow_unicode=True,
        sort_keys=False,
    )
    return text.strip()[len("{k: ") : -1]
