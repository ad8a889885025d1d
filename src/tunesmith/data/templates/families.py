"""The library of prompt templates, by task family: `assets/families/*.yaml`, and a user's own files
of the same form.

A family names its slots once; its wordings are jinja templates `prompt ||| completion` over those
slots.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunesmith.errors import TemplateError, did_you_mean
from tunesmith.yaml_files import load_yaml

FOLDER = Path(__file__).parents[2] / "assets" / "families"

SlotType = Literal[
    "text", "question", "context", "target", "label", "labels", "choices", "tokens", "tags",
    "number", "json", "date", "id", "group", "any", "position",
]  # fmt: skip
"""What a slot does with a table's value.

`text`, `question`, `context`, `id`: text. `target`: text, or a list of right answers. `label`: goes
through `data.labels`. `labels`: any number of labels (label_cells.py). `choices`: a list of texts.
`tokens`, `tags`: words and one tag for each (tag_cells.py). `number`, `json`, `date`: checked.
`group`: text; rows of one group stay on one side of a split. `any`: the value as it is. `position`:
the integer of a label, for PromptSource's templates.
"""

Parser = Literal["choice", "text", "number", "json", "labels", "tags"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Slot(_Entry):
    """One variable of a family's wordings. An optional slot without a column renders as its
    `default`. `separator` stands between the labels of a text cell, for the type `labels`.
    """

    type: SlotType
    about: str = ""
    required: bool = True
    default: str = ""
    separator: str = ""

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Without an empty `separator`: older runs hold hashes of what slots without it print."""
        return [arg for arg in super().__repr_args__() if arg != ("separator", "")]


class Wording(_Entry):
    """One way to put the task. `parser` and `metrics` are the family's unless given (inverted:
    text).
    """

    name: Name
    template: str
    options: bool = False
    held_out: bool = False
    inverted: bool = False
    answer_choices: str = ""
    parser: Parser | None = None
    metrics: list[str] | None = None


class Family(_Entry):
    """A kind of task: its slots, its wordings, and how answers are read and scored."""

    family: Name
    about: str
    slots: dict[Name, Slot]
    metrics: Annotated[list[str], Field(min_length=1)]
    parser: Parser
    wordings: Annotated[list[Wording], Field(min_length=1)]


def family_names() -> list[str]:
    """The families of the built-in library, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@cache
def load_family(name: str) -> Family:
    """A family of the library by name (`pair-classify` is `pair_classify`); TemplateError with the
    nearest name.
    """
    name = name.replace("-", "_")
    if name not in family_names():
        raise TemplateError(
            f"there is no task family {name!r}", hint=did_you_mean(name, family_names())
        )
    return read_family(FOLDER / f"{name}.yaml")


def read_family(path: Path) -> Family:
    """A family file, checked; TemplateError naming the file and the key."""
    try:
        values = load_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TemplateError(
            f"{path}: no such template file", hint="`tunesmith templates list` shows all"
        ) from error
    except ValueError as error:  # bytes that are not UTF-8 among them
        raise TemplateError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(values, dict):
        raise TemplateError(
            f"{path}: a family is a mapping, found {type(values).__name__}",
            hint="see docs/templates.md",
        )
    try:
        family = Family.model_validate(values)
    except ValidationError as error:
        raise _explain(error, path) from error
    _check_wordings(family, path)
    return family


def find_wording(family: Family, name: str, where: str) -> Wording:
    """The wording `name`; TemplateError naming `where` and the nearest one."""
    for wording in family.wordings:
        if wording.name == name:
            return wording
    names = [wording.name for wording in family.wordings]
    raise TemplateError(f"{where}: there is no wording {name!r}", hint=did_you_mean(name, names))


def reference() -> str:
    """The library as markdown, for docs/templates.md: each family's slots, its default and the
    names of the others.
    """
    return "\n\n".join(_family_reference(load_family(name)) for name in family_names()) + "\n"


def _family_reference(family: Family) -> str:
    slots = [
        f"| `{name}` | {slot.type} | {'required' if slot.required else 'optional'} | {slot.about} |"
        for name, slot in family.slots.items()
    ]
    kinds: dict[str, list[str]] = {}
    for wording in family.wordings:
        kinds.setdefault(_kind(wording), []).append(f"`{wording.name}`")
    return "\n".join(
        [
            f"### {family.family}\n\n{family.about[0].upper()}{family.about[1:]}.",
            f"Answers are read as {family.parser}; metrics: {', '.join(family.metrics)}.\n",
            "| slot | type | | |\n|---|---|---|---|",
            *slots,
            f"\nThe default:\n\n```jinja\n{family.wordings[0].template}\n```\n",
            *(f"- {kind}: {', '.join(names)}" for kind, names in kinds.items()),
        ]
    )


def _kind(wording: Wording) -> str:
    if wording.inverted or wording.held_out:
        return "inverted, by name only" if wording.inverted else "held out, reported as unseen"
    return "for training, options listed" if wording.options else "for training"


def _check_wordings(family: Family, path: Path) -> None:
    seen: set[str] = set()
    for wording in family.wordings:
        if wording.name in seen:
            raise TemplateError(
                f"{path}: the wording {wording.name!r} stands twice", hint="rename one of them"
            )
        if "|||" not in wording.template:
            raise TemplateError(
                f"{path}: the wording {wording.name!r} has no '|||'",
                hint="a template is `prompt ||| completion`",
            )
        seen.add(wording.name)
    first = family.wordings[0]
    if first.held_out or first.inverted:
        raise TemplateError(
            f"{path}: the first wording {first.name!r} is held out or inverted",
            hint="the first wording is the default",
        )


def _explain(error: ValidationError, path: Path) -> TemplateError:
    found = error.errors()
    first = next(
        (one for one in found if one["type"] == "extra_forbidden"), found[0]
    )  # a misspelt key is also missing
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return TemplateError(
            f"{path}: unknown key {key!r}",
            hint=did_you_mean(str(first["loc"][-1]), _known(first["loc"])),
        )
    if first["type"] == "missing":
        return TemplateError(f"{path}: {key} is missing", hint="see docs/templates.md")
    return TemplateError(
        f"{path}: {key} = {first['input']!r}: {first['msg']}", hint="see docs/templates.md"
    )


def _known(location: tuple[Any, ...]) -> list[str]:
    if len(location) == 1:
        return [*Family.model_fields]
    return [*Slot.model_fields] if location[0] == "slots" else [*Wording.model_fields]
