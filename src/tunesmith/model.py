"""Models and tokenizers as Hugging Face folders: loading and saving."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging as transformers_logging

from tunesmith.chat_format import stop_ids
from tunesmith.errors import ModelError, did_you_mean
from tunesmith.recipe import BUILT_IN_MODEL
from tunesmith.rundir import file_sha256

ASSETS = Path(__file__).parent / "assets"
MAX_UNKNOWN_CONTEXT = 1 << 20


def resolve_model(name: str) -> str:
    """The built-in model's folder, an existing folder, or a hub id; ModelError for a folder that holds no model."""
    if name == BUILT_IN_MODEL:
        return str(ASSETS / "base")
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists():
            raise ModelError(
                f"{path}: no config.json in this folder", hint="give a Hugging Face model folder or a hub id"
            )
        if not any(path.glob("*.safetensors")):
            raise ModelError(
                f"{path}: no .safetensors file in this folder",
                hint="tunesmith reads safetensors only; convert with save_pretrained in a version of transformers >= 5",
            )
        return str(path)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        near = [file.name for file in path.parent.glob("*")] if path.parent.is_dir() else []
        raise ModelError(f"{name}: no such folder", hint=did_you_mean(path.name, near))
    return name


def _only_errors() -> None:
    """transformers imports torchao where it is installed, which tells of kernels for other machines."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)


def load_tokenizer(name: str, trust_remote_code: bool = False) -> Any:
    _only_errors()
    try:
        return AutoTokenizer.from_pretrained(resolve_model(name), trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise _cannot_load("tokenizer", name, error) from error


def load_model(name: str, dtype: str = "auto", trust_remote_code: bool = False, device: str | None = None) -> Any:
    """A causal LM in eval mode. `auto` is float32 weights (training keeps them so; a GPU computes in bf16)."""
    _only_errors()
    wanted = torch.float32 if dtype == "auto" else getattr(torch, dtype)
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            resolve_model(name), dtype=wanted, use_safetensors=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        raise _cannot_load("model", name, error) from error
    return model.to(torch.device(device or default_device())).eval()


def _cannot_load(what: str, name: str, error: Exception) -> ModelError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return ModelError(
        f"{name}: the {what} cannot be loaded: {reason}",
        hint="give a Hugging Face folder with safetensors, or a hub id that this machine can reach or has in its cache",
    )


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def max_positions(name_or_config: Any) -> int:
    """How many tokens the model can read; a config without a limit gives a very large number."""
    config = name_or_config
    if isinstance(config, str):
        config = AutoConfig.from_pretrained(resolve_model(config))
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(getattr(text, "max_position_embeddings", None) or MAX_UNKNOWN_CONTEXT)


def fit_embeddings(model: Any, tokenizer: Any) -> None:
    """Make room for added tokens; transformers draws the new rows around the mean of the others."""
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        torch.manual_seed(0)
        model.resize_token_embeddings(len(tokenizer))


def save_model(model: Any, tokenizer: Any, folder: Path, max_new_tokens: int | None = None) -> None:
    """Write a folder that loads with from_pretrained and stops by itself; it appears whole or not at all."""
    stops = list(stop_ids(tokenizer, model))
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=stops if len(stops) > 1 else stops[0],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
        max_new_tokens=max_new_tokens,
    )
    model.config.eos_token_id = model.generation_config.eos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.bos_token_id = tokenizer.bos_token_id
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def fingerprint(name: str) -> dict[str, str]:
    """Hashes of the files that decide token ids and weights, by name; of a hub id, the id (its cache is its own)."""
    folder = Path(resolve_model(name))
    if not folder.is_dir():
        return {"hub id": name}
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".safetensors", ".jinja", ".model"))
    return {file.name: file_sha256(file) for file in files}
