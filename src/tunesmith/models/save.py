"""Model folders on disk: there whole or not at all, and right for transformers 4 as well, and tools
pinned to it.

transformers 5 names some things differently, and 4 does not complain of what it does not know: it
would take the default rotary base. So both names are written, where 5 still reads the same config
back.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from transformers import (
    AutoConfig,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tunesmith.errors import RunError, is_disk_full
from tunesmith.rundir import JsonObject, read_json, sync, sync_tree, temporary_name

NEW_CLASS, OLD_CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    stop_ids: Sequence[int],
    max_new_tokens: int | None = None,
    files: Sequence[Path] = (),
) -> None:
    """Write a folder that loads with from_pretrained and whose answers end by themselves, at any of
    `stop_ids`; greedy decoding is its default. `files` are copied into it where they exist.
    RunError where the disk is full; what was there before is then still there.
    """
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=list(stop_ids) if len(stop_ids) > 1 else stop_ids[0],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
        max_new_tokens=max_new_tokens,
    )
    model.config.eos_token_id = model.generation_config.eos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.bos_token_id = tokenizer.bos_token_id
    write_model_folder(model, tokenizer, folder, files)


def write_model_folder(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    files: Sequence[Path] = (),
) -> None:
    """Write beside `folder`, to the disk, then rename; what was there before goes. RunError where
    the disk is full.
    """
    temporary, before = temporary_name(folder), temporary_name(folder, "old")
    try:
        _write_files(model, tokenizer, temporary, files)
        sync_tree(temporary)
        if folder.exists():
            folder.rename(before)
        temporary.rename(folder)
        sync(folder.parent)
    # safetensors and tokenizers raise errors of their own, which are no OSError
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise RunError(
            f"{folder}: the disk is full; the model is not saved",
            hint="free some space, then run the same command again, or `tunesmith resume RUN`",
        ) from error
    finally:
        if before.exists() and not folder.exists():
            before.rename(folder)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def _write_files(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    files: Sequence[Path],
) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _name_as_before(folder, model.config)
    for path in folder.glob("*.safetensors"):  # written for the owner alone
        shutil.copymode(folder / "config.json", path)
    for path in files:
        if path.exists():
            shutil.copyfile(path, folder / path.name)


def _name_as_before(folder: Path, config: PreTrainedConfig) -> None:
    path = folder / "tokenizer_config.json"
    settings = read_json(path)
    if settings.get("tokenizer_class") == NEW_CLASS:
        settings["tokenizer_class"] = OLD_CLASS
    if isinstance(settings.get("extra_special_tokens"), list):
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    _write(path, settings)
    if not hasattr(config, "auto_map"):  # its own class reads it, in whatever version
        path, written = folder / "config.json", read_json(folder / "config.json")
        _write(path, with_old_names(written))
        if not _reads_the_same(folder, config):
            _write(path, written)


def with_old_names(config: JsonObject) -> JsonObject:
    """A config.json of transformers 5 with the keys of 4 beside its own, in nested configs too."""
    config = {
        key: with_old_names(value) if key.endswith("_config") and isinstance(value, dict) else value
        for key, value in config.items()
    }
    old: JsonObject = {"torch_dtype": config["dtype"]} if "dtype" in config else {}
    rope = config.get("rope_parameters") or {}
    # a rotary base for each kind of layer, as Gemma 3 has
    if isinstance(rope.get("full_attention"), dict):
        old |= _old_rope(rope["full_attention"])
        if isinstance(rope.get("sliding_attention"), dict):
            old["rope_local_base_freq"] = rope["sliding_attention"].get("rope_theta")
    elif "rope_theta" in rope:
        old |= _old_rope(rope)
    if config.get("model_type") == "gpt_neox" and rope:
        old |= {
            "rotary_emb_base": rope.get("rope_theta"),
            "rotary_pct": rope.get("partial_rotary_factor", 1.0),
        }
    if "num_local_experts" in config:
        old["num_experts"] = config["num_local_experts"]
    return {**old, **config}


def _old_rope(rope: JsonObject) -> JsonObject:
    scaling = {
        key: value
        for key, value in rope.items()
        if key not in ("rope_theta", "partial_rotary_factor")
    }
    found = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
    return found | {
        "rope_scaling": scaling if scaling.get("rope_type", "default") != "default" else None
    }


def _reads_the_same(folder: Path, config: PreTrainedConfig) -> bool:
    """Whether every key of the config comes back from the folder as it was."""
    found, wanted = (
        one.to_dict()
        for one in (AutoConfig.from_pretrained(folder, trust_remote_code=False), config)
    )
    left_out = ("_name_or_path", "dtype", "transformers_version", "architectures")
    return all(
        _contains(found.get(key), value) for key, value in wanted.items() if key not in left_out
    )


def _contains(found: object, wanted: object) -> bool:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(
            _contains(found.get(key), value) for key, value in wanted.items() if key != "dtype"
        )
    return bool(found == wanted)


def _write(path: Path, value: JsonObject) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
