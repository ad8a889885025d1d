"""The licence of a base model, as its own card names it."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import hf_hub_download, metadata_load
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from yaml import YAMLError

from tunesmith.models.load import model_folder, resolve_model

CARD = "README.md"


def base_licence(name: str) -> str:
    """The identifier of the licence (`apache-2.0`), empty where the model names none. A tuned model
    is derived from its base, so that this licence is the tuned model's too.
    """
    if Path(resolve_model(name, weights=False)).exists():
        return _of_card(model_folder(name, weights=False) / CARD)
    try:
        return _of_card(Path(hf_hub_download(name, CARD)))
    except (HfHubHTTPError, HFValidationError, OSError):
        return ""  # no such card, or no network: nothing depends on it


def _of_card(card: Path) -> str:
    try:
        found = (metadata_load(card) or {}).get("license")
    except (OSError, ValueError, YAMLError):
        return ""
    return found.strip().lower() if isinstance(found, str) else ""
