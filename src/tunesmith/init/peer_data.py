"""The data sets of other tools' configurations as sources of a recipe, each with its template."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.data.templates.environment import column_in_jinja
from tunesmith.errors import RecipeError
from tunesmith.init.peer_work import Work

CONVERSATIONS = ("messages", "conversations")
AXOLOTL_TYPES = ("alpaca", "sharegpt", "chat_template", "input_output")
"""Axolotl's types whose columns tunesmith knows by themselves."""


def axolotl_data(work: Work) -> None:
    """`datasets` and `test_datasets`."""
    listed = work.entries("datasets")
    sources = [found for one in listed if (found := _axolotl_source(work, one))]
    _set_sources(work, sources)
    tests = work.entries("test_datasets")
    if tests:
        work.set("data.validation_source", _path(tests[0]))
        if len(tests) > 1:
            work.leave("test_datasets", "one file of validation rows: data.validation_source")


def _axolotl_source(work: Work, one: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"source": _path(one)}
    kind = one.get("type")
    if isinstance(kind, Mapping):
        found["template"] = _axolotl_template(kind)
    elif kind is not None and str(kind).split(".")[0].split(":")[0] not in AXOLOTL_TYPES:
        work.leave(
            f"datasets {one.get('path')}: type {kind}",
            "name a task and columns, or a template: `tunesmith init FILE` proposes them",
        )
    column = one.get("field_messages")
    if column is not None and column not in CONVERSATIONS:
        work.leave(
            f"datasets {one.get('path')}: field_messages {column}",
            "rename the column to messages or conversations",
        )
    known = {"path", "type", "split", "ds_type", "data_files", "field_messages", "conversation"}
    known |= {"chat_template", "roles_to_train", "train_on_eos"}
    for key in (key for key in one if key not in known):
        work.leave(f"datasets {one.get('path')}: {key}", "no key of a source means this")
    return found


def _path(one: Mapping[str, Any]) -> str:
    """A file where one is named, else the hub id with its split."""
    files = one.get("data_files")
    if files:
        return str(files[0] if isinstance(files, list) else files)
    path, split = str(one.get("path")), one.get("split")
    is_file = bool(Path(path).suffix) or Path(path).exists()
    return path if is_file or split in (None, "train") else f"{path}:{split}"


def _axolotl_template(kind: Mapping[str, Any]) -> str:
    """Axolotl's own format, `{instruction} {input}`, as a template on the same columns."""
    instruction = str(kind.get("field_instruction") or "instruction")
    extra, output = (
        str(kind.get("field_input") or "input"),
        str(kind.get("field_output") or "output"),
    )
    names = {"instruction": instruction, "input": extra}
    shown = str(
        kind.get("format" if "{input}" in str(kind.get("format")) else "no_input_format")
        or kind.get("format")
        or "{instruction}"
    )
    prompt = re.sub(r"\{(instruction|input)\}", lambda found: _cell(names[found[1]]), shown)
    return f"{prompt} ||| {_cell(output)}"


def _cell(column: str) -> str:
    return f"{{{{ {column_in_jinja(column)} }}}}"


def llamafactory_data(work: Work) -> None:
    """`dataset` and `eval_dataset`, whose names are looked up in dataset_info.json."""
    folder = Path(str(work.take("dataset_dir") or "data"))
    info = _dataset_info(work.path, folder)
    names = _names(work.take("dataset"))
    if names and info is None:
        work.leave(
            "dataset",
            f"{', '.join(names)}: there is no {folder / 'dataset_info.json'} that says which files "
            "they are: name them in data.source",
        )
    known = info or ({}, folder)
    _set_sources(work, [s for name in names if info and (s := _listed(work, name, *known))])
    evaluated = _names(work.take("eval_dataset"))
    if evaluated and info and (found := _listed(work, evaluated[0], *known)):
        work.set("data.validation_source", found["source"])


def _names(value: object) -> list[str]:
    listed = value if isinstance(value, list) else str(value).split(",") if value else []
    return [str(name).strip() for name in listed]


def _dataset_info(path: Path, folder: Path) -> tuple[dict[str, Any], Path] | None:
    """The list of data sets, and the folder it stands in, from here or from beside the file."""
    for base in (folder, path.parent / folder):
        listed = base / "dataset_info.json"
        if listed.is_file():
            try:
                found = json.loads(listed.read_text(encoding="utf-8"))
            except ValueError as error:
                raise RecipeError(f"{listed}: not readable as JSON: {error}") from error
            return (found, base) if isinstance(found, dict) else None
    return None


def _listed(work: Work, name: str, info: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    entry = info.get(name)
    if not isinstance(entry, Mapping):
        work.leave(f"dataset {name}", "dataset_info.json does not have it")
        return {}
    if entry.get("ranking"):
        work.leave(f"dataset {name}", "preferences are not trained on")
        return {}
    file, hub = entry.get("file_name"), entry.get("hf_hub_url")
    if file is None and hub is None:
        work.leave(f"dataset {name}", "neither a file nor a data set of the hub")
        return {}
    split = entry.get("split")
    plain = str(folder / str(file)) if file else str(hub) + (f":{split}" if split else "")
    return {"source": plain, **_own_columns(work, name, entry)}


def _own_columns(work: Work, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """A template for columns that are not called as the format's are."""
    columns = entry.get("columns") or {}
    if not isinstance(columns, Mapping):
        raise work.error(f"dataset {name}: columns", columns, "a mapping")
    if entry.get("formatting") == "sharegpt":
        if columns.get("messages", "conversations") not in CONVERSATIONS:
            work.leave(
                f"dataset {name}: columns.messages", "rename it to messages or conversations"
            )
        return {}
    prompt = columns.get("prompt", "instruction")
    query, response = columns.get("query"), columns.get("response", "output")
    if (prompt, response) == ("instruction", "output") and query in (None, "input"):
        return {}
    shown = _cell(prompt) + (f"\n\n{_cell(query)}" if query else "")
    return {"template": f"{shown} ||| {_cell(response)}"}


def trl_data(work: Work) -> None:
    """`dataset_name`, or the list `datasets` of a mixture."""
    split = work.take("dataset_train_split")
    name, listed = work.take("dataset_name"), work.entries("datasets")
    named = [{"path": name, "split": split}] if name else listed
    _set_sources(work, [{"source": _path(one)} for one in named])
    tested = work.take("dataset_test_split")
    if name and tested and work.rest.get("eval_strategy") not in (None, "no"):
        work.set("data.validation_source", f"{name}:{tested}")
    if work.take("dataset_config"):
        work.leave("dataset_config", "save that configuration of the data set to files")
    if work.take("dataset_text_field"):
        work.leave(
            "dataset_text_field",
            "plain text has no answer to train: give prompt and completion, or a task and columns",
        )


def _set_sources(work: Work, sources: list[dict[str, Any]]) -> None:
    """One source with its keys in `data`, several as a mixture."""
    if len(sources) == 1:
        for key, value in sources[0].items():
            work.set(f"data.{key}", value)
    elif sources:
        work.set("data.source", sources)
