"""Fixtures that many tests share; plain helpers are in support.py."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support import byte_tokenizer, tiny_llama

os.environ.setdefault("HF_HUB_OFFLINE", "1")


# a shell starts what it runs in the background with SIGINT ignored, and so it would stay
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Prepared rows are cached beside the tests, never in the user's home."""
    os.environ["TUNESMITH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random Llama and a byte tokenizer, as a user would have a base model."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_llama().save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder
