"""The templates a recipe asks for, checked against the columns before any row is rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunesmith.data.templates import promptsource, slots
from tunesmith.data.templates.environment import SEPARATOR, used_columns
from tunesmith.data.templates.families import (
    Family,
    Slot,
    Wording,
    family_names,
    find_wording,
    load_family,
    read_family,
)
from tunesmith.data.templates.promptsource import PREFIX
from tunesmith.errors import TemplateError, did_you_mean
from tunesmith.recipe import SLOT_OPTIONS, DataConfig

INVERTED_METRICS = ("rougeL", "chrf")
PROMPTSOURCE_METRICS = {
    "BLEU": ("bleu", "chrf"),
    "ROUGE": ("rougeL", "rouge1", "rouge2"),
    "Squad": ("squad_em", "token_f1"),
    "Trivia QA": ("squad_em", "token_f1"),
    "COQA F1": ("token_f1",),
}
INLINE = "inline"
ANY = Slot(type="any")
CHOICES = Slot(type="choices", required=False)


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A jinja template `prompt ||| completion` with the slots it uses, and how its answers are read
    and scored.

    `held_out` wordings are only evaluated (reported as unseen). `options`: the choices stand in the
    prompt. `inverted`: it writes the input from the label. `answer_choices`, itself jinja, replaces
    the row's choices. `id` is a PromptSource template's own, which its random draws depend on.
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
    id: str = ""

    def describe(self) -> str:
        """Name, kind, slots and text, for the screen and the docs; `?` marks an optional slot."""
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


def load_templates(config: DataConfig, columns: Sequence[str]) -> list[PromptTemplate]:
    """The templates of `task` and `template`, checked against the table's columns; the first one is
    the default.

    With `wordings` above 1: that many wordings for training, then the family's held-out ones.
    Raises TemplateError naming the template and the slot or column, with the nearest one.
    """
    slots.check_label_names(config.labels)
    templates, known = _resolve(config)
    for template in templates:
        _check_columns(template, {*known, "group"}, config.columns, columns)
    return templates


def resolve_templates(config: DataConfig) -> list[PromptTemplate]:
    """The templates of `task` and `template`, as they are now, whatever the table."""
    return _resolve(config)[0]


def find_templates(name: str) -> list[PromptTemplate]:
    """All wordings of a family (`classify`, `mine.yaml`), one of them (`classify/terse`), or
    `promptsource:...`.
    """
    if name.startswith(PREFIX):
        return [_from_promptsource(name, DataConfig())]
    if _is_file(name):
        family, wording = _family_file(name, None)
    else:
        family_name, _, wording = name.partition("/")
        family = load_family(family_name)
    wordings = [find_wording(family, wording, family.family)] if wording else family.wordings
    return [_template(family, one) for one in wordings]


def _resolve(config: DataConfig) -> tuple[list[PromptTemplate], set[str]]:
    """The templates, and every slot that `columns` may map (a family's other wordings may use more
    slots).
    """
    template, task = config.template, config.task
    if template is not None and _has_no_answer(template):
        raise TemplateError(
            f"inline: {template!r} has no {SEPARATOR}, which stands before the answer",
            hint="for example {{text}} ||| {{label}}",
        )
    if template is not None and _stands_alone(template):
        if config.wordings > 1:
            raise TemplateError(
                f"wordings is {config.wordings}, but the recipe gives one template",
                hint="data.wordings: 1, or name a task: --task, data.task",
            )
        one = (
            _from_promptsource(template, config)
            if template.startswith(PREFIX)
            else _from_text(template, config)
        )
        return [one], set(dict(one.slots))
    if template is not None and _is_file(template):
        family, wording = _family_file(template, task)
    elif template is None and task is None:
        raise TemplateError(
            "the recipe names no task and no template",
            hint="`tunesmith init FILE` proposes one; --task or data.task names it: "
            f"{', '.join(family_names())}",
        )
    else:
        name = template or str(task)
        if template is not None and task is not None and "/" not in template:
            name = f"{task.partition('/')[0]}/{template}"
        family_name, _, wording = name.partition("/")
        family = load_family(family_name)
    return from_family(family, wording, config.wordings), set(family.slots)


def is_whole(template: str) -> bool:
    """Whether a template is more than the name of a wording: a text, a file, or PromptSource's."""
    return _stands_alone(template) or _is_file(template)


def _stands_alone(template: str) -> bool:
    return SEPARATOR in template or template.startswith(PREFIX)


def _has_no_answer(template: str) -> bool:
    """Whether a template of the recipe is Jinja, and a prompt only."""
    is_jinja = "{{" in template or "{%" in template
    return is_jinja and not is_whole(template)


def _is_file(template: str) -> bool:
    return template.endswith((".yaml", ".yml")) or ".yaml/" in template


def _family_file(template: str, task: str | None) -> tuple[Family, str]:
    """`mine.yaml`, or `mine.yaml/terse` for one wording of it."""
    path, ending, wording = template.partition(".yaml/")
    family = read_family(Path(path + ".yaml" if ending else path))
    if task is not None and task.replace("-", "_") != family.family:
        raise TemplateError(
            f"{template}: its family is {family.family!r}, the recipe's task is {task!r}",
            hint="leave --task or data.task out",
        )
    return family, wording


def from_family(family: Family, wording: str = "", wordings: int = 1) -> list[PromptTemplate]:
    """The wording of that name, or without a name the first `wordings` and, above 1, the held-out
    ones.

    Inverted wordings come by name only: they write another text, which other metrics score.
    """
    if wording:
        if wordings > 1:
            raise TemplateError(
                f"wordings is {wordings}, "
                f"but the recipe names the one wording {family.family}/{wording}",
                hint=f"--task {family.family} (data.task), or data.wordings: 1",
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
    if wording.answer_choices:
        used -= {"answer_choices"}
    if parser == "choice" and "choices" in family.slots:
        used |= {"choices"}
    for variable in sorted(used - family.slots.keys()):
        raise TemplateError(
            f"{name}: there is no slot {variable!r}", hint=did_you_mean(variable, family.slots)
        )
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


def _from_text(source: str, config: DataConfig) -> PromptTemplate:
    """An inline template. Its variables are columns as they are, or with a task that family's
    slots.
    """
    family = load_family(config.task) if config.task else None
    types = {
        name: family.slots.get(name, ANY) if family else ANY
        for name in sorted(_used(source, "", "inline"))
    }
    if config.labels is not None and family is None:
        if "label" not in types:
            raise TemplateError(
                "inline: labels is set, but the template has no slot 'label'",
                hint="write {{ label }}, and map it to your column: --label, or data.columns",
            )
        types["label"] = Slot(type="label")
    choice = family.parser == "choice" if family else config.labels is not None
    if choice or "choices" in types:
        types["choices"] = family.slots.get("choices", CHOICES) if family else CHOICES
    own_metrics = ["accuracy", "macro_f1"] if choice else ["exact_match", "token_f1", "rougeL"]
    return PromptTemplate(
        name=INLINE,
        source=source,
        family=family.family if family else "free",
        parser=family.parser if family else "choice" if choice else "text",
        metrics=tuple(family.metrics if family else own_metrics),
        slots=tuple(types.items()),
    )


def _from_promptsource(reference: str, config: DataConfig) -> PromptTemplate:
    """A PromptSource template. Its variables are columns as they are; declared labels give `label`
    its integer.

    With answer choices it is a choice, else free text, unless the recipe's task says otherwise.
    """
    found = promptsource.find(reference)
    name, choices = f"{PREFIX}{found.full_name}", found.answer_choices or ""
    family = load_family(config.task) if config.task else None
    wanted = [
        metric
        for key in found.metadata.get("metrics") or ()
        for metric in PROMPTSOURCE_METRICS.get(key, ())
    ]
    own_metrics = (
        ["accuracy", "macro_f1"]
        if choices
        else list(dict.fromkeys(wanted)) or ["exact_match", "token_f1"]
    )
    types = dict.fromkeys(sorted(_used(found.jinja, choices, name) - {"answer_choices"}), ANY)
    if config.labels is not None and "label" in types:
        types["label"] = Slot(type="position")
    if family and family.parser == "choice" and not choices:
        types["choices"] = CHOICES
    return PromptTemplate(
        name=name,
        source=found.jinja,
        family=family.family if family else "free",
        parser=family.parser if family else "choice" if choices else "text",
        metrics=tuple(family.metrics if family else own_metrics),
        options=bool(found.metadata.get("choices_in_prompt")),
        answer_choices=choices,
        slots=tuple(types.items()),
        id=found.id,
    )


def _used(source: str, answer_choices: str, name: str) -> set[str]:
    try:
        return set(used_columns(source) | used_columns(answer_choices))
    except TemplateError as error:
        raise TemplateError(f"{name}: {error.message}", hint=error.hint) from error


def _check_tagged(template: PromptTemplate, names: set[str]) -> None:
    """Free tags of a text were the family `tag` before words with a tag each were."""
    if template.family == "tag" and "tokens" not in names and {"text", "target"} <= names:
        raise TemplateError(
            f"{template.name}: it takes words ('tokens') and a tag for each ('tags'), "
            "not a text and a target",
            hint="keywords, topics and other free tags are the family keywords",
        )


def _check_columns(
    template: PromptTemplate, known: set[str], mapped: Mapping[str, str], columns: Sequence[str]
) -> None:
    _check_tagged(template, {*mapped, *columns})
    for slot, column in mapped.items():
        if slot not in known:
            raise TemplateError(
                f"{template.name}: there is no slot {slot!r}", hint=did_you_mean(slot, known)
            )
        if column not in columns:
            raise TemplateError(
                f"{template.name}: the slot {slot!r} is mapped to {column!r}, "
                "which is no column of the table",
                hint=did_you_mean(column, columns),
            )
    free = set(columns) - set(mapped.values()) - set(dict(template.slots))
    for name, slot_type in template.slots:
        if slot_type.required and name not in mapped and name not in columns:
            raise TemplateError(
                f"{template.name}: no column for the slot {name!r}",
                hint=f"{_how_to_map(name)}; {did_you_mean(name, free)}",
            )


def _how_to_map(slot: str) -> str:
    """How a slot is given its column, on the command line and in a recipe."""
    option = f"--{slot} COLUMN" if slot in SLOT_OPTIONS else f"--column {slot}=COLUMN"
    return f"{option}, or data.columns: {{{slot}: COLUMN}}"
