"""A proposal: what a recipe would say about a table, each part with its reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tunesmith.data.sources.cells import is_blank, plain_text
from tunesmith.data.sources.folders import splits_of
from tunesmith.data.templates.environment import used_columns
from tunesmith.data.templates.families import find_wording
from tunesmith.evaluate.metrics.rouge import mostly_other_letters
from tunesmith.init.doubts import CLOSED, doubts, is_flag
from tunesmith.init.facts import ColumnFacts
from tunesmith.init.files import Beside
from tunesmith.init.roles import GENERIC, words_of
from tunesmith.init.rules import Draft, answer_of, draft
from tunesmith.init.table import Table, family_of, known_family

FREE_TEXT = ("answer", "free", "rewrite", "answer_from_context", "summarise", "title")
MANY = 0.8
"""The share of one class from which accuracy says little."""
SHORT = 2
"""Words of an answer that is right or wrong as a whole."""
FEW_WORDS, ENOUGH_ROWS = 100, 200
"""Different words of which all answers of so many rows are made, where no language is spoken."""
ALL = 0.9
TIMES = ("date", "time", "timestamp", "datetime", "created", "at", "day", "posted", "published")


@dataclass(frozen=True)
class Proposal:
    """What the recipe's `data` and `evaluation` would say. `reasons` has a sentence by dotted key,
    `doubts` what speaks against learning from these rows at all. `unnamed` are whole numbers that
    are labels without names. `allow` are findings that are meant so.
    """

    task: str | None
    columns: Mapping[str, str]
    template: str | None = None
    labels: Mapping[str, str] | None = None
    label_separator: str | None = None
    id: str | None = None
    split: Mapping[str, str] = field(default_factory=dict)
    validation_source: str | None = None
    test_source: str | None = None
    metrics: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    @property
    def decides(self) -> str:
        """The metric that decides: the one that is proposed, else the task's own first; "" where
        there is no task.
        """
        family = known_family(self.task)
        return self.metrics[0] if self.metrics else family.metrics[0] if family else ""


def propose(table: Table, beside: Beside) -> Proposal:
    """What to write for a table and the files beside it. DataError as `rules.draft`."""
    made = draft(table)
    answer = answer_of(table, made)
    labels, why_labels = _label_names(made, answer)
    metrics, why_metrics = _metrics(table, made, answer)
    split, sources, why_split = _split(table, beside, made)
    id_column = next((c for c in table.of("id") if c.is_unique and not c.missing), None)
    reasons = {
        "data.task": made.reason,
        "data.allow": "what is extracted stands in the text" if made.allow else "",
        "data.labels": why_labels,
        "evaluation.metrics": why_metrics,
        "data.split": why_split,
    }
    is_set = made.family == "multi_label_classify" and answer is not None
    return Proposal(
        made.task,
        _columns(made),
        made.template,
        labels,
        (answer.separator or None) if is_set and answer else None,
        id_column.name if id_column and id_column.name not in made.columns.values() else None,
        split,
        sources.get("validation"),
        sources.get("test"),
        metrics,
        _unnamed(made, answer, labels),
        made.allow,
        {key: reason for key, reason in reasons.items() if reason},
        (*doubts(table, made), *_doubts_of_files(table, beside)),
    )


def _columns(made: Draft) -> dict[str, str]:
    """The slots in the order of the family, with those of the columns' own names."""
    family = known_family(made.task)
    order = list(family.slots) if family else []
    known = {slot: made.columns[slot] for slot in order if slot in made.columns}
    return {**known, **{slot: name for slot, name in made.columns.items() if slot not in known}}


# ---- labels


def _label_names(made: Draft, answer: ColumnFacts | None) -> tuple[dict[str, str] | None, str]:
    """Names of labels that the header of their column tells."""
    if answer is None or made.family not in CLOSED:
        return None, ""
    told = dict(re.findall(r"(\d+)\s*[=:]\s*([^\W\d]\w*)", answer.name))
    if told and set(told) == set(answer.values):
        return told, "the names stand in the column's header"
    words = [word for word in words_of(answer.name) if word not in ("is", "has", "label", "flag")]
    if not is_flag(answer) or not words or "_".join(words) in GENERIC:
        return None, ""
    name = " ".join(words)
    truths = {"1": name, "0": f"not {name}", "true": name, "false": f"not {name}"}
    named = {value.lower(): truths[value.lower()] for value in sorted(answer.values)}
    return named, "the column's name says what 1 and true mean"


def _unnamed(
    made: Draft, answer: ColumnFacts | None, labels: Mapping[str, str] | None
) -> tuple[str, ...]:
    if answer is None or labels or made.family not in CLOSED:
        return ()
    return tuple(sorted(answer.values, key=int)) if answer.kind == "whole" else ()


# ---- metrics


def _metrics(table: Table, made: Draft, answer: ColumnFacts | None) -> tuple[tuple[str, ...], str]:
    """Another metric than the task's own, where the answers ask for one, and why; () where the
    task's own will do. One metric alone decides: of several, each would need a smaller p.
    """
    family = known_family(made.task)
    if family is None:
        return (), ""
    own = family.metrics
    usual = (), f"the task's own, of which {own[0]} decides"
    if answer is None:
        return usual
    if made.family in CLOSED and answer.common:
        value, rows = answer.common[0]
        if rows > MANY * answer.filled:
            share = f"{rows / answer.filled:.0%}"
            return ("macro_f1",), f"{share} of the rows are {value!r}: accuracy hides it"
    if made.family not in FREE_TEXT:
        return usual
    if (
        made.family not in ("summarise", "title")
        and answer.numbers_at_end > ALL
        and answer.words > SHORT
    ):
        return ("number",), f"{answer.name!r} ends with a number, which can be checked"
    if _other_script(table, answer):
        return ("chrf",), "ROUGE counts Latin words, and most answers have none"
    if answer.words <= SHORT and own[0] not in ("exact_match", "squad_em"):
        return ("exact_match",), "answers of a few words are right or wrong"
    if made.family in ("free", "answer") and _made_of_few_words(table, answer):
        return ("exact_match",), "all answers are made of the same few words"
    return usual


def _made_of_few_words(table: Table, answer: ColumnFacts) -> bool:
    """Whether the answers are spelled out of a small set: letters, digits in words, codes."""
    cells = [row.get(answer.name) for row in table.facts.sample]
    texts = [plain_text(cell) for cell in cells if not is_blank(cell)]
    words = {word for text in texts for word in re.findall(r"\w+", text.lower())}
    return len(texts) >= ENOUGH_ROWS and len(words) <= FEW_WORDS


def _other_script(table: Table, answer: ColumnFacts) -> bool:
    texts = [plain_text(v) for r in table.facts.sample if not is_blank(v := r.get(answer.name))]
    return bool(texts) and sum(map(mostly_other_letters, texts)) > len(texts) / 2


# ---- splits


def _split(table: Table, beside: Beside, made: Draft) -> tuple[dict[str, str], dict[str, str], str]:
    """(data.split, validation and test files, why).

    A group comes before a date: with both, who writes all the time would be in the test alone.
    """
    inside = splits_of(table.facts.source)
    if inside:
        return {}, {}, f"the files are the splits: {', '.join(inside)}"
    if beside.own in (None, "train") and beside.others:
        files = {str(s): str(path) for s, path in beside.others.items() if s != "train"}
        if files:
            shown = ", ".join(Path(name).name for name in files.values())
            return _group(table, made)[0], files, f"{shown} beside it, with the same columns"
    named = table.of("split")
    if named:
        return {"column": named[0].name}, {}, f"{named[0].name!r} names each row's split"
    group, why = _group(table, made)
    dated = next((column for column in table.of("date") if _is_of_row(column)), None)
    if group:
        other = f"; {{time: {dated.name}}} would test on the newest rows" if dated else ""
        return group, {}, why + other
    if dated is not None:
        why = f"train on the oldest by {dated.name!r}, test on the newest, as it will be used"
        return {"time": dated.name}, {}, why
    label = made.columns.get("label") or made.columns.get("labels")
    alike = f", with the same share of each {label!r} in each" if label else ""
    return {}, {}, f"drawn: 80 % train, 10 % validation, 10 % test{alike}"


def _group(table: Table, made: Draft) -> tuple[dict[str, str], str]:
    """Rows that belong together must not be trained and tested on."""
    groups = [c for c in table.of("group") if c.name not in made.columns.values()]
    context = table.facts.column(made.columns.get("context", ""))
    if groups:
        return {"group": groups[0].name}, f"rows of one {groups[0].name!r} stay together"
    if context is not None and 5 <= context.distinct <= 0.9 * context.filled:
        return {"group": context.name}, "several questions share a passage"
    return {}, ""


def _is_of_row(column: ColumnFacts) -> bool:
    """Whether a date says when its row was written, and orders the rows."""
    dated = bool(set(TIMES) & set(words_of(column.name))) and column.is_iso
    return dated and "birth" not in words_of(column.name) and column.distinct >= 10


def _doubts_of_files(table: Table, beside: Beside) -> tuple[str, ...]:
    if beside.apart:
        return (
            f"files of this folder have different columns ({', '.join(beside.apart)} ...): they "
            "are several tasks; look at each by itself, and list them in data.source as a mixture",
        )
    if beside.own in ("validation", "test") and "train" in beside.others:
        train = beside.others["train"].name
        return (f"this file is {beside.own} by its name, and {train} stands beside it",)
    return ()


# ---- what the model can read


def with_fit(found: Proposal) -> Proposal:
    """The proposal with its longest field shortened in rows that are too long: the template's
    wording with the filter `fit`, beside which only the family is a task. Unchanged where no slot
    of text stands in it, and for an inverted wording, whose answers the family reads otherwise.
    """
    family = known_family(found.task)
    if found.task is None or family is None or not family_of(found.task):
        return found
    name = found.task.partition("/")[2] or family.wordings[0].name
    wording = find_wording(family, name, family.family)
    if wording.answer_choices and not found.template:
        return found
    source = found.template or wording.template
    slots = [n for n, s in family.slots.items() if s.type in ("text", "context") and s.required]
    for slot in slots:
        marked, number = re.subn(rf"{{{{ ({slot}) }}}}", r"{{ \1 | fit }}", source)
        if number:
            why = "some rows are longer than the model reads: `fit` shortens that field in them"
            reasons = {**found.reasons, "data.template": why}
            return replace(found, task=family.family, template=marked, reasons=reasons)
    return found


# ---- in words


def in_words(found: Proposal, table: Table) -> str:
    """A proposal on one line: task and columns, names of labels, the metric that decides, split."""
    fmt = table.facts.format
    slots = ", ".join(f"{slot}={name}" for slot, name in found.columns.items())
    parts = [f"{found.task}: {slots}" if found.task else f"no task: {fmt}"]
    if found.task and found.template:
        extra = [c.name for c in table.facts.columns if c.name in _in_template(found, table)]
        parts = (
            [f"{parts[0].rstrip(': ')}{'; ' if slots else ': '}with {', '.join(extra)}"]
            if extra
            else parts
        )
    if found.labels:
        parts.append("labels " + ", ".join(f"{k}={v}" for k, v in found.labels.items()))
    if found.label_separator:
        parts.append(f"between {found.label_separator!r}")
    parts += [f"id {found.id}"] if found.id else []
    parts += [found.decides] if found.decides else []
    files = {"validation": found.validation_source, "test": found.test_source}
    named = [f"{split} {Path(name).name}" for split, name in files.items() if name]
    inside = splits_of(table.facts.source)
    named += [f"files {', '.join(inside)}"] if inside else []
    named += [f"{key} {name}" for key, name in found.split.items()]
    return "; ".join([*parts, *(named or ["drawn"])])


def _in_template(found: Proposal, table: Table) -> set[str]:
    """Columns that the proposal's own template takes as they are."""
    names = {column.name for column in table.facts.columns} - set(found.columns)
    return names & set(used_columns(found.template or ""))
