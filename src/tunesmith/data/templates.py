"""The templates a recipe asks for, checked against the table's columns before any row is rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tunesmith.data import promptsource, slots
from tunesmith.data.library import Family, Slot, Wording, family_names, find_wording, load_family, read_family
from tunesmith.data.sandbox import SEPARATOR, used_columns
from tunesmith.data.slots import Labels
from tunesmith.errors import TemplateError, did_you_mean
from tunesmith.recipe import DataConfig

INVERTED_METRICS = ("rougeL", "chrf")


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A jinja template `prompt ||| completion` with the slots it uses, and how its answers are read and scored.

    `held_out` wordings are only evaluated (reported as unseen). `options`: the choices stand in the prompt.
    `inverted`: it writes the input from the label. `answer_choices`, itself jinja, replaces the row's choices.
    """

    name: str
    source: str
    family: str
    parser: str
    metrics: tuple[str, ...]
    held_out: bool = False
    options: bool = False
    inverted: bool = False
    answer_choices: str = ""
    slots: tuple[tuple[str, Slot], ...] = ()

    def describe(self) -> str:
        """Name, kind, slots and text, for the screen and the docs."""
        flags = [flag for flag in ("options", "held_out", "inverted") if getattr(self, flag)]
        needs = [f"{name}{'' if slot.required else '?'} ({slot.type})" for name, slot in self.slots]
        lines = [
            self.name + (f" [{', '.join(flags)}]" if flags else ""),
            f"slots: {', '.join(needs)}",
            f"answer: {self.parser}; metrics: {', '.join(self.metrics)}",
            *([f"answer_choices: {self.answer_choices.strip()}"] if self.answer_choices else []),
            "",
            *(f"    {line}".rstrip() for line in self.source.splitlines()),
        ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Excluded:
    """A row that gives no example, and why; the ledger counts these by `reason`."""

    row_id: str
    template: str
    reason: str
    source: str = ""


# ---- which templates


def load_templates(config: DataConfig, columns: Sequence[str]) -> list[PromptTemplate]:
    """The templates of `task` and `template`, checked against the table's columns; the first one is the default.

    With `wordings` above 1: that many wordings for training, then the family's held-out ones. Raises TemplateError
    naming the template and the slot or column, with the nearest one.
    """
    templates = _resolve(config)
    slots.check_label_names(config.labels)
    for template in templates:
        _check_columns(template, _known_slots(template), config.columns, columns)
    return templates


def _resolve(config: DataConfig) -> list[PromptTemplate]:
    template, task = config.template, config.task
    if template is None and task is None:
        raise TemplateError(
            "the recipe names neither a task nor a template", hint=f"tasks: {', '.join(family_names())}"
        )
    if template is None or not _stands_alone(template):
        name = task if template is None else template
        if template is not None and task is not None and "/" not in template:
            name = f"{task.partition('/')[0]}/{template}"
        family, _, wording = str(name).partition("/")
        return _from_family(load_family(family), wording, config.wordings)
    if template.endswith((".yaml", ".yml")) or ".yaml/" in template:
        return _from_file(template, task, config.wordings)
    if config.wordings > 1:
        raise TemplateError(
            f"wordings is {config.wordings}, but the recipe gives one template", hint="drop one of them"
        )
    if template.startswith("promptsource:"):
        return [_as_task(_from_promptsource(template), task)]
    return [_as_task(_from_text(template, config.labels), task)]


def _stands_alone(template: str) -> bool:
    return SEPARATOR in template or template.startswith("promptsource:") or ".yaml" in template or ".yml" in template


def _from_file(template: str, task: str | None, wordings: int) -> list[PromptTemplate]:
    path, yaml_ending, wording = template.partition(".yaml/")
    family = read_family(Path(path + ".yaml" if yaml_ending else path))
    if task is not None and task.replace("-", "_") != family.family:
        raise TemplateError(
            f"{template}: its family is {family.family!r}, the recipe's task {task!r}", hint="drop task"
        )
    return _from_family(family, wording, wordings)


def _from_family(family: Family, wording: str, wordings: int) -> list[PromptTemplate]:
    if wording:
        if wordings > 1:
            raise TemplateError(
                f"wordings is {wordings}, but the recipe names the one wording {family.family}/{wording}",
                hint=f"task: {family.family}, or wordings: 1",
            )
        return [_template(family, find_wording(family, wording, family.family))]
    seen = [w for w in family.wordings if not w.held_out and not w.inverted]
    if wordings > len(seen):
        raise TemplateError(
            f"wordings is {wordings}, but {family.family} has {len(seen)} for training",
            hint="add some to a copy of its file",
        )
    held_out = [w for w in family.wordings if w.held_out] if wordings > 1 else []
    return [_template(family, w) for w in (*seen[:wordings], *held_out)]


def _template(family: Family, wording: Wording) -> PromptTemplate:
    name = f"{family.family}/{wording.name}"
    parser = wording.parser or ("text" if wording.inverted else family.parser)
    metrics = wording.metrics or (INVERTED_METRICS if wording.inverted else family.metrics)
    used = _used(wording.template, wording.answer_choices, name)
    if parser == "choice" and "choices" in family.slots:
        used |= {"choices"}
    for variable in sorted(used - family.slots.keys() - {"answer_choices"}):
        raise TemplateError(f"{name}: there is no slot {variable!r}", hint=did_you_mean(variable, family.slots))
    return PromptTemplate(
        name=name,
        source=wording.template,
        family=family.family,
        parser=parser,
        metrics=tuple(metrics),
        held_out=wording.held_out,
        options=wording.options,
        inverted=wording.inverted,
        answer_choices=wording.answer_choices,
        slots=tuple((slot, family.slots[slot]) for slot in family.slots if slot in used),
    )


def _from_text(source: str, labels: Labels) -> PromptTemplate:
    """An inline template: its variables are columns as they are; `label` goes through the declared labels."""
    used = sorted(_used(source, "", "inline"))
    types = {name: Slot(type="any") for name in used}
    if labels is not None and "label" in types:
        types["label"] = Slot(type="label")
    if "choices" in types:
        types["choices"] = Slot(type="choices", required=False)
    choice = types.get("label", Slot(type="any")).type == "label"
    return PromptTemplate(
        name="inline",
        source=source,
        family="free",
        parser="choice" if choice else "text",
        metrics=("accuracy", "macro_f1") if choice else ("exact_match", "token_f1", "rougeL"),
        slots=tuple(types.items()),
    )


PROMPTSOURCE_METRICS = {
    "BLEU": ("bleu", "chrf"),
    "ROUGE": ("rougeL", "rouge1", "rouge2"),
    "Squad": ("squad_em", "token_f1"),
    "Trivia QA": ("squad_em", "token_f1"),
    "COQA F1": ("token_f1",),
    "Spearman Correlation": ("spearman",),
    "Pearson Correlation": ("spearman",),
}


def _from_promptsource(reference: str) -> PromptTemplate:
    """A PromptSource template: its variables are columns as they are; with answer choices it is a choice."""
    found = promptsource.find(reference)
    name, choices = f"{promptsource.PREFIX}{found.full_name}", found.answer_choices or ""
    wanted = [metric for key in found.metadata.get("metrics") or () for metric in PROMPTSOURCE_METRICS.get(key, ())]
    metrics = ("accuracy", "macro_f1") if choices else tuple(dict.fromkeys(wanted)) or ("exact_match", "token_f1")
    used = sorted(_used(found.jinja, choices, name) - {"answer_choices"})
    return PromptTemplate(
        name=name,
        source=found.jinja,
        family="free",
        parser="choice" if choices else "number" if metrics == ("spearman",) else "text",
        metrics=metrics,
        options=bool(found.metadata.get("choices_in_prompt")),
        answer_choices=choices,
        slots=tuple((column, Slot(type="any")) for column in used),
    )


def _as_task(template: PromptTemplate, task: str | None) -> PromptTemplate:
    """A template of the user's own read and scored as a family: its slots by name, its parser, its metrics."""
    if task is None:
        return template
    family = load_family(task)
    own = tuple((name, family.slots.get(name, slot)) for name, slot in template.slots)
    if family.parser == "choice" and "choices" in family.slots and not template.answer_choices:
        own = (*(pair for pair in own if pair[0] != "choices"), ("choices", family.slots["choices"]))
    return replace(template, family=family.family, parser=family.parser, metrics=tuple(family.metrics), slots=own)


def _used(source: str, answer_choices: str, name: str) -> set[str]:
    try:
        return set(used_columns(source) | used_columns(answer_choices))
    except TemplateError as error:
        raise TemplateError(f"{name}: {error.message}", hint=error.hint) from error


# ---- the table's columns


def _known_slots(template: PromptTemplate) -> set[str]:
    """Slots that `columns` may map: the template's, its family's (another wording may use them), and group."""
    family = load_family(template.family).slots if template.family in family_names() else {}
    return {"group", *dict(template.slots), *family}


def _check_columns(
    template: PromptTemplate, known: set[str], mapped: Mapping[str, str], columns: Sequence[str]
) -> None:
    for slot, column in mapped.items():
        if slot not in known:
            raise TemplateError(f"{template.name}: there is no slot {slot!r}", hint=did_you_mean(slot, known))
        if column not in columns:
            raise TemplateError(
                f"{template.name}: the slot {slot!r} is mapped to {column!r}, which is no column of the table",
                hint=did_you_mean(column, columns),
            )
    for name, slot_type in template.slots:
        if slot_type.required and name not in mapped and name not in columns:
            hint = did_you_mean(name, columns)
            raise TemplateError(
                f"{template.name}: no column for the slot {name!r}",
                hint=hint if hint.startswith("did") else f"add `{name}: COLUMN` to data.columns; {hint}",
            )
