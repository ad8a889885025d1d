"""The configuration of Axolotl, LLaMA-Factory or TRL as a recipe, and what of it has none.

Their keys are first given the names that Hugging Face's `TrainingArguments` have for the same
thing, so that one table says what becomes of each. What is left of the file at the end was not
translated, each key with a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.errors import RecipeError
from tunesmith.init.peer_data import (
    axolotl_data,
    llamafactory_data,
    trl_data,
)
from tunesmith.init.peer_reasons import ITSELF, REASONS, UNKNOWN
from tunesmith.init.peer_work import Work
from tunesmith.yaml_files import load_yaml

KEYS_OF_TOOL: dict[str, set[str]] = {
    "Axolotl": {"base_model", "sequence_len", "micro_batch_size", "val_set_size", "adapter"},
    "LLaMA-Factory": {"stage", "finetuning_type", "cutoff_len", "dataset_dir", "dataset"},
    "TRL": {"dataset_name", "use_peft", "max_length", "model_name_or_path", "max_seq_length"},
}
"""Keys that a tool's files have, and the others' seldom."""

NAMES: dict[str, dict[str, str]] = {
    "Axolotl": {
        "base_model": "model_name_or_path",
        "sequence_len": "max_length",
        "num_epochs": "num_train_epochs",
        "micro_batch_size": "per_device_train_batch_size",
        "lr_scheduler": "lr_scheduler_type",
        "optimizer": "optim",
        "chat_template_jinja": "chat_template_path",
    },
    "LLaMA-Factory": {
        "cutoff_len": "max_length",
        "lora_rank": "lora_r",
        "lora_target": "lora_target_modules",
        "early_stopping_steps": "early_stopping_patience",
        "default_system": "system_prompt",
    },
    "TRL": {"max_seq_length": "max_length", "torch_dtype": "dtype"},
}
"""Their names for what has another name at Hugging Face."""

SAME: dict[str, str] = {
    "model_name_or_path": "model",
    "output_dir": "output_dir",
    "trust_remote_code": "trust_remote_code",
    "system_prompt": "system",
    "learning_rate": "train.learning_rate",
    "max_length": "train.max_length",
    "weight_decay": "train.weight_decay",
    "max_grad_norm": "train.max_grad_norm",
    "warmup_ratio": "train.warmup_ratio",
    "adam_beta1": "train.adam_beta1",
    "adam_beta2": "train.adam_beta2",
    "adam_epsilon": "train.adam_epsilon",
    "neftune_noise_alpha": "train.neftune_noise_alpha",
    "label_smoothing_factor": "train.label_smoothing_factor",
    "gradient_checkpointing": "train.gradient_checkpointing",
    "save_total_limit": "train.save_total_limit",
    "seed": "train.seed",
    "max_samples": "data.max_rows",
}
"""Keys that mean the same here, with their place in a recipe."""

OPTIMIZERS = {
    "adamw": "adamw", "adamw_torch": "adamw", "adamw_torch_fused": "adamw", "adamw_hf": "adamw",
    "adamw_8bit": "adamw_8bit", "adamw_bnb_8bit": "adamw_8bit", "paged_adamw_8bit": "adamw_8bit",
    "adafactor": "adafactor", "muon": "muon",
}  # fmt: skip
SCHEDULES = {
    "cosine": "cosine",
    "linear": "linear",
    "constant": "constant",
    "constant_with_warmup": "constant",
    "warmup_stable_decay": "wsd",
}
TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
OFF: tuple[object, ...] = (None, False, "", 0, [], {}, "no", "none", "false")


@dataclass(frozen=True)
class Translation:
    """The plain values of a recipe, and what was `left` of the other tool's file: why, by key."""

    tool: str
    values: dict[str, object]
    left: Mapping[str, str] = field(default_factory=dict)


def translate(path: Path) -> Translation:
    """Read another tool's configuration.

    Raises RecipeError for a file that is no YAML mapping, that is of none of the three tools, or
    that is for something else than supervised fine-tuning.
    """
    given = _read(path)
    tool = _tool(path, given)
    names = NAMES[tool]
    work = Work(path, {names.get(key, key): value for key, value in given.items()})
    _check_supervised(path, work)
    DATA[tool](work)
    _same(work)
    for part in PARTS:
        part(work)
    theirs = {ours: key for key, ours in names.items() if key in given}
    left = {theirs.get(key, key): reason for key, reason in _left(work).items()}
    return Translation(tool, work.recipe(), left)


def _read(path: Path) -> dict[str, Any]:
    try:
        given = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}", hint="give a configuration file") from error
    except ValueError as error:
        raise RecipeError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(given, dict):
        raise RecipeError(
            f"{path}: a configuration is a mapping, found {type(given).__name__}",
            hint="give the yaml file that you train with",
        )
    return {str(key): value for key, value in given.items()}


def _tool(path: Path, given: Mapping[str, object]) -> str:
    """The tool whose keys occur most; LLaMA-Factory and TRL share Hugging Face's."""
    counts = {tool: len(keys & given.keys()) for tool, keys in KEYS_OF_TOOL.items()}
    tool = max(counts, key=lambda name: counts[name])
    if not counts[tool]:
        raise RecipeError(
            f"{path}: neither a configuration of Axolotl nor of LLaMA-Factory nor of TRL",
            hint="they name a model as base_model or model_name_or_path",
        )
    return tool


def _check_supervised(path: Path, work: Work) -> None:
    other = work.take("rl") or work.take("stage")
    if other not in (None, "sft"):
        raise RecipeError(
            f"{path}: {other} is not supervised fine-tuning",
            hint="tunesmith trains on right answers, not on preferences, rewards or raw text",
        )


# ---- what becomes of each key


def _same(work: Work) -> None:
    for key, dotted in SAME.items():
        value = work.take(key)
        if value is not None:
            work.set(dotted, value)


def _epochs(work: Work) -> None:
    number = work.number("num_train_epochs")
    if number is None:
        return
    whole = max(1, round(number))
    work.set("train.num_train_epochs", whole)
    if number != whole:
        work.leave("num_train_epochs", f"{number:g} epochs become {whole}: they are whole here")


def _early_stopping(work: Work) -> None:
    """Counted in validations everywhere; here there is one an epoch."""
    patience = work.number("early_stopping_patience")
    if patience:
        work.set("train.early_stopping_patience", max(1, round(patience)))
        work.leave("early_stopping_patience", "counted in epochs here: each is validated once")


def _batch(work: Work) -> None:
    """A step's examples on one device; others count the devices on top."""
    per_device = work.number("per_device_train_batch_size")
    accumulated = work.number("gradient_accumulation_steps")
    if per_device is not None:
        examples = round(per_device * (accumulated or 1))
        work.set("train.train_batch_size", examples)
        work.leave(
            "per_device_train_batch_size",
            f"train.train_batch_size is the examples of a step, {examples} for one device: "
            "multiply it by those that you used",
        )
    elif accumulated is not None:
        work.leave("gradient_accumulation_steps", ITSELF)


def _optimizer(work: Work) -> None:
    _choice(work, "optim", "train.optim", OPTIMIZERS)
    _choice(work, "lr_scheduler_type", "train.lr_scheduler_type", SCHEDULES)


def _choice(work: Work, key: str, dotted: str, known: Mapping[str, str]) -> None:
    value = work.take(key)
    if value is None:
        return
    if str(value) in known:
        work.set(dotted, known[str(value)])
    else:
        ours = ", ".join(dict.fromkeys(known.values()))
        work.leave(key, f"{value} is not known; {dotted} is one of {ours}")


def _number_format(work: Work) -> None:
    bf16, dtype = work.take("bf16"), work.take("dtype")
    if bf16 is True or dtype == "bfloat16":
        work.set("train.dtype", "bfloat16")
    elif dtype == "float32":
        work.set("train.dtype", "float32")
    elif dtype == "float16":
        work.leave("dtype", REASONS["fp16"])


def _adapters(work: Work) -> None:
    """LoRA where the file asks for it; its keys mean nothing where it does not."""
    kind = work.take("adapter") or work.take("finetuning_type")
    asked = bool(work.take("use_peft")) or kind in ("lora", "qlora")
    if kind not in (None, "lora", "qlora", "full"):
        work.leave("finetuning_type", f"{kind} is not known: all weights are trained, or LoRA")
    bits = work.take("load_in_4bit"), work.take("quantization_bit")
    four_bit = kind == "qlora" or bits[0] is True or bits[1] == 4
    r, alpha = work.take("lora_r"), work.take("lora_alpha")
    modules, linear = work.take("lora_target_modules"), work.take("lora_target_linear")
    if bits[1] not in (None, 4):
        work.leave("quantization_bit", REASONS["load_in_8bit"])
    if not asked:
        if four_bit:
            work.leave("load_in_4bit", REASONS["load_in_8bit"])
        return
    if alpha is None and isinstance(r, int) and "template" in work.rest:
        alpha = 2 * r  # LLaMA-Factory's default
    found = {"r": r, "lora_alpha": alpha, "target_modules": _modules(modules, bool(linear))}
    found["load_in_4bit"] = four_bit
    work.set("train.lora", {name: value for name, value in found.items() if value})


def _modules(named: object, all_linear: bool) -> list[str] | None:
    """The names of layers; None for all linear ones, which is the default here."""
    if all_linear or named in (None, "all", "all-linear", ["all-linear"]):
        return None
    parts = named if isinstance(named, list) else str(named).split(",")
    return [str(part).strip() for part in parts]


def _trackers(work: Work) -> None:
    asked = work.take("report_to")
    names = asked if isinstance(asked, list) else [asked] if asked is not None else []
    names += ["wandb"] if work.take("wandb_project") else []
    known = [name for name in dict.fromkeys(names) if name in TRACKERS]
    if known or names == ["none"]:
        work.set("train.report_to", known)
    for name in names:
        if name not in (*TRACKERS, "none"):
            work.leave("report_to", f"{name} is not known; known: {', '.join(TRACKERS)}")


def _shares(work: Work) -> None:
    """A share for validation; a test split of a tenth comes on top, which the report needs."""
    own, other = work.number("val_set_size"), work.number("val_size")
    share = other if own is None else own
    if not share:
        return
    if 0 < share <= 0.5:
        shares = {"train": round(0.9 - share, 6), "validation": share, "test": 0.1}
        work.set("data.split", shares)
    else:
        work.leave("val_set_size", "a share of the rows here: data.split.validation")


def _template(work: Work) -> None:
    path = work.take("chat_template_path")
    if path is not None and str(path).endswith((".jinja", ".j2", ".txt")):
        work.set("chat_template", str(path))
    elif path is not None:
        work.leave("chat_template_path", "`chat_template` takes a file with the template")
    thinking = work.take("enable_thinking")
    if isinstance(thinking, bool):
        work.set("chat_template_kwargs", {"enable_thinking": thinking})


PARTS: tuple[Callable[[Work], None], ...] = (
    _epochs,
    _early_stopping,
    _batch,
    _optimizer,
    _number_format,
    _adapters,
    _trackers,
    _shares,
    _template,
)
DATA: dict[str, Callable[[Work], None]] = {
    "Axolotl": axolotl_data,
    "LLaMA-Factory": llamafactory_data,
    "TRL": trl_data,
}
MEANS_NOTHING = ("do_train", "do_eval", "do_predict")


def _left(work: Work) -> dict[str, str]:
    """Why each of the keys that nothing took was left; what is switched off is not missed."""
    rest = {
        key: REASONS.get(key, UNKNOWN)
        for key, value in work.rest.items()
        if key not in MEANS_NOTHING and not any(value is off or value == off for off in OFF)
    }
    return {**work.left, **rest}
