"""PromptSource's templates: its YAML files byte for byte, its rendering without its silent
mistakes.

A template's source is jinja that writes a prompt, `|||` and one or more targets; `answer_choices`
is jinja that writes choices with `|||` between them and is rendered first. Nothing is cut
(PromptSource cuts values at 2,048 characters).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tunesmith.data.templates.environment import draw_keys, render_parts
from tunesmith.errors import TemplateError, did_you_mean
from tunesmith.rundir import home_folder
from tunesmith.yaml_files import BoundedLoader, load_yaml

PREFIX = "promptsource:"
FILE_NAME = "templates.yaml"


@dataclass(frozen=True)
class Applied:
    """One rendered row. All `targets` count as right, the first is trained; `choices` is empty for
    free text.
    """

    prompt: str
    targets: tuple[str, ...]
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Template:
    """One template of a file. `source` is its data set, `extra` holds keys PromptSource does not
    know.
    """

    id: str
    name: str
    jinja: str
    answer_choices: str | None = None
    reference: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""

    @property
    def full_name(self) -> str:
        """`dataset/subset/name`, or the name alone where the data set is not known."""
        return f"{self.source}/{self.name}" if self.source else self.name

    def apply(
        self,
        row: Mapping[str, object],
        *,
        seed: int = 0,
        row_id: str = "",
        fit_to: int | None = None,
    ) -> Applied | None:
        """Prompt and targets of one row, or None where the template leaves the row out (it writes
        no separator).

        `choice` and `random` draw from (seed, template id, row id). Raises TemplateError naming
        template and row for a missing column, a None, a label that is no position among the
        choices, and an empty target (which a run, with its ledger, leaves out and counts).
        """
        where = f"template {self.full_name!r}" + (f", row {row_id!r}" if row_id else "")
        if "answer_choices" in row:
            raise TemplateError(
                f"{where}: a column is called 'answer_choices', a word of PromptSource",
                hint="rename it: --column, or data.columns",
            )
        keys = draw_keys(seed, self.id, row_id)
        choices = None
        if self.answer_choices is not None:
            choices = render_parts(self.answer_choices, row, rng_key=keys.choices, where=where)
        values = {**row, "answer_choices": choices}
        prompt, *targets = render_parts(
            self.jinja, values, rng_key=keys.body, where=where, fit_to=fit_to
        )
        if not targets:
            return None
        if not all(targets):
            raise TemplateError(
                f"{where}: the target is empty", hint="a row to leave out must not reach the `|||`"
            )
        return Applied(prompt, tuple(targets), tuple(choices or ()))


@dataclass(frozen=True)
class TemplateCollection:
    """One file: the templates of a data set, in the file's order."""

    dataset: str
    templates: tuple[Template, ...]
    subset: str | None = None

    @property
    def source(self) -> str:
        """`dataset/subset`, or the data set alone."""
        return f"{self.dataset}/{self.subset}" if self.subset else self.dataset

    def template(self, name: str) -> Template:
        """The template of that name or id (spaces around a name do not matter)."""
        for template in self.templates:
            if name.strip() in (template.name.strip(), template.id):
                return template
        names = [template.name for template in self.templates]
        raise TemplateError(f"{self.source}: no template {name!r}", hint=did_you_mean(name, names))


# ---- the file format


class _TemplateFields(dict[str, Any]):
    """The mapping behind `!Template`."""


class _MetadataFields(dict[str, Any]):
    """The mapping behind `!TemplateMetadata`."""


class _Loader(BoundedLoader):
    pass


class _Dumper(yaml.SafeDumper):
    pass


_Loader.add_constructor("!Template", lambda loader, node: _TemplateFields(_mapping(loader, node)))
_Loader.add_constructor(
    "!TemplateMetadata", lambda loader, node: _MetadataFields(_mapping(loader, node))
)
_Dumper.add_representer(
    _TemplateFields, lambda dumper, value: dumper.represent_mapping("!Template", value)
)
_Dumper.add_representer(
    _MetadataFields, lambda dumper, value: dumper.represent_mapping("!TemplateMetadata", value)
)


def _mapping(loader: Any, node: yaml.Node) -> dict[Any, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(
            None, None, f"{node.tag} is not a mapping", node.start_mark
        )
    fields: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return fields


def loads(text: str, where: str = FILE_NAME) -> TemplateCollection:
    """Read one file's text; TemplateError starting with `where` for bad YAML, an unknown tag or a
    missing key.
    """
    try:
        document = load_yaml(text, _Loader)
    except ValueError as error:
        raise TemplateError(f"{where}: not readable as YAML: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("templates"), dict):
        raise TemplateError(
            f"{where}: no `templates` mapping", hint="this is not a file of PromptSource templates"
        )
    dataset, subset = str(document.get("dataset", "")), document.get("subset")
    source = f"{dataset}/{subset}" if subset else dataset
    templates = tuple(
        _template(fields, source, f"{where}: {key}")
        for key, fields in document["templates"].items()
    )
    return TemplateCollection(dataset, templates, subset)


def _template(fields: object, source: str, where: str) -> Template:
    if not isinstance(fields, _TemplateFields):
        raise TemplateError(f"{where} is not a !Template")
    known = {"id", "name", "jinja", "answer_choices", "reference", "metadata"}
    missing = sorted({"id", "name", "jinja"} - set(fields))
    if missing:
        raise TemplateError(
            f"{where}: the template has no {missing[0]!r}", hint="a template has id, name and jinja"
        )
    extra = {key: value for key, value in fields.items() if key not in known}
    return Template(
        **{key: fields[key] for key in known if key in fields}, extra=extra, source=source
    )


def dumps(collection: TemplateCollection) -> str:
    """The file's text as PromptSource writes it: keys sorted, ASCII, lines of 80 characters."""
    document: dict[str, object] = {"dataset": collection.dataset}
    if collection.subset is not None:
        document["subset"] = collection.subset
    document["templates"] = {template.id: _fields(template) for template in collection.templates}
    return yaml.dump(document, Dumper=_Dumper)


def _fields(template: Template) -> _TemplateFields:
    # kept as the object it is: templates that share one are written with an alias
    metadata = template.metadata
    return _TemplateFields(
        id=template.id,
        name=template.name,
        jinja=template.jinja,
        answer_choices=template.answer_choices,
        reference=template.reference,
        metadata=metadata if isinstance(metadata, _MetadataFields) else _MetadataFields(metadata),
        **template.extra,
    )


# ---- a folder of files


def library() -> Path:
    """The folder `find` looks in: $TUNESMITH_PROMPTSOURCE, else what `tunesmith templates import`
    filled.
    """
    return Path(
        os.environ.get("TUNESMITH_PROMPTSOURCE") or home_folder() / ".tunesmith" / "promptsource"
    )


def find(spec: str, folder: Path | None = None) -> Template:
    """The template of `promptsource:ag_news/classify_question_first` or
    `promptsource:glue/mrpc/want to know`.

    Data set, subset and template (name or id) are parted by slashes; a template's name may hold
    slashes too.
    """
    folder = folder or library()
    parts = spec.removeprefix(PREFIX).split("/")
    for count in range(len(parts) - 1, 0, -1):
        file = folder.joinpath(*parts[:count], FILE_NAME)
        if file.is_file():
            return loads(file.read_text(encoding="utf-8"), str(file)).template(
                "/".join(parts[count:])
            )
    known = [file.parent.relative_to(folder).as_posix() for file in folder.rglob(FILE_NAME)]
    if not known:
        raise TemplateError(
            f"{folder}: no PromptSource templates here",
            hint="`tunesmith templates import DIR` copies a folder of them, "
            "or set TUNESMITH_PROMPTSOURCE",
        )
    raise TemplateError(
        f"{spec}: no such data set in {folder}", hint=did_you_mean("/".join(parts[:-1]), known)
    )


def import_folder(src: Path, dst: Path) -> int:
    """Check every templates.yaml under `src`, then copy them to the same places under `dst`; the
    number of templates.

    Nothing is copied where one file is bad. Raises TemplateError naming it.
    """
    files = sorted(src.rglob(FILE_NAME))
    if not files:
        raise TemplateError(
            f"{src}: no {FILE_NAME} in this folder",
            hint="point to PromptSource's `templates` folder",
        )
    count = sum(len(loads(file.read_text(encoding="utf-8"), str(file)).templates) for file in files)
    for file in files:
        target = dst / file.relative_to(src)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return count
