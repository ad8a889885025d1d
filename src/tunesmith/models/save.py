"""Models and tokenizers as Hugging Face folders: loading and saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from tunesmith.chat.format import stop_ids
from tunesmith.models.folder import write_model_folder
from tunesmith.models.load import (
    default_device,
    fingerprint,
    fit_embeddings,
    load_config,
    load_model,
    load_tokenizer,
    max_positions,
    resolve_model,
)
from tunesmith.recipe import BUILT_IN_MODEL

__all__ = [
    "BUILT_IN_MODEL",
    "default_device",
    "fingerprint",
    "fit_embeddings",
    "load_config",
    "load_model",
    "load_tokenizer",
    "max_positions",
    "resolve_model",
    "save_model",
]


def save_model(model: Any, tokenizer: Any, folder: Path, max_new_tokens: int | None = None) -> None:
    """Write a folder that loads with from_pretrained and stops by itself; it appears whole or not
    at all.
    """
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
    write_model_folder(model, tokenizer, folder)
